package rowjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Column is a column of a row: its name and PostgreSQL's name of its type.
type Column struct{ Name, Type string }

// Error is a row or a value that does not fit into its Go type.
type Error struct {
	Column string // empty if the row as a whole was refused
	Type   string // the column's, empty if unknown
	GoType reflect.Type
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// ErrNoColumn is in the error of a row whose columns lack that of a field.
var ErrNoColumn = errors.New("no such column")

// Plan is how rows are decoded into a Go type.
type Plan struct {
	typ    reflect.Type
	err    error
	Direct bool // it is a struct of slots alone, for Put

	elem  *Plan   // of a pointer
	whole bool    // a json.Unmarshaler
	value decoder // of the values of a map

	fields   []field
	tagged   map[string]int // by the column that a tag names
	named    map[string]int // by the folded name of the field
	bindings atomic.Pointer[[]*binding]
}

// plans holds the plan of each type. A program has only so many.
var plans sync.Map

// PlanOf returns the plan of a type: of a struct, a map with string keys, a
// json.Unmarshaler, or a pointer to one of these. The error says why there is
// none.
func PlanOf(t reflect.Type) (*Plan, error) {
	made, ok := plans.Load(t)
	if !ok {
		p := &Plan{typ: t}
		p.err = p.compile(0)
		made, _ = plans.LoadOrStore(t, p)
	}
	p := made.(*Plan)
	return p, p.err
}

func (p *Plan) compile(depth int) (err error) {
	t := p.typ
	switch {
	case depth > maxNested:
		return errors.New("nested too deeply")
	case t.Kind() == reflect.Pointer:
		p.elem = &Plan{typ: t.Elem()}
		return p.elem.compile(depth + 1)
	case reflect.PointerTo(t).Implements(jsonUnmarshalerType):
		p.whole = true
		return nil
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		p.value, err = compile(t.Elem(), 0)
		return err
	case t.Kind() == reflect.Struct:
		return p.compileStruct()
	}
	return errors.New("not a struct, a map with string keys, or a json.Unmarshaler")
}

func (p *Plan) compileStruct() (err error) {
	if p.fields, err = fieldsOf(p.typ); err != nil {
		return err
	}
	p.tagged, p.named, p.Direct = map[string]int{}, map[string]int{}, true
	for i := range p.fields {
		f := &p.fields[i]
		if f.tag != "" {
			p.tagged[f.tag] = i
		} else {
			p.named[Fold(f.key())] = i
		}
		p.Direct = p.Direct && f.slot.kind != unknown
	}
	return nil
}

// find returns the field of a column, -1 if it has none.
func (p *Plan) find(column string) int {
	if i, ok := p.tagged[column]; ok {
		return i
	}
	if i, ok := p.named[Fold(column)]; ok {
		return i
	}
	return -1
}

// Mergeable reports whether columns can be set one by one in a value of the
// type without writing into what another value shares: a map, or a struct
// without structs embedded by pointer.
func (p *Plan) Mergeable() bool {
	for i := range p.fields {
		if p.fields[i].pointed {
			return false
		}
	}
	return p.elem == nil && !p.whole
}

// binding is what a list of columns means for a type.
type binding struct {
	columns []Column
	names   *Names
	targets []place
	absent  []int // the fields whose column must be in the list, and is not
}

// place is where a column goes, and how to read it.
type place struct {
	field int // -1 if it goes nowhere
	typ   string
	class class
}

// maxBindings is how many lists of columns are remembered for a type. Changes of
// a table share their list.
const maxBindings = 8

func (p *Plan) bind(columns []Column) (*binding, error) {
	known := p.bindings.Load()
	if known != nil {
		for _, b := range *known {
			if len(b.columns) == len(columns) && unsafe.SliceData(b.columns) == unsafe.SliceData(columns) {
				return b, nil
			}
		}
	}
	b, err := p.newBinding(columns)
	if err != nil {
		return nil, &Error{GoType: p.typ, Err: err}
	}
	list := []*binding{b}
	if known != nil {
		list = append(list, (*known)[:min(len(*known), maxBindings-1)]...)
	}
	p.bindings.Store(&list) // of two at once one is forgotten, and comes again
	return b, nil
}

func (p *Plan) newBinding(columns []Column) (*binding, error) {
	b := &binding{columns: columns}
	var list []string
	taken := make([]string, len(p.fields))
	for _, c := range columns {
		i := p.find(c.Name)
		if i >= 0 && taken[i] != "" && taken[i] != c.Name {
			return nil, fmt.Errorf("columns %q and %q are both for field %s", clipName(taken[i]), clipName(c.Name), p.fields[i].name)
		}
		if i >= 0 {
			taken[i] = c.Name
		}
		list = append(list, c.Name)
		b.targets = append(b.targets, place{i, c.Type, classOf(c.Type)})
	}
	for i := range p.fields {
		f := &p.fields[i]
		switch {
		case taken[i] != "":
		case len(columns) > 0 && f.tag != "" && !f.optional:
			b.absent = append(b.absent, i)
		case len(columns) > 0:
		case f.tag != "":
			list = append(list, f.tag)
			b.targets = append(b.targets, place{field: i})
		default:
			list = append(list, snake(f.key()))
			b.targets = append(b.targets, place{field: i})
		}
	}
	b.names = NewNames(list)
	return b, nil
}

// cell is a value of a row that has a field.
type cell struct {
	place
	start, end int
}

// split appends the values of a row to the list, and returns room for their
// texts.
func (p *Plan) split(list []cell, b *binding, row []byte, strict bool) (_ []cell, texts arena, err error) {
	size, at := 0, -1
	c := Cursor{Text: row}
	for c.Open('{'); c.More('}'); {
		which, key := c.name(b.names, at)
		start, end := c.skip()
		var to place
		if which < 0 {
			to.field = p.find(string(key))
		} else {
			to, at = b.targets[which], which
		}
		if to.field >= 0 && start < end {
			list = append(list, cell{to, start, end})
			size += p.fields[to.field].slot.textSize(row[start:end])
		}
	}
	if err := c.End(); err != nil {
		return nil, texts, &Error{GoType: p.typ, Err: err}
	}
	for _, i := range b.absent {
		if strict && !slices.ContainsFunc(list, func(x cell) bool { return x.field == i }) {
			f := &p.fields[i]
			return nil, texts, &Error{Column: f.tag, GoType: p.typ, Err: fmt.Errorf("field %s: %w", f.name, ErrNoColumn)}
		}
	}
	if size > 0 {
		texts.buf = make([]byte, 0, size)
	}
	return list, texts, nil
}

// Put decodes a row into the struct at the address, whose plan is Direct. If
// strict, an error names a field that a tag gives a column, and that neither
// the columns nor the row have.
func (p *Plan) Put(at unsafe.Pointer, columns []Column, row []byte, strict bool) error {
	b, err := p.bind(columns)
	if err != nil {
		return err
	}
	var room [24]cell
	list, texts, err := p.split(room[:0], b, row, strict)
	if err != nil {
		return err
	}
	return p.putSlots(at, list, row, &texts)
}

// putSlots writes the values that have slots.
func (p *Plan) putSlots(at unsafe.Pointer, list []cell, row []byte, texts *arena) error {
	for i := range list {
		x := &list[i]
		f := &p.fields[x.field]
		if f.slot.kind == unknown {
			continue
		}
		v := Value{typ: x.typ, class: x.class, raw: row[x.start:x.end]}
		if err := f.slot.put(unsafe.Add(at, f.offset), &v, texts); err != nil {
			return p.valueError(row, x, err)
		}
	}
	return nil
}

// putOthers decodes the values that have none.
func (p *Plan) putOthers(dst reflect.Value, list []cell, row []byte) error {
	for i := range list {
		x := &list[i]
		f := &p.fields[x.field]
		if f.slot.kind != unknown {
			continue
		}
		in := f.in(dst)
		in.SetZero() // what Merge found there is shared with another row
		if err := f.decode.call(in, &Value{typ: x.typ, class: x.class, raw: row[x.start:x.end]}); err != nil {
			return p.valueError(row, x, err)
		}
	}
	return nil
}

func (p *Plan) valueError(row []byte, x *cell, err error) error {
	e := &Error{Type: x.typ, GoType: p.fields[x.field].typ, Err: err}
	c := Cursor{Text: row}
	for c.Open('{'); c.More('}'); {
		key := c.Key()
		if start, _ := c.skip(); start == x.start {
			e.Column = string(key)
			break
		}
	}
	return e
}

// Decode decodes a row into dst, which is addressable. The error is an *Error.
// strict is that of Put.
func (p *Plan) Decode(dst reflect.Value, columns []Column, row []byte, strict bool) error {
	switch {
	case p.elem != nil:
		dst.Set(reflect.New(p.typ.Elem()))
		return p.elem.Decode(dst.Elem(), columns, row, strict)
	case p.whole:
		unmarshal := func(dst reflect.Value, v *Value) error {
			return dst.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(v.raw)
		}
		if err := decoder(unmarshal).call(dst, &Value{raw: row}); err != nil {
			return &Error{GoType: p.typ, Err: err}
		}
		return nil
	}
	b, err := p.bind(columns)
	switch {
	case err != nil:
		return err
	case p.value != nil:
		return p.decodeMap(dst, b, row)
	}
	list, texts, err := p.split(nil, b, row, strict)
	if err != nil {
		return err
	}
	if err := p.putSlots(dst.Addr().UnsafePointer(), list, row, &texts); err != nil {
		return err
	}
	return p.putOthers(dst, list, row)
}

func (p *Plan) decodeMap(dst reflect.Value, b *binding, row []byte) error {
	dst.Set(reflect.MakeMap(p.typ))
	at := -1
	c := Cursor{Text: row}
	for c.Open('{'); c.More('}'); {
		which, key := c.name(b.names, at)
		v := Value{raw: c.Value()}
		if c.failed {
			break
		}
		name := ""
		if which < 0 {
			name = string(key)
		} else {
			at, name = which, b.names.list[which]
			v.typ, v.class = b.targets[which].typ, b.targets[which].class
		}
		elem := reflect.New(p.typ.Elem()).Elem()
		if err := p.value.call(elem, &v); err != nil {
			return &Error{Column: name, Type: v.typ, GoType: p.typ.Elem(), Err: err}
		}
		dst.SetMapIndex(reflect.ValueOf(name).Convert(p.typ.Key()), elem)
	}
	if err := c.End(); err != nil {
		return &Error{GoType: p.typ, Err: err}
	}
	return nil
}
