package rawjson

import (
	"encoding/json"
	"strings"
)

// Present reports whether a member is there and not null.
func Present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// Object reads a JSON object. encoding/json's structs would match keys in any
// case, which the server does not.
func Object(raw json.RawMessage) (map[string]json.RawMessage, bool) {
	var fields map[string]json.RawMessage
	err := json.Unmarshal(raw, &fields)
	return fields, err == nil && fields != nil
}

// Text reads a JSON string.
func Text(raw json.RawMessage) (string, bool) {
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, true
}

// FlexibleBool reads true, false, and the same as strings in any case.
// Anything else is false.
func FlexibleBool(raw json.RawMessage) bool {
	s, _ := Text(raw)
	return string(raw) == "true" || strings.EqualFold(s, "true")
}

// Must encodes what always can be.
func Must(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("mockserver: " + err.Error())
	}
	return b
}

// Value returns what a column is set to by a JSON value: nil, which is NULL, by
// null, for columns of JSON, too.
func Value(raw json.RawMessage) any {
	if !Present(raw) {
		return nil
	}
	return raw
}

// Values returns the values of an object's members, see Value.
func Values(object map[string]json.RawMessage) map[string]any {
	values := make(map[string]any, len(object))
	for name, raw := range object {
		values[name] = Value(raw)
	}
	return values
}
