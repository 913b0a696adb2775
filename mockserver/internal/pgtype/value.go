package pgtype

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// GoValue returns a datum as the Go value that a Row gives for it; see
// Server.Rows. datum takes it back without loss.
func (t Type) GoValue(v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case bool, int64, float64:
		return v
	case []byte:
		return bytes.Clone(v)
	case Array:
		return t.goArray(v)
	case instant:
		if finite, ok := v.time(); ok {
			return finite
		}
	case Decimal:
		return json.Number(v.String())
	}
	if t.isJSON() {
		return json.RawMessage(t.Text(v))
	}
	return t.Text(v)
}

func (t Type) goArray(a Array) []any {
	values := make([]any, len(a))
	for i, v := range a {
		if nested, ok := v.(Array); ok {
			values[i] = t.goArray(nested)
		} else {
			values[i] = t.Item.GoValue(v)
		}
	}
	return values
}

// Datum makes a datum of a Go value; nil, and a nil pointer, is NULL.
func (t Type) Datum(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return t.Parse(v)
	case []byte:
		if v == nil {
			return nil, nil
		}
		if t.ops == &byteaOps {
			return bytes.Clone(v), nil
		}
		return t.Parse(string(v))
	case json.RawMessage:
		if v == nil {
			return nil, nil
		}
		if t.isJSON() { // even null, which is a value of these types
			return t.Parse(string(v))
		}
		return t.FromJSON(v)
	case time.Time:
		return t.fromTime(v)
	case time.Duration:
		if t.ops == &intOps {
			return t.Parse(strconv.FormatInt(int64(v), 10))
		}
		return t.Parse(formatClock(v.Microseconds()))
	}
	return t.fromKind(v)
}

// fromKind makes a datum of a value whose type this package does not know by
// name.
func (t Type) fromKind(v any) (any, error) {
	r := reflect.ValueOf(v)
	s, isStringer := v.(fmt.Stringer)
	if r.Kind() == reflect.Pointer {
		if r.IsNil() {
			return nil, nil
		}
		pointee := r.Elem().Interface()
		if _, ok := pointee.(fmt.Stringer); ok || !isStringer { // so *big.Int is a Stringer, and *time.Time a time
			return t.Datum(pointee)
		}
	}
	if isStringer {
		return t.Parse(s.String())
	}
	switch r.Kind() {
	case reflect.Bool:
		return t.Parse(strconv.FormatBool(r.Bool()))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return t.Parse(strconv.FormatInt(r.Int(), 10))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return t.Parse(strconv.FormatUint(r.Uint(), 10))
	case reflect.Float32:
		return t.Parse(formatFloat(r.Float(), 32))
	case reflect.Float64:
		return t.Parse(formatFloat(r.Float(), 64))
	case reflect.String:
		return t.Parse(r.String())
	case reflect.Slice, reflect.Array:
		if r.Kind() == reflect.Slice && r.Type().Elem().Kind() == reflect.Uint8 && t.Item == nil {
			return t.Datum(r.Bytes()) // a named type of bytes
		}
		return t.fromSlice(r)
	case reflect.Map, reflect.Struct:
		return t.fromGoJSON(v)
	}
	return nil, Errorf(CodeDatatypeMismatch, "a Go value of type %T is no value of type %s", v, t.SQLName)
}

func (t Type) fromSlice(r reflect.Value) (any, error) {
	if r.Kind() == reflect.Slice && r.IsNil() {
		return nil, nil
	}
	if t.isJSON() {
		return t.fromGoJSON(r.Interface())
	}
	if t.Item == nil {
		return nil, Errorf(CodeDatatypeMismatch, "a Go value of type %s is no value of type %s", r.Type(), t.SQLName)
	}
	a := make(Array, r.Len())
	for i := range a {
		v := r.Index(i).Interface()
		var err error
		if nestedSlice(v) {
			a[i], err = t.fromSlice(reflect.ValueOf(v))
		} else {
			a[i], err = t.Item.Datum(v)
		}
		if err != nil {
			return nil, err
		}
	}
	return a.checked()
}

