package postgrest

import (
	"bytes"
	"encoding/json"
	"slices"
)

// KeyOf returns the key of a row that is a JSON object. The error says which
// column of the key the row lacks, or has no text, number or boolean in.
func (t *Table) KeyOf(row json.RawMessage) ([]string, error) {
	key := make([]string, len(t.Key))
	found := 0
	for name, value := range members(row) {
		i := slices.Index(t.Key, name)
		if i < 0 {
			continue
		}
		s, ok := valueText(value)
		if !ok {
			return nil, t.mistake("column %q: %.8s is not the value of a key", name, value)
		}
		key[i] = s
		if found++; found == len(t.Key) {
			return key, nil
		}
	}
	if found < len(t.Key) {
		return nil, t.mistake("a row without its key %q", t.Key)
	}
	return key, nil
}

// valueText is the text of a value as #>> '{}' gives it.
func valueText(value []byte) (string, bool) {
	switch c := value[0]; {
	case c == '"':
		return unquote(value), true
	case c == 't', c == 'f', c == '-', '0' <= c && c <= '9':
		return string(value), true
	}
	return "", false // null, an array, an object
}

// unquote is the content of a JSON string.
func unquote(s []byte) string {
	if bytes.IndexByte(s, '\\') < 0 {
		return string(s[1 : len(s)-1])
	}
	var content string
	_ = json.Unmarshal(s, &content) // which encoding/json has read before
	return content
}

// members yields the names and values of an object, until it is told to stop:
// keys come first mostly, and the rest of the row need not be looked at. The
// object must be valid, as what encoding/json has read is. Other JSON has none.
func members(object []byte) func(yield func(name string, value []byte) bool) {
	return func(yield func(string, []byte) bool) {
		rest := space(object)
		if len(rest) == 0 || rest[0] != '{' {
			return
		}
		for rest = space(rest[1:]); len(rest) > 0 && rest[0] == '"'; rest = space(rest) {
			n := valueLen(rest)
			name := unquote(rest[:n])
			rest = space(space(rest[n:])[1:]) // the colon
			n = valueLen(rest)
			if !yield(name, rest[:n]) {
				return
			}
			if rest = space(rest[n:]); rest[0] == ',' {
				rest = rest[1:]
			}
		}
	}
}

func space(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }

// valueLen is the length of the value that b begins with.
func valueLen(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringLen(b[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',', ' ', '\t', '\r', '\n': // the end of a number or a word
			if depth == 0 {
				return i
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return i + 1
		}
		if depth < 0 {
			return i
		}
	}
	return len(b)
}

// stringLen is the length of the string that b begins with, quotes and all.
func stringLen(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}
