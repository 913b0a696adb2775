package cdc

import (
	"bytes"
	"database/sql"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// decoder sets dst, which is addressable, to a value.
type decoder func(dst reflect.Value, v value) error

var (
	scannerType         = reflect.TypeFor[sql.Scanner]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonUnmarshalerType = reflect.TypeFor[json.Unmarshaler]()
	rawMessageType      = reflect.TypeFor[json.RawMessage]()
)

// scalars are the types whose way of decoding is ours, whatever methods they
// have.
var scalars = map[reflect.Type]decoder{
	reflect.TypeFor[time.Time]():   decodeTime,
	reflect.TypeFor[json.Number](): decodeNumber,
	reflect.TypeFor[big.Int]():     decodeBigInt,
	reflect.TypeFor[big.Rat]():     decodeBigRat,
}

// maxDepth is how many pointers and slices may be around a type. It ends the
// walk over types that contain themselves.
const maxDepth = 16

// compile returns the decoder of a Go type, in this order of precedence:
//
//   - json.RawMessage, because it asks for the JSON, null included;
//   - null, which no other type sees but a Scanner: that alone can tell null
//     from zero;
//   - a pointer and sql.Null, which say what null is and for the rest stand
//     for what they hold;
//   - time.Time, numbers of math/big and json.Number, whose own methods do not
//     know the ways of PostgreSQL (infinity, BC, 5.00 for an integer);
//   - sql.Scanner, because it was written for values of a database;
//   - encoding.TextUnmarshaler, because PostgreSQL's text is what other
//     clients would give it, and then json.Unmarshaler;
//   - the kind of the type.
//
// A value that is JSON in its own right (json, jsonb, a composite) turns this
// around: json.Unmarshaler was written for it, and it goes to encoding/json if
// the type has no methods. An array goes into a slice element by element even
// if the slice is a Scanner, which would expect PostgreSQL's braces.
func compile(t reflect.Type, depth int) (decoder, error) {
	if depth > maxDepth {
		return nil, errors.New("nested too deeply")
	}
	switch {
	case t == rawMessageType:
		return decodeRaw, nil
	case t.Kind() == reflect.Pointer:
		return compilePointer(t, depth)
	case isSQLNull(t):
		return compileSQLNull(t, depth)
	}
	p := reflect.PointerTo(t)
	r := &target{
		scan: p.Implements(scannerType),
		text: p.Implements(textUnmarshalerType),
		json: p.Implements(jsonUnmarshalerType),
	}
	r.known = scalars[t]
	var err error
	r.kind, r.list, err = compileKind(t, depth)
	if err != nil && !r.scan && !r.text && !r.json {
		return nil, err
	}
	return r.decode, nil
}

// target decodes into a type that is no pointer.
type target struct {
	scan, text, json bool // which interfaces the type implements
	known            decoder
	kind             decoder // nil if the kind has none
	list             decoder // for arrays; nil if the kind is none
}

func (r *target) decode(dst reflect.Value, v value) error {
	switch {
	case v.isNull() && r.scan:
		return dst.Addr().Interface().(sql.Scanner).Scan(nil)
	case v.isNull():
		dst.SetZero()
		return nil
	case v.isDocument():
		return r.decodeDocument(dst, v)
	case v.isArray() && r.list != nil && !r.json:
		return r.list(dst, v)
	case r.known != nil:
		return r.known(dst, v)
	case v.isArray() && r.json:
		return decodeJSON(dst, v)
	case r.scan:
		return scan(dst, v)
	case r.text:
		return decodeText(dst, v)
	case r.json:
		v.raw = v.told()
		return decodeJSON(dst, v)
	case r.kind == nil:
		return v.refuse("does not fit")
	}
	return r.kind(dst, v)
}

func (r *target) decodeDocument(dst reflect.Value, v value) error {
	switch {
	case r.scan && !r.json:
		return scan(dst, v)
	case r.json:
		return decodeJSON(dst, v)
	case dst.Kind() == reflect.Interface:
		return decodeAny(dst, v)
	case dst.Kind() == reflect.Slice && dst.Type().Elem().Kind() == reflect.Uint8:
		dst.SetBytes(bytes.Clone(v.raw)) // the text, as drivers give it
		return nil
	}
	return decodeJSON(dst, v)
}

func compilePointer(t reflect.Type, depth int) (decoder, error) {
	elem, err := compile(t.Elem(), depth+1)
	if err != nil {
		return nil, err
	}
	return func(dst reflect.Value, v value) error {
		if v.isNull() {
			dst.SetZero()
			return nil
		}
		p := reflect.New(t.Elem())
		dst.Set(p)
		return elem(p.Elem(), v)
	}, nil
}

// isSQLNull reports whether t is an sql.Null. Its own Scan would take what a
// driver gives and nothing else: no arrays, no numbers in strings.
func isSQLNull(t reflect.Type) bool {
	return t.PkgPath() == "database/sql" && strings.HasPrefix(t.Name(), "Null[")
}

func compileSQLNull(t reflect.Type, depth int) (decoder, error) {
	elem, err := compile(t.Field(0).Type, depth+1)
	if err != nil {
		return nil, err
	}
	return func(dst reflect.Value, v value) error {
		dst.SetZero()
		if v.isNull() {
			return nil
		}
		dst.Field(1).SetBool(true) // Valid
		return elem(dst.Field(0), v)
	}, nil
}

// compileKind returns how to decode into a type by its kind, and, of a slice
// or a Go array, how to decode a PostgreSQL array into it.
func compileKind(t reflect.Type, depth int) (kind, list decoder, err error) {
	switch t.Kind() {
	case reflect.String:
		return decodeString, nil, nil
	case reflect.Bool:
		return decodeBool, nil, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return decodeInt, nil, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return decodeUint, nil, nil
	case reflect.Float32, reflect.Float64:
		return decodeFloat, nil, nil
	case reflect.Struct, reflect.Map:
		return nil, nil, nil // for documents
	case reflect.Slice, reflect.Array:
		return compileList(t, depth)
	case reflect.Interface:
		if t.NumMethod() == 0 {
			return decodeAny, nil, nil
		}
	}
	return nil, nil, fmt.Errorf("no column can be decoded into %v", t)
}

func compileList(t reflect.Type, depth int) (kind, list decoder, err error) {
	elem, err := compile(t.Elem(), depth+1)
	if err != nil {
		return nil, nil, err
	}
	if t.Elem().Kind() == reflect.Uint8 {
		kind = decodeBytes
	}
	return kind, func(dst reflect.Value, v value) error { return decodeList(dst, v, elem) }, nil
}

func decodeList(dst reflect.Value, v value, elem decoder) error {
	n := 0
	for w := walkArray(v.raw); w.next(); {
		n++
	}
	switch {
	case dst.Kind() == reflect.Slice:
		dst.Set(reflect.MakeSlice(dst.Type(), n, n))
	case dst.Len() != n:
		return fmt.Errorf("an array of %d elements does not fit", n)
	default:
		dst.SetZero()
	}
	w := walkArray(v.raw)
	for i := 0; w.next(); i++ {
		if err := elem(dst.Index(i), v.element(w.val)); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	return w.err
}

func decodeRaw(dst reflect.Value, v value) error {
	dst.SetBytes(bytes.Clone(v.raw))
	return nil
}

func decodeJSON(dst reflect.Value, v value) error {
	dst.SetZero() // encoding/json would merge into what is there
	return unmarshal(v.raw, dst.Addr().Interface())
}

func decodeAny(dst reflect.Value, v value) error {
	x, err := v.natural()
	if err == nil {
		dst.Set(reflect.ValueOf(x))
	}
	return err
}

// scan gives the value to a Scanner. One that does not know the word infinity
// gets the time that stands for it.
func scan(dst reflect.Value, v value) error {
	x, err := v.driver()
	if err != nil {
		return err
	}
	s := dst.Addr().Interface().(sql.Scanner)
	if err = s.Scan(x); err == nil || v.class != instant {
		return err
	}
	if t, terr := v.time(); terr == nil {
		return s.Scan(t)
	}
	return err
}

func decodeText(dst reflect.Value, v value) error {
	var s string
	var err error
	if v.isNumber() {
		s, err = v.number()
	} else {
		s, err = v.text()
	}
	if err != nil {
		return err
	}
	return dst.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s))
}

