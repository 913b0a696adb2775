package phoenix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/gapless-go/gapless/internal/rowjson"
)

// MalformedError is a frame that could not be decoded. Topic and Event are
// what could be read before the fault, or empty: with them a reader can tell
// what such a frame may have carried.
type MalformedError struct {
	Topic, Event string
	Err          error
}

func (e *MalformedError) Error() string { return "phoenix: malformed frame: " + e.Err.Error() }

func (e *MalformedError) Unwrap() error { return e.Err }

// Decoder decodes the frames of one side of a connection. It remembers the last
// topic and event, so that frames of the same do not allocate them each time. It
// is not safe for concurrent use.
type Decoder struct {
	Version Version
	From    Side

	topic, event text
}

// text is a JSON string and what it means.
type text struct{ raw, means string }

// Decode decodes one frame. binary says which of the two types of websocket
// message held it. The message's byte slices point into frame. The error is a
// *MalformedError, or ErrUnknownKind for a binary frame of another kind.
//
// The payload is valid JSON, with one exception: that of EventPostgresChanges
// from a server, in serializer 2.0.0, begins with { and ends with }, and what is
// between has not been read, since whoever decodes the change reads it anyway.
func (d *Decoder) Decode(binary bool, frame []byte) (Message, error) {
	switch {
	case !binary:
		return d.decodeText(frame)
	case d.Version == V2:
		return decodeBinary(d.From, frame)
	}
	return Message{}, &MalformedError{Err: errors.New("binary frame in serializer 1.0.0")}
}

// Decode decodes one frame, as Decoder.Decode does.
func Decode(v Version, from Side, binary bool, frame []byte) (Message, error) {
	d := Decoder{Version: v, From: from}
	return d.Decode(binary, frame)
}

// ErrNotUTF8 is a message of a client that is no UTF-8 where it must be: the
// server closes a socket on such a text frame, and encoding/json would change it.
var ErrNotUTF8 = errors.New("a topic, an event or a JSON payload is not UTF-8")

// Append appends the wire form of m to dst and says whether it is a binary
// frame. It fails when m cannot be expressed: a binary message in serializer
// 1.0.0, a field of a binary message that is too long, text of a client that is
// not UTF-8.
func Append(dst []byte, v Version, from Side, m Message) (frame []byte, binary bool, err error) {
	if from == FromClient && !(utf8.ValidString(m.Topic) && utf8.ValidString(m.Event) && utf8.ValidString(m.UserEvent) &&
		(m.Kind != Text && !m.JSON || utf8.Valid(m.Payload))) {
		return dst, m.Kind != Text, ErrNotUTF8
	}
	switch {
	case m.Kind != Text && v == V2:
		frame, err = appendBinary(dst, from, m)
		return frame, true, err
	case m.Kind != Text:
		return dst, false, errors.New("phoenix: binary message in serializer 1.0.0")
	case v == V2:
		dst = append(dst, '[')
		dst = appendRef(dst, m.JoinRef)
		dst = append(dst, ',')
		dst = appendRef(dst, m.Ref)
		dst = append(dst, ',')
		dst = appendString(dst, m.Topic)
		dst = append(dst, ',')
		dst = appendString(dst, m.Event)
		dst = append(dst, ',')
		dst = appendPayload(dst, m.Payload)
		return append(dst, ']'), false, nil
	default:
		dst = append(dst, `{"topic":`...)
		dst = appendString(dst, m.Topic)
		dst = append(dst, `,"event":`...)
		dst = appendString(dst, m.Event)
		dst = append(dst, `,"payload":`...)
		dst = appendPayload(dst, m.Payload)
		dst = append(dst, `,"ref":`...)
		dst = appendRef(dst, m.Ref)
		if from == FromClient { // the server never sends one (1.4)
			dst = append(dst, `,"join_ref":`...)
			dst = appendRef(dst, m.JoinRef)
		}
		return append(dst, '}'), false, nil
	}
}

func appendRef(dst []byte, r Ref) []byte {
	if r == "" {
		return append(dst, "null"...)
	}
	return append(dst, r...)
}

