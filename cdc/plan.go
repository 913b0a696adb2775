package cdc

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// rowDecoder sets what a row of the change has in dst, which is addressable.
type rowDecoder func(dst reflect.Value, c *Change, row []byte) error

// typePlan is what was made of a type.
type typePlan struct {
	decode rowDecoder
	fields *structPlan // of a struct, else nil
	err    error
}

// typePlans holds what was made of each type. A program has only so many.
var typePlans sync.Map

func planOf(t reflect.Type) (*typePlan, error) {
	made, ok := typePlans.Load(t)
	if !ok {
		p := &typePlan{}
		var err error
		if p.decode, p.fields, err = compileRow(t, 0); err != nil {
			p.err = &TypeError{GoType: t.String(), Reason: err.Error()}
		}
		made, _ = typePlans.LoadOrStore(t, p)
	}
	p := made.(*typePlan)
	return p, p.err
}

func compileRow(t reflect.Type, depth int) (decode rowDecoder, fields *structPlan, err error) {
	switch {
	case depth > maxDepth:
		return nil, nil, errors.New("nested too deeply")
	case t.Kind() == reflect.Pointer:
		decode, err = compileRowPointer(t, depth)
		return decode, nil, err
	case reflect.PointerTo(t).Implements(jsonUnmarshalerType):
		return decodeWholeRow, nil, nil
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		decode, err = compileRowMap(t)
		return decode, nil, err
	case t.Kind() == reflect.Struct:
		if fields, err = compileRowStruct(t); err != nil {
			return nil, nil, err
		}
		return fields.decode, fields, nil
	}
	return nil, nil, errors.New("not a struct, a map with string keys, or a json.Unmarshaler")
}

func compileRowPointer(t reflect.Type, depth int) (rowDecoder, error) {
	elem, _, err := compileRow(t.Elem(), depth+1)
	if err != nil {
		return nil, err
	}
	return func(dst reflect.Value, c *Change, row []byte) error {
		dst.Set(reflect.New(t.Elem()))
		return elem(dst.Elem(), c, row)
	}, nil
}

func decodeWholeRow(dst reflect.Value, c *Change, row []byte) error {
	if err := dst.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(row); err != nil {
		return c.decodeError(value{}, "", dst.Type(), err)
	}
	return nil
}

func compileRowMap(t reflect.Type) (rowDecoder, error) {
	decode, err := compile(t.Elem(), 0)
	if err != nil {
		return nil, err
	}
	return func(dst reflect.Value, c *Change, row []byte) error {
		dst.Set(reflect.MakeMap(t))
		typeOf := c.columnTypes()
		w := walkObject(row)
		for w.next() {
			elem := reflect.New(t.Elem()).Elem()
			v := newValue(typeOf(w.key), w.val)
			if err := decode(elem, v); err != nil {
				return c.decodeError(v, string(w.key), t.Elem(), err)
			}
			dst.SetMapIndex(reflect.ValueOf(string(w.key)).Convert(t.Key()), elem)
		}
		return c.rowError(dst, w.err)
	}, nil
}

func (c *Change) decodeError(v value, column string, t reflect.Type, err error) error {
	return &DecodeError{Schema: c.Schema, Table: c.Table, Column: column, Type: v.typ, GoType: t.String(), Err: err}
}

// rowError returns the error for a row that is not JSON. Decode never makes
// one.
func (c *Change) rowError(dst reflect.Value, err error) error {
	if err == nil {
		return nil
	}
	return c.decodeError(value{}, "", dst.Type(), err)
}

// columnTypes returns a function from the name of a column to its type, empty
// if it is not known.
func (c *Change) columnTypes() func(name []byte) string {
	if len(c.Columns) <= 16 {
		return func(name []byte) string {
			for _, column := range c.Columns {
				if column.Name == string(name) {
					return column.Type
				}
			}
			return ""
		}
	}
	types := make(map[string]string, len(c.Columns))
	for _, column := range c.Columns {
		types[column.Name] = column.Type
	}
	return func(name []byte) string { return types[string(name)] }
}

