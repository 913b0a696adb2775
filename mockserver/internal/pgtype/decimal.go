package pgtype

import (
	"cmp"
	"strconv"
	"strings"
)

// Decimal is the datum of a numeric: exact, with its scale kept. It is
// ±digits / 10^scale unless special says otherwise. The digits are decimal ones
// without leading zeros, empty for zero. A negative scale stands for zeros that
// are not stored, so that a number takes as much memory as its text had bytes.
type Decimal struct {
	special  decimalSpecial
	negative bool
	digits   string
	scale    int
}

type decimalSpecial int8

// In PostgreSQL's order: NaN is greater than all else.
const (
	negativeInfinity decimalSpecial = iota - 1
	finite
	positiveInfinity
	notANumber
)

// The limits of numeric in digits before and behind the point.
const (
	maxIntegerDigits  = 131072
	maxFractionDigits = 16383
)

var numericOps = typeOps{
	parse: func(t Type, s string) (any, error) {
		d, err := parseDecimal(trimSpace(s))
		if err != nil {
			if err.Code == CodeBadText {
				return nil, badSyntax(t, s)
			}
			return nil, err
		}
		if t.mod >= 0 {
			return d.fit(t.mod, t.scale)
		}
		return d, nil
	},
	text:    func(_ Type, v any) string { return v.(Decimal).String() },
	compare: func(_ Type, a, b any) (int, bool) { return a.(Decimal).compare(b.(Decimal)), true },
	json:    func(_ Type, v any) []byte { return jsonNumber(v.(Decimal).String()) },
}

// parseDecimal reads what numeric_in reads.
func parseDecimal(s string) (Decimal, *Error) {
	unsigned := strings.TrimLeft(s, "+-")
	negative := strings.HasPrefix(s, "-")
	if len(s)-len(unsigned) > 1 {
		return Decimal{}, Errorf(CodeBadText, "two signs")
	}
	switch strings.ToLower(unsigned) {
	case "inf", "infinity":
		if negative {
			return Decimal{special: negativeInfinity}, nil
		}
		return Decimal{special: positiveInfinity}, nil
	case "nan":
		if unsigned == s {
			return Decimal{special: notANumber}, nil
		}
	}
	mantissa, exponent, hasExponent := strings.Cut(strings.ToLower(unsigned), "e")
	exp := 0
	if hasExponent {
		var err error
		if exp, err = strconv.Atoi(exponent); err != nil && !isDigits(strings.TrimLeft(exponent, "+-")) {
			return Decimal{}, Errorf(CodeBadText, "bad exponent")
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if !isDigits(whole + fraction) {
		return Decimal{}, Errorf(CodeBadText, "no digits")
	}
	return newDecimal(negative, whole, fraction, exp)
}

// newDecimal makes whole.fraction * 10^exp, within numeric's limits.
func newDecimal(negative bool, whole, fraction string, exp int) (Decimal, *Error) {
	digits := strings.TrimLeft(whole+fraction, "0")
	scale := len(fraction) - exp
	zero := digits == ""
	if exp > 1<<30 || exp < -1<<30 || !zero && len(digits)-scale > maxIntegerDigits || scale > maxFractionDigits {
		return Decimal{}, Errorf(CodeOutOfRange, "value overflows numeric format")
	}
	if zero {
		return Decimal{scale: max(scale, 0)}, nil
	}
	return Decimal{negative: negative, digits: digits, scale: scale}, nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// String returns the number in full, never with an exponent.
func (d Decimal) String() string {
	switch d.special {
	case negativeInfinity:
		return "-Infinity"
	case positiveInfinity:
		return "Infinity"
	case notANumber:
		return "NaN"
	}
	b := make([]byte, 0, d.length())
	if d.negative {
		b = append(b, '-')
	}
	switch point := d.magnitude(); {
	case point <= 0:
		b = append(b, '0')
		if d.scale > 0 {
			b = append(b, '.')
			b = appendZeros(b, d.scale-len(d.digits))
			b = append(b, d.digits...)
		}
	case d.scale > 0:
		b = append(append(append(b, d.digits[:point]...), '.'), d.digits[point:]...)
	default:
		b = appendZeros(append(b, d.digits...), -d.scale)
	}
	return string(b)
}

func appendZeros(b []byte, n int) []byte {
	for range n {
		b = append(b, '0')
	}
	return b
}

// length returns the length of the text of a finite number.
func (d Decimal) length() int {
	n := max(d.magnitude(), 1)
	if d.scale > 0 {
		n += 1 + d.scale
	}
	if d.negative {
		n++
	}
	return n
}

// magnitude returns how many digits stand before the point: less than one for a
// number below 0.1.
func (d Decimal) magnitude() int { return len(d.digits) - d.scale }

func (d Decimal) compare(other Decimal) int {
	if d.special != finite || other.special != finite {
		return cmp.Compare(d.special, other.special)
	}
	switch {
	case d.sign() != other.sign():
		return cmp.Compare(d.sign(), other.sign())
	case d.negative:
		return other.compareAbs(d)
	}
	return d.compareAbs(other)
}

func (d Decimal) sign() int {
	switch {
	case d.digits == "":
		return 0
	case d.negative:
		return -1
	}
	return 1
}

// compareAbs compares numbers of one sign, without it.
func (d Decimal) compareAbs(other Decimal) int {
	if n := cmp.Compare(d.magnitude(), other.magnitude()); n != 0 && d.digits != "" {
		return n
	}
	return strings.Compare(strings.TrimRight(d.digits, "0"), strings.TrimRight(other.digits, "0"))
}

// round returns the number rounded to a scale, halves away from zero. The
// scale may be negative, as that of numeric(3,-2) is.
func (d Decimal) round(scale int) Decimal {
	switch cut := d.scale - scale; {
	case d.digits == "":
	case cut <= 0:
		d.digits = string(appendZeros([]byte(d.digits), -cut))
	case cut > len(d.digits):
		d.digits = ""
	default:
		kept := len(d.digits) - cut
		up := d.digits[kept] >= '5'
		d.digits = d.digits[:kept]
		if up {
			d.digits = increment(d.digits)
		}
	}
	d.negative = d.negative && d.digits != ""
	d.scale = scale
	if d.digits == "" {
		d.scale = max(scale, 0)
	}
	return d
}

// increment adds one to a number in decimal digits.
func increment(digits string) string {
	b := []byte(digits)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < '9' {
			b[i]++
			return string(b)
		}
		b[i] = '0'
	}
	return "1" + string(b)
}

// fit rounds the number to numeric(precision,scale).
func (d Decimal) fit(precision, scale int) (any, error) {
	e := Errorf(CodeOutOfRange, "numeric field overflow")
	if d.special == notANumber {
		return d, nil
	}
	where := "A field with precision " + strconv.Itoa(precision) + ", scale " + strconv.Itoa(scale)
	if d.special != finite {
		e.Detail = where + " cannot hold an infinite value."
		return nil, e
	}
	// What has too many digits already is not made longer before it is refused.
	tooLarge := d.digits != "" && d.magnitude() > precision-scale
	if !tooLarge {
		d = d.round(scale)
		tooLarge = d.digits != "" && d.magnitude() > precision-scale
	}
	if tooLarge {
		power := "10^" + strconv.Itoa(precision-scale)
		if precision == scale {
			power = "1"
		}
		e.Detail = where + " must round to an absolute value less than " + power + "."
		return nil, e
	}
	return d, nil
}
