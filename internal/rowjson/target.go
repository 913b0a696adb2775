package rowjson

import (
	"bytes"
	"database/sql"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"

	"github.com/gapless-go/gapless/internal/rescue"
)

// decoder sets dst, which is addressable and zero, to a value.
type decoder func(dst reflect.Value, v *Value) error

// call decodes by the decoder. A panic of a method of the user's type becomes an
// error.
func (d decoder) call(dst reflect.Value, v *Value) error {
	return rescue.Do("decoding into "+dst.Type().String(), func() error { return d(dst, v) })
}

var (
	scannerType         = reflect.TypeFor[sql.Scanner]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonUnmarshalerType = reflect.TypeFor[json.Unmarshaler]()
)

// maxNested is how many pointers and slices may be around a type. It ends the
// walk over types that contain themselves.
const maxNested = 16

// compile returns the decoder of a Go type, in this order of precedence:
//
//   - json.RawMessage, because it asks for the JSON, null included;
//   - null, which no other type sees but a Scanner: that alone can tell null
//     from zero;
//   - a pointer and sql.Null, which say what null is and for the rest stand
//     for what they hold;
//   - time.Time, numbers of math/big and json.Number, whose own methods do not
//     know PostgreSQL's forms (infinity, BC, 5.00 for an integer);
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
	if depth > maxNested {
		return nil, errors.New("nested too deeply")
	}
	if s := slotOf(t); s.kind != unknown {
		return func(dst reflect.Value, v *Value) error { return s.put(dst.Addr().UnsafePointer(), v, &arena{}) }, nil
	}
	switch {
	case t.Kind() == reflect.Pointer:
		elem, err := compile(t.Elem(), depth+1)
		return func(dst reflect.Value, v *Value) error {
			if v.isNull() {
				return nil
			}
			dst.Set(reflect.New(t.Elem()))
			return elem(dst.Elem(), v)
		}, err
	case isSQLNull(t):
		elem, err := compile(t.Field(0).Type, depth+1)
		return func(dst reflect.Value, v *Value) error {
			if v.isNull() {
				return nil
			}
			dst.Field(1).SetBool(true) // Valid
			return elem(dst.Field(0), v)
		}, err
	}
	p := reflect.PointerTo(t)
	r := &target{scan: p.Implements(scannerType), text: p.Implements(textUnmarshalerType), json: p.Implements(jsonUnmarshalerType)}
	var err error
	r.known, r.list, err = compileKind(t, depth)
	if err != nil && !r.scan && !r.text && !r.json {
		return nil, err
	}
	return r.decode, nil
}

// isSQLNull reports whether t is an sql.Null. Its own Scan would take what a
// driver gives and nothing else: no arrays, no numbers in strings.
func isSQLNull(t reflect.Type) bool {
	return t.PkgPath() == "database/sql" && strings.HasPrefix(t.Name(), "Null[")
}

// target decodes into a type that is no pointer and no slot.
type target struct {
	scan, text, json bool    // which interfaces the type implements
	known            decoder // nil if the type has none of its own
	list             decoder // for arrays; nil if the kind is none
}

// compileKind returns how to decode into a type that needs no methods, and, of
// a slice or a Go array, how to decode a PostgreSQL array into it.
func compileKind(t reflect.Type, depth int) (known, list decoder, err error) {
	switch {
	case t == reflect.TypeFor[big.Int]():
		return decodeBigInt, nil, nil
	case t == reflect.TypeFor[big.Rat]():
		return decodeBigRat, nil, nil
	case t.Kind() == reflect.Struct, t.Kind() == reflect.Map:
		return nil, nil, nil // for documents
	case t.Kind() == reflect.Slice, t.Kind() == reflect.Array:
		elem, err := compile(t.Elem(), depth+1)
		if t.Elem().Kind() == reflect.Uint8 && !hasMethods(t) {
			known = decodeBytes
		}
		return known, func(dst reflect.Value, v *Value) error { return decodeList(dst, v, elem) }, err
	case t.Kind() == reflect.Interface && t.NumMethod() == 0:
		return decodeAny, nil, nil
	}
	return nil, nil, fmt.Errorf("no column can be decoded into %v", t)
}

func (r *target) decode(dst reflect.Value, v *Value) error {
	switch {
	case v.isNull() && r.scan:
		return dst.Addr().Interface().(sql.Scanner).Scan(nil)
	case v.isNull():
		return nil
	case v.isDocument():
		return r.decodeDocument(dst, v)
	case v.isArray() && r.list != nil && !r.json:
		return r.list(dst, v)
	case r.known != nil:
		return r.known(dst, v)
	case v.isArray() && r.json:
		return decodeJSON(dst, v.raw)
	case r.scan:
		return scan(dst, v)
	case r.text:
		return decodeText(dst, v)
	case r.json:
		return decodeJSON(dst, v.told())
	}
	return v.refuse("does not fit")
}

func (r *target) decodeDocument(dst reflect.Value, v *Value) error {
	switch {
	case r.scan && !r.json:
		return scan(dst, v)
	case r.json:
	case dst.Kind() == reflect.Interface:
		return decodeAny(dst, v)
	case dst.Kind() == reflect.Slice && dst.Type().Elem().Kind() == reflect.Uint8:
		dst.SetBytes(bytes.Clone(v.raw)) // the text, as drivers give it
		return nil
	}
	return decodeJSON(dst, v.raw)
}

func decodeList(dst reflect.Value, v *Value, elem decoder) error {
	cells, common := v.elements(nil)
	n := len(cells)
	switch {
	case dst.Kind() == reflect.Slice:
		dst.Set(reflect.MakeSlice(dst.Type(), n, n))
	case dst.Len() != n:
		return fmt.Errorf("an array of %d elements does not fit", n)
	}
	for i, x := range cells {
		e := v.element(common, x)
		if err := elem(dst.Index(i), &e); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	return nil
}

// decodeJSON decodes a value by encoding/json. Numbers become a json.Number
// where dst has no type for them: an int8 or a numeric would not survive a
// float64.
func decodeJSON(dst reflect.Value, raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(dst.Addr().Interface())
}

func decodeAny(dst reflect.Value, v *Value) error {
	x, err := v.Natural()
	if err == nil {
		dst.Set(reflect.ValueOf(x))
	}
	return err
}

// scan gives the value to a Scanner. One that does not know the word infinity
// gets the time that stands for it.
func scan(dst reflect.Value, v *Value) error {
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

func decodeText(dst reflect.Value, v *Value) error {
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

// decodeBytes sets a slice or an array of bytes.
func decodeBytes(dst reflect.Value, v *Value) error {
	b, err := v.bytes()
	switch {
	case err != nil:
		return err
	case dst.Kind() == reflect.Slice:
		dst.SetBytes(b)
		return nil
	case dst.Len() != len(b):
		return fmt.Errorf("%d bytes do not fit", len(b))
	}
	for i, x := range b {
		dst.Index(i).SetUint(uint64(x))
	}
	return nil
}

func decodeBigInt(dst reflect.Value, v *Value) error {
	digits, err := v.integer()
	switch {
	case err != nil:
		return err
	case len(digits) > maxDigits:
		return v.refuse("is out of range")
	}
	dst.Addr().Interface().(*big.Int).SetString(digits, 10) // integer has checked them
	return nil
}

func decodeBigRat(dst reflect.Value, v *Value) error {
	if !v.isNumber() {
		return v.refuse("is not a number")
	}
	digits, err := v.number()
	if err != nil {
		return err
	}
	dst.Addr().Interface().(*big.Rat).SetString(digits)
	return nil
}