// field is a field of a struct that a column is decoded into.
type field struct {
	name   string // as seen from the struct, such as "Base.ID"
	tag    string // the column, if a tag names it
	typ    reflect.Type
	index  []int
	decode decoder

	direct  direct  // if its op is known
	offset  uintptr // in the struct, unless
	pointed bool    // it is behind a pointer
}

// key is what the field's column is called, more or less.
func (f field) key() string {
	if f.tag != "" {
		return f.tag
	}
	return f.name[strings.LastIndexByte(f.name, '.')+1:]
}

// in returns the field of a struct. It makes the structs on the way to it that
// are embedded by pointer.
func (f field) in(s reflect.Value) reflect.Value {
	for i, x := range f.index {
		if i > 0 && s.Kind() == reflect.Pointer {
			if s.IsNil() {
				s.Set(reflect.New(s.Type().Elem()))
			}
			s = s.Elem()
		}
		s = s.Field(x)
	}
	return s
}

// fold makes CreatedAt, createdAt and created_at the same.
func fold(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// fieldsOf lists the fields that columns are decoded into. Those of embedded
// structs count as the struct's own, unless a field that is less deep takes
// their place.
func fieldsOf(t reflect.Type) ([]field, error) {
	var fields []field
	level := []field{{typ: t}}
	seen := map[reflect.Type]bool{t: true}
	for len(level) > 0 {
		var found, next []field
		for _, outer := range level {
			f, embedded, err := fieldsAt(outer)
			if err != nil {
				return nil, err
			}
			found = append(found, f...)
			for _, e := range embedded {
				if !seen[e.typ] {
					seen[e.typ] = true
					next = append(next, e)
				}
			}
		}
		found = slices.DeleteFunc(found, func(f field) bool { return clashing(fields, f) != nil })
		for i, f := range found {
			if other := clashing(found[:i], f); other != nil {
				return nil, fmt.Errorf("fields %s and %s are both for column %q", other.name, f.name, f.key())
			}
		}
		fields = append(fields, found...)
		level = next
	}
	return fields, nil
}

// clashing returns the field that would get f's column.
func clashing(fields []field, f field) *field {
	for i, g := range fields {
		if f.tag != "" && g.tag != "" && f.tag == g.tag || (f.tag == "" || g.tag == "") && fold(f.key()) == fold(g.key()) {
			return &fields[i]
		}
	}
	return nil
}

// fieldsAt lists the fields of one struct, and the structs embedded in it.
func fieldsAt(outer field) (fields, embedded []field, err error) {
	for i := range outer.typ.NumField() {
		sf := outer.typ.Field(i)
		tag, skip := columnTag(sf.Tag)
		if skip {
			continue
		}
		f := field{name: sf.Name, tag: tag, typ: sf.Type, index: append(slices.Clone(outer.index), i), offset: outer.offset + sf.Offset, pointed: outer.pointed}
		if outer.name != "" {
			f.name = outer.name + "." + sf.Name
		}
		if inner := embeddedStruct(sf); inner != nil && tag == "" {
			if sf.Type.Kind() == reflect.Pointer && !sf.IsExported() {
				return nil, nil, fmt.Errorf("field %s: a pointer to an unexported struct cannot be set", f.name)
			}
			f.typ = inner
			f.pointed = f.pointed || sf.Type.Kind() == reflect.Pointer
			embedded = append(embedded, f)
			continue
		}
		if !sf.IsExported() {
			continue
		}
		if f.decode, err = compile(f.typ, 0); err != nil {
			return nil, nil, fmt.Errorf("field %s: %w", f.name, err)
		}
		if !f.pointed {
			f.direct = directOf(f.typ)
		}
		fields = append(fields, f)
	}
	return fields, embedded, nil
}

func embeddedStruct(sf reflect.StructField) reflect.Type {
	t := sf.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if !sf.Anonymous || t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

// columnTag returns the column that a field's tags name, if they do, and
// whether they take the field out.
func columnTag(tag reflect.StructTag) (column string, skip bool) {
	for _, key := range []string{"db", "json"} {
		value, ok := tag.Lookup(key)
		if !ok {
			continue
		}
		if value == "-" {
			return "", true
		}
		if name, _, _ := strings.Cut(value, ","); name != "" {
			return name, false
		}
	}
	return "", false
}
