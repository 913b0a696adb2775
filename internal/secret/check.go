package secret

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

var errNotSendable = errors.New("has a space, a line break or another character that no key or token has; perhaps it was read with the end of a line")

// Check refuses a key or token that no header can carry as it is. The error
// does not show it.
func Check(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError }) {
		return errNotSendable
	}
	return nil
}

// CheckHeader refuses headers that no request can carry. The error has their
// names, and no value.
func CheckHeader(h http.Header) error {
	for name, values := range h {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
		}) {
			return fmt.Errorf("%q is no name of a header", name)
		}
		for _, v := range values {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return fmt.Errorf("the header %s has a line break or another control character", name)
			}
		}
	}
	return nil
}
