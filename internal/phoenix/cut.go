package phoenix

import "bytes"

// Cut takes a text frame of postgres_changes apart as the server writes them,
// without looking into the payload, so that nothing reads it twice. It reports
// false for every other frame, and for what it is not sure of: Decode is for
// those.
//
// The cut is right if the payload is JSON. Whoever finds that it is not asks
// Message.Checked for what the frame is.
func Cut(v Version, frame []byte) (topic []byte, m Message, ok bool) {
	m = Message{Event: EventPostgresChanges, whole: frame, version: v}
	if v == V2 {
		topic, m.Payload, ok = cutArray(frame)
	} else {
		topic, m.Payload, ok = cutObject(frame)
	}
	return topic, m, ok && isPlain(topic) && len(m.Payload) > 1 && m.Payload[0] == '{' && m.Payload[len(m.Payload)-1] == '}'
}

// Checked returns the message itself, unless it comes from Cut: then what
// Decode makes of its frame.
func (m Message) Checked() (Message, error) {
	if m.whole == nil {
		return m, nil
	}
	return Decode(m.version, FromServer, false, m.whole)
}

func cutArray(frame []byte) (topic, payload []byte, ok bool) {
	rest, begun := bytes.CutPrefix(frame, []byte(`[null,null,"`))
	end := bytes.IndexByte(rest, '"')
	if !begun || end < 0 {
		return nil, nil, false
	}
	topic, rest = rest[:end], rest[end:]
	rest, event := bytes.CutPrefix(rest, []byte(`","postgres_changes",`))
	payload, ended := bytes.CutSuffix(rest, []byte("]"))
	return topic, payload, event && ended
}

func cutObject(frame []byte) (topic, payload []byte, ok bool) {
	const between = `,"ref":null,"topic":"`
	rest, begun := bytes.CutPrefix(frame, []byte(`{"event":"postgres_changes","payload":`))
	rest, ended := bytes.CutSuffix(rest, []byte(`"}`))
	at := bytes.LastIndex(rest, []byte(between))
	if !begun || !ended || at < 0 {
		return nil, nil, false
	}
	return rest[at+len(between):], rest[:at], true
}

// isPlain reports whether the body of a JSON string stands for itself.
func isPlain(body []byte) bool {
	for _, c := range body {
		if c < ' ' || c >= 0x80 || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
