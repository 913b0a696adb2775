package cdc

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"unsafe"

	"github.com/gapless-go/gapless/internal/rowjson"
)

// columnSet is the list of columns of a payload, parsed, and what was in the
// last payload that had it.
type columnSet struct {
	raw     string
	columns []Column
	names   *rowjson.Names

	last atomic.Pointer[lastPayload]
}

// lastPayload is what the payloads of a list of columns mostly have in common.
type lastPayload struct {
	names [2]string // schema and table
	text  string    // of the ids
	ids   []int64
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

// knownColumns returns the remembered list that text begins with, or nil. A
// JSON list ends where its text does, so that what follows cannot belong to it.
func knownColumns(text []byte) *columnSet {
	known := placeOf(text).Load()
	if known == nil {
		return nil
	}
	for _, set := range *known {
		if len(text) >= len(set.raw) && string(text[:len(set.raw)]) == set.raw {
			return set
		}
	}
	return nil
}

// columnsOf returns the parsed form of a JSON list of columns.
func columnsOf(raw []byte) (*columnSet, error) {
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

// lastNames is what namesOf returned last.
var lastNames atomic.Pointer[columnSet]

// namesOf returns the names of the columns of a change. Changes of a table share
// their columns.
func namesOf(columns []Column) *rowjson.Names {
	if last := lastNames.Load(); last != nil && len(last.columns) == len(columns) && unsafe.SliceData(last.columns) == unsafe.SliceData(columns) {
		return last.names
	}
	list := make([]string, len(columns))
	for i, column := range columns {
		list[i] = column.Name
	}
	set := &columnSet{columns: columns, names: rowjson.NewNames(list)}
	lastNames.Store(set)
	return set.names
}

// idsOf returns the ids of a change, which are mostly those of the last one of
// the columns.
func (set *columnSet) idsOf(c *Change, raw []byte) (ids []int64, err error) {
	last := set.last.Load()
	if last != nil && last.text == string(raw) {
		ids = last.ids
	} else if ids, err = parseIDs(raw); err != nil {
		return nil, err
	}
	names := [2]string{c.Schema, c.Table}
	if (last == nil || last.names != names || last.text != string(raw)) && len(c.Schema)+len(c.Table)+len(raw) <= maxColumnText {
		set.last.Store(&lastPayload{names, string(raw), ids})
	}
	return ids, nil
}

func (set *columnSet) remember(place *atomic.Pointer[[]*columnSet]) {
	sets := []*columnSet{set}
	if before := place.Load(); before != nil {
		sets = append(sets, (*before)[:min(len(*before), maxPerPlace-1)]...)
	}
	place.Store(&sets) // of two at once one is forgotten, and comes again
}

var errNoColumns = errors.New("columns is not a list")

func parseColumns(raw []byte) (*columnSet, error) {
	text := rowjson.Cursor{Text: raw}
	if !text.Enter('[') {
		return nil, errNoColumns
	}
	columns := []Column{}
	for text.More(']') {
		c, err := parseColumn(text.Value())
		if err != nil {
			return nil, fmt.Errorf("column %d: %w", len(columns), err)
		}
		columns = append(columns, c)
	}
	set := &columnSet{columns: columns, names: namesOf(columns)}
	if set.names.Len() < len(columns) {
		return nil, errors.New("two columns of one name")
	}
	return set, nil
}

func parseColumn(raw []byte) (c Column, err error) {
	text := rowjson.Cursor{Text: raw}
	if !text.Enter('{') {
		return c, errNoObject
	}
	var name, typ []byte
	for text.More('}') {
		switch key := text.Key(); string(key) {
		case "name":
			name = text.Value()
		case "type":
			typ = text.Value()
		default:
			text.Value()
		}
	}
	if name == nil || typ == nil {
		return c, errors.New("no name or no type")
	}
	if c.Name, err = parseName("name", name); err == nil {
		c.Type, err = parseName("type", typ)
	}
	return c, err
}
