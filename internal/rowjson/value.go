package rowjson

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	msg "github.com/gapless-go/gapless/internal/text"
)

// class groups the PostgreSQL types whose JSON is read in the same way.
type class uint8

const (
	// other is an enum, a domain, a composite, a range, a type of an
	// extension, or, in a change that came by Broadcast, any type: such a value
	// is read by what its JSON is.
	other class = iota
	integer
	numeric
	float
	boolean
	text
	oid
	bytea
	instant
	document
)

func classOf(typ string) class {
	switch typ {
	case "int2", "int4", "int8":
		return integer
	case "numeric":
		return numeric
	case "float4", "float8":
		return float
	case "bool":
		return boolean
	case "text", "varchar", "bpchar", "char", "name", "citext", "uuid", "xml", "time", "timetz", "interval":
		return text
	case "oid", "xid", "cid", "xid8",
		"regclass", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator", "regproc", "regprocedure", "regrole", "regtype":
		return oid
	case "bytea":
		return bytea
	case "timestamptz", "timestamp", "date":
		return instant
	case "json", "jsonb":
		return document
	}
	return other
}

// Value is one value of a row.
type Value struct {
	typ   string // PostgreSQL's name of the type; empty if unknown
	class class
	raw   []byte // JSON that has been checked
}

// NewValue returns the value of a column of the type that a Cursor has taken.
func NewValue(typ string, raw []byte) Value {
	return Value{typ: typ, class: classOf(typ), raw: raw}
}

func (v *Value) isNull() bool   { return v.raw[0] == 'n' }
func (v *Value) isString() bool { return v.raw[0] == '"' }
func (v *Value) isArray() bool  { return v.raw[0] == '[' && v.class != document }
func (v *Value) isNumber() bool { return isNumber(v.raw) }
func (v *Value) isBool() bool   { return string(v.raw) == "true" || string(v.raw) == "false" }

func isNumber(raw []byte) bool { return raw[0] == '-' || isDigit(raw[0]) }

// isDocument reports whether the value is JSON in its own right: a json or
// jsonb column, or an object that stands for a composite or an hstore.
func (v *Value) isDocument() bool { return v.class == document || v.raw[0] == '{' }

// elements appends to the room where the elements of an array are, and returns
// what is common to them.
func (v *Value) elements(room []Cell) (cells []Cell, common Value) {
	c := Cursor{Text: v.raw}
	for c.Open('['); c.More(']'); {
		start, end := c.skip()
		room = append(room, Cell{start: uint32(start), end: uint32(end)})
	}
	return room, NewValue(strings.TrimPrefix(v.typ, "_"), nil)
}

// element returns an element of an array. An array of two dimensions is sent
// as an array of arrays, which are of the same type.
func (v *Value) element(common Value, x Cell) Value {
	common.raw = v.raw[x.start:x.end]
	if common.isArray() {
		common.typ, common.class = v.typ, v.class
	}
	return common
}

// Clip returns the beginning of JSON text that an error quotes.
func Clip(raw []byte) string {
	const most = 64
	return msg.Clean(string(raw[:min(len(raw), 2*most)]), most)
}

// clipName returns the beginning of a name that an error quotes.
func clipName(name string) string { return msg.Clean(name, 64) }

// refuse returns the error for a value that is not what was asked for.
func (v *Value) refuse(why string) error {
	return fmt.Errorf("%s %s", Clip(v.raw), why)
}

// text returns the value as PostgreSQL writes it in text. A bytea gets back
// the \x that Realtime leaves out.
func (v *Value) text() (string, error) {
	switch {
	case v.isString() && v.class == bytea:
		b, err := v.bytes()
		return `\x` + hex.EncodeToString(b), err
	case v.isString():
		s, _ := Unquote(v.raw)
		return s, nil
	case v.isNumber(), v.isBool():
		return string(v.raw), nil
	}
	return "", v.refuse("is neither a string, a number nor a boolean")
}

// told returns the value's JSON as the REST API has it. A bytea gets back the \x
// that Realtime leaves out, so that a json.Unmarshaler sees one value in one way.
func (v *Value) told() []byte {
	if v.class != bytea || !v.isString() {
		return v.raw
	}
	b, err := v.bytes()
	if err != nil {
		return v.raw
	}
	return fmt.Appendf(nil, `"\\x%x"`, b)
}

