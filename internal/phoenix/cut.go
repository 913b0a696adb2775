package phoenix

import (
	"bytes"
	"encoding/json"
)

// cutArray decodes a text frame of serializer 2.0.0 that is written as servers
// write it: without spaces, and with plain strings. It reports false for every
// other frame.
func (d *Decoder) cutArray(frame []byte) (m Message, ok bool) {
	rest, opened := bytes.CutPrefix(frame, []byte("["))
	rest, closed := bytes.CutSuffix(rest, []byte("]"))
	if !opened || !closed {
		return m, false
	}
	if m.JoinRef, rest, ok = cutRef(rest); !ok {
		return m, false
	}
	if m.Ref, rest, ok = cutRef(rest); !ok {
		return m, false
	}
	topic, rest, ok := cutString(rest)
	if !ok {
		return m, false
	}
	event, rest, ok := cutString(rest)
	if !ok || d.From == FromServer && string(event) == EventPostgresChanges && !isObject(rest) {
		return m, false
	}
	m.Topic, m.Event, m.Payload = d.topicOf(topic), eventOf(event), rest
	return m, d.From == FromServer && m.Event == EventPostgresChanges || json.Valid(rest)
}

// cutChange decodes a change in serializer 1.0.0 that is written as servers
// write it. It reports false for every other frame.
func (d *Decoder) cutChange(frame []byte) (m Message, ok bool) {
	const between = `,"ref":null,"topic":`
	rest, begun := bytes.CutPrefix(frame, []byte(`{"event":"`+EventPostgresChanges+`","payload":`))
	at := bytes.LastIndex(rest, []byte(between))
	if d.From != FromServer || !begun || at < 0 || !isObject(rest[:at]) {
		return m, false
	}
	topic, ok := bytes.CutSuffix(rest[at+len(between):], []byte("}"))
	if !ok {
		return m, false
	}
	if topic, ok = plain(topic); !ok {
		return m, false
	}
	return Message{Topic: d.topicOf(topic), Event: EventPostgresChanges, Payload: rest[:at]}, true
}

// cutRef cuts a ref and the comma behind it off.
func cutRef(text []byte) (ref Ref, rest []byte, ok bool) {
	if rest, ok = bytes.CutPrefix(text, []byte("null,")); ok {
		return "", rest, true
	}
	body, rest, ok := cutString(text)
	if !ok {
		return "", nil, false
	}
	return Ref(text[:len(body)+2]), rest, true
}

// cutString cuts a plain string and the comma behind it off.
func cutString(text []byte) (body, rest []byte, ok bool) {
	if len(text) == 0 {
		return nil, nil, false
	}
	end := bytes.IndexByte(text[1:], '"')
	if end < 0 || len(text) < end+3 || text[end+2] != ',' {
		return nil, nil, false
	}
	body, ok = plain(text[:end+2])
	return body, text[end+3:], ok
}

// plain returns what is between the quotes of a JSON string that stands for
// itself.
func plain(text []byte) (body []byte, ok bool) {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return nil, false
	}
	body = text[1 : len(text)-1]
	for _, c := range body {
		if c < ' ' || c >= 0x80 || c == '"' || c == '\\' {
			return nil, false
		}
	}
	return body, true
}

// isObject reports whether text begins and ends as an object does.
func isObject(text []byte) bool {
	return len(text) > 1 && text[0] == '{' && text[len(text)-1] == '}'
}

func (d *Decoder) topicOf(text []byte) string {
	if d.topic != string(text) {
		d.topic = string(text)
	}
	return d.topic
}

// eventOf makes a string without allocating those that come often.
func eventOf(text []byte) string {
	switch string(text) {
	case EventPostgresChanges:
		return EventPostgresChanges
	case EventBroadcast:
		return EventBroadcast
	case EventPresenceDiff:
		return EventPresenceDiff
	case EventReply:
		return EventReply
	}
	return string(text)
}
