package cache

import (
	"bytes"
	"encoding"
	"encoding/json"
	"math"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/rowjson"
)

// equality is how rows are compared: they are equal when the values of their
// columns are, whatever text the stream, the REST API or a checkpoint has had of
// them (rowjson.AppendCanonical), and NaN is NaN. A Go type that keeps no text is
// equal by itself, so that the forms are made only of values that differ
// otherwise, and kept of none. It is safe for concurrent use.
type equality[T any] struct {
	flat  bool // == compares all of T
	types atomic.Pointer[map[string]string]
	texts atomic.Bool // T keeps the text of a column that may have several for a value
}

func newEquality[T any]() *equality[T] { return &equality[T]{flat: flat(reflect.TypeFor[T]())} }

// know takes the types of columns.
func (q *equality[T]) know(columns []cdc.Column) {
	types := make(map[string]string, len(columns))
	for _, c := range columns {
		types[c.Name] = c.Type
	}
	q.types.Store(&types)
	if t := reflect.TypeFor[T](); q.flat && t.Kind() == reflect.Struct {
		texts := false
		for _, f := range reflect.VisibleFields(t) {
			texts = texts || f.Type.Kind() == reflect.String && hasTexts(typeOfField(f, types))
		}
		q.texts.Store(texts)
	}
}

// hasTexts reports whether a value of a type may have several texts.
func hasTexts(typ string) bool {
	switch typ {
	case "", "text", "varchar", "uuid", "name", "citext", "int2", "int4", "int8":
		return false
	}
	return true
}

func (q *equality[T]) equal(a, b T) bool {
	if q.flat {
		if any(a) == any(b) {
			return true
		}
		if !q.texts.Load() {
			return false
		}
	}
	return q.byColumns(a, b)
}

// byColumns is not part of equal because its arguments go to the heap.
func (q *equality[T]) byColumns(a, b T) bool {
	return reflect.DeepEqual(a, b) || q.row(reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem())
}

// row compares rows column by column.
func (q *equality[T]) row(a, b reflect.Value) bool {
	types := map[string]string{}
	if known := q.types.Load(); known != nil {
		types = *known
	}
	for a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil() {
		a, b = a.Elem(), b.Elem()
	}
	switch {
	case a.Kind() == reflect.Struct && !isWhole(a.Type()):
		return equalFields(a, b, func(f reflect.StructField) string { return typeOfField(f, types) }, 0)
	case a.Kind() == reflect.Map && a.Type().Key().Kind() == reflect.String:
		return equalMaps(a, b, func(key reflect.Value) string { return types[key.String()] }, 0)
	}
	return equalValues(a, b, "", 0)
}

// isWhole reports whether a type is decoded from a whole row by itself.
func isWhole(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

// typeOfField is the type of the column of a field; empty if that is not known.
func typeOfField(f reflect.StructField, types map[string]string) string {
	tag, _, _ := rowjson.ColumnTag(f.Tag)
	if typ, ok := types[tag]; ok || tag != "" {
		return typ
	}
	for name, typ := range types {
		if isFor(f, name) {
			return typ
		}
	}
	return ""
}

func equalFields(a, b reflect.Value, typeOf func(reflect.StructField) string, depth int) bool {
	t := a.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		x, y := a.Field(i), b.Field(i)
		switch {
		case f.Anonymous && f.Type.Kind() == reflect.Struct && !isWhole(f.Type):
			if !equalFields(x, y, typeOf, depth+1) {
				return false
			}
		case !equalValues(x, y, typeOf(f), depth+1):
			return false
		}
	}
	return true
}

func equalMaps(a, b reflect.Value, typeOf func(key reflect.Value) string, depth int) bool {
	if a.Len() != b.Len() || a.IsNil() != b.IsNil() {
		return false
	}
	for _, key := range a.MapKeys() {
		other := b.MapIndex(key)
		if !other.IsValid() || !equalValues(a.MapIndex(key), other, typeOf(key), depth+1) {
			return false
		}
	}
	return true
}

// maxDepth ends the walk over values that contain themselves.
const maxDepth = 64

var rawType, numberType = reflect.TypeFor[json.RawMessage](), reflect.TypeFor[json.Number]()

// equalValues compares two values of one Go type that a column of a type was
// decoded into.
func equalValues(a, b reflect.Value, typ string, depth int) bool {
	t := a.Type()
	switch {
	case depth > maxDepth:
		return false
	case t == rawType:
		return equalJSON(a.Bytes(), b.Bytes(), typ)
	case t == numberType:
		return a.String() == b.String() || equalJSON(texted(a.String()), texted(b.String()), orElse(typ, "numeric"))
	case t == timeType && a.CanInterface():
		return a.Interface().(time.Time).Equal(b.Interface().(time.Time))
	}
	switch t.Kind() {
	case reflect.String:
		return a.String() == b.String() || typ != "" && equalJSON(texted(a.String()), texted(b.String()), typ)
	case reflect.Float32, reflect.Float64:
		return a.Float() == b.Float() || math.IsNaN(a.Float()) && math.IsNaN(b.Float())
	case reflect.Pointer, reflect.Interface:
		switch {
		case a.IsNil() || b.IsNil():
			return a.IsNil() == b.IsNil()
		case a.Elem().Type() != b.Elem().Type():
			return false
		}
		return equalValues(a.Elem(), b.Elem(), typ, depth+1)
	case reflect.Slice, reflect.Array:
		return equalLists(a, b, typ, depth)
	case reflect.Map:
		return equalMaps(a, b, func(reflect.Value) string { return "" }, depth)
	case reflect.Struct:
		if same, known := equalTexts(a, b); known {
			return same
		}
		return equalFields(a, b, func(reflect.StructField) string { return "" }, depth)
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return a.IsNil() && b.IsNil()
	}
	return a.Equal(b)
}

func orElse(typ, other string) string {
	if typ == "" {
		return other
	}
	return typ
}

func equalLists(a, b reflect.Value, typ string, depth int) bool {
	if a.Len() != b.Len() || a.Kind() == reflect.Slice && a.IsNil() != b.IsNil() {
		return false
	}
	if len(typ) > 0 && typ[0] == '_' {
		typ = typ[1:]
	}
	for i := range a.Len() {
		if !equalValues(a.Index(i), b.Index(i), typ, depth+1) {
			return false
		}
	}
	return true
}

// equalTexts compares values of a type that writes itself as text: a decimal, a
// nullable of one's own.
func equalTexts(a, b reflect.Value) (same, known bool) {
	if !a.CanInterface() {
		return false, false
	}
	switch x := a.Interface().(type) {
	case encoding.TextMarshaler:
		s, err := x.MarshalText()
		r, err2 := b.Interface().(encoding.TextMarshaler).MarshalText()
		return bytes.Equal(s, r), err == nil && err2 == nil
	case json.Marshaler:
		s, err := x.MarshalJSON()
		r, err2 := b.Interface().(json.Marshaler).MarshalJSON()
		return equalJSON(s, r, "json"), err == nil && err2 == nil
	}
	return false, false
}

// texted is a JSON string.
func texted(s string) []byte {
	b, _ := json.Marshal(s) // of a string that never fails
	return b
}

// equalJSON compares two texts of a value of a column of a type.
func equalJSON(a, b []byte, typ string) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if !json.Valid(a) || !json.Valid(b) {
		return false
	}
	return bytes.Equal(rowjson.AppendCanonical(nil, typ, bytes.TrimSpace(a)), rowjson.AppendCanonical(nil, typ, bytes.TrimSpace(b)))
}
