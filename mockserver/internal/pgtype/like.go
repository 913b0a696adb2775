package pgtype

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Pattern is a pattern of LIKE: what stands between the %, in order.
type Pattern []segment

// segment is a part of a pattern without %: runes, of which anyRune stands for
// any one.
type segment struct {
	runes []rune
	text  string // the runes, where none of them is anyRune
	exact bool   // none is
}

const (
	anyRune  rune = -2 // _
	NoEscape rune = -3
)

// NewPattern reads a LIKE pattern in which escape makes the next rune literal.
func NewPattern(text string, escape rune) Pattern {
	pattern, escaped := Pattern{{}}, false
	for _, r := range text {
		last := &pattern[len(pattern)-1]
		switch {
		case escaped:
			escaped = false
		case r == escape:
			escaped = true
			continue
		case r == '%':
			pattern = append(pattern, segment{})
			continue
		case r == '_':
			r = anyRune
		}
		last.runes = append(last.runes, r)
	}
	for i, s := range pattern {
		pattern[i].text, pattern[i].exact = string(s.runes), !slices.Contains(s.runes, anyRune)
	}
	return pattern
}

// Matches takes time that is linear in the text, for any number of %: clients
// make patterns up. A segment with _ takes the product of the lengths divided by
// 64.
func (pattern Pattern) Matches(text string) bool {
	first, last := pattern[0], pattern[len(pattern)-1]
	n, ok := first.prefix(text)
	if len(pattern) == 1 {
		return ok && n == len(text)
	}
	if !ok {
		return false
	}
	text = text[n:]
	if n, ok = last.suffix(text); !ok {
		return false
	}
	text = text[:len(text)-n]
	for _, s := range pattern[1 : len(pattern)-1] {
		end := s.find(text)
		if end < 0 {
			return false
		}
		text = text[end:]
	}
	return true
}

// prefix returns how many bytes at the start of the text the segment matches.
func (s segment) prefix(text string) (n int, ok bool) {
	for _, want := range s.runes {
		r, size := utf8.DecodeRuneInString(text[n:])
		if size == 0 || want != anyRune && r != want {
			return 0, false
		}
		n += size
	}
	return n, true
}

// suffix returns how many bytes at the end of the text the segment matches.
func (s segment) suffix(text string) (n int, ok bool) {
	for i := len(s.runes) - 1; i >= 0; i-- {
		r, size := utf8.DecodeLastRuneInString(text[:len(text)-n])
		if size == 0 || s.runes[i] != anyRune && r != s.runes[i] {
			return 0, false
		}
		n += size
	}
	return n, true
}

// find returns where the first match of the segment in the text ends; -1: there
// is none.
func (s segment) find(text string) int {
	if s.exact {
		at := strings.Index(text, s.text)
		if at < 0 {
			return -1
		}
		return at + len(s.text)
	}
	if len(s.runes) > len(text) {
		return -1
	}
	// Bit i of state says that the runes up to i match what was read last.
	words := (len(s.runes) + 63) / 64
	masks, other := map[rune][]uint64{}, make([]uint64, words)
	for _, r := range s.runes {
		if r != anyRune && masks[r] == nil {
			masks[r] = make([]uint64, words)
		}
	}
	for i, r := range s.runes {
		bit := uint64(1) << (i % 64)
		if r != anyRune {
			masks[r][i/64] |= bit
			continue
		}
		other[i/64] |= bit
		for _, mask := range masks {
			mask[i/64] |= bit
		}
	}
	state, final := make([]uint64, words), uint64(1)<<((len(s.runes)-1)%64)
	for at, r := range text {
		mask := masks[r]
		if mask == nil {
			mask = other
		}
		carry := uint64(1)
		for w := range state {
			next := state[w] >> 63
			state[w] = (state[w]<<1 | carry) & mask[w]
			carry = next
		}
		if state[words-1]&final != 0 {
			_, size := utf8.DecodeRuneInString(text[at:])
			return at + size
		}
	}
	return -1
}
