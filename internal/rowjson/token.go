package rowjson

import (
	"encoding/binary"
	"math/bits"
)

// The functions ...End return where what begins at i ends, or, if it is no
// JSON, the complement of the place of the byte that is wrong, which is
// negative.

// maxDepth is how deep a value may be nested. encoding/json takes 10,000 levels,
// of which a few are around the value.
const maxDepth = 9_990

func valueEnd(text []byte, i int) int {
	if i >= len(text) {
		return ^i
	}
	switch text[i] {
	case '"':
		return stringEnd(text, i)
	case '{', '[':
		return containerEnd(text, i, 0)
	case 'n':
		return wordEnd(text, i, null)
	case 't':
		return wordEnd(text, i, "true")
	case 'f':
		return wordEnd(text, i, "false")
	}
	return numberEnd(text, i)
}

// containerEnd goes over an object or an array that is depth deep within
// others. It calls itself once for 64 levels.
func containerEnd(text []byte, i, depth int) int {
	var objects uint64 // a bit for each open container, the innermost lowest: whether it is an object
	open := 0          // how many there are
	for isKey := false; ; {
		if isKey {
			if _, i = keyEnd(text, i); i < 0 {
				return i
			}
		}
		switch {
		case i == len(text):
			return ^i
		case text[i] != '{' && text[i] != '[':
			if i = valueEnd(text, i); i < 0 {
				return i
			}
		case depth+open == maxDepth:
			return ^i
		case open == 64:
			if i = containerEnd(text, i, depth+open); i < 0 {
				return i
			}
		default:
			open++
			objects <<= 1
			if text[i] == '{' {
				objects |= 1
			}
			i = afterSpace(text, i+1)
			isKey = objects&1 != 0
			if i == len(text) || text[i] != closing[objects&1] {
				continue
			}
		}
		for {
			if i = afterSpace(text, i); i == len(text) {
				return ^i
			}
			if text[i] != closing[objects&1] {
				break
			}
			i++
			objects >>= 1
			if open--; open == 0 {
				return i
			}
		}
		if text[i] != ',' {
			return ^i
		}
		i = afterSpace(text, i+1)
		isKey = objects&1 != 0
	}
}

var closing = [2]byte{']', '}'}

// keyEnd returns where a key ends, and where the value of its member begins.
func keyEnd(text []byte, i int) (end, value int) {
	if i == len(text) || text[i] != '"' {
		return 0, ^i
	}
	if i = stringEnd(text, i); i < 0 {
		return 0, i
	}
	end = i
	if i = afterSpace(text, i); i == len(text) || text[i] != ':' {
		return 0, ^i
	}
	return end, afterSpace(text, i+1)
}

func afterSpace(text []byte, i int) int {
	for i < len(text) && text[i] <= ' ' && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
		i++
	}
	return i
}

const null = "null"

func wordEnd(text []byte, i int, word string) int {
	if !hasPrefix(text[i:], word) {
		return ^i
	}
	return i + len(word)
}

func hasPrefix(text []byte, s string) bool { return len(text) >= len(s) && string(text[:len(s)]) == s }

func isDigit(c byte) bool { return c-'0' <= 9 }

func numberEnd(text []byte, i int) int {
	if text[i] == '-' {
		i++
	}
	end := digitsEnd(text, i)
	if end == i || end > i+1 && text[i] == '0' {
		return ^i
	}
	if i = end; i < len(text) && text[i] == '.' {
		if end = digitsEnd(text, i+1); end == i+1 {
			return ^end
		}
		i = end
	}
	if i < len(text) && text[i]|0x20 == 'e' {
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		if end = digitsEnd(text, i); end == i {
			return ^end
		}
		i = end
	}
	return i
}

func digitsEnd(text []byte, i int) int {
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	return i
}

// stringEnd compares eight bytes at a time, without which a mixed stream costs a
// tenth more.
func stringEnd(text []byte, i int) int {
	for i++; ; {
		for len(text)-i >= 8 {
			// A quote and a control character, but no blank, are less than 0x21 when
			// a bit is turned. The high bit of a byte is set where it is less, or
			// zero; above the lowest such byte also where others are.
			w := binary.LittleEndian.Uint64(text[i : i+8])
			low, slash := w^ones*('"'^' '), w^ones*'\\'
			found := ((low-ones*0x21)&^low | (slash-ones)&^slash) & highs
			if found != 0 {
				i += bits.TrailingZeros64(found) / 8
				break
			}
			i += 8
		}
		for i < len(text) && text[i] != '"' && text[i] != '\\' && text[i] >= ' ' {
			i++
		}
		if i == len(text) {
			return ^i
		}
		switch text[i] {
		case '"':
			return i + 1
		case '\\':
			n := escapeLen(text, i)
			if n == 0 {
				return ^i
			}
			i += n
		default: // a control character
			return ^i
		}
	}
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// escapeLen returns the length of the escape at i, 0 if it is none.
func escapeLen(text []byte, i int) int {
	switch i++; {
	case i == len(text) || escaped[text[i]] == 0:
		return 0
	case text[i] != 'u':
		return 2
	}
	if _, ok := hex4(text[i-1:]); ok {
		return 6
	}
	return 0
}

// escaped is what the byte behind a backslash stands for, 0 if it is no escape.
var escaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'u': 'u'}
