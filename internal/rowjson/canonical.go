package rowjson

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"
)

// AppendCanonical appends to dst the form of a value of a type in which two
// values are equal byte by byte if PostgreSQL's are, whether their text came
// from Realtime, a broadcast or the REST API. raw is JSON that a Cursor has
// taken; typ may be empty or a type that this package does not know, which is
// then compared by what its JSON is.
//
//   - Numbers are equal by value: 1, 1.00 and 10e-1; -0 is 0. float4 and float8
//     are compared as such; NaN is NaN, and the infinities are themselves.
//   - Dates and timestamps are equal by instant, in whatever offset; infinity,
//     too.
//   - A bytea is its bytes, with or without the \x before them.
//   - A char(n) is compared without the blanks at its end.
//   - json and jsonb are compared as jsonb: by content, whatever the order of
//     keys; of a key that comes twice, the last counts. So are composites and
//     hstore. Deeper than 64 levels the order of keys counts, which keeps the
//     cost linear: each level may be moved once.
//   - Arrays are compared element by element. Their bounds are in no text.
//   - All else is equal by its text: a string is what it means, however escaped.
//     So an interval of 30 days is not one of a month, a numrange of 1.0 not one
//     of 1.00, and a citext not one in capitals.
//
// SQL null and JSON null are one, as they are in the text.
//
// The form is self-delimiting, so that those of several columns can be joined.
// It has no meaning outside of the process, and may change.
func AppendCanonical(dst []byte, typ string, raw []byte) []byte {
	v := NewValue(typ, raw)
	return v.appendCanonical(dst, 0)
}

// What a form begins with.
const (
	formNull   = 'n'
	formString = '"'
	formNumber = '#'
	formTime   = '@'
)

func (v *Value) appendCanonical(dst []byte, depth int) []byte {
	switch {
	case v.isNull():
		return append(dst, formNull)
	case v.isBool():
		return append(dst, v.raw[0])
	case v.isDocument(), v.isArray() && depth == maxDimensions: // deeper ones are no arrays, and not gone over once for each level
		c := Cursor{Text: v.raw}
		return appendDocument(dst, &c, 0)
	case v.isArray():
		dst = append(dst, '[')
		cells, common := v.elements(nil)
		for _, x := range cells {
			e := v.element(common, x)
			dst = e.appendCanonical(dst, depth+1)
		}
		return append(dst, ']')
	case v.isNumber() && v.class == float:
		bits := 64
		if v.typ == "float4" {
			bits = 32
		}
		if f, err := v.float(bits); err == nil {
			return appendFloat(dst, f)
		}
		return appendNumber(dst, v.raw)
	case v.isNumber():
		return appendNumber(dst, v.raw)
	}
	return v.appendCanonicalString(dst)
}

func (v *Value) appendCanonicalString(dst []byte) []byte {
	switch v.class {
	case instant:
		if t, err := v.time(); err == nil {
			dst = binary.BigEndian.AppendUint64(append(dst, formTime), uint64(t.Unix()))
			return binary.BigEndian.AppendUint32(dst, uint32(t.Nanosecond()))
		}
	case bytea:
		if b, err := v.bytes(); err == nil {
			return appendString(dst, asString(b))
		}
	}
	s, _ := Unquote(v.raw)
	switch {
	case v.typ == "bpchar":
		s = strings.TrimRight(s, " ")
	case v.class == oid || v.class == integer || v.class == numeric || v.class == float:
		// A number in a string, as some servers have large ones and all have oid.
		if number := []byte(s); len(s) > 0 && numberEnd(number, 0) == len(number) {
			inner := Value{typ: v.typ, class: v.class, raw: number}
			return inner.appendCanonical(dst, 0)
		}
	}
	return appendString(dst, s)
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(append(dst, formString), uint64(len(s)))
	return append(dst, s...)
}

func appendFloat(dst []byte, f float64) []byte {
	if f == 0 {
		f = 0 // and not -0
	}
	return appendNumber(dst, strconv.AppendFloat(make([]byte, 0, 32), f, 'e', -1, 64))
}

// appendNumber appends a number as its digits without zeros at either end and
// the power of ten of the last of them.
func appendNumber(dst []byte, raw []byte) []byte {
	dst = append(dst, formNumber)
	mantissa, exponent := raw, []byte(nil)
	if i := bytes.IndexAny(raw, "eE"); i >= 0 {
		mantissa, exponent = raw[:i], raw[i+1:]
	}
	negative := mantissa[0] == '-'
	whole, fraction, _ := bytes.Cut(bytes.TrimPrefix(mantissa, []byte("-")), []byte("."))
	start := len(dst)
	if negative {
		dst = append(dst, '-')
	}
	first := len(dst)
	dst = append(dst, bytes.TrimLeft(whole, "0")...)
	if len(dst) == first {
		dst = append(dst, bytes.TrimLeft(fraction, "0")...)
	} else {
		dst = append(dst, fraction...)
	}
	all := len(dst)
	for len(dst) > first && dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	if len(dst) == first {
		return append(dst[:start], '0', ';')
	}
	power := int64(all - len(dst) - len(fraction))
	e, err := strconv.ParseInt(asString(exponent), 10, 64)
	switch {
	case exponent == nil:
	case err != nil || e > math.MaxInt64/2 || e < math.MinInt64/2: // PostgreSQL has none such
		return append(append(dst[:start], raw...), ';')
	default:
		power += e
	}
	return append(strconv.AppendInt(append(dst, 'e'), power, 10), ';')
}

// sortedLevels is how many levels of a document have their keys sorted.
const sortedLevels = 64

// appendDocument appends a document as jsonb has it: the keys by length and then
// by their bytes, so that what Realtime sends is in order already.
func appendDocument(dst []byte, c *Cursor, depth int) []byte {
	switch c.Next() {
	case '[':
		dst = append(dst, '[')
		for c.Open('['); c.More(']'); {
			dst = appendDocument(dst, c, depth+1)
		}
		return append(dst, ']')
	case '{':
		return appendObject(append(dst, '{'), c, depth)
	case '"':
		s, _ := Unquote(c.Value())
		return appendString(dst, s)
	}
	raw := c.Value()
	if len(raw) > 0 && isNumber(raw) {
		return appendNumber(dst, raw)
	}
	return append(dst, raw[:min(len(raw), 1)]...)
}

// member is a key of an object and where its form is.
type member struct {
	key        string
	start, end int
}

func appendObject(dst []byte, c *Cursor, depth int) []byte {
	start := len(dst)
	var members []member
	inOrder := true
	for c.Open('{'); c.More('}'); {
		m := member{key: string(c.Key()), start: len(dst)}
		dst = appendDocument(appendString(dst, m.key), c, depth+1)
		m.end = len(dst)
		inOrder = inOrder && (len(members) == 0 || compareKeys(members[len(members)-1], m) < 0)
		members = append(members, m)
	}
	if inOrder || depth >= sortedLevels {
		return append(dst, '}')
	}
	slices.SortStableFunc(members, compareKeys)
	text := bytes.Clone(dst[start:])
	dst = dst[:start]
	for i, m := range members {
		if i+1 == len(members) || members[i+1].key != m.key { // the last of equal ones
			dst = append(dst, text[m.start-start:m.end-start]...)
		}
	}
	return append(dst, '}')
}

func compareKeys(a, b member) int {
	if n := len(a.key) - len(b.key); n != 0 {
		return n
	}
	return strings.Compare(a.key, b.key)
}