// integer returns the digits of an integer, perhaps with a minus sign. A
// numeric such as 5.00 is one; 1e3 is not: PostgreSQL writes no exponents.
// Types that are no number but in their name, such as oid, come as strings.
func (v *Value) integer() (string, error) {
	digits := asString(v.raw)
	if v.isString() && (v.class == oid || v.class == other) {
		digits, _ = Unquote(v.raw)
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	magnitude := strings.TrimPrefix(whole, "-")
	if magnitude == "" || strings.Trim(magnitude, "0123456789") != "" || strings.Trim(fraction, "0") != "" {
		return "", v.refuse("is not an integer")
	}
	if strings.Trim(magnitude, "0") == "" {
		return magnitude, nil // -0
	}
	return whole, nil
}

// int returns an integer of that many bits.
func (v *Value) int(bits int) (int64, error) {
	n, end := int64(0), 0
	if negative := v.raw[0] == '-'; len(v.raw) <= 18 { // which cannot overflow
		if negative {
			end++
		}
		for ; end < len(v.raw) && isDigit(v.raw[end]); end++ {
			n = n*10 + int64(v.raw[end]-'0')
		}
		if negative {
			n = -n
		}
	}
	if end < len(v.raw) || end == 0 {
		digits, err := v.integer()
		if err != nil {
			return 0, err
		}
		if n, err = strconv.ParseInt(digits, 10, bits); err != nil {
			return 0, v.refuse("is out of range")
		}
	}
	if bits < 64 && n>>(bits-1) != n>>63 {
		return 0, v.refuse("is out of range")
	}
	return n, nil
}

// uint returns an integer of that many bits that is not negative.
func (v *Value) uint(bits int) (uint64, error) {
	digits, err := v.integer()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(digits, 10, bits)
	if err != nil {
		return 0, v.refuse("is out of range")
	}
	return n, nil
}

// float returns the nearest float of that many bits. Where Realtime does not
// send null for them, NaN and the infinities are strings.
func (v *Value) float(bits int) (float64, error) {
	digits := asString(v.raw)
	switch {
	case v.isNumber() && len(v.raw) <= maxDigits:
	case v.isString() && (v.class == float || v.class == numeric || v.class == other):
		digits, _ = Unquote(v.raw)
		if digits != "NaN" && digits != "Infinity" && digits != "-Infinity" {
			return 0, v.refuse("is not a number")
		}
	default:
		return 0, v.refuse("is not a number")
	}
	f, err := strconv.ParseFloat(digits, bits)
	if err != nil {
		return 0, v.refuse("is out of range")
	}
	return f, nil
}

// maxDigits is more than the longest numeric has: 131072 digits before the
// point and 16383 after it.
const maxDigits = 150_000

// number returns the text of a number, for parsers that take their time or
// memory with what is no PostgreSQL number: an exponent or endless digits.
func (v *Value) number() (string, error) {
	if len(v.raw) > maxDigits || strings.ContainsAny(string(v.raw), "eE") {
		return "", v.refuse("is not a number that PostgreSQL writes")
	}
	return string(v.raw), nil
}

// bytes returns the bytes of a bytea, or of a text. A bytea column holds bare
// hexadecimal digits; as an element of an array, and by Broadcast, it has \x
// before them. Servers before 2026 encoded a column twice, which cannot be
// told from a bytea that does hold such digits, and is not undone.
func (v *Value) bytes() ([]byte, error) {
	if !v.isString() {
		return nil, v.refuse("is not a bytea")
	}
	s, _ := Unquote(v.raw)
	if v.class == text {
		return []byte(s), nil
	}
	digits, marked := strings.CutPrefix(s, `\x`)
	b, err := hex.DecodeString(digits)
	if err != nil || !marked && v.class != bytea {
		return nil, v.refuse("is not a bytea")
	}
	return b, nil
}

// time returns the time of a timestamp or a date, see ParseTime.
func (v *Value) time() (time.Time, error) {
	if v.isString() && (v.class == instant || v.class == other) {
		if t, ok := TimeOf(v.raw); ok {
			return t, nil
		}
	}
	return time.Time{}, v.refuse("is not a date or timestamp")
}

// Natural returns the value as the Go type that suits it best, see cdc.Value.
func (v *Value) Natural() (any, error) {
	switch {
	case v.isNull():
		return nil, nil
	case v.isArray() && strings.HasPrefix(v.typ, "_"):
		return v.naturalArray(1)
	case v.isArray(), v.isDocument(): // or a domain of either, nobody knows which
		return json.RawMessage(bytes.Clone(v.raw)), nil
	}
	switch v.class {
	case integer:
		return v.int(64)
	case oid:
		if v.typ == "oid" {
			return v.int(64)
		}
	case float:
		return v.float(64)
	case bytea:
		return v.bytes()
	case instant:
		return v.time()
	}
	if v.isBool() {
		return string(v.raw) == "true", nil
	}
	s, err := v.text()
	if v.class == numeric || v.isNumber() && v.class == other {
		return json.Number(s), err
	}
	return s, err
}

// maxDimensions is the most that a PostgreSQL array has.
const maxDimensions = 6

func (v *Value) naturalArray(dimension int) (any, error) {
	if dimension > maxDimensions {
		return nil, fmt.Errorf("an array of more than %d dimensions", maxDimensions)
	}
	cells, common := v.elements(nil)
	list := make([]any, len(cells))
	for i, x := range cells {
		var err error
		if e := v.element(common, x); e.isArray() {
			list[i], err = e.naturalArray(dimension + 1)
		} else {
			list[i], err = e.Natural()
		}
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return list, nil
}

// driver returns the value as a database driver gives it to an sql.Scanner:
// int64, float64, bool, []byte, time.Time or string. An infinite time is the
// word for it.
func (v *Value) driver() (any, error) {
	switch {
	case v.isDocument(), v.isArray():
		return bytes.Clone(v.raw), nil
	case v.isBool():
		return string(v.raw) == "true", nil
	}
	switch v.class {
	case integer:
		return v.int(64)
	case float:
		return v.float(64)
	case bytea:
		return v.bytes()
	case instant:
		t, err := v.time()
		if err == nil && !t.Equal(Infinity) && !t.Equal(NegInfinity) {
			return t, nil
		}
	case oid, other:
		if v.class == other && v.isString() {
			break // such as an enum's "007"
		}
		if n, err := v.int(64); err == nil {
			return n, nil
		}
	}
	if v.isNumber() {
		return v.number()
	}
	return v.text()
}
