package cdc

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// scanner goes over JSON text once and checks it on the way. It takes what is
// JSON without any doubt, and for the rest gives up: text that it gives up on
// is read by encoding/json, which decides and says what is wrong. So it may
// refuse JSON (deep nesting, escaped keys), but must not take what is none.
type scanner struct {
	text []byte
	pos  int
	bad  bool // it has given up
}

// maxNesting is how deep values may be nested for the scanner to take them.
const maxNesting = 32

func (s *scanner) fail() { s.bad = true }

func (s *scanner) space() { s.pos = afterSpace(s.text, s.pos) }

// open takes the bracket that must come next.
func (s *scanner) open(c byte) {
	if s.pos == len(s.text) || s.text[s.pos] != c {
		s.fail()
		return
	}
	s.pos++
	s.space()
}

// more reports whether another member or element follows, and moves to it. It
// takes the bracket that closes otherwise.
func (s *scanner) more(close byte, first bool) bool {
	if s.bad {
		return false
	}
	s.space()
	if s.pos == len(s.text) {
		s.fail()
		return false
	}
	c := s.text[s.pos]
	switch {
	case c == close:
		s.pos++
		return false
	case first:
		return true
	case c != ',':
		s.fail()
		return false
	}
	s.pos++
	s.space()
	return true
}

// key takes a key and its colon, and moves to the value. It gives up on an
// escape in the key.
func (s *scanner) key() []byte {
	raw := s.str()
	s.space()
	if s.bad || s.pos == len(s.text) || s.text[s.pos] != ':' {
		s.fail()
		return nil
	}
	s.pos++
	s.space()
	body := raw[1 : len(raw)-1]
	if !isASCII(body) {
		s.fail()
	}
	return body
}

// value takes a value of any kind and returns its text.
func (s *scanner) value() []byte {
	start := s.pos
	s.skip(0)
	if s.bad {
		return nil
	}
	return s.text[start:s.pos]
}

// skip takes a value that is so deep within others.
func (s *scanner) skip(depth int) {
	if s.bad {
		return
	}
	end := checkedEnd(s.text, s.pos, depth)
	if end < 0 {
		s.fail()
		return
	}
	s.pos = end
}

// checkedEnd returns where the value ends that begins at i, -1 if there is none
// that the scanner takes.
func checkedEnd(text []byte, i, depth int) int {
	switch {
	case i >= len(text):
		return -1
	case text[i] == '{':
		return objectEnd(text, i+1, depth+1)
	case text[i] == '[':
		return arrayEnd(text, i+1, depth+1)
	}
	return scalarEnd(text, i)
}

// objectEnd goes over the members of an object and its bracket.
func objectEnd(text []byte, i, depth int) int {
	i = afterSpace(text, i)
	switch {
	case depth > maxNesting || i == len(text):
		return -1
	case text[i] == '}':
		return i + 1
	}
	for {
		if i = afterSpace(text, i); i == len(text) || text[i] != '"' {
			return -1
		}
		if i = stringEnd(text, i); i < 0 {
			return -1
		}
		if i = afterSpace(text, i); i == len(text) || text[i] != ':' {
			return -1
		}
		if i = checkedEnd(text, afterSpace(text, i+1), depth); i < 0 {
			return -1
		}
		i = afterSpace(text, i)
		switch {
		case i == len(text):
			return -1
		case text[i] == '}':
			return i + 1
		case text[i] != ',':
			return -1
		}
		i++
	}
}

// arrayEnd goes over the elements of an array and its bracket.
func arrayEnd(text []byte, i, depth int) int {
	i = afterSpace(text, i)
	switch {
	case depth > maxNesting || i == len(text):
		return -1
	case text[i] == ']':
		return i + 1
	}
	for {
		if i = checkedEnd(text, afterSpace(text, i), depth); i < 0 {
			return -1
		}
		i = afterSpace(text, i)
		switch {
		case i == len(text):
			return -1
		case text[i] == ']':
			return i + 1
		case text[i] != ',':
			return -1
		}
		i++
	}
}

func afterSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
		i++
	}
	return i
}

// scalarEnd returns where the string, number or word ends that begins at i, -1
// if none does.
func scalarEnd(text []byte, i int) int {
	switch c := text[i]; c {
	case '"':
		return stringEnd(text, i)
	case 'n':
		return wordEnd(text, i, "null")
	case 't':
		return wordEnd(text, i, "true")
	case 'f':
		return wordEnd(text, i, "false")
	}
	return numberEnd(text, i)
}

