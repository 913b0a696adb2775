package rowjson

import (
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
	if isPlain(body) {
		return string(body), true
	}
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
func isPlain(body []byte) bool { return special(body, 0) == len(body) && utf8.Valid(body) }

// appendText appends the text of a string to dst. It is no longer than body,
// unless that has bytes that are no UTF-8.
func appendText(dst, body []byte) []byte {
	for i := 0; ; {
		end := special(body, i)
		dst = appendUTF8(dst, body[i:end])
		if end == len(body) {
			return dst
		}
		r, n := unescape(body[end:])
		dst = utf8.AppendRune(dst, r)
		i = end + n
	}
}

func appendUTF8(dst, text []byte) []byte {
	if utf8.Valid(text) {
		return append(dst, text...)
	}
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		dst = utf8.AppendRune(dst, r)
		text = text[n:]
	}
	return dst
}

// unescape returns the character of the escape that text begins with, and the
// escape's length.
func unescape(text []byte) (r rune, n int) {
	switch text[1] {
	case 'u':
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
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	return rune(text[1]), 2
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

// ownText is how long a text may be to share memory with others. A longer one
// has its own, and does not stay because a short one of its row does.
const ownText = 256

// text returns the text of a string.
func (a *arena) text(body []byte) string {
	if len(body) > ownText || len(body) > cap(a.buf)-len(a.buf) {
		if isPlain(body) {
			return string(body)
		}
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
