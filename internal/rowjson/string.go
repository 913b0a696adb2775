package rowjson

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// Unquote returns the text of a JSON string, and reports whether raw is one. As
// in encoding/json, bytes that are no UTF-8 and halves of surrogate pairs become
// U+FFFD. raw must have been checked by a Cursor.
func Unquote(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	body := raw[1 : len(raw)-1]
	return asString(appendText(make([]byte, 0, len(body)), body)), true
}

// Text returns the text of a string, a number or a boolean, as PostgreSQL's #>>
// '{}' does, and reports whether raw is one of these.
func Text(raw []byte) (string, bool) {
	switch c := raw[0]; {
	case c == '"':
		return Unquote(raw)
	case c == 't', c == 'f', isNumber(raw):
		return string(raw), true
	}
	return "", false // null, an array, an object
}

// isPlain reports whether the body of a string stands for itself.
func isPlain(body []byte) bool { return bytes.IndexByte(body, '\\') < 0 && utf8.Valid(body) }

// appendText appends the text of a string to dst. It is no longer than body,
// unless that has bytes that are no UTF-8. It copies, unescapes and checks in one
// pass, eight bytes at a time, without which an event costs a tenth more.
func appendText(dst, body []byte) []byte {
	start := len(dst)
	dst = slices.Grow(dst, len(body))[:start+len(body)]
	out, i, o := dst[start:], 0, 0
	for i < len(body) {
		if rest := body[i:]; len(rest) >= 8 {
			w := binary.LittleEndian.Uint64(rest)
			slash := w ^ ones*'\\'
			binary.LittleEndian.PutUint64(out[o:], w)
			odd := (w | (slash-ones)&^slash) & highs // the lowest bit is in the first byte that is no ASCII or a backslash
			n := bits.TrailingZeros64(odd) / 8
			if i, o = i+n, o+n; n == 8 {
				continue
			}
		}
		switch c := body[i]; {
		case c == '\\':
			if c = escaped[body[i+1]]; c != 'u' {
				out[o] = c
				i, o = i+2, o+1
				continue
			}
			r, n := unescape(body[i:])
			i, o = i+n, o+utf8.EncodeRune(out[o:], r)
		case c < utf8.RuneSelf:
			out[o] = c
			i, o = i+1, o+1
		default:
			for i < len(body) && body[i] >= utf8.RuneSelf { // others of its script follow
				var n int
				if rest := body[i:]; len(rest) >= 4 {
					x := binary.LittleEndian.Uint32(rest)
					binary.LittleEndian.PutUint32(out[o:], x)
					n = runeLen(x)
				} else if n = lastRune(rest); n > 0 {
					copy(out[o:], rest[:n])
				}
				if n == 0 {
					valid := []byte(string([]rune(string(body)))) // U+FFFD for each byte that is none
					return appendText(dst[:start], valid)
				}
				i, o = i+n, o+n
			}
		}
	}
	return dst[:start+o]
}

// runeLen returns the length of the UTF-8 that four bytes begin with, which is no
// ASCII, or 0 if it is none: by the bits that say how long it is, and by those that
// are neither all clear nor all set in what is written as short as it can be and
// no surrogate.
func runeLen(x uint32) int {
	switch {
	case x&0xc0e0 == 0x80c0 && x&0x1e != 0:
		return 2
	case x&0xc0c0f0 == 0x8080e0 && x&0x200f != 0 && x&0x200f != 0x200d:
		return 3
	case x&0xc0c0c0f8 == 0x808080f0 && x&0x3007 != 0 && (x&7 < 4 || x&0x3007 == 4):
		return 4
	}
	return 0
}

// lastRune is runeLen for the end of a text.
func lastRune(text []byte) int {
	if r, n := utf8.DecodeRune(text); r != utf8.RuneError || n > 1 {
		return n
	}
	return 0
}

// unescape returns the character of the \u that text begins with, and the
// length of its escape, or of the two of a surrogate pair.
func unescape(text []byte) (r rune, n int) {
	r, _ = hex4(text)
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if low, ok := hex4(text[6:]); ok {
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return utf8.RuneError, 6
}

// hex4 returns the number of an escape such as \u00e9, if text begins with one.
func hex4(text []byte) (r rune, ok bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	for _, c := range text[2:6] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// asString returns text that nobody writes to as a string.
func asString(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }

// arena is one piece of memory for the short texts of a row. It holds nothing
// else, so that a row that is kept keeps no frame.
type arena struct{ buf []byte }

// text returns the text of a string.
func (a *arena) text(body []byte) string {
	if len(body) > ownText || len(body) > cap(a.buf)-len(a.buf) {
		return asString(appendText(make([]byte, 0, len(body)), body))
	}
	start := len(a.buf)
	a.buf = appendText(a.buf, body)
	return asString(a.buf[start:])
}

// copy returns a copy of text.
func (a *arena) copy(text []byte) []byte {
	if len(text) > ownText || len(text) > cap(a.buf)-len(a.buf) {
		return append(make([]byte, 0, len(text)), text...)
	}
	start := len(a.buf)
	a.buf = append(a.buf, text...)
	return a.buf[start:len(a.buf):len(a.buf)]
}
