package pgtype

import (
	"cmp"
	"errors"
	"math"
	"strconv"
	"strings"
)

// The datum of a bool is a bool, of the integers and oid an int64, of the
// floats a float64.

var boolOps = typeOps{
	parse: parseBool,
	text: func(_ Type, v any) string {
		if v.(bool) {
			return "t"
		}
		return "f"
	},
	compare: func(_ Type, a, b any) (int, bool) { return CompareBools(a.(bool), b.(bool)), true },
	json:    func(_ Type, v any) []byte { return strconv.AppendBool(nil, v.(bool)) },
}

// boolWords are the words for booleans, which may be cut to so many letters.
var boolWords = []struct {
	word    string
	atLeast int
	value   bool
}{
	{"true", 1, true}, {"false", 1, false}, {"yes", 1, true}, {"no", 1, false},
	{"on", 2, true}, {"off", 2, false}, {"1", 1, true}, {"0", 1, false},
}

func parseBool(t Type, s string) (any, error) {
	word := strings.ToLower(trimSpace(s))
	for _, w := range boolWords {
		if len(word) >= w.atLeast && strings.HasPrefix(w.word, word) {
			return w.value, nil
		}
	}
	return nil, badSyntax(t, s)
}

func CompareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

var intOps = typeOps{
	parse:   parseInt,
	text:    func(_ Type, v any) string { return strconv.FormatInt(v.(int64), 10) },
	compare: func(_ Type, a, b any) (int, bool) { return cmp.Compare(a.(int64), b.(int64)), true },
	json:    func(_ Type, v any) []byte { return strconv.AppendInt(nil, v.(int64), 10) },
}

func parseInt(t Type, s string) (any, error) {
	bits := 64
	switch t.Base().typname {
	case "int2":
		bits = 16
	case "int4":
		bits = 32
	}
	n, err := strconv.ParseInt(trimSpace(s), 10, bits)
	if errors.Is(err, strconv.ErrRange) {
		return nil, Errorf(CodeOutOfRange, "value \"%s\" is out of range for type %s", s, t.Base().SQLName)
	}
	if err != nil {
		return nil, badSyntax(t, s)
	}
	return n, nil
}

// oidOps are those of oid, which JSON has as a string.
var oidOps = typeOps{
	parse: func(t Type, s string) (any, error) {
		n, err := strconv.ParseUint(trimSpace(s), 10, 32)
		if errors.Is(err, strconv.ErrRange) {
			return nil, Errorf(CodeOutOfRange, "value \"%s\" is out of range for type oid", s)
		}
		if err != nil {
			return nil, badSyntax(t, s)
		}
		return int64(n), nil
	},
	text:    intOps.text,
	compare: intOps.compare,
}

var floatOps = typeOps{
	parse:   parseFloat,
	text:    func(t Type, v any) string { return formatFloat(v.(float64), floatBits(t)) },
	compare: func(_ Type, a, b any) (int, bool) { return compareFloats(a.(float64), b.(float64)), true },
	json: func(t Type, v any) []byte {
		return jsonNumber(formatFloat(v.(float64), floatBits(t)))
	},
}

func floatBits(t Type) int {
	if t.Base().typname == "float4" {
		return 32
	}
	return 64
}

func parseFloat(t Type, s string) (any, error) {
	trimmed := trimSpace(s)
	f, err := strconv.ParseFloat(trimmed, floatBits(t))
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && f == 0 && hasDigit(trimmed):
		return nil, Errorf(CodeOutOfRange, "\"%s\" is out of range for type %s", s, t.Base().SQLName)
	case err != nil, strings.Contains(trimmed, "_"):
		return nil, badSyntax(t, s)
	}
	return f, nil
}

// hasDigit reports whether a number that came out as 0 was none: it has a
// digit other than 0 before its exponent.
func hasDigit(number string) bool {
	mantissa, _, _ := strings.Cut(strings.ToLower(number), "e")
	return strings.ContainsAny(mantissa, "123456789")
}

// compareFloats orders as PostgreSQL does: NaN equals itself and is the
// greatest.
func compareFloats(a, b float64) int {
	switch {
	case math.IsNaN(a) && math.IsNaN(b):
		return 0
	case math.IsNaN(a):
		return 1
	case math.IsNaN(b):
		return -1
	}
	return cmp.Compare(a, b)
}

// formatFloat writes the shortest text that reads back as the same number, in
// the form that PostgreSQL chooses.
func formatFloat(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	digits := 15
	if bits == 32 {
		digits = 6
	}
	s := strconv.FormatFloat(f, 'e', -1, bits)
	if exp, _ := strconv.Atoi(s[strings.IndexByte(s, 'e')+1:]); exp >= -4 && exp < digits {
		return strconv.FormatFloat(f, 'f', -1, bits)
	}
	return s
}

// jsonNumber writes a number as to_json does: as a string where JSON has no
// such number.
func jsonNumber(s string) []byte {
	if last := s[len(s)-1]; last < '0' || last > '9' { // NaN, Infinity
		return AppendString(nil, s)
	}
	return []byte(s)
}
