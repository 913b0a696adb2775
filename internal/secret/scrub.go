package secret

import (
	"errors"
	"net/url"
	"strings"

	"github.com/gapless-go/gapless/internal/text"
)

// maxError bounds the text of an error that may repeat what a server sent.
const maxError = 300

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
	now := Plain(was)
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		for _, form := range []string{secret, url.QueryEscape(secret), strings.ReplaceAll(url.QueryEscape(secret), "+", "%20"), url.PathEscape(secret)} {
			now = strings.ReplaceAll(now, form, Mark)
		}
	}
	if now = text.Clean(now, maxError); now == was {
		return err
	}
	return &scrubbed{now, err}
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
