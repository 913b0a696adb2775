package postgrest

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/gapless-go/gapless/internal/rowjson"
)

// KeyCodec makes the key of a row of a Go value, for a table whose key has
// certain columns. It is safe for concurrent use.
type KeyCodec[K comparable] struct{ parts []keyPart }

// keyPart is how a column's text is made of a key.
type keyPart struct {
	column string
	index  []int // of the field; nil: the key itself
	text   keyText
}

// keyText is how a type is written.
type keyText struct {
	of func(v reflect.Value) (string, error)
	is func(v reflect.Value, text string) bool // without making the text; nil: of says it, too
}

// KeyTypeError is a Go type that cannot be the key of a table.
type KeyTypeError struct {
	GoType string
	Column string // of the key, where it is about one
	Reason string
}

func (e *KeyTypeError) Error() string {
	s := "postgrest: type " + e.GoType
	if e.Column != "" {
		s += fmt.Sprintf(" for key column %q", e.Column)
	}
	return s + ": " + e.Reason
}

var (
	textMarshalerType = reflect.TypeFor[encoding.TextMarshaler]()
	stringerType      = reflect.TypeFor[fmt.Stringer]()
	timeType          = reflect.TypeFor[time.Time]()
)

// NewKeyCodec makes the codec of K for a key of these columns, in their order.
// A key of one column is a string, an integer or a bool, or a type that has
// MarshalText or String, such as a UUID. One of several is a struct whose fields
// are such and are for the columns as with cdc.As: by the tag db or json, or by
// name without regard to case and underscores; a key of one column may be one,
// too. Each column must have a field and each field a column. The error is a
// *KeyTypeError.
//
// The texts that PostgreSQL makes of floats, times and padded text are no
// matter of their Go values alone, so that floats and time.Time are refused.
func NewKeyCodec[K comparable](columns []string) (*KeyCodec[K], error) {
	t := reflect.TypeFor[K]()
	if len(columns) == 0 {
		return nil, &KeyTypeError{GoType: t.String(), Reason: "the key has no columns"}
	}
	if len(columns) == 1 {
		text, err := textOf(t)
		if err == nil {
			return &KeyCodec[K]{[]keyPart{{column: columns[0], text: text}}}, nil
		}
		if t.Kind() != reflect.Struct || t == timeType {
			return nil, &KeyTypeError{GoType: t.String(), Column: columns[0], Reason: err.Error()}
		}
	}
	parts, err := structParts(t, columns)
	switch {
	case err == nil:
		return &KeyCodec[K]{parts}, nil
	case len(columns) == 1 && reflect.PointerTo(t).Implements(stringerType):
		return &KeyCodec[K]{[]keyPart{{column: columns[0], text: keyText{of: stringText}}}}, nil
	}
	return nil, err
}

// CheckKeyType says why a type cannot be the key of any table, as far as that can
// be told without the columns: a *KeyTypeError.
func CheckKeyType[K comparable]() error {
	t := reflect.TypeFor[K]()
	columns := []string{""}
	if _, err := textOf(t); err != nil && t.Kind() == reflect.Struct && t != timeType && !reflect.PointerTo(t).Implements(stringerType) {
		columns = nil
		for _, f := range keyFields(t) {
			column, _, _ := rowjson.ColumnTag(f.Tag)
			columns = append(columns, cmp.Or(column, f.Name))
		}
	}
	_, err := NewKeyCodec[K](columns)
	return err
}

// Encode returns the texts of a key, one for each column. The error is that of
// the key's MarshalText.
func (c *KeyCodec[K]) Encode(k K) ([]string, error) {
	v := reflect.ValueOf(&k).Elem() // addressable, for methods of the pointer
	texts := make([]string, len(c.parts))
	for i := range c.parts {
		var err error
		if texts[i], err = c.parts[i].text.of(c.parts[i].in(v)); err != nil {
			return nil, fmt.Errorf("postgrest: key column %q: %w", c.parts[i].column, err)
		}
	}
	return texts, nil
}

// in returns the part's own value of a key.
func (p *keyPart) in(key reflect.Value) reflect.Value {
	if p.index == nil {
		return key
	}
	return key.FieldByIndex(p.index)
}

// Check reports whether a key has these texts. It makes no piece of memory for
// strings and integers.
func (c *KeyCodec[K]) Check(k *K, texts []string) bool {
	v := reflect.ValueOf(k).Elem()
	for i := range c.parts {
		if i == len(texts) || !c.parts[i].has(c.parts[i].in(v), texts[i]) {
			return false
		}
	}
	return len(texts) == len(c.parts)
}

