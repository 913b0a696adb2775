package secret

import (
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/internal/text"
)

const (
	// maxError bounds the text of an error that may repeat what a server sent.
	maxError = 300
	// minSecret is how long a secret must be to be looked for: a shorter one
	// would be found in ordinary words.
	minSecret = 4
)

// Scrub returns an error of net/http as one line without the URL of the
// request and without the secrets, in which the queries of the request's URLs
// count, too. The error is err itself, without the *url.Error around it, if its
// text is fit as it is, and otherwise one that errors.Is and errors.As take for
// err.
func Scrub(err error, secrets ...string) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	was := err.Error()
	now := text.Clean(Hide(was, secrets...), maxError)
	if now == was {
		return err
	}
	return &scrubbed{now, err}
}

// Hide returns a text with Mark for the secrets, and for what Plain knows.
func Hide(s string, secrets ...string) string {
	s = Plain(s)
	for _, secret := range secrets {
		if len(secret) < minSecret {
			continue
		}
		for _, form := range forms(secret) {
			s = strings.ReplaceAll(s, form, Mark)
		}
	}
	return s
}

// forms are a secret as it may stand in a text: in a URL, in JSON, in quotes of
// Go, and in JSON in such quotes.
func forms(secret string) []string {
	inJSON, _ := json.Marshal(secret) // a string always encodes
	query := url.QueryEscape(secret)
	all := []string{secret, query, strings.ReplaceAll(query, "+", "%20"), url.PathEscape(secret)}
	for _, quoted := range []string{string(inJSON), strconv.Quote(secret)} {
		all = append(all, quoted[1:len(quoted)-1])
	}
	twice := strconv.Quote(all[len(all)-2])
	return append(all, twice[1:len(twice)-1])
}

// scrubbed has its own text, and is err otherwise. It does not unwrap, so that
// nobody prints err who follows the chain.
type scrubbed struct {
	text string
	err  error
}

func (e *scrubbed) Error() string        { return e.text }
func (e *scrubbed) Is(target error) bool { return errors.Is(e.err, target) }
func (e *scrubbed) As(target any) bool   { return errors.As(e.err, target) }