func wordEnd(text []byte, i int, word string) int {
	if !startsWith(text[i:], word) {
		return -1
	}
	return i + len(word)
}

func isDigit(c byte) bool { return c-'0' <= 9 }

func numberEnd(text []byte, i int) int {
	if text[i] == '-' {
		i++
	}
	end := digitsEnd(text, i)
	if end == i || end > i+1 && text[i] == '0' {
		return -1
	}
	if end == len(text) || structural[text[end]] != 0 {
		return end
	}
	return fractionEnd(text, end)
}

// fractionEnd goes on after the digits before the point.
func fractionEnd(text []byte, i int) int {
	if text[i] == '.' {
		end := digitsEnd(text, i+1)
		if end == i+1 {
			return -1
		}
		i = end
	}
	if i < len(text) && text[i]|0x20 == 'e' {
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		end := digitsEnd(text, i)
		if end == i {
			return -1
		}
		i = end
	}
	return i
}

func digitsEnd(text []byte, i int) int {
	for i+8 <= len(text) {
		n := digitsIn(binary.LittleEndian.Uint64(text[i:]))
		if i += n; n < 8 {
			return i
		}
	}
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	return i
}

// digitsIn returns how many of the bytes of w are digits, from the lowest on
// to the first that is none.
func digitsIn(w uint64) int {
	const high, zeros, six = 0xf0f0f0f0f0f0f0f0, 0x3030303030303030, 0x0606060606060606
	// Digits become 0 to 9, of which the high half is zero, and is so still when
	// 6 is added. What carries over to the next byte is none itself.
	w ^= zeros
	return bits.TrailingZeros64((w|(w+six))&high) / 8
}

// str takes a string and returns its text, quotes included.
func (s *scanner) str() []byte {
	start := s.pos
	if s.bad || start == len(s.text) || s.text[start] != '"' {
		s.fail()
		return nil
	}
	end := stringEnd(s.text, start)
	if end < 0 {
		s.fail()
		return nil
	}
	s.pos = end
	return s.text[start:end]
}

// stringEnd returns where the string ends that begins at i, -1 if it does not,
// or holds what a string must not.
func stringEnd(text []byte, i int) int {
	for i++; ; {
		if i = special(text, i); i == len(text) {
			return -1
		}
		switch text[i] {
		case '"':
			return i + 1
		case '\\':
			n := escape(text[i:])
			if n == 0 {
				return -1
			}
			i += n
		default: // a control character
			return -1
		}
	}
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// specials has the high bit of the lowest byte of w set that is not simply part
// of a string: a quote, a backslash or a control character; above it, also
// those of others.
func specials(w uint64) uint64 {
	// A quote and a control character, but no blank, are less than 0x21 when a
	// bit is turned. The high bit of a byte is set where it is less, or zero.
	low, slash := w^ones*('"'^' '), w^ones*'\\'
	return ((low-ones*0x21)&^low | (slash-ones)&^slash) & highs
}

// special returns where the next such byte is, from i on; the length of the
// text if there is none. It looks at eight bytes at a time.
func special(text []byte, i int) int {
	for ; i+8 <= len(text); i += 8 {
		if found := specials(binary.LittleEndian.Uint64(text[i:])); found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(text) && text[i] != '"' && text[i] != '\\' && text[i] >= ' ' {
		i++
	}
	return i
}

// plainEnd is special that stops at bytes beyond ASCII, too: if it stops at a
// quote, the string stands for itself.
func plainEnd(text []byte, i int) int {
	for ; i+8 <= len(text); i += 8 {
		w := binary.LittleEndian.Uint64(text[i:])
		if found := specials(w) | w&highs; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(text) && text[i] != '"' && text[i] != '\\' && text[i] >= ' ' && text[i] < utf8.RuneSelf {
		i++
	}
	return i
}

// escape returns the length of the escape that text begins with, 0 if it is
// none.
func escape(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(text) < 6 {
			return 0
		}
		for _, c := range text[2:6] {
			if !isDigit(c) && (c|0x20 < 'a' || 'f' < c|0x20) {
				return 0
			}
		}
		return 6
	}
	return 0
}
