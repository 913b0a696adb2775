package mockserver

import (
	"cmp"
	"math/big"
	"strconv"
	"strings"
)

// decimal is the datum of a numeric: exact, with its scale kept. It is
// coef / 10^scale unless special says otherwise.
type decimal struct {
	special decimalSpecial
	coef    *big.Int
	scale   int
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
	parse: func(t pgType, s string) (any, error) {
		d, err := parseDecimal(trimSpace(s))
		if err != nil {
			if err.Code == codeBadText {
				return nil, badSyntax(t, s)
			}
			return nil, err
		}
		if t.mod >= 0 {
			return d.fit(t.mod, t.scale)
		}
		return d, nil
	},
	text:    func(_ pgType, v any) string { return v.(decimal).String() },
	compare: func(_ pgType, a, b any) (int, bool) { return a.(decimal).compare(b.(decimal)), true },
	json:    func(_ pgType, v any) []byte { return jsonNumber(v.(decimal).String()) },
}

// parseDecimal reads what numeric_in reads.
func parseDecimal(s string) (decimal, *Error) {
	unsigned := strings.TrimLeft(s, "+-")
	negative := strings.HasPrefix(s, "-")
	if len(s)-len(unsigned) > 1 {
		return decimal{}, errf(codeBadText, "two signs")
	}
	switch strings.ToLower(unsigned) {
	case "inf", "infinity":
		if negative {
			return decimal{special: negativeInfinity}, nil
		}
		return decimal{special: positiveInfinity}, nil
	case "nan":
		if unsigned == s {
			return decimal{special: notANumber}, nil
		}
	}
	mantissa, exponent, hasExponent := strings.Cut(strings.ToLower(unsigned), "e")
	exp := 0
	if hasExponent {
		var err error
		if exp, err = strconv.Atoi(exponent); err != nil && !isDigits(strings.TrimLeft(exponent, "+-")) {
			return decimal{}, errf(codeBadText, "bad exponent")
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if !isDigits(whole + fraction) {
		return decimal{}, errf(codeBadText, "no digits")
	}
	return newDecimal(negative, whole, fraction, exp)
}

// newDecimal makes whole.fraction * 10^exp, within numeric's limits: an
// exponent is checked before anything of its size is made.
func newDecimal(negative bool, whole, fraction string, exp int) (decimal, *Error) {
	digits := strings.TrimLeft(whole+fraction, "0")
	scale := len(fraction) - exp
	zero := digits == ""
	if exp > 1<<30 || exp < -1<<30 || !zero && len(digits)-scale > maxIntegerDigits || scale > maxFractionDigits {
		return decimal{}, errf(codeOutOfRange, "value overflows numeric format")
	}
	if zero {
		digits = "0"
	} else if scale < 0 {
		digits += strings.Repeat("0", -scale)
	}
	coef, _ := new(big.Int).SetString(digits, 10)
	if negative {
		coef.Neg(coef)
	}
	return decimal{coef: coef, scale: max(scale, 0)}, nil
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
func (d decimal) String() string {
	switch d.special {
	case negativeInfinity:
		return "-Infinity"
	case positiveInfinity:
		return "Infinity"
	case notANumber:
		return "NaN"
	}
	digits := new(big.Int).Abs(d.coef).String()
	if short := d.scale + 1 - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	if d.scale > 0 {
		digits = digits[:len(digits)-d.scale] + "." + digits[len(digits)-d.scale:]
	}
	if d.coef.Sign() < 0 {
		return "-" + digits
	}
	return digits
}

func (d decimal) compare(other decimal) int {
	if d.special != finite || other.special != finite {
		return cmp.Compare(d.special, other.special)
	}
	scale := max(d.scale, other.scale)
	return d.shifted(scale).Cmp(other.shifted(scale))
}

// shifted returns the number times 10^scale, which is at least its own.
func (d decimal) shifted(scale int) *big.Int {
	if scale == d.scale {
		return d.coef
	}
	return new(big.Int).Mul(d.coef, powerOfTen(scale-d.scale))
}

func powerOfTen(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

// round returns the number rounded to a scale, halves away from zero. The
// scale may be negative, as that of numeric(3,-2) is.
func (d decimal) round(scale int) decimal {
	if scale >= d.scale {
		return decimal{coef: d.shifted(scale), scale: scale}
	}
	unit := powerOfTen(d.scale - scale)
	half := new(big.Int).Rsh(unit, 1)
	if d.coef.Sign() < 0 {
		half.Neg(half)
	}
	coef := new(big.Int).Add(d.coef, half)
	coef.Quo(coef, unit)
	if scale < 0 {
		return decimal{coef: coef.Mul(coef, powerOfTen(-scale))}
	}
	return decimal{coef: coef, scale: scale}
}

// fit rounds the number to numeric(precision,scale).
func (d decimal) fit(precision, scale int) (any, error) {
	e := errf(codeOutOfRange, "numeric field overflow")
	if d.special == notANumber {
		return d, nil
	}
	where := "A field with precision " + strconv.Itoa(precision) + ", scale " + strconv.Itoa(scale)
	if d.special != finite {
		e.Detail = where + " cannot hold an infinite value."
		return nil, e
	}
	d = d.round(scale)
	limit := powerOfTen(max(precision-scale, 0) + d.scale)
	if precision < scale {
		limit = powerOfTen(precision + d.scale - scale)
	}
	if d.coef.CmpAbs(limit) >= 0 {
		power := "10^" + strconv.Itoa(precision-scale)
		if precision == scale {
			power = "1"
		}
		e.Detail = where + " must round to an absolute value less than " + power + "."
		return nil, e
	}
	return d, nil
}
