package mockserver

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

// newRow makes a row for an INSERT: a column that is not named gets its
// default.
func (t *table) newRow(values Row) (row, error) {
	given, err := t.datums(values)
	if err != nil {
		return nil, err
	}
	return t.fill(given)
}

// fill makes a row of some columns' datums and the defaults of the others.
func (t *table) fill(given map[int]any) (row, error) {
	r := make(row, len(t.columns))
	for i, c := range t.columns {
		v, ok := given[i]
		if !ok {
			var err error
			if v, err = c.typ.datum(c.next()); err != nil {
				return nil, t.badValue(i, err)
			}
		}
		r[i] = v
	}
	return r, nil
}

// datums checks columns and values and returns the datums by column.
func (t *table) datums(values Row) (map[int]any, error) {
	datums := make(map[int]any, len(values))
	for name, v := range values {
		i, err := t.column(name)
		if err != nil {
			return nil, err
		}
		if datums[i], err = t.columns[i].typ.datum(v); err != nil {
			return nil, t.badValue(i, err)
		}
	}
	return datums, nil
}

// badValue says of an error which column it is about.
func (t *table) badValue(column int, err error) error {
	if e, ok := err.(*Error); ok {
		return e.at(t, t.columns[column].name)
	}
	return fmt.Errorf("mockserver: table %s: column %s: %w", t.fullName(), t.columns[column].name, err)
}

// goRow returns a row as Server.Rows and policies give it.
func (t *table) goRow(r row) Row {
	values := make(Row, len(r))
	for i, c := range t.columns {
		values[c.name] = c.typ.goValue(r[i])
	}
	return values
}

// goValue returns a datum as the Go value that a Row gives for it; see
// Server.Rows. datum takes it back without loss.
func (t pgType) goValue(v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case bool, int64, float64:
		return v
	case []byte:
		return bytes.Clone(v)
	case array:
		return t.goArray(v)
	case instant:
		if finite, ok := v.time(); ok {
			return finite
		}
	case decimal:
		return json.Number(v.String())
	}
	if t.isJSON() {
		return json.RawMessage(t.text(v))
	}
	return t.text(v)
}

func (t pgType) goArray(a array) []any {
	values := make([]any, len(a))
	for i, v := range a {
		if nested, ok := v.(array); ok {
			values[i] = t.goArray(nested)
		} else {
			values[i] = t.item.goValue(v)
		}
	}
	return values
}

// datum makes a datum of a Go value; nil, and a nil pointer, is NULL.
func (t pgType) datum(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return t.parse(v)
	case []byte:
		if v == nil {
			return nil, nil
		}
		if t.ops == &byteaOps {
			return bytes.Clone(v), nil
		}
		return t.parse(string(v))
	case json.RawMessage:
		if v == nil {
			return nil, nil
		}
		if t.isJSON() { // even null, which is a value of these types
			return t.parse(string(v))
		}
		return t.fromJSON(v)
	case time.Time:
		return t.fromTime(v)
	case time.Duration:
		if t.ops == &intOps {
			return t.parse(strconv.FormatInt(int64(v), 10))
		}
		return t.parse(formatClock(v.Microseconds()))
	case Row:
		return t.fromGoJSON(map[string]any(v))
	}
	return t.fromKind(v)
}

// fromKind makes a datum of a value whose type this package does not know by
// name.
func (t pgType) fromKind(v any) (any, error) {
	r := reflect.ValueOf(v)
	s, isStringer := v.(fmt.Stringer)
	if r.Kind() == reflect.Pointer {
		if r.IsNil() {
			return nil, nil
		}
		pointee := r.Elem().Interface()
		if _, ok := pointee.(fmt.Stringer); ok || !isStringer { // so *big.Int is a Stringer, and *time.Time a time
			return t.datum(pointee)
		}
	}
	if isStringer {
		return t.parse(s.String())
	}
	switch r.Kind() {
	case reflect.Bool:
		return t.parse(strconv.FormatBool(r.Bool()))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return t.parse(strconv.FormatInt(r.Int(), 10))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return t.parse(strconv.FormatUint(r.Uint(), 10))
	case reflect.Float32:
		return t.parse(formatFloat(r.Float(), 32))
	case reflect.Float64:
		return t.parse(formatFloat(r.Float(), 64))
	case reflect.String:
		return t.parse(r.String())
	case reflect.Slice, reflect.Array:
		if r.Kind() == reflect.Slice && r.Type().Elem().Kind() == reflect.Uint8 && t.item == nil {
			return t.datum(r.Bytes()) // a named type of bytes
		}
		return t.fromSlice(r)
	case reflect.Map, reflect.Struct:
		return t.fromGoJSON(v)
	}
	return nil, errf(codeDatatypeMismatch, "a Go value of type %T is no value of type %s", v, t.sqlName)
}

