package pgtype

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// The datum of these types is a string, and of bytea a []byte.

func sameText(_ Type, v any) string { return v.(string) }

func compareText(_ Type, a, b any) (int, bool) {
	return strings.Compare(a.(string), b.(string)), true
}

func keepText(_ Type, s string) (any, error) { return s, nil }

var textOps = typeOps{parse: keepText, text: sameText, compare: compareText}

// citextOps are those of citext, which regards no case.
var citextOps = typeOps{parse: keepText, text: sameText, compare: func(_ Type, a, b any) (int, bool) {
	return strings.Compare(strings.ToLower(a.(string)), strings.ToLower(b.(string))), true
}}

// textLikeOps are those of the types that this server knows no more of than
// their text.
var textLikeOps = typeOps{parse: keepText, text: sameText, compare: compareText}

// unorderedOps are those of text-like types without comparison operators.
var unorderedOps = typeOps{parse: keepText, text: sameText}

var varcharOps = typeOps{
	parse: func(t Type, s string) (any, error) {
		if t.mod < 0 {
			return s, nil
		}
		return cutTo(t, s, "character varying")
	},
	text: sameText, compare: compareText,
}

// bpcharOps are those of char(n): padded with spaces that do not count in
// comparisons.
var bpcharOps = typeOps{
	parse: func(t Type, s string) (any, error) {
		if t.mod < 0 {
			return s, nil
		}
		s, err := cutTo(t, s, "character")
		if err != nil {
			return nil, err
		}
		return s + strings.Repeat(" ", t.mod-utf8.RuneCountInString(s)), nil
	},
	text: sameText,
	compare: func(_ Type, a, b any) (int, bool) {
		return strings.Compare(strings.TrimRight(a.(string), " "), strings.TrimRight(b.(string), " ")), true
	},
}

// cutTo cuts a string to the length of its type. Only spaces may be lost.
func cutTo(t Type, s, sqlName string) (string, error) {
	if utf8.RuneCountInString(s) <= t.mod {
		return s, nil
	}
	end := 0
	for range t.mod {
		_, size := utf8.DecodeRuneInString(s[end:])
		end += size
	}
	if strings.Trim(s[end:], " ") != "" {
		return "", Errorf(CodeTooLong, "value too long for type %s(%d)", sqlName, t.mod)
	}
	return s[:end], nil
}

// nameOps are those of name, which is cut to 63 bytes.
var nameOps = typeOps{
	parse: func(_ Type, s string) (any, error) {
		for len(s) > 63 {
			_, size := utf8.DecodeLastRuneInString(s)
			s = s[:len(s)-size]
		}
		return s, nil
	},
	text: sameText, compare: compareText,
}

// octalChar is how PostgreSQL writes a "char" that is no ASCII.
var octalChar = regexp.MustCompile(`^\\[23][0-7][0-7]$`)

// charOps are those of "char", one byte.
var charOps = typeOps{
	parse: func(_ Type, s string) (any, error) {
		if s != "" && s[0] < utf8.RuneSelf && !octalChar.MatchString(s) {
			s = s[:1]
		}
		return s, nil
	},
	text: sameText, compare: compareText,
}

var enumOps = typeOps{
	parse: func(t Type, s string) (any, error) {
		if !slices.Contains(t.Labels, s) {
			return nil, Errorf(CodeBadText, "invalid input value for enum %s: \"%s\"", t.SQLName, s)
		}
		return s, nil
	},
	text: sameText,
	compare: func(t Type, a, b any) (int, bool) {
		return cmp.Compare(slices.Index(t.Labels, a.(string)), slices.Index(t.Labels, b.(string))), true
	},
}

var uuidOps = typeOps{parse: parseUUID, text: sameText, compare: compareText}

// parseUUID takes any case, braces around it, and hyphens or none behind each
// four digits.
func parseUUID(t Type, s string) (any, error) {
	inner := s
	if unbraced, ok := strings.CutPrefix(s, "{"); ok {
		if inner, ok = strings.CutSuffix(unbraced, "}"); !ok {
			return nil, badSyntax(t, s)
		}
	}
	digits := make([]byte, 0, 32)
	for i := range len(inner) {
		hyphen := inner[i] == '-' && len(digits) > 0 && len(digits)%4 == 0 && len(digits) < 32 && inner[i-1] != '-'
		if !hyphen {
			digits = append(digits, inner[i])
		}
	}
	b := make([]byte, 16)
	if n, err := hex.Decode(b, digits[:min(len(digits), 32)]); err != nil || n != 16 || len(digits) != 32 {
		return nil, badSyntax(t, s)
	}
	return uuid.UUID(b).String(), nil
}

var byteaOps = typeOps{
	parse:   parseBytea,
	text:    func(_ Type, v any) string { return `\x` + hex.EncodeToString(v.([]byte)) },
	compare: func(_ Type, a, b any) (int, bool) { return bytes.Compare(a.([]byte), b.([]byte)), true },
}

// parseBytea reads the hex form, and the older escape form.
func parseBytea(_ Type, s string) (any, error) {
	if digits, ok := strings.CutPrefix(s, `\x`); ok {
		digits = strings.Join(strings.Fields(digits), "")
		for i := range len(digits) {
			if !strings.ContainsRune("0123456789abcdefABCDEF", rune(digits[i])) {
				return nil, Errorf(CodeBadParameter, "invalid hexadecimal digit: \"%c\"", digits[i])
			}
		}
		b, err := hex.DecodeString(digits)
		if err != nil {
			return nil, Errorf(CodeBadParameter, "invalid hexadecimal data: odd number of digits")
		}
		return b, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch octal := octalByte(s[i:]); {
		case s[i] != '\\':
			b = append(b, s[i])
		case strings.HasPrefix(s[i:], `\\`):
			b = append(b, '\\')
			i++
		case octal >= 0:
			b = append(b, byte(octal))
			i += 3
		default:
			return nil, Errorf(CodeBadText, "invalid input syntax for type bytea")
		}
	}
	return b, nil
}

// octalByte reads \ooo, or returns -1.
func octalByte(s string) int {
	if len(s) < 4 || s[1] < '0' || s[1] > '3' || s[2] < '0' || s[2] > '7' || s[3] < '0' || s[3] > '7' {
		return -1
	}
	return int(s[1]-'0')<<6 | int(s[2]-'0')<<3 | int(s[3]-'0')
}

var bitOps = typeOps{
	parse: func(t Type, s string) (any, error) {
		if err := checkBits(s); err != nil {
			return nil, err
		}
		if t.mod >= 0 && len(s) != t.mod {
			return nil, Errorf("22026", "bit string length %d does not match type bit(%d)", len(s), t.mod)
		}
		return s, nil
	},
	text: sameText, compare: compareText,
}

var varbitOps = typeOps{
	parse: func(t Type, s string) (any, error) {
		if err := checkBits(s); err != nil {
			return nil, err
		}
		if t.mod >= 0 && len(s) > t.mod {
			return nil, Errorf(CodeTooLong, "bit string too long for type bit varying(%d)", t.mod)
		}
		return s, nil
	},
	text: sameText, compare: compareText,
}

func checkBits(s string) error {
	for _, r := range s {
		if r != '0' && r != '1' {
			return Errorf(CodeBadText, "\"%c\" is not a valid binary digit", r)
		}
	}
	return nil
}
