// Package signin makes a realtime.TokenSource of a Supabase Auth account: it
// signs in by email or phone, and refreshes the session from then on. Package
// supabasego, a module of its own, keeps a client of supabase-go in step with
// such a source.
package signin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/gapless-go/gapless/internal/patience"
	"github.com/gapless-go/gapless/internal/secret"
	"github.com/gapless-go/gapless/realtime"
)

// Options says who signs in, and where. URL and Key are required, and either
// Password with one of Email and Phone, or RefreshToken.
type Options struct {
	URL string // the project's address, such as https://ref.supabase.co
	Key string // the project's anon or publishable key

	Email, Phone string
	Password     string
	// RefreshToken continues a session that was made elsewhere. Supabase Auth
	// takes each one once. With a password beside it the source signs in when
	// the session has come to an end; without one it ends there.
	RefreshToken string

	// Header is added to the requests, such as a gateway wants it. apikey is the
	// source's own.
	Header http.Header
	// HTTPClient makes the requests. Default http.DefaultClient. A redirect to
	// another origin is not followed, whatever it says.
	HTTPClient *http.Client
	// FailFast takes every refusal for final, also that of a gateway where the
	// account has worked before: see Token.
	FailFast bool
}

// Source is a session of Supabase Auth. Its method Token is a
// realtime.TokenSource. It is safe for concurrent use.
type Source struct {
	opts Options
	to   *url.URL      // of the requests, without their query
	turn chan struct{} // capacity 1: one request at a time; a send takes the turn

	// Whoever has the turn may touch these.
	refresh string            // the refresh token
	account patience.Patience // whether requests for a token have been answered with one
}

// New makes a source. It makes no request: the first call of Token signs in.
func New(o Options) (*Source, error) {
	switch {
	case o.URL == "" || o.Key == "":
		return nil, errors.New("signin: URL and Key are required")
	case o.Email != "" && o.Phone != "":
		return nil, errors.New("signin: both Email and Phone are set")
	case o.Password != "" && o.Email == "" && o.Phone == "":
		return nil, errors.New("signin: a password needs an Email or a Phone")
	case o.Password == "" && o.RefreshToken == "":
		return nil, errors.New("signin: neither Password nor RefreshToken is set")
	}
	if err := secret.Check(o.Key); err != nil {
		return nil, fmt.Errorf("signin: Options.Key %w", err)
	}
	if strings.ContainsFunc(o.RefreshToken, unicode.IsControl) {
		return nil, errors.New("signin: Options.RefreshToken has a line break or another control character")
	}
	if err := secret.CheckHeader(o.Header); err != nil {
		return nil, fmt.Errorf("signin: Options.Header: %w", err)
	}
	to, err := url.Parse(o.URL)
	switch {
	case err != nil: // which quotes its input
		return nil, errors.New("signin: Options.URL cannot be parsed")
	case to.Scheme != "http" && to.Scheme != "https":
		return nil, fmt.Errorf("signin: Options.URL has the scheme %q, want http or https", to.Scheme)
	case to.Host == "" || to.User != nil || to.RawQuery != "" || to.Fragment != "":
		return nil, errors.New("signin: Options.URL is to have a host and perhaps a path, and no more")
	}
	to = &url.URL{Scheme: to.Scheme, Host: to.Host, Path: strings.TrimRight(to.Path, "/") + "/auth/v1/token"}
	if o.HTTPClient == nil {
		o.HTTPClient = http.DefaultClient
	}
	o.Header = maps.Clone(o.Header)
	return &Source{opts: o, to: to, turn: make(chan struct{}, 1), refresh: o.RefreshToken,
		account: patience.Patience{Strict: o.FailFast}}, nil
}

// Token returns a fresh access token and its expiry by this machine's clock:
// by signing in the first time, by refreshing the session afterwards, by
// signing in again when the session is over. It blocks until ctx ends, and for
// at most 30 s for each of the one or two requests. It reads at most 1 MiB of an
// answer.
//
// The error is one line without a key, password or token. It is one that
// realtime.IsPermanent knows
//
//   - if Supabase Auth itself refuses the account, or, where there is no
//     password, the session;
//   - for any other answer that looks as if it would not change (a gateway's 401,
//     403 or 404, a redirect to another origin) if no token has come before, and
//     otherwise when there are nothing but such answers for minutes.
//
// All others pass: the network's, rate limits, and those of a server in trouble.
// The session survives them. It also survives that the answer to a refresh is
// lost: the next call sends the same refresh token, which Supabase Auth takes
// again, as it is the one before the session's newest. (If the project has been
// set up to forbid that, the session is over.)
func (s *Source) Token(ctx context.Context) (token string, expiry time.Time, err error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", time.Time{}, ctx.Err()
	}
	if s.refresh != "" {
		got, err := s.ask(ctx, "refresh_token", map[string]string{"refresh_token": s.refresh})
		switch {
		case err == nil:
			return s.keep(got)
		case !s.final(err):
			return "", time.Time{}, fmt.Errorf("signin: refresh: %w", err)
		case s.opts.Password == "":
			return "", time.Time{}, realtime.Permanent(fmt.Errorf("signin: the session is over, sign in again: %w", err))
		}
		s.refresh = ""
	}
	who := map[string]string{"email": s.opts.Email, "password": s.opts.Password}
	if s.opts.Phone != "" {
		who = map[string]string{"phone": s.opts.Phone, "password": s.opts.Password}
	}
	got, err := s.ask(ctx, "password", who)
	if err == nil {
		return s.keep(got)
	}
	final := s.final(err)
	if err = fmt.Errorf("signin: %w", err); final {
		err = realtime.Permanent(err)
	}
	return "", time.Time{}, err
}

// final reports whether asking again is of no use.
func (s *Source) final(err error) bool {
	var r *refusal
	if !errors.As(err, &r) || r.passes() {
		return false
	}
	return r.own() || s.account.Refused(time.Now())
}

// maxLifetime bounds what an answer says of how long its token is good.
const maxLifetime = 10 * 365 * 24 * time.Hour

// keep takes a session. Its refresh token is new, except where the server does
// not rotate them.
func (s *Source) keep(got session) (string, time.Time, error) {
	s.account.Worked()
	if got.RefreshToken != "" {
		s.refresh = got.RefreshToken
	}
	var expiry time.Time // unknown: the token's own claim counts
	if got.ExpiresIn != 0 {
		lives := min(max(got.ExpiresIn, -1), maxLifetime.Seconds())
		expiry = time.Now().Add(time.Duration(lives * float64(time.Second)))
	}
	return got.AccessToken, expiry, nil
}

// Format writes the options without what is secret, the same for every verb.
func (o Options) Format(s fmt.State, _ rune) { secret.Format(s, o) }

// MarshalText returns what Format writes, for loggers.
func (o Options) MarshalText() ([]byte, error) { return []byte(secret.Text(o)), nil }

// Format writes the options of the source without what is secret.
func (s *Source) Format(to fmt.State, _ rune) { fmt.Fprintf(to, "signin.Source{%v}", s.opts) }

// MarshalText returns what Format writes, for loggers.
func (s *Source) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%v", s), nil }
