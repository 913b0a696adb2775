// Package signin makes a realtime.TokenSource of a Supabase Auth account: it
// signs in by email or phone, and refreshes the session from then on. It
// stands apart from package realtime so that programs with a token source of
// their own do not link it.
package signin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/supabase-community/gotrue-go/types"
	supabase "github.com/supabase-community/supabase-go"

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

	// HTTPClient makes the requests. Default http.DefaultClient.
	HTTPClient *http.Client
}

// Source is a session of Supabase Auth. Its method Token is a
// realtime.TokenSource. It is safe for concurrent use.
type Source struct {
	opts    Options
	client  *supabase.Client
	request *transport
	turn    chan struct{} // capacity 1: one request at a time; a send takes the turn

	refresh string // the refresh token; whoever has the turn may touch it
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
	if o.HTTPClient == nil {
		o.HTTPClient = http.DefaultClient
	}
	client, err := supabase.NewClient(o.URL, o.Key, nil)
	if err != nil {
		return nil, fmt.Errorf("signin: %w", err)
	}
	request := &transport{base: o.HTTPClient.Transport}
	client.Auth = client.Auth.WithClient(http.Client{
		Transport: request, Timeout: o.HTTPClient.Timeout, Jar: o.HTTPClient.Jar, CheckRedirect: o.HTTPClient.CheckRedirect,
	})
	return &Source{opts: o, client: client, request: request, turn: make(chan struct{}, 1), refresh: o.RefreshToken}, nil
}

// Token returns a fresh access token and its expiry by this machine's clock:
// by signing in the first time, by refreshing the session afterwards, by
// signing in again when the session is over. It blocks for the requests, until
// ctx ends.
//
// Refused credentials are an error that realtime.IsPermanent knows. Other
// errors pass: the network's, rate limits, and those of a server in trouble.
func (s *Source) Token(ctx context.Context) (token string, expiry time.Time, err error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", time.Time{}, ctx.Err()
	}
	if s.refresh != "" {
		session, err := s.ask(ctx, func() (types.Session, error) { return s.client.RefreshToken(s.refresh) })
		switch {
		case err == nil:
			return s.keep(session)
		case !s.request.refused():
			return "", time.Time{}, fmt.Errorf("signin: refresh: %w", err)
		case s.opts.Password == "":
			return "", time.Time{}, realtime.Permanent(fmt.Errorf("signin: the session is over: %w", err))
		}
		s.refresh = ""
	}
	session, err := s.ask(ctx, s.signIn)
	if err != nil {
		err = fmt.Errorf("signin: %w", err)
		if s.request.refused() {
			err = realtime.Permanent(err)
		}
		return "", time.Time{}, err
	}
	return s.keep(session)
}

func (s *Source) signIn() (types.Session, error) {
	if s.opts.Phone != "" {
		return s.client.SignInWithPhonePassword(s.opts.Phone, s.opts.Password)
	}
	return s.client.SignInWithEmailPassword(s.opts.Email, s.opts.Password)
}

// ask makes one request of the library, which takes no context.
func (s *Source) ask(ctx context.Context, f func() (types.Session, error)) (types.Session, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.request.ctx, s.request.status = ctx, 0
	session, err := f()
	if err == nil && session.AccessToken == "" {
		err = errors.New("the answer has no access token")
	}
	return session, err
}

func (s *Source) keep(session types.Session) (string, time.Time, error) {
	s.refresh = session.RefreshToken
	return session.AccessToken, time.Now().Add(time.Duration(session.ExpiresIn) * time.Second), nil
}

// transport gives the library's requests a context, and notes the status of
// the answer, which the library's errors have as text only. Whoever has the
// source's turn may touch it.
type transport struct {
	base   http.RoundTripper
	ctx    context.Context
	status int
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.base
	if base == nil {
		base = http.DefaultTransport
	}
	ctx, cancel := context.WithCancel(r.Context()) // which has the client's timeout
	context.AfterFunc(t.ctx, cancel)               // at the latest when ask returns
	resp, err := base.RoundTrip(r.WithContext(ctx))
	if err == nil {
		t.status = resp.StatusCode
	}
	return resp, err
}

// refused reports whether the server took the request and said no, in a way
// that trying again does not change.
func (t *transport) refused() bool {
	return t.status >= 400 && t.status < 500 && t.status != http.StatusTooManyRequests && t.status != http.StatusRequestTimeout
}