// nestedSlice reports whether an element of a slice is a dimension more.
func nestedSlice(v any) bool {
	if _, ok := v.(fmt.Stringer); ok || v == nil {
		return false
	}
	kind := reflect.TypeOf(v).Kind()
	_, bytes := v.([]byte)
	_, raw := v.(json.RawMessage)
	return (kind == reflect.Slice || kind == reflect.Array) && !bytes && !raw
}

// fromGoJSON makes a datum of a Go value by its JSON.
func (t Type) fromGoJSON(v any) (any, error) {
	if !t.isJSON() && t.Fields == nil {
		return nil, Errorf(CodeDatatypeMismatch, "a Go value of type %T is no value of type %s", v, t.SQLName)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, Errorf(CodeDatatypeMismatch, "a Go value of type %T has no JSON: %v", v, err)
	}
	return t.FromJSON(b)
}

// fromTime makes a datum of a time. Types without a zone keep the clock's
// reading, as PostgreSQL does with a zone in the text.
func (t Type) fromTime(v time.Time) (any, error) {
	switch t.ops {
	case &timestamptzOps:
		return newInstant(t, v)
	case &timestampOps:
		_, offset := v.Zone()
		return newInstant(t, v.Add(time.Duration(offset)*time.Second))
	case &dateOps:
		_, offset := v.Zone()
		return t.Parse(day(floorDiv(v.Unix()+int64(offset), 24*60*60)).format())
	case &timeOps, &timetzOps:
		return t.Parse(v.Format("15:04:05.999999-07:00:00"))
	}
	if t.isJSON() {
		b, err := v.MarshalJSON()
		if err != nil {
			return nil, Errorf(CodeDatatypeMismatch, "%v", err)
		}
		return t.Parse(string(b))
	}
	return t.Parse(v.UTC().Format("2006-01-02 15:04:05.999999-07"))
}

// FromJSON makes a datum of a JSON value as json_populate_record does, which
// is what PostgREST makes rows of.
func (t Type) FromJSON(raw json.RawMessage) (any, error) {
	raw = bytes.TrimSpace(raw)
	if string(raw) == "null" {
		return nil, nil
	}
	if t.isJSON() {
		return t.Parse(string(raw))
	}
	switch {
	case len(raw) == 0:
		return nil, badJSON("The input string ended unexpectedly.")
	case raw[0] == '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, badJSON(err.Error())
		}
		if err := checkSurrogates(string(raw)); err != nil {
			return nil, err
		}
		return t.Parse(s)
	case raw[0] == '[' && t.Item != nil:
		return t.arrayFromJSON(raw)
	case raw[0] == '{' && t.Fields != nil:
		return t.recordFromJSON(raw)
	}
	return t.Parse(string(raw)) // a number, a boolean, or JSON text for a text column
}

func badJSON(detail string) *Error {
	e := Errorf(CodeBadText, "invalid input syntax for type json")
	e.Detail = detail
	return e
}

// checkText refuses what no PostgreSQL text holds.
func checkText(s string) error {
	if i := strings.IndexByte(s, 0); i >= 0 {
		return Errorf("22021", `invalid byte sequence for encoding "UTF8": 0x00`)
	}
	if !utf8.ValidString(s) {
		for i, r := range s {
			if _, size := utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && size == 1 {
				return Errorf("22021", `invalid byte sequence for encoding "UTF8": 0x%s`, hex.EncodeToString([]byte(s[i:i+1])))
			}
		}
	}
	return nil
}

// trimSpace trims what C's isspace calls space, as PostgreSQL's input
// functions do.
func trimSpace(s string) string { return strings.Trim(s, " \t\n\v\f\r") }

func badSyntax(t Type, s string) *Error {
	return Errorf(CodeBadText, "invalid input syntax for type %s: \"%s\"", syntaxName(t), s)
}

// syntaxName returns the type's name as errors of bad syntax spell it.
func syntaxName(t Type) string {
	if t = t.Base(); t.typname == "time" || t.typname == "timestamp" {
		return t.typname
	}
	return t.SQLName
}

// floorDiv divides rounding down.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
