package mockserver

import "encoding/json"

// presenceKey is the key of a join: what it gives as a string or a number,
// or else a new UUID.
func presenceKey(raw json.RawMessage) string {
	if s, ok := text(raw); ok && s != "" {
		return s
	}
	if _, err := json.Number(raw).Float64(); err == nil {
		return string(raw)
	}
	return newUUID()
}
