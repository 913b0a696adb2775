package realtime

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

var (
	// ErrNoProject is the error of Do for a client that knows only the address
	// of a Realtime server and not that of its project: see Options.ProjectURL.
	ErrNoProject = Permanent(errors.New("realtime: the URL is that of a Realtime server, which has no other API; set Options.ProjectURL"))
	// ErrForeignURL is the error of Do for a URL that is not of the project. The
	// key and the token go nowhere else.
	ErrForeignURL = Permanent(errors.New("realtime: the request's URL is not of the project"))

	errNotShown = errors.New("the request failed; the error is not shown as it holds what is secret")
)

// maxRedirects is how many redirects a request follows, as with net/http.
const maxRedirects = 10

// Do makes a request to one of the project's other APIs (REST, Auth,
// Functions) as whom the channels act: with the header apikey, and with the
// present token in the header Authorization. Both replace what r has. An sb_…
// key goes into apikey alone, as it is no token.
//
// The URL is relative to the project, such as "/rest/v1/orders?select=*", or
// an absolute one of the project's own scheme, host and port; any other is
// ErrForeignURL. Where Options.URL is that of a Realtime server itself, it is
// ErrNoProject, unless Options.ProjectURL names the project. Redirects are
// followed within the project; one that leads elsewhere is returned as the
// answer that it is.
//
// Do blocks until the head of the answer is there, or r's context ends. While
// Options.Token is asked for a new token it waits for that, too, and returns
// its error. After Close it returns ErrClosed; Close ends no request that is
// under way. Errors hold neither the key nor a token nor the URL's query. A
// nil error comes with an answer of any status, whose body the caller closes.
// Nothing is tried again.
//
// An answer 401 means that the token is not used any more: the next call, of
// Do or Token, asks Options.Token for a new one. PostgREST's 401 for a role
// that lacks a right, whose WWW-Authenticate is just "Bearer", says nothing
// against the token and does not count.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	to, err := c.endpoint.resolve(r.URL)
	return c.do(r, to, err)
}

// do makes a request to a resolved URL, unless there is an error about that.
func (c *Client) do(r *http.Request, to *url.URL, err error) (*http.Response, error) {
	var out *http.Request
	var token string
	if err == nil {
		out, token, err = c.authorize(r, to)
	} else if c.ctx.Err() != nil {
		err = ErrClosed
	}
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // as http.Client does whatever happens
		}
		return nil, err
	}
	sender := *c.opts.HTTPClient
	sender.CheckRedirect = within(to, sender.CheckRedirect)
	answer, err := sender.Do(out)
	if err != nil {
		return nil, requestError(out, err, c.opts.Key, token)
	}
	if answer.StatusCode == http.StatusUnauthorized && answer.Header.Get("WWW-Authenticate") != "Bearer" {
		c.auth.refuse(token)
	}
	return answer, nil
}

// authorize returns the request as it is sent, and the token in it.
func (c *Client) authorize(r *http.Request, to *url.URL) (out *http.Request, token string, err error) {
	if c.ctx.Err() != nil {
		return nil, "", ErrClosed
	}
	if token, err = c.requestToken(r.Context()); err != nil {
		return nil, "", err
	}
	out = r.Clone(r.Context())
	out.URL = to
	out.Host = "" // that of the URL: a gateway may tell projects apart by it
	if out.Header == nil {
		out.Header = http.Header{}
	}
	out.Header.Set("apikey", c.opts.Key)
	out.Header.Del("Authorization")
	if token != "" {
		out.Header.Set("Authorization", "Bearer "+token)
	}
	return out, token, nil
}

// requestToken is the token for a header: none for an sb_… key.
func (c *Client) requestToken(ctx context.Context) (string, error) {
	token, err := c.Token(ctx)
	if err != nil && c.ctx.Err() != nil {
		return "", ErrClosed
	}
	return sendable(token), err
}

// within keeps redirects where the request was meant to go: net/http would take
// the header apikey to any host.
func within(to *url.URL, check func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		switch {
		case origin(r.URL) != origin(to):
			return http.ErrUseLastResponse
		case check != nil:
			return check(r, via)
		case len(via) >= maxRedirects:
			return fmt.Errorf("stopped after %d redirects", maxRedirects)
		}
		return nil
	}
}

// requestError names the request of an error of net/http without its query,
// which may hold data.
func requestError(r *http.Request, err error, secrets ...string) error {
	err = redact(err)
	for _, secret := range append(secrets, r.URL.RawQuery) {
		if secret != "" && strings.Contains(err.Error(), secret) {
			err = errNotShown // such as that of a Location which repeats the query
		}
	}
	return fmt.Errorf("realtime: %s %s: %w", r.Method, r.URL.EscapedPath(), err)
}

// resolve makes an absolute URL of the project.
func (e endpoint) resolve(u *url.URL) (*url.URL, error) {
	switch {
	case e.project == nil:
		return nil, ErrNoProject
	case u == nil || u.Opaque != "" || u.User != nil:
		return nil, ErrForeignURL
	case u.Scheme != "" || u.Host != "":
		if origin(u) != origin(e.project) {
			return nil, ErrForeignURL
		}
		return u, nil
	}
	to := *e.project
	to.Path = e.project.Path + "/" + strings.TrimLeft(u.Path, "/")
	to.RawPath = e.project.EscapedPath() + "/" + strings.TrimLeft(u.EscapedPath(), "/")
	to.RawQuery, to.ForceQuery = u.RawQuery, u.ForceQuery
	return &to, nil
}

// origin is what must be equal of two URLs for the same server.
func origin(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case strings.EqualFold(u.Scheme, "http"):
		port = "80"
	case strings.EqualFold(u.Scheme, "https"):
		port = "443"
	}
	return strings.ToLower(u.Scheme + "://" + u.Hostname() + ":" + port)
}