func appendString(dst []byte, s string) []byte {
	b, _ := json.Marshal(s) // a string always marshals
	return append(dst, b...)
}

func appendPayload(dst, payload []byte) []byte {
	if payload == nil {
		return append(dst, "{}"...)
	}
	return append(dst, payload...)
}

// envelope is a text frame, split, in the order of an array. Absent parts are nil.
type envelope struct {
	joinRef, ref, topic, event, payload []byte
}

func (d *Decoder) decodeText(frame []byte) (m Message, err error) {
	var e envelope
	c := rowjson.Cursor{Text: frame}
	form := c.Next()
	switch form {
	case '[':
		d.readArray(&c, &e)
	case '{':
		readObject(&c, &e)
	}
	err = c.End()
	var errs [4]error
	m.Topic, errs[0] = d.topic.of("topic", e.topic)
	m.Event, errs[1] = d.event.of("event", e.event)
	m.JoinRef, errs[2] = refOf("join_ref", e.joinRef)
	m.Ref, errs[3] = refOf("ref", e.ref)
	m.Payload = e.payload
	switch {
	case err != nil:
	case form != d.Version.form():
		err = errors.New("not a frame of serializer " + d.Version.String())
	case e.payload == nil:
		err = errors.New("no payload")
	case e.ref == nil:
		err = errors.New("no ref")
	default:
		err = errors.Join(errs[:]...)
	}
	if err != nil { // what was in it is of use to know, even if it is no JSON (1.4)
		return Message{}, &MalformedError{Topic: m.Topic, Event: m.Event, Err: err}
	}
	return m, nil
}

// readArray takes a frame of serializer 2.0.0. Further elements are ignored (1.4).
func (d *Decoder) readArray(c *rowjson.Cursor, e *envelope) {
	parts := [...]*[]byte{&e.joinRef, &e.ref, &e.topic, &e.event, &e.payload}
	c.Open('[')
	for i := 0; c.More(']'); i++ {
		switch {
		case i >= len(parts):
			c.Value()
		case i == 4 && d.From == FromServer && string(e.event) == `"`+EventPostgresChanges+`"` && unread(c, e):
			return
		default:
			*parts[i] = c.Value()
		}
	}
}

// unread takes the rest of a frame as its payload, without reading it, if it
// begins and ends as an object does.
func unread(c *rowjson.Cursor, e *envelope) bool {
	rest := bytes.TrimRight(c.Text[c.Pos:], " \t\r\n")
	body, closed := bytes.CutSuffix(rest, []byte("]"))
	if body = bytes.TrimRight(body, " \t\r\n"); !closed || len(body) < 2 || body[0] != '{' || body[len(body)-1] != '}' {
		return false
	}
	e.payload = body
	c.Pos += len(rest)
	return true
}

// readObject takes a frame of serializer 1.0.0.
func readObject(c *rowjson.Cursor, e *envelope) {
	for c.Open('{'); c.More('}'); {
		switch string(c.Key()) {
		case "topic":
			e.topic = c.Value()
		case "event":
			e.event = c.Value()
		case "payload":
			e.payload = c.Value()
		case "ref":
			e.ref = c.Value()
		case "join_ref":
			e.joinRef = c.Value()
		default:
			c.Value()
		}
	}
}

// of returns what a JSON string means.
func (t *text) of(name string, raw []byte) (string, error) {
	if t.raw != string(raw) || t.raw == "" {
		s, ok := rowjson.Unquote(raw)
		if !ok {
			return "", fmt.Errorf("%s is not a string", name)
		}
		*t = text{string(raw), s}
	}
	return t.means, nil
}

func refOf(name string, raw []byte) (Ref, error) {
	switch {
	case len(raw) == 0, string(raw) == "null":
		return "", nil
	case raw[0] == '"', raw[0] == '-', raw[0] >= '0' && raw[0] <= '9':
		return Ref(raw), nil
	}
	return "", fmt.Errorf("%s is neither a string nor a number", name)
}
