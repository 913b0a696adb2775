// Package origin keeps what is secret at one server: a key, a token and a
// password travel to no other origin, whatever a redirect says.
package origin

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// maxRedirects is how many redirects a request follows, as with net/http.
const maxRedirects = 10

var errTooMany = errors.New("stopped after 10 redirects")

// Same reports whether two URLs are of one scheme, host and port. A websocket's
// scheme is that of HTTP below it.
func Same(a, b *url.URL) bool { return of(a) == of(b) }

func of(u *url.URL) string {
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	switch scheme {
	case "ws":
		scheme = "http"
	case "wss":
		scheme = "https"
	}
	switch {
	case port != "":
	case scheme == "http":
		port = "80"
	case scheme == "https":
		port = "443"
	}
	return scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// Within returns a http.Client.CheckRedirect that follows redirects within
// base's origin, as far as check allows (nil: ten of them). A redirect to
// another origin is not followed: its answer is what the request returns.
func Within(base *url.URL, check func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		switch {
		case !Same(r.URL, base):
			return http.ErrUseLastResponse
		case check != nil:
			return check(r, via)
		case len(via) >= maxRedirects:
			return errTooMany
		}
		return nil
	}
}
