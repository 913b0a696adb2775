package cdc

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"
)

// columnSet is the list of columns of a payload, parsed, and what else is the
// same in most payloads that have it.
type columnSet struct {
	raw     string
	columns []Column
	index   map[string]int // by name

	forms   learned[[]*form]
	rows    learned[rowShape]
	oldRows learned[rowShape]
}

// columnSets remembers column lists by how their text begins. They make up
// half of a payload and are the same in all changes of a table. What is kept
// is bounded: of lists that go into one place, the newest few, and none of
// more than maxColumnText.
var columnSets [64]atomic.Pointer[[]*columnSet]

var columnSeed = maphash.MakeSeed()

const (
	maxColumnText = 16 << 10
	maxPerPlace   = 4
	hashedText    = 256 // of the text of a list, about six columns
)

// placeOf returns where the list is remembered that text begins with. A
// bracket within a name does no harm: the list is then found by less of it.
func placeOf(text []byte) *atomic.Pointer[[]*columnSet] {
	text = text[:min(len(text), hashedText)]
	if end := bytes.IndexByte(text, ']'); end >= 0 {
		text = text[:end]
	}
	return &columnSets[maphash.Bytes(columnSeed, text)%uint64(len(columnSets))]
}

// lastColumns is the list that was found last, which is often the next, too, and
// then not to be looked for.
var lastColumns atomic.Pointer[columnSet]

// knownColumns returns the remembered list that text begins with, or nil. A
// JSON list ends where its text does, so that what follows cannot belong to it.
func knownColumns(text []byte) *columnSet {
	if last := lastColumns.Load(); last != nil && startsWith(text, last.raw) {
		return last
	}
	known := placeOf(text).Load()
	if known == nil {
		return nil
	}
	for _, set := range *known {
		if startsWith(text, set.raw) {
			lastColumns.Store(set)
			return set
		}
	}
	return nil
}

// columnsOf returns the parsed form of a JSON list of columns.
func columnsOf(raw []byte) (*columnSet, error) {
	if set := knownColumns(raw); set != nil && len(set.raw) == len(raw) {
		return set, nil
	}
	set, err := parseColumns(raw)
	if err != nil {
		return nil, err
	}
	if len(raw) <= maxColumnText {
		set.raw = string(raw)
		set.remember(placeOf(raw))
	}
	return set, nil
}

func (set *columnSet) remember(place *atomic.Pointer[[]*columnSet]) {
	sets := []*columnSet{set}
	if before := place.Load(); before != nil {
		sets = append(sets, (*before)[:min(len(*before), maxPerPlace-1)]...)
	}
	place.Store(&sets) // of two at once one is forgotten, and comes again
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
