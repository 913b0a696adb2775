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
}

func (p *structPlan) newTarget(field int, typ string) *columnTarget {
	to := &columnTarget{field: field, typ: typ, class: classOf(typ), elem: classOf(strings.TrimPrefix(typ, "_"))}
	if field >= 0 {
		f := &p.fields[field]
		to.direct, to.offset = f.direct, f.offset
	}
	return to
}

// rowTargets is the shape of a row, and where its values go.
type rowTargets struct {
	shape
	to    []*columnTarget
	texts []*columnTarget // those of them that hold text
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

func (to *columnTarget) put(at unsafe.Pointer, row []byte, i int, t *rowText) (end int) {
	if to.direct.op == unknown {
		return -1
	}
	return to.direct.put(unsafe.Add(at, to.offset), row, i, to, t)
}

// leaves reports whether a value for the column's field is among cells.
func leaves(cells []cell, to *columnTarget) bool {
	for i := range cells {
		if cells[i].to.field == to.field {
			return true
		}
	}
	return false
}

// ownTexts gives the text in the fields that it was put into memory of its own.
// What is left to reflection is not touched: it may be another row's.
func ownTexts(at unsafe.Pointer, texts []*columnTarget, left []cell, t *rowText) {
	t.alloc()
	for _, to := range texts {
		if !leaves(left, to) {
			to.direct.own(unsafe.Add(at, to.offset), t)
		}
	}
}

// write writes a row into the struct at the address, and returns the values
// that are left to reflection, in the row's order. The error is that of a row
// that is not JSON.
func (p *structPlan) write(at unsafe.Pointer, b *binding, rows *learned[rowTargets], row []byte) (left []cell, err error) {
	if known := rows.last.Load(); known != nil {
		if left, ok := known.write(at, row); ok {
			return left, nil
		}
	}
	var texts []*columnTarget
	var text rowText
	w := walkObject(row)
	for w.next() {
		to := p.target(b, string(w.key))
		switch {
		case to.field < 0:
		case leaves(left, to) || to.put(at, row, w.pos-len(w.val), &text) != w.pos:
			left = append(left, cell{to, w.val})
		case to.direct.holdsText():
			texts = append(texts, to)
		}
	}
	ownTexts(at, texts, left, &text)
	if w.err == nil && rows.due() {
		p.learn(b, rows, row)
	}
	return left, w.err
}

func (p *structPlan) learn(b *binding, rows *learned[rowTargets], row []byte) {
	sh, keys, ok := shapeOf(row)
	if !ok {
		return
	}
	made := &rowTargets{shape: sh}
	for _, key := range keys {
		to := p.target(b, key)
		made.to = append(made.to, to)
		if to.direct.holdsText() {
			made.texts = append(made.texts, to)
		}
	}
	rows.last.Store(made)
}

// write is structPlan.write for a row of the shape. It reports false if the row
// is of another: then all of its values are to be written again.
func (t *rowTargets) write(at unsafe.Pointer, row []byte) (left []cell, ok bool) {
	var text rowText
	pos := 0
	for i := range t.before {
		if pos = t.before[i].at(row, pos); pos < 0 || pos == len(row) {
			return nil, false
		}
		to, end := t.to[i], -1
		if !leaves(left, to) {
			end = to.put(at, row, pos, &text)
		}
		if end < 0 {
			if end = valueEnd(row, pos); end <= pos {
				return nil, false
			}
			if to.field >= 0 {
				left = append(left, cell{to, row[pos:end]})
			}
		}
		pos = end
	}
	if string(row[pos:]) != t.after {
		return nil, false
	}
	ownTexts(at, t.texts, left, &text)
	return left, true
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
	ok := (c.Record == nil || p.putRow(newRow, b, &b.rows, c.Record)) &&
		(c.OldRecord == nil || p.putRow(oldRow, b, &b.oldRows, c.OldRecord))
	if !ok {
		p.failed.Add(1)
	}
	return ok
}

func (p *structPlan) putRow(at unsafe.Pointer, b *binding, rows *learned[rowTargets], row []byte) bool {
	left, err := p.write(at, b, rows, row)
	return err == nil && len(left) == 0
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
	left, malformed := p.write(dst.Addr().UnsafePointer(), b, rows, row)
	for _, x := range left {
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
