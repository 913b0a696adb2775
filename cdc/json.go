package cdc

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// checkJSON and unmarshal are all that this package asks of a JSON library, so
// that another one can be put in its place here. checkJSON must refuse
// whatever is not JSON: the walker relies on it.
func checkJSON(text []byte) error {
	if json.Valid(text) {
		return nil
	}
	var v json.RawMessage
	return json.Unmarshal(text, &v) // says what is wrong and where
}

// unmarshal decodes a JSON value. Numbers become a json.Number where into has
// no type for them: an int8 or a numeric would not survive a float64.
func unmarshal(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(into)
}

var errMalformed = errors.New("malformed JSON")

// walker goes over the members of an object or the elements of an array
// without looking into them. Its text must be JSON; in other text it finds
// nonsense or stops with an error, but stays inside of it.
//
// A row is split by it, and not decoded into a map or a struct in one call,
// because the type of a value is known only when its column is, and because
// a key that is missing must be told from one that is null.
type walker struct {
	key []byte // of a member, unquoted
	val []byte // the value, as it stands in the text

	text  []byte
	pos   int
	close byte
	begun bool
	err   error
}

func walkObject(text []byte) walker { return walk(text, '{', '}') }
func walkArray(text []byte) walker  { return walk(text, '[', ']') }

func walk(text []byte, open, close byte) walker {
	w := walker{text: text, close: close}
	if !w.eat(open) {
		w.err = errMalformed
	}
	return w
}

// next moves to the next member or element. It returns false at the end, or
// when err is set.
func (w *walker) next() bool {
	if w.err != nil {
		return false
	}
	if w.eat(w.close) {
		if w.skipSpace(); w.pos < len(w.text) {
			w.err = errMalformed
		}
		return false
	}
	if w.begun && !w.eat(',') {
		w.err = errMalformed
		return false
	}
	w.begun = true
	if w.close == '}' && !w.readKey() {
		w.err = errMalformed
		return false
	}
	w.val = w.skipValue()
	if len(w.val) == 0 {
		w.err = errMalformed
	}
	return w.err == nil
}

func (w *walker) readKey() bool {
	w.skipSpace()
	start := w.pos
	if start == len(w.text) || w.text[start] != '"' {
		return false
	}
	end := closingQuote(w.text, start)
	if end < 0 {
		return false
	}
	w.pos = end + 1
	var err error
	w.key, err = unquote(w.text[start:w.pos])
	return err == nil && w.eat(':')
}

// eat skips blanks, and c if it comes next.
func (w *walker) eat(c byte) bool {
	w.skipSpace()
	if w.pos < len(w.text) && w.text[w.pos] == c {
		w.pos++
		return true
	}
	return false
}

func (w *walker) skipSpace() {
	for w.pos < len(w.text) {
		switch w.text[w.pos] {
		case ' ', '\t', '\r', '\n':
			w.pos++
		default:
			return
		}
	}
}

// skipValue returns the value that comes next, or nothing.
func (w *walker) skipValue() []byte {
	w.skipSpace()
	start := w.pos
	end := valueEnd(w.text, start)
	if end < 0 {
		return nil
	}
	w.pos = end
	return w.text[start:end]
}

// valueEnd returns where the value ends that begins at start, -1 if it does
// not: a value inside of an object or an array is followed by something.
func valueEnd(text []byte, start int) int {
	depth, i := 0, start
	if i < len(text) {
		if text[i] == '"' {
			if i = closingQuote(text, i) + 1; i == 0 {
				return -1
			}
		} else {
			i = digitsEnd(text, i)
		}
	}
	for ; i < len(text); i++ {
		switch kind := structural[text[i]]; {
		case kind == 0:
		case kind == '"':
			if i = closingQuote(text, i); i < 0 {
				return -1
			}
		case kind == '{':
			depth++
		case depth == 0:
			return i
		case kind == '}':
			depth--
		}
	}
	return -1
}

// structural says what a byte outside of strings does: it begins a string,
// opens, closes, or comes between values. Zero is part of a value.
var structural = [256]byte{
	'"': '"',
	'{': '{', '[': '{',
	'}': '}', ']': '}',
	',': ',', ' ': ',', '\t': ',', '\r': ',', '\n': ',',
}

// closingQuote returns the place of the quote that ends the string that begins
// at i, or -1.
func closingQuote(text []byte, i int) int {
	for i = special(text, i+1); i < len(text); i = special(text, i) {
		switch text[i] {
		case '"':
			return i
		case '\\':
			i++
		}
		i++
	}
	return -1
}

// unquote returns the text of a JSON string. It may point into raw.
func unquote(raw []byte) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return nil, errMalformed
	}
	body := raw[1 : len(raw)-1]
	if isASCII(body) || bytes.IndexByte(body, '\\') < 0 && utf8.Valid(body) {
		return body, nil
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return []byte(s), err
}

// isASCII reports whether the body of a JSON string is ASCII without escapes,
// and so stands for itself.
func isASCII(body []byte) bool { return plainEnd(body, 0) == len(body) }

const null = "null"

func isNull(raw []byte) bool { return string(raw) == null }

func isNullAt(text []byte, i int) bool { return startsWith(text[i:], null) }

// isEmpty reports whether an object has no members.
func isEmpty(object []byte) bool {
	w := walkObject(object)
	return !w.next()
}
