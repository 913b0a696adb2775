package realtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/gapless-go/gapless/internal/origin"
	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/internal/secret"
)

var (
	// ErrNoProject is the error of Do for a client that knows only the address
	// of a Realtime server and not that of its project: see Options.ProjectURL.
	ErrNoProject = Permanent(errors.New("realtime: the URL is that of a Realtime server, which has no other API; set Options.ProjectURL"))
	// ErrForeignURL is the error of Do for a URL that is not of the project. The
	// key and the token go nowhere else.
	ErrForeignURL = Permanent(errors.New("realtime: the request's URL is not of the project"))
)

// Do makes a request to one of the project's other APIs (REST, Auth,
// Functions) as whom the channels act: with the header apikey, and with the
// present token in the header Authorization. Both replace what r has. An sb_…
// key goes into apikey alone, as it is no token. Of Options.Header it has what r
// does not set itself.
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
// under way. Errors hold neither the key nor a token nor the URL's query; a
// panic of the HTTPClient's is a [PanicError]. A nil error comes with an answer
// of any status, whose body the caller closes. Nothing is tried again.
//
// An answer by which one of the project's own APIs refuses the token means that
// it is not used any more: the next call, of Do or Token, asks Options.Token for
// a new one. That is
//
//   - 401 with error="invalid_token" in WWW-Authenticate, by /rest/v1 (code
//     PGRST301 or PGRST303), /graphql/v1 and /storage/v1,
//   - 401 or 403 with the header x-sb-error-code: bad_jwt, by /auth/v1,
//   - 401 in JSON by Realtime's own API.
//
// Any other 401 says nothing against the token: that of an Edge Function, a
// gateway's page, an API key that is not known, or PostgREST's for a role that
// lacks a right.
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
	sender.CheckRedirect = origin.Within(to, sender.CheckRedirect)
	var answer *http.Response
	err = rescue.Do("Options.HTTPClient", func() (err error) {
		answer, err = sender.Do(out)
		return err
	})
	if err != nil {
		err = secret.Scrub(err, append(c.secrets(), token, out.URL.RawQuery)...)
		return nil, fmt.Errorf("realtime: %s %s: %w", out.Method, out.URL.EscapedPath(), err)
	}
	if answer.Header.Get("Age") == "" { // the Date of one from a store is old
		c.router.readClock(answer)
	}
	if answer.Request != nil {
		to = answer.Request.URL // where redirects led to
	}
	if c.endpoint.refusesToken(to, answer) {
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
	out.Header = c.opts.Header.Clone()
	if out.Header == nil {
		out.Header = http.Header{}
	}
	maps.Copy(out.Header, r.Header)
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

// refusesToken reports whether an answer is that of one of the project's own
// APIs which refuses the token: see Do.
func (e endpoint) refusesToken(from *url.URL, answer *http.Response) bool {
	unauthorized := answer.StatusCode == http.StatusUnauthorized
	if !unauthorized && answer.StatusCode != http.StatusForbidden {
		return false
	}
	path := from.Path
	if strings.HasPrefix(path, e.api().Path+"/") {
		kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
		return unauthorized && kind == "application/json"
	}
	if e.project == nil {
		return false
	}
	service, _, _ := strings.Cut(strings.TrimPrefix(path, e.project.Path+"/"), "/v1/")
	switch service {
	case "rest", "graphql", "storage":
		return unauthorized && strings.Contains(answer.Header.Get("WWW-Authenticate"), `error="invalid_token"`)
	case "auth":
		return answer.Header.Get("x-sb-error-code") == "bad_jwt"
	}
	return false
}

// resolve makes an absolute URL of the project.
func (e endpoint) resolve(u *url.URL) (*url.URL, error) {
	switch {
	case e.project == nil:
		return nil, ErrNoProject
	case u == nil || u.Opaque != "" || u.User != nil:
		return nil, ErrForeignURL
	case u.Scheme != "" || u.Host != "":
		if !origin.Same(u, e.project) {
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
