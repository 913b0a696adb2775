package postgrest

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/gapless-go/gapless/cdc"
)

// keyInto finds the key of a row that is a JSON object. The error says which
// column of the key the row lacks, or has no text, number or boolean in.
func (t *Table) keyInto(key []string, row json.RawMessage) error {
	found := 0
	for name, value := range members(row) {
		i := slices.IndexFunc(t.Key, func(column string) bool { return column == string(name) })
		if i < 0 {
			continue
		}
		s, ok := valueText(value)
		if !ok {
			return t.mistake("column %q: %.8s is not the value of a key", name, value)
		}
		key[i] = s
		if found++; found == len(t.Key) {
			return nil
		}
	}
	if found < len(t.Key) {
		return t.mistake("a row without its key %q", t.Key)
	}
	return nil
}

// SplitRows splits an array of rows, which are pieces of its text, and finds
// their keys.
func (t *Table) SplitRows(array []byte) ([]Row, error) {
	split, err := cdc.SplitRows(array)
	if err != nil {
		return nil, t.mistake("%w", err)
	}
	return t.withKeys(split)
}

// withKeys finds the keys of rows.
func (t *Table) withKeys(split []json.RawMessage) ([]Row, error) {
	n := len(t.Key)
	rows, keys := make([]Row, len(split)), make([]string, n*len(split))
	for i, row := range split {
		rows[i] = Row{row, keys[i*n : (i+1)*n : (i+1)*n]}
		if err := t.keyInto(rows[i].Key, row); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// valueText is the text of a value as #>> '{}' gives it.
func valueText(value []byte) (string, bool) {
	switch c := value[0]; {
	case c == '"':
		return string(content(value)), true
	case c == 't', c == 'f', c == '-', '0' <= c && c <= '9':
		return string(value), true
	}
	return "", false // null, an array, an object
}

// content is what is in a JSON string.
func content(s []byte) []byte {
	if bytes.IndexByte(s, '\\') < 0 {
		return s[1 : len(s)-1]
	}
	var text string
	_ = json.Unmarshal(s, &text) // which has been found to be JSON
	return []byte(text)
}

// members yields the names and values of an object, until it is told to stop:
// keys come first mostly, and the rest of the row need not be looked at. The
// object must be valid JSON. Other JSON has none.
func members(object []byte) func(yield func(name, value []byte) bool) {
	return func(yield func(name, value []byte) bool) {
		rest := space(object)
		if len(rest) == 0 || rest[0] != '{' {
			return
		}
		for rest = space(rest[1:]); len(rest) > 0 && rest[0] == '"'; rest = space(rest) {
			n := valueLen(rest)
			name := content(rest[:n])
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
