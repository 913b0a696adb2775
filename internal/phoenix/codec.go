package phoenix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
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
// topic, so that the frames of one topic do not allocate it each time. It is
// not safe for concurrent use.
type Decoder struct {
	Version Version
	From    Side

	topic string // the last
}

// Decode decodes one frame. binary says which of the two types of websocket
// message held it. The message's byte slices point into frame. The error is a
// *MalformedError, or ErrUnknownKind for a binary frame of another kind.
//
// The payload is valid JSON, with one exception: that of EventPostgresChanges
// from a server begins with { and ends with }, and what is between has not been
// read, since whoever decodes the change reads it anyway.
func (d *Decoder) Decode(binary bool, frame []byte) (Message, error) {
	switch {
	case binary && d.Version == V2:
		return decodeBinary(d.From, frame)
	case binary:
		return Message{}, &MalformedError{Err: errors.New("binary frame in serializer 1.0.0")}
	case d.Version == V2:
		if m, ok := d.cutArray(frame); ok {
			return m, nil
		}
		return decodeArray(frame)
	default:
		if m, ok := d.cutChange(frame); ok {
			return m, nil
		}
		return decodeObject(frame)
	}
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

func decodeArray(frame []byte) (m Message, err error) {
	var parts [5]json.RawMessage // further elements are ignored (1.4)
	if err := json.Unmarshal(frame, &parts); err != nil {
		return Message{}, malformed(frame, err)
	}
	if parts[4] == nil {
		return Message{}, &MalformedError{Err: errors.New("fewer than five elements")}
	}
	return fromParts(parts[0], parts[1], parts[2], parts[3], parts[4])
}

func decodeObject(frame []byte) (Message, error) {
	var o struct {
		Topic   json.RawMessage `json:"topic"`
		Event   json.RawMessage `json:"event"`
		Payload json.RawMessage `json:"payload"`
		Ref     json.RawMessage `json:"ref"`
		JoinRef json.RawMessage `json:"join_ref"`
	}
	if err := json.Unmarshal(frame, &o); err != nil {
		return Message{}, malformed(frame, err)
	}
	for _, f := range []struct {
		name  string
		value json.RawMessage
	}{{"topic", o.Topic}, {"event", o.Event}, {"payload", o.Payload}, {"ref", o.Ref}} {
		if f.value == nil {
			return Message{}, &MalformedError{Err: fmt.Errorf("no %s", f.name)}
		}
	}
	return fromParts(o.JoinRef, o.Ref, o.Topic, o.Event, o.Payload)
}

func fromParts(joinRef, ref, topic, event, payload json.RawMessage) (m Message, err error) {
	var errs [4]error
	m.Topic, errs[0] = stringOf("topic", topic)
	m.Event, errs[1] = stringOf("event", event)
	m.JoinRef, errs[2] = refOf("join_ref", joinRef)
	m.Ref, errs[3] = refOf("ref", ref)
	m.Payload = payload
	if err := errors.Join(errs[:]...); err != nil {
		return Message{}, &MalformedError{Topic: m.Topic, Event: m.Event, Err: err}
	}
	return m, nil
}

func stringOf(name string, raw json.RawMessage) (string, error) {
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return "", fmt.Errorf("%s is not a string", name)
	}
	return *s, nil
}

func refOf(name string, raw json.RawMessage) (Ref, error) {
	switch {
	case len(raw) == 0, string(raw) == "null":
		return "", nil
	case raw[0] == '"', raw[0] == '-', raw[0] >= '0' && raw[0] <= '9':
		return Ref(raw), nil
	}
	return "", fmt.Errorf("%s is neither a string nor a number", name)
}

// malformed reads what it can of a frame that is not JSON. The server relays a
// user broadcast to serializer 1.0.0 without checking that it is JSON, so one
// client can make others receive such frames; whoever reads them wants to know
// that no change was in it.
func malformed(frame []byte, cause error) error {
	e := &MalformedError{Err: cause}
	dec := json.NewDecoder(bytes.NewReader(frame))
	open, err := dec.Token()
	if err != nil {
		return e
	}
	switch open {
	case json.Delim('['):
		var joinRef, ref json.RawMessage
		if dec.Decode(&joinRef) == nil && dec.Decode(&ref) == nil && dec.Decode(&e.Topic) == nil {
			_ = dec.Decode(&e.Event)
		}
	case json.Delim('{'):
		for {
			key, err := dec.Token()
			if err != nil {
				return e
			}
			var value json.RawMessage
			if dec.Decode(&value) != nil {
				return e
			}
			switch key {
			case "topic":
				_ = json.Unmarshal(value, &e.Topic)
			case "event":
				_ = json.Unmarshal(value, &e.Event)
			}
		}
	}
	return e
}
