package rowjson

import (
	"bytes"
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
	_, has := scanString(raw, 0)
	return textOf(raw[1:len(raw)-1], has), true
}

// textOf returns the text of the body of a string.
func textOf(body []byte, has content) string {
	if has == 0 || has == nonASCII && utf8.Valid(body) {
		return string(body)
	}
	return asString(appendText(make([]byte, 0, len(body)), body, has))
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

// appendText appends the text of the body of a string to dst. It is no longer
// than body, unless that has bytes that are no UTF-8.
func appendText(dst, body []byte, has content) []byte {
	if has&nonASCII != 0 && !utf8.Valid(body) {
		body = appendValid(make([]byte, 0, len(body)+len(body)/2), body)
	}
	for has&escapes != 0 {
		i := bytes.IndexByte(body, '\\')
		if i < 0 {
			break
		}
		dst = append(dst, body[:i]...)
		r, n := unescape(body[i:])
		dst = utf8.AppendRune(dst, r)
		body = body[i+n:]
	}
	return append(dst, body...)
}

// appendValid appends text with U+FFFD for each byte that is no UTF-8.
func appendValid(dst, text []byte) []byte {
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

// text returns the text of the body of a string.
func (a *arena) text(body []byte, has content) string {
	if len(body) > ownText || len(body) > cap(a.buf)-len(a.buf) {
		return textOf(body, has)
	}
	start := len(a.buf)
	if has == 0 {
		a.buf = append(a.buf, body...)
	} else {
		a.buf = appendText(a.buf, body, has)
	}
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
