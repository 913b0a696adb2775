package cdc

import (
	"encoding/binary"
	"sync/atomic"
)

// shape is what rows of one table have in common: all that stands between
// their values. PostgreSQL writes the keys of a row always in the same order
// and with the same blanks, so that a row is nearly always of the shape of the
// one before, and comparing is faster than reading.
type shape struct {
	before []literal // what stands before each value: `{"id": `, `, "note": `
	after  string    // what stands after the last: `}`
}

// literal is text to compare with. Most of it is 8 to 16 bytes long, which two
// words compare that overlap; a call that compares costs more than they do.
type literal struct {
	text        string
	first, last uint64
}

func newLiteral(text []byte) literal {
	l := literal{text: string(text)}
	if len(text) >= 8 {
		l.first, l.last = binary.LittleEndian.Uint64(text), binary.LittleEndian.Uint64(text[len(text)-8:])
	}
	return l
}

// at returns where the literal ends that stands at i, -1 if it does not.
func (l *literal) at(text []byte, i int) int {
	end := i + len(l.text)
	switch n := len(l.text); {
	case end > len(text):
		return -1
	case 8 <= n && n <= 16:
		if binary.LittleEndian.Uint64(text[i:]) != l.first || binary.LittleEndian.Uint64(text[end-8:]) != l.last {
			return -1
		}
	case string(text[i:end]) != l.text:
		return -1
	}
	return end
}

// shapeOf returns the shape of a row, and its keys in order. It reports false
// for a row without one, or without one worth keeping.
func shapeOf(row []byte) (s shape, keys []string, ok bool) {
	if len(row) > maxColumnText {
		return s, nil, false
	}
	w := walkObject(row)
	end := 0
	for w.next() {
		s.before = append(s.before, newLiteral(row[end:w.pos-len(w.val)]))
		keys = append(keys, string(w.key))
		end = w.pos
	}
	s.after = string(row[end:])
	return s, keys, w.err == nil && len(keys) > 0
}

// row takes a row of the shape, and checks its values. It reports false, and
// takes nothing, if the row is of another shape.
func (s *scanner) row(sh *shape) bool {
	pos := s.pos
	for i := range sh.before {
		pos = sh.before[i].at(s.text, pos)
		switch { // most values are numbers, or strings without escapes
		case pos < 0 || pos == len(s.text):
			return false
		case s.text[pos] == '"':
			if end := special(s.text, pos+1); end < len(s.text) && s.text[end] == '"' {
				pos = end + 1
			} else {
				pos = stringEnd(s.text, pos)
			}
		case isDigit(s.text[pos]):
			pos = numberEnd(s.text, pos)
		default:
			pos = checkedEnd(s.text, pos, 1)
		}
		if pos < 0 {
			return false
		}
	}
	if !startsWith(s.text[pos:], sh.after) {
		return false
	}
	s.pos = pos + len(sh.after)
	return true
}

func startsWith(text []byte, s string) bool {
	return len(text) >= len(s) && string(text[:len(s)]) == s
}

// learned is what was made of the shape of the last rows.
type learned[T any] struct {
	last   atomic.Pointer[T]
	misses atomic.Uint32
}

// due reports whether to learn from what was not as the last was: in the
// beginning, and then now and then only, as there may be no end to it. A row
// whose large values did not change lacks them.
func (l *learned[T]) due() bool {
	n := l.misses.Add(1)
	return n <= 8 || n%16 == 0
}
