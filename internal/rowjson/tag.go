package rowjson

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// ColumnTag returns the column that the tags of a struct field name, empty if
// none do. The db tag counts more than the json tag. A tag of "-" skips the
// field. optional says that the column need not exist: `db:"note,optional"`.
func ColumnTag(tag reflect.StructTag) (column string, optional, skip bool) {
	for _, key := range []string{"db", "json"} {
		value := tag.Get(key)
		if value == "-" {
			return "", false, true
		}
		if name, options, _ := strings.Cut(value, ","); name != "" {
			return name, slices.Contains(strings.Split(options, ","), "optional"), false
		}
	}
	return "", false, false
}

// Fold makes CreatedAt, createdAt and created_at the same.
func Fold(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// snake makes created_at of CreatedAt, and user_id of UserID.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// field is a field of a struct that a column is decoded into.
type field struct {
	name     string // as seen from the struct, such as "Base.ID"
	tag      string // the column, if a tag names it
	optional bool
	typ      reflect.Type
	index    []int
	decode   decoder

	slot    slot    // if its kind is known
	offset  uintptr // in the struct, unless
	pointed bool    // it is behind a pointer
}

// key is what the field's column is called, more or less.
func (f *field) key() string {
	if f.tag != "" {
		return f.tag
	}
	return f.name[strings.LastIndexByte(f.name, '.')+1:]
}

// in returns the field of a struct. It makes the structs on the way to it that
// are embedded by pointer.
func (f *field) in(s reflect.Value) reflect.Value {
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
		if f.tag != "" && g.tag != "" && f.tag == g.tag || (f.tag == "" || g.tag == "") && Fold(f.key()) == Fold(g.key()) {
			return &fields[i]
		}
	}
	return nil
}

// Columns returns the columns that a struct has fields for, by their tags or in the
// spelling of SQL, and those of them that a table must have: by a tag that does not
// say optional. There are none of a struct that columns cannot be decoded into.
func Columns(t reflect.Type) (names, required []string) {
	fields, err := fieldsOf(t)
	if err != nil {
		return nil, nil
	}
	for _, f := range fields {
		name := f.tag
		if name == "" {
			name = snake(f.key())
		}
		if names = append(names, name); f.tag != "" && !f.optional {
			required = append(required, name)
		}
	}
	return names, required
}

// fieldsAt lists the fields of one struct, and the structs embedded in it.
func fieldsAt(outer field) (fields, embedded []field, err error) {
	for i := range outer.typ.NumField() {
		sf := outer.typ.Field(i)
		tag, optional, skip := ColumnTag(sf.Tag)
		if skip {
			continue
		}
		f := field{name: sf.Name, tag: tag, optional: optional, typ: sf.Type, index: append(slices.Clone(outer.index), i), offset: outer.offset + sf.Offset, pointed: outer.pointed}
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
			f.slot = slotOf(f.typ)
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
