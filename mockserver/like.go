package mockserver

import (
	"regexp"
	"strings"
)

// likePattern turns a LIKE pattern into a regular expression. A backslash
// makes the next character literal.
func likePattern(like string) string {
	var b strings.Builder
	for _, r := range newWildcards(like, '\\') {
		switch r {
		case anyText:
			b.WriteString(".*")
		case anyRune:
			b.WriteByte('.')
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return b.String()
}

// wildcards is a pattern of LIKE: runes, and two that are none for the
// wildcards. It is not nil.
type wildcards []rune

const (
	anyText  rune = -1 // %
	anyRune  rune = -2 // _
	noEscape rune = -3
)

// newWildcards reads a LIKE pattern in which escape makes the next rune literal.
func newWildcards(text string, escape rune) wildcards {
	pattern, escaped := wildcards{}, false
	for _, r := range text {
		switch {
		case escaped:
			escaped = false
		case r == escape:
			escaped = true
			continue
		case r == '%':
			r = anyText
		case r == '_':
			r = anyRune
		}
		pattern = append(pattern, r)
	}
	return pattern
}

// matches takes time as the product of the two lengths at most, whatever the
// pattern: clients make it up.
func (pattern wildcards) matches(text string) bool {
	runes := []rune(text)
	p, n := 0, 0
	wildcard, from := -1, 0 // the last anyText, and how far it reaches
	for n < len(runes) {
		switch {
		case p < len(pattern) && pattern[p] == anyText:
			wildcard, from = p, n
			p++
		case p < len(pattern) && (pattern[p] == anyRune || pattern[p] == runes[n]):
			p, n = p+1, n+1
		case wildcard >= 0:
			from++
			p, n = wildcard+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == anyText {
		p++
	}
	return p == len(pattern)
}