func (t pgType) fromSlice(r reflect.Value) (any, error) {
	if r.Kind() == reflect.Slice && r.IsNil() {
		return nil, nil
	}
	if t.isJSON() {
		return t.fromGoJSON(r.Interface())
	}
	if t.item == nil {
		return nil, errf(codeDatatypeMismatch, "a Go value of type %s is no value of type %s", r.Type(), t.sqlName)
	}
	a := make(array, r.Len())
	for i := range a {
		v := r.Index(i).Interface()
		var err error
		if nestedSlice(v) {
			a[i], err = t.fromSlice(reflect.ValueOf(v))
		} else {
			a[i], err = t.item.datum(v)
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
func (t pgType) fromGoJSON(v any) (any, error) {
	if !t.isJSON() && t.fields == nil {
		return nil, errf(codeDatatypeMismatch, "a Go value of type %T is no value of type %s", v, t.sqlName)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, errf(codeDatatypeMismatch, "a Go value of type %T has no JSON: %v", v, err)
	}
	return t.fromJSON(b)
}

// fromTime makes a datum of a time. Types without a zone keep the clock's
// reading, as PostgreSQL does with a zone in the text.
func (t pgType) fromTime(v time.Time) (any, error) {
	switch t.ops {
	case &timestamptzOps:
		return newInstant(t, v)
	case &timestampOps:
		_, offset := v.Zone()
		return newInstant(t, v.Add(time.Duration(offset)*time.Second))
	case &dateOps:
		_, offset := v.Zone()
		return t.parse(day(floorDiv(v.Unix()+int64(offset), 24*60*60)).format())
	case &timeOps, &timetzOps:
		return t.parse(v.Format("15:04:05.999999-07:00:00"))
	}
	if t.isJSON() {
		b, err := v.MarshalJSON()
		if err != nil {
			return nil, errf(codeDatatypeMismatch, "%v", err)
		}
		return t.parse(string(b))
	}
	return t.parse(v.UTC().Format("2006-01-02 15:04:05.999999-07"))
}

// fromJSON makes a datum of a JSON value as json_populate_record does, which
// is what PostgREST makes rows of.
func (t pgType) fromJSON(raw json.RawMessage) (any, error) {
	raw = bytes.TrimSpace(raw)
	if string(raw) == "null" {
		return nil, nil
	}
	if t.isJSON() {
		return t.parse(string(raw))
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
		return t.parse(s)
	case raw[0] == '[' && t.item != nil:
		return t.arrayFromJSON(raw)
	case raw[0] == '{' && t.fields != nil:
		return t.recordFromJSON(raw)
	}
	return t.parse(string(raw)) // a number, a boolean, or JSON text for a text column
}

func badJSON(detail string) *Error {
	e := errf(codeBadText, "invalid input syntax for type json")
	e.Detail = detail
	return e
}

// checkText refuses what no PostgreSQL text holds.
func checkText(s string) error {
	if i := strings.IndexByte(s, 0); i >= 0 {
		return errf("22021", `invalid byte sequence for encoding "UTF8": 0x00`)
	}
	if !utf8.ValidString(s) {
		for i, r := range s {
			if _, size := utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && size == 1 {
				return errf("22021", `invalid byte sequence for encoding "UTF8": 0x%s`, hex.EncodeToString([]byte(s[i:i+1])))
			}
		}
	}
	return nil
}

// trimSpace trims what C's isspace calls space, as PostgreSQL's input
// functions do.
func trimSpace(s string) string { return strings.Trim(s, " \t\n\v\f\r") }

func badSyntax(t pgType, s string) *Error {
	return errf(codeBadText, "invalid input syntax for type %s: \"%s\"", syntaxName(t), s)
}

// syntaxName returns the type's name as errors of bad syntax spell it.
func syntaxName(t pgType) string {
	if t = t.base(); t.typname == "time" || t.typname == "timestamp" {
		return t.typname
	}
	return t.sqlName
}

// floorDiv divides rounding down.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
