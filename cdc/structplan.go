package cdc

import (
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"unsafe"
)

// structPlan is how a row is decoded into a struct.
type structPlan struct {
	fields []field
	tagged map[string]int // by the column that a tag names
	named  map[string]int // by the folded name of the field
	last   atomic.Pointer[binding]

	direct bool          // every field can be written to without reflection
	failed atomic.Uint32 // how often a value could not
}

func compileRowStruct(t reflect.Type) (*structPlan, error) {
	fields, err := fieldsOf(t)
	if err != nil {
		return nil, err
	}
	p := &structPlan{fields: fields, tagged: map[string]int{}, named: map[string]int{}, direct: true}
	for i, f := range fields {
		if f.tag != "" {
			p.tagged[f.tag] = i
		} else {
			p.named[fold(f.key())] = i
		}
		p.direct = p.direct && f.direct.op != unknown
	}
	return p, nil
}

// find returns the field of a column.
func (p *structPlan) find(column string) (int, bool) {
	if i, ok := p.tagged[column]; ok {
		return i, true
	}
	i, ok := p.named[fold(column)]
	return i, ok
}

// binding is what a list of columns means for a struct. Changes of a table
// share their list, so that the last binding made is nearly always the one.
type binding struct {
	columns []Column
	targets map[string]*columnTarget
	rows    learned[rowTargets]
	oldRows learned[rowTargets]
}

// columnTarget is where a column goes, and how to read it. The field is -1 if
// it goes nowhere.
type columnTarget struct {
	field int
	typ   string
	class class
	elem  class // of its elements

	direct direct // of the field
	offset uintptr
	text   bool // it takes room in the text of the row
}

func (p *structPlan) newTarget(field int, typ string) *columnTarget {
	to := &columnTarget{field: field, typ: typ, class: classOf(typ), elem: classOf(strings.TrimPrefix(typ, "_"))}
	if field >= 0 {
		f := &p.fields[field]
		to.direct, to.offset, to.text = f.direct, f.offset, f.direct.holdsText()
	}
	return to
}

// rowTargets is the shape of a row, and where its values go.
type rowTargets struct {
	shape
	to []*columnTarget
}

func (p *structPlan) bind(columns []Column) (*binding, error) {
	b := p.last.Load()
	if b != nil && len(b.columns) == len(columns) && (len(columns) == 0 || &b.columns[0] == &columns[0]) {
		return b, nil
	}
	b = &binding{columns: columns, targets: make(map[string]*columnTarget, len(columns))}
	taken := map[int]string{}
	for _, c := range columns {
		i, ok := p.find(c.Name)
		if !ok {
			b.targets[c.Name] = p.newTarget(-1, c.Type)
			continue
		}
		if other, ok := taken[i]; ok {
			return nil, fmt.Errorf("columns %q and %q are both for field %s", clip(other, maxName), clip(c.Name, maxName), p.fields[i].name)
		}
		taken[i] = c.Name
		b.targets[c.Name] = p.newTarget(i, c.Type)
	}
	p.last.Store(b)
	return b, nil
}

// target returns where a column goes; one that is not in the list may, too.
func (p *structPlan) target(b *binding, column string) *columnTarget {
	if to, ok := b.targets[column]; ok {
		return to
	}
	if i, ok := p.find(column); ok {
		return p.newTarget(i, "")
	}
	return p.newTarget(-1, "")
}

// cell is a value of a row that has a field.
type cell struct {
	to  *columnTarget
	raw []byte
}

func (c cell) value() value { return value{typ: c.to.typ, class: c.to.class, raw: c.raw} }

// usualWidth is how many values of a row need no memory from the heap.
const usualWidth = 24

// split appends the values of a row that have fields, in the row's order. text
// is how much room the text of the row takes, at most.
func (p *structPlan) split(list []cell, b *binding, rows *learned[rowTargets], row []byte) (cells []cell, text int, err error) {
	if known := rows.last.Load(); known != nil {
		if cells, text, ok := known.split(list, row); ok {
			return cells, text, nil
		}
	}
	w := walkObject(row)
	for w.next() {
		if to := p.target(b, string(w.key)); to.field >= 0 {
			list = append(list, cell{to, w.val})
			text += to.room(w.val)
		}
	}
	if w.err == nil && rows.due() {
		p.learn(b, rows, row)
	}
	return list, text, w.err
}

