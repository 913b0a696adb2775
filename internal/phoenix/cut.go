package phoenix

import "bytes"

// Cut takes a text frame of postgres_changes apart as the server writes them,
// without looking into the payload, so that nothing reads it twice. It reports
// false for every other frame, and for what it is not sure of: Decode is for
// those.
//
// The cut is right if the payload is JSON. Whoever finds that it is not asks
// Decode what the frame is.
func Cut(v Version, frame []byte) (topic, payload []byte, ok bool) {
	if v == V2 {
		topic, payload, ok = cutArray(frame)
	} else {
		topic, payload, ok = cutObject(frame)
	}
	return topic, payload, ok && isPlain(topic) && len(payload) > 1 && payload[0] == '{' && payload[len(payload)-1] == '}'
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
