package postgrest

import (
	"encoding/json"
	"slices"

	"github.com/gapless-go/gapless/internal/rowjson"
)

// keyInto finds the key of a row that is a JSON object. The error says which
// column of the key the row lacks, or has no text, number or boolean in.
func (t *Table) keyInto(key []string, row json.RawMessage) error {
	found := 0
	c := rowjson.Cursor{Text: row}
	for in := c.Enter('{'); in && c.More('}'); {
		name, value := c.Key(), c.Value()
		i := slices.IndexFunc(t.Key, func(column string) bool { return column == string(name) })
		if i < 0 {
			continue
		}
		s, ok := rowjson.Text(value)
		if !ok {
			return t.mistake("column %q: %.8s is not the value of a key", name, value)
		}
		key[i] = s
		if found++; found == len(t.Key) { // keys come first mostly
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
	split, err := rowjson.Split(array)
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
