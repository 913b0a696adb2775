// Package text makes text that a peer has sent fit for an error and a log.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean returns s as one line of valid UTF-8 without control characters or
// characters that change the direction of text, and of at most max bytes; what
// is cut off is replaced by "…". It reads no more of s than it returns.
func Clean(s string, max int) string {
	var b strings.Builder
	space := false
	for i, r := range s {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || unicode.IsSpace(r) {
			space = b.Len() > 0 // a run of them is one space, none at the ends
			if i > 4*max {      // s may have nothing else for megabytes
				return b.String() + "…"
			}
			continue
		}
		size := utf8.RuneLen(r)
		if space {
			size++
		}
		if b.Len()+size > max {
			return b.String() + "…"
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}
