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
	untyped  []place        // of the fields, for columns whose type is not known
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
		p.untyped = append(p.untyped, place{field: f})
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
	field *field // nil if it goes nowhere
	typ   string
	class class
}

var nowhere place

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
		to := place{typ: c.Type, class: classOf(c.Type)}
		if i >= 0 {
			to.field, taken[i] = &p.fields[i], c.Name
		}
		list, b.targets = append(list, c.Name), append(b.targets, to)
	}
	for i := range p.fields {
		f := &p.fields[i]
		switch {
		case taken[i] != "":
		case len(columns) > 0 && f.tag != "" && !f.optional:
			b.absent = append(b.absent, i)
		case len(columns) > 0:
		case f.tag != "":
			list, b.targets = append(list, f.tag), append(b.targets, p.untyped[i])
		default:
			list, b.targets = append(list, snake(f.key())), append(b.targets, p.untyped[i])
		}
	}
	b.names = NewNames(list)
	return b, nil
}

// cells returns the members of a row: those that are known, or in the room.
func (p *Plan) cells(b *binding, row Row, room []Cell) ([]Cell, error) {
	if len(row.cells) > 0 && row.sum == b.names.sum {
		return row.cells, nil
	}
	c := Cursor{Text: row.Text}
	c.failed = c.Next() != '{'
	_, cells := c.Row(b.names, room[:0])
	if err := c.End(); err != nil {
		return nil, &Error{GoType: p.typ, Err: err}
	}
	return cells, nil
}

// place returns where a member goes.
func (p *Plan) place(b *binding, text []byte, x Cell) *place {
	if x.column >= 0 {
		return &b.targets[x.column]
	}
	if i := p.find(b.key(text, x)); i >= 0 {
		return &p.untyped[i]
	}
	return &nowhere
}

// key returns the key of a member.
func (b *binding) key(text []byte, x Cell) string {
	if x.column >= 0 {
		return b.names.list[x.column]
	}
	c := Cursor{Text: text, Pos: int(^x.column)}
	return string(c.Key())
}

// texts returns the room for the texts of a row, or an error if a field that a tag
// gives a column has none.
func (p *Plan) texts(b *binding, text []byte, cells []Cell, strict bool) (texts arena, err error) {
	size := 0
	for _, x := range cells {
		if to := p.place(b, text, x); to.field != nil {
			size += to.field.slot.textSize(text[x.start:x.end])
		}
	}
	for _, i := range b.absent {
		f := &p.fields[i]
		if strict && !slices.ContainsFunc(cells, func(x Cell) bool { return p.place(b, text, x).field == f }) {
			return texts, &Error{Column: f.tag, GoType: p.typ, Err: fmt.Errorf("field %s: %w", f.name, ErrNoColumn)}
		}
	}
	if size > 0 {
		texts.buf = make([]byte, 0, size)
	}
	return texts, nil
}

// Put decodes a row into the struct at the address, whose plan is Direct. If
// strict, an error names a field that a tag gives a column, and that neither
// the columns nor the row have.
func (p *Plan) Put(at unsafe.Pointer, columns []Column, row Row, strict bool) error {
	b, err := p.bind(columns)
	if err != nil {
		return err
	}
	var room [24]Cell
	cells, err := p.cells(b, row, room[:])
	if err != nil {
		return err
	}
	return p.putSlots(at, b, row.Text, cells, strict)
}

// putSlots writes the values that have slots.
func (p *Plan) putSlots(at unsafe.Pointer, b *binding, text []byte, cells []Cell, strict bool) error {
	texts, err := p.texts(b, text, cells, strict)
	if err != nil {
		return err
	}
	for _, x := range cells {
		to := p.place(b, text, x)
		if f := to.field; f != nil && f.slot.kind != unknown {
			v := Value{typ: to.typ, class: to.class, raw: text[x.start:x.end]}
			if err := f.slot.put(unsafe.Add(at, f.offset), &v, &texts); err != nil {
				return &Error{Column: b.key(text, x), Type: to.typ, GoType: f.typ, Err: err}
			}
		}
	}
	return nil
}

// putOthers decodes the values that have none.
func (p *Plan) putOthers(dst reflect.Value, b *binding, text []byte, cells []Cell) error {
	for _, x := range cells {
		to := p.place(b, text, x)
		if f := to.field; f != nil && f.slot.kind == unknown {
			in := f.in(dst)
			in.SetZero() // what Merge found there is shared with another row
			if err := f.decode.call(in, &Value{typ: to.typ, class: to.class, raw: text[x.start:x.end]}); err != nil {
				return &Error{Column: b.key(text, x), Type: to.typ, GoType: f.typ, Err: err}
			}
		}
	}
	return nil
}

// Decode decodes a row into dst, which is addressable. The error is an *Error.
// strict is that of Put.
func (p *Plan) Decode(dst reflect.Value, columns []Column, row Row, strict bool) error {
	switch {
	case p.elem != nil:
		dst.Set(reflect.New(p.typ.Elem()))
		return p.elem.Decode(dst.Elem(), columns, row, strict)
	case p.whole:
		unmarshal := func(dst reflect.Value, v *Value) error {
			return dst.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(v.raw)
		}
		if err := decoder(unmarshal).call(dst, &Value{raw: row.Text}); err != nil {
			return &Error{GoType: p.typ, Err: err}
		}
		return nil
	}
	b, err := p.bind(columns)
	if err != nil {
		return err
	}
	cells, err := p.cells(b, row, nil)
	switch {
	case err != nil:
		return err
	case p.value != nil:
		return p.decodeMap(dst, b, row.Text, cells)
	}
	if err := p.putSlots(dst.Addr().UnsafePointer(), b, row.Text, cells, strict); err != nil {
		return err
	}
	return p.putOthers(dst, b, row.Text, cells)
}

func (p *Plan) decodeMap(dst reflect.Value, b *binding, text []byte, cells []Cell) error {
	dst.Set(reflect.MakeMapWithSize(p.typ, len(b.targets)))
	for _, x := range cells {
		v, name := Value{raw: text[x.start:x.end]}, b.key(text, x)
		if x.column >= 0 {
			v.typ, v.class = b.targets[x.column].typ, b.targets[x.column].class
		}
		elem := reflect.New(p.typ.Elem()).Elem()
		if err := p.value.call(elem, &v); err != nil {
			return &Error{Column: name, Type: v.typ, GoType: p.typ.Elem(), Err: err}
		}
		dst.SetMapIndex(reflect.ValueOf(name).Convert(p.typ.Key()), elem)
	}
	return nil
}
