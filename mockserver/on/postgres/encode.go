package postgres

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// kind is how PostgreSQL's text of a value becomes JSON.
type kind uint8

const (
	asString kind = iota
	asNumber      // without an exponent
	asBool
	asBytes     // hexadecimal digits
	asCut       // char(n), bit(n): cast to the type without its length, which is 1
	asTimestamp // ISO 8601
	asZoned     // with an offset
	asJSONB     // is JSON in jsonb's form already
	bySQL       // only PostgreSQL knows: arrays, composites, json, types with a cast to it
)

// kinds are those of types by their OIDs in pg_type.
var kinds = map[uint32]kind{
	21: asNumber, 23: asNumber, 20: asNumber, 1700: asNumber, 700: asNumber, 701: asNumber,
	16: asBool, 17: asBytes, 1042: asCut, 1560: asCut, 1114: asTimestamp, 1184: asZoned, 3802: asJSONB, 114: bySQL,
	24: bySQL, 2203: bySQL, // regproc and regoper: the poll fails of an overloaded one
}

func kindOf(base uint32, sql bool) kind {
	if sql {
		return bySQL
	}
	return kinds[base]
}

// mayFail reports whether a cast of values of the column may fail: they are, or
// may have in them, a json that is no jsonb, or a name that is overloaded.
func (c *column) mayFail() bool {
	const json, regproc, regoper, jsonArray, regprocArray, regoperArray, firstUser = 114, 24, 2203, 199, 1008, 2204, 16384
	switch c.base {
	case json, regproc, regoper, jsonArray, regprocArray, regoperArray:
		return true
	}
	return c.kind == bySQL && c.base >= firstUser
}

// wire writes a value as it comes out of the socket, from PostgreSQL's text of
// it. Without exact it is as the real server garbles it on its way: it reads
// NaN as null, casts to the type without its length, and loses \x of bytea. Of
// values of kind bySQL it returns nil.
func (c *column) wire(text []byte, exact bool) []byte {
	own := c.typ == c.base // the real server handles what is of a domain as text
	switch c.kind {
	case bySQL:
		return nil
	case asNumber:
		return number(text, exact || !own)
	case asBool:
		if string(text) == "t" {
			return []byte("true")
		}
		return []byte("false")
	case asBytes:
		if !exact && own {
			text = bytes.TrimPrefix(text, []byte(`\x`))
		}
	case asCut:
		if !exact && own {
			_, size := utf8.DecodeRune(text)
			if text = text[:size]; size == 0 {
				text = []byte{' '} // character pads
			}
		}
	case asTimestamp, asZoned:
		text = timestamp(text, c.kind == asZoned)
	case asJSONB:
		return text
	}
	return pgtype.AppendString(make([]byte, 0, len(text)+2), string(text))
}

// number writes a number as jsonb does: without an exponent.
func number(text []byte, nan bool) []byte {
	switch s := string(text); s {
	case "NaN", "Infinity", "-Infinity":
		if nan {
			return pgtype.AppendString(nil, s)
		}
		return []byte("null")
	}
	if bytes.IndexByte(text, 'e') < 0 && string(text) != "-0" {
		return text
	}
	return expand(string(text))
}

// expand writes out a number with an exponent.
func expand(s string) []byte {
	mantissa, exponent, _ := strings.Cut(s, "e")
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits, point := whole+fraction, len(whole)+atoi(exponent)
	if strings.Trim(digits, "0") == "" {
		return []byte("0")
	}
	switch {
	case point <= 0:
		digits = "0." + strings.Repeat("0", -point) + digits
	case point >= len(digits):
		digits += strings.Repeat("0", point-len(digits))
	default:
		digits = digits[:point] + "." + digits[point:]
	}
	if negative {
		digits = "-" + digits
	}
	return []byte(digits)
}

// atoi reads the exponent of a float, which has a sign and two or three
// digits.
func atoi(s string) int {
	s, negative := strings.CutPrefix(s, "-")
	n := 0
	for _, c := range strings.TrimPrefix(s, "+") {
		n = 10*n + int(c-'0')
	}
	if negative {
		return -n
	}
	return n
}

// timestamp makes PostgreSQL's "2024-01-02 03:04:05+00" what to_jsonb makes of
// it. Infinity stays.
func timestamp(text []byte, zoned bool) []byte {
	date, time, ok := bytes.Cut(text, []byte{' '})
	if !ok {
		return text
	}
	time, bc := bytes.CutSuffix(time, []byte(" BC"))
	out := append(append(append(make([]byte, 0, len(text)+3), date...), 'T'), time...)
	if sign := bytes.LastIndexAny(time, "+-"); zoned && sign >= 0 && bytes.IndexByte(time[sign:], ':') < 0 {
		out = append(out, ":00"...)
	}
	if bc {
		out = append(out, " BC"...)
	}
	return out
}