func decodeString(dst reflect.Value, v value) error {
	s, err := v.text()
	if err == nil {
		dst.SetString(s)
	}
	return err
}

func decodeBool(dst reflect.Value, v value) error {
	if !v.isBool() {
		return v.refuse("is not a boolean")
	}
	dst.SetBool(string(v.raw) == "true")
	return nil
}

func decodeInt(dst reflect.Value, v value) error {
	digits, err := v.integer()
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(digits, 10, dst.Type().Bits())
	if err != nil {
		return v.refuse("is out of range")
	}
	dst.SetInt(n)
	return nil
}

func decodeUint(dst reflect.Value, v value) error {
	digits, err := v.integer()
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(digits, 10, dst.Type().Bits())
	if err != nil {
		return v.refuse("is out of range")
	}
	dst.SetUint(n)
	return nil
}

func decodeFloat(dst reflect.Value, v value) error {
	f, err := v.float(dst.Type().Bits())
	if err == nil {
		dst.SetFloat(f)
	}
	return err
}

// decodeBytes sets a slice or an array of bytes.
func decodeBytes(dst reflect.Value, v value) error {
	b, err := v.bytes()
	if err != nil {
		return err
	}
	if dst.Kind() == reflect.Slice {
		dst.SetBytes(b)
		return nil
	}
	if dst.Len() != len(b) {
		return fmt.Errorf("%d bytes do not fit", len(b))
	}
	for i, x := range b {
		dst.Index(i).SetUint(uint64(x))
	}
	return nil
}

func decodeTime(dst reflect.Value, v value) error {
	t, err := v.time()
	if err == nil {
		*dst.Addr().Interface().(*time.Time) = t
	}
	return err
}

// decodeNumber keeps the digits. A numeric may be NaN or infinite, which is a
// json.Number in name only.
func decodeNumber(dst reflect.Value, v value) error {
	if !v.isNumber() {
		_, err := v.float(64)
		if _, notInteger := v.integer(); err != nil && notInteger != nil {
			return v.refuse("is not a number")
		}
	}
	return decodeString(dst, v)
}

func decodeBigInt(dst reflect.Value, v value) error {
	digits, err := v.integer()
	if err != nil {
		return err
	}
	if len(digits) > maxDigits {
		return v.refuse("is out of range")
	}
	dst.Addr().Interface().(*big.Int).SetString(digits, 10) // integer has checked them
	return nil
}

func decodeBigRat(dst reflect.Value, v value) error {
	if !v.isNumber() {
		return v.refuse("is not a number")
	}
	digits, err := v.number()
	if err != nil {
		return err
	}
	if _, ok := dst.Addr().Interface().(*big.Rat).SetString(digits); !ok {
		return v.refuse("is not a number")
	}
	return nil
}