// room returns how much of the text of its row a value takes, at most.
func (to *columnTarget) room(raw []byte) int {
	switch {
	case !to.text || len(raw) > ownText:
		return 0
	case raw[0] == '"':
		return len(raw) - 2
	}
	return len(raw)
}

func (p *structPlan) learn(b *binding, rows *learned[rowTargets], row []byte) {
	sh, keys, ok := shapeOf(row)
	if !ok {
		return
	}
	made := &rowTargets{shape: sh}
	for _, key := range keys {
		made.to = append(made.to, p.target(b, key))
	}
	rows.last.Store(made)
}

// split is structPlan.split for a row of the shape. It reports false if the row
// is of another.
func (t *rowTargets) split(list []cell, row []byte) (cells []cell, text int, ok bool) {
	pos := 0
	for i, before := range t.before {
		if !startsWith(row[pos:], before) {
			return nil, 0, false
		}
		pos += len(before)
		end := valueEnd(row, pos)
		if end <= pos {
			return nil, 0, false
		}
		if to := t.to[i]; to.field >= 0 {
			list = append(list, cell{to, row[pos:end]})
			text += to.room(row[pos:end])
		}
		pos = end
	}
	return list, text, string(row[pos:]) == t.after
}

// put writes the rows of a change into structs at two addresses without
// reflection. It reports false if it cannot: then nothing that it wrote
// counts.
func (p *structPlan) put(newRow, oldRow unsafe.Pointer, c *Change) bool {
	const enough = 16
	if p == nil || !p.direct || p.failed.Load() >= enough {
		return false
	}
	b, err := p.bind(c.Columns)
	if err != nil {
		return false
	}
	var room [usualWidth]cell
	ok := (c.Record == nil || p.putRow(newRow, room[:0], b, &b.rows, c.Record)) &&
		(c.OldRecord == nil || p.putRow(oldRow, room[:0], b, &b.oldRows, c.OldRecord))
	if !ok {
		p.failed.Add(1)
	}
	return ok
}

func (p *structPlan) putRow(at unsafe.Pointer, room []cell, b *binding, rows *learned[rowTargets], row []byte) bool {
	cells, size, err := p.split(room, b, rows, row)
	if err != nil {
		return false
	}
	text := newRowText(size)
	for i := range cells {
		c := &cells[i]
		if !c.to.direct.put(unsafe.Add(at, c.to.offset), c.raw, c.to, &text) {
			return false
		}
	}
	return true
}

// decode decodes a row into a struct that is on the heap.
func (p *structPlan) decode(dst reflect.Value, c *Change, row []byte) error {
	b, err := p.bind(c.Columns)
	if err != nil {
		return c.decodeError(value{}, "", dst.Type(), err)
	}
	rows := &b.rows
	if len(row) > 0 && len(c.OldRecord) > 0 && &row[0] == &c.OldRecord[0] {
		rows = &b.oldRows
	}
	var room [usualWidth]cell
	cells, size, malformed := p.split(room[:0], b, rows, row)
	text := newRowText(size)
	at := dst.Addr().UnsafePointer()
	for _, x := range cells {
		if x.to.direct.op != unknown && x.to.direct.put(unsafe.Add(at, x.to.offset), x.raw, x.to, &text) {
			continue
		}
		f := &p.fields[x.to.field]
		in := f.in(dst)
		in.SetZero() // what Merge found there is shared with another row
		if err := f.decode(in, x.value()); err != nil {
			return c.decodeError(x.value(), columnOf(row, x.raw), f.typ, err)
		}
	}
	return c.rowError(dst, malformed)
}

// columnOf returns the key of a value, which is a piece of the row.
func columnOf(row, raw []byte) string {
	w := walkObject(row)
	for w.next() {
		if &w.val[0] == &raw[0] {
			return string(w.key)
		}
	}
	return ""
}
