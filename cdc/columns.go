package cdc

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"
)

// columnSet is the list of columns of a payload, parsed.
type columnSet struct {
	raw     []byte
	columns []Column
	index   map[string]int // by name
}

// columnSets remembers column lists by the hash of their text. They make up
// half of a payload and are the same in all changes of a table. A list that
// hashes to the place of another takes it: what is kept is bounded by the size
// of the array and by maxColumnText.
var columnSets [256]atomic.Pointer[columnSet]

var columnSeed = maphash.MakeSeed()

const maxColumnText = 16 << 10

// columnsOf returns the parsed form of a JSON list of columns.
func columnsOf(raw []byte) (*columnSet, error) {
	place := &columnSets[maphash.Bytes(columnSeed, raw)%uint64(len(columnSets))]
	if set := place.Load(); set != nil && bytes.Equal(set.raw, raw) {
		return set, nil
	}
	set, err := parseColumns(raw)
	if err != nil {
		return nil, err
	}
	if len(raw) <= maxColumnText {
		set.raw = bytes.Clone(raw)
		place.Store(set)
	}
	return set, nil
}

func parseColumns(raw []byte) (*columnSet, error) {
	if len(raw) == 0 || raw[0] != '[' {
		return nil, errors.New("columns is not a list")
	}
	columns := []Column{}
	w := walkArray(raw)
	for w.next() {
		c, err := parseColumn(w.val)
		if err != nil {
			return nil, fmt.Errorf("column %d: %w", len(columns), err)
		}
		columns = append(columns, c)
	}
	set := &columnSet{columns: columns, index: indexOf(columns)}
	if len(set.index) < len(columns) {
		return nil, errors.New("two columns of one name")
	}
	return set, w.err
}

func indexOf(columns []Column) map[string]int {
	index := make(map[string]int, len(columns))
	for i, c := range columns {
		index[c.Name] = i
	}
	return index
}

func parseColumn(raw []byte) (c Column, err error) {
	w := walkObject(raw)
	for w.next() {
		switch string(w.key) {
		case "name":
			c.Name, err = parseName("name", w.val)
		case "type":
			c.Type, err = parseName("type", w.val)
		}
		if err != nil {
			return c, err
		}
	}
	switch {
	case w.err != nil:
		return c, errors.New("not an object")
	case c.Name == "" || c.Type == "":
		return c, errors.New("no name or no type")
	}
	return c, nil
}

// missingFrom names the columns that are no key of the record, which must be
// an object.
func missingFrom(columns []Column, index map[string]int, record []byte) []string {
	seen := make([]bool, len(columns))
	n := 0
	w := walkObject(record)
	for w.next() {
		if i, ok := index[string(w.key)]; ok && !seen[i] {
			seen[i] = true
			n++
		}
	}
	if n == len(columns) {
		return nil
	}
	missing := make([]string, 0, len(columns)-n)
	for i, c := range columns {
		if !seen[i] {
			missing = append(missing, c.Name)
		}
	}
	return missing
}

// Caveat is a reason not to take the values of a column as they come.
type Caveat uint8

const (
	// Intact: the values are what the table has.
	Intact Caveat = iota
	// Truncated: of a char(n) or bit(n), Realtime sends the first character or
	// bit alone. Elements of an array are not affected.
	Truncated
	// NullOrNaN: of a float or numeric that is NaN or infinite, Realtime sends
	// null. Elements of an array come as they are.
	NullOrNaN
	// NullOrJSONNull: a json or jsonb that is SQL NULL, and one that is the
	// JSON value null, are both sent as null.
	NullOrJSONNull
)

// String returns the caveat in words.
func (c Caveat) String() string {
	switch c {
	case Intact:
		return "intact"
	case Truncated:
		return "truncated by the server"
	case NullOrNaN:
		return "null may be NaN or infinite"
	case NullOrJSONNull:
		return "null may be the JSON value null"
	}
	return fmt.Sprintf("Caveat(%d)", uint8(c))
}

// Caveat tells what Realtime does to the values of a column of this type. It
// does not know what type a domain stands for, and of a change that came by
// Broadcast there is nothing to tell: its values are intact.
func (c Column) Caveat() Caveat {
	switch c.Type {
	case "bpchar", "bit":
		return Truncated
	case "float4", "float8", "numeric":
		return NullOrNaN
	case "json", "jsonb":
		return NullOrJSONNull
	}
	return Intact
}
