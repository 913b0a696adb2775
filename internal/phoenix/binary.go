package phoenix

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// ErrUnknownKind is a binary frame of a kind that this package does not know.
// Such frames are to be ignored, not to fail a connection.
var ErrUnknownKind = errors.New("phoenix: unknown kind of binary frame")

// maxField is the greatest length in bytes of a field of a binary frame: the
// header gives it one byte.
const maxField = 255

// FieldTooLongError is a field of a binary message that does not fit its
// header. The server's own encoder would crash the sender's channel on a topic
// or an event of more than 255 bytes (1.5), so it is refused here.
type FieldTooLongError struct {
	Field string
	Len   int
}

func (e *FieldTooLongError) Error() string {
	return fmt.Sprintf("phoenix: %s has %d bytes, a binary frame takes %d", e.Field, e.Len, maxField)
}

// fields lists the length-prefixed fields of a kind in wire order, as pointers
// into m; refs stand in scratch strings.
type fields struct {
	names  [6]string
	values [6]*string
	n      int
}

func (f *fields) add(name string, value *string) {
	f.names[f.n], f.values[f.n] = name, value
	f.n++
}

// header is the layout of one kind of binary frame: a byte for the kind, a
// byte for the length of each field, a byte for the encoding where there is
// one, the fields, the payload.
func header(kind Kind, from Side, joinRef, ref *string, m *Message, meta *string) (f fields, encoding bool) {
	switch kind {
	case Push:
		f.add("join_ref", joinRef)
		if from == FromClient {
			f.add("ref", ref)
		}
		f.add("topic", &m.Topic)
		f.add("event", &m.Event)
	case Reply:
		f.add("join_ref", joinRef)
		f.add("ref", ref)
		f.add("topic", &m.Topic)
		f.add("status", &m.Status)
	case Broadcast:
		f.add("topic", &m.Topic)
		f.add("event", &m.Event)
	case UserPush:
		f.add("join_ref", joinRef)
		f.add("ref", ref)
		f.add("topic", &m.Topic)
		f.add("user event", &m.UserEvent)
		f.add("metadata", meta)
		encoding = true
	case UserBroadcast:
		f.add("topic", &m.Topic)
		f.add("user event", &m.UserEvent)
		f.add("metadata", meta)
		encoding = true
	}
	return f, encoding
}

func decodeBinary(from Side, frame []byte) (m Message, err error) {
	if len(frame) == 0 {
		return Message{}, &MalformedError{Err: errors.New("empty binary frame")}
	}
	if frame[0] > 4 {
		return Message{}, fmt.Errorf("%w: %d", ErrUnknownKind, frame[0])
	}
	m.Kind = Kind(frame[0]) + Push
	switch m.Kind {
	case Reply:
		m.Event = EventReply
	case UserPush, UserBroadcast:
		m.Event = EventBroadcast
	}
	var joinRef, ref, meta string
	layout, encoding := header(m.Kind, from, &joinRef, &ref, &m, &meta)
	lengths, rest := frame[1:], 1+layout.n
	if encoding {
		rest++
	}
	if len(frame) < rest {
		return Message{}, &MalformedError{Event: m.Event, Err: errors.New("binary frame ends in its header")}
	}
	if encoding {
		m.JSON = frame[rest-1] != 0
	}
	body := frame[rest:]
	for i := range layout.n {
		n := int(lengths[i])
		if len(body) < n {
			return Message{}, &MalformedError{Topic: m.Topic, Event: m.Event,
				Err: fmt.Errorf("binary frame ends in its %s", layout.names[i])}
		}
		if !utf8.Valid(body[:n]) {
			return Message{}, &MalformedError{Topic: m.Topic, Event: m.Event,
				Err: fmt.Errorf("%s of a binary frame is not UTF-8", layout.names[i])}
		}
		*layout.values[i], body = string(body[:n]), body[n:]
	}
	m.JoinRef, m.Ref, m.Payload = refOfText(joinRef), refOfText(ref), body
	if meta != "" {
		m.Meta = []byte(meta)
	}
	return m, nil
}

func appendBinary(dst []byte, from Side, m Message) ([]byte, error) {
	joinRef, ref, meta := m.JoinRef.text(), m.Ref.text(), string(m.Meta)
	layout, encoding := header(m.Kind, from, &joinRef, &ref, &m, &meta)
	if layout.n == 0 {
		return dst, ErrUnknownKind
	}
	dst = append(dst, byte(m.Kind-Push))
	for i := range layout.n {
		n := len(*layout.values[i])
		if n > maxField {
			return dst, &FieldTooLongError{Field: layout.names[i], Len: n}
		}
		dst = append(dst, byte(n))
	}
	if encoding {
		var enc byte
		if m.JSON {
			enc = 1
		}
		dst = append(dst, enc)
	}
	for i := range layout.n {
		dst = append(dst, *layout.values[i]...)
	}
	return append(dst, m.Payload...), nil
}