func (p *keyPart) has(v reflect.Value, text string) bool {
	if p.text.is != nil {
		return p.text.is(v, text)
	}
	own, err := p.text.of(v)
	return err == nil && own == text
}

// textOf returns how a type is written. Its own text comes first, then its
// kind, then String: an integer with names for people stays a number.
func textOf(t reflect.Type) (keyText, error) {
	switch {
	case t == timeType:
		return keyText{}, errors.New("a time has not one text")
	case t.Kind() == reflect.Pointer, t.Kind() == reflect.Interface:
		return keyText{}, errors.New("a pointer or interface is not equal to another of the same content")
	case reflect.PointerTo(t).Implements(textMarshalerType):
		return keyText{of: marshalText}, nil
	}
	switch t.Kind() {
	case reflect.String:
		return keyText{
			func(v reflect.Value) (string, error) { return v.String(), nil },
			func(v reflect.Value, text string) bool { return v.String() == text }}, nil
	case reflect.Bool:
		return keyText{of: func(v reflect.Value) (string, error) { return strconv.FormatBool(v.Bool()), nil }}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return keyText{func(v reflect.Value) (string, error) { return strconv.FormatInt(v.Int(), 10), nil }, isInt}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return keyText{of: func(v reflect.Value) (string, error) { return strconv.FormatUint(v.Uint(), 10), nil }}, nil
	case reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return keyText{}, errors.New("a float is no key")
	}
	if reflect.PointerTo(t).Implements(stringerType) && t.Kind() != reflect.Struct {
		return keyText{of: stringText}, nil
	}
	return keyText{}, errors.New("want a string, an integer, a bool, or a type with MarshalText or String")
}

func isInt(v reflect.Value, text string) bool {
	var room [20]byte
	return string(strconv.AppendInt(room[:0], v.Int(), 10)) == text
}

func marshalText(v reflect.Value) (string, error) {
	b, err := v.Addr().Interface().(encoding.TextMarshaler).MarshalText()
	return string(b), err
}

func stringText(v reflect.Value) (string, error) {
	return v.Addr().Interface().(fmt.Stringer).String(), nil
}

// structParts finds the field of each column.
func structParts(t reflect.Type, columns []string) ([]keyPart, error) {
	fail := func(column, format string, args ...any) ([]keyPart, error) {
		return nil, &KeyTypeError{GoType: t.String(), Column: column, Reason: fmt.Sprintf(format, args...)}
	}
	if t.Kind() != reflect.Struct || t == timeType {
		return fail("", "a key of %d columns is a struct", len(columns))
	}
	fields := keyFields(t)
	used := map[int]bool{}
	var parts []keyPart
	for _, column := range columns {
		i := fieldOf(fields, column)
		if i < 0 || used[i] {
			return fail(column, "it has no field of its own")
		}
		text, err := textOf(fields[i].Type)
		if err != nil {
			return fail(column, "field %s: %v", fields[i].Name, err)
		}
		used[i] = true
		parts = append(parts, keyPart{column, fields[i].Index, text})
	}
	for i, f := range fields {
		if !used[i] {
			return fail("", "field %s is no column of the key", f.Name)
		}
	}
	return parts, nil
}

// keyFields are the fields that make one value of a struct differ from another,
// those of embedded structs among them.
func keyFields(t reflect.Type) (fields []reflect.StructField) {
	for i := range t.NumField() {
		f := t.Field(i)
		column, _, _ := rowjson.ColumnTag(f.Tag)
		if !f.Anonymous || f.Type.Kind() != reflect.Struct || column != "" {
			fields = append(fields, f)
			continue
		}
		for _, inner := range keyFields(f.Type) {
			inner.Index = append([]int{i}, inner.Index...)
			fields = append(fields, inner)
		}
	}
	return fields
}

// fieldOf returns which field is for a column, -1 if none is.
func fieldOf(fields []reflect.StructField, column string) int {
	byName := -1
	for i, f := range fields {
		tag, _, skip := rowjson.ColumnTag(f.Tag)
		switch {
		case skip, !f.IsExported():
		case tag == column:
			return i
		case tag == "" && byName < 0 && rowjson.Fold(f.Name) == rowjson.Fold(column):
			byName = i
		}
	}
	return byName
}
