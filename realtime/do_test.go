package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/realtime"
)

const sbKey = "sb_publishable_that_must_not_be_printed"

// web answers requests without a network, and keeps them.
type web struct {
	answer func(r *http.Request) (*http.Response, error)
	seen   []*http.Request
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	w.seen = append(w.seen, r)
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	return w.answer(r)
}

// respond makes an answer; headers are names and values in turn.
func respond(status int, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader("body"))}
}

func always(status int, headers ...string) *web {
	return &web{answer: func(*http.Request) (*http.Response, error) { return respond(status, headers...), nil }}
}

// onWeb opens a client whose requests are answered by w.
func onWeb(t *testing.T, w *web, o realtime.Options) *realtime.Client {
	t.Helper()
	if o.URL == "" {
		o.URL = projectURL
	}
	if o.Key == "" {
		o.Key = anonKey
	}
	o.HTTPClient = &http.Client{Transport: w}
	c, err := realtime.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func get(t *testing.T, c *realtime.Client, address string) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	answer, err := c.Do(r)
	if err == nil {
		_ = answer.Body.Close()
	}
	return answer, err
}

func TestDoFindsTheProject(t *testing.T) {
	const path = "/rest/v1/a%2Fb?select=*&x=eq.%22"
	for _, c := range []struct{ url, project, want string }{
		{"https://ref.test", "", "https://ref.test" + path},
		{"https://ref.test/", "", "https://ref.test" + path},
		{"ws://host.test:4000/prefix", "", "http://host.test:4000/prefix" + path},
		{"wss://ref.test/realtime/v1", "", "https://ref.test" + path},
		{"wss://ref.test/prefix/realtime/v1/websocket?log_level=info", "", "https://ref.test/prefix" + path},
		{"ws://host.test:4000/socket", "http://host.test:8000/", "http://host.test:8000" + path},
		{"ws://host.test:4000/socket", "https://other.test/p/", "https://other.test/p" + path},
		{"ws://host.test:4000/socket", "", ""},
		{"ws://host.test:4000/socket/websocket", "", ""},
		{"ws://host.test:4000/websocket", "", ""},
	} {
		w := always(200)
		client := onWeb(t, w, realtime.Options{URL: c.url, ProjectURL: c.project})
		_, err := get(t, client, path)
		if c.want == "" {
			require.ErrorIs(t, err, realtime.ErrNoProject, c.url)
			require.True(t, realtime.IsPermanent(err))
			require.Empty(t, w.seen)
			continue
		}
		require.NoError(t, err, c.url)
		require.Equal(t, c.want, w.seen[0].URL.String())
	}
	for _, project := range []string{"ref.test", "ftp://ref.test", "https://", "https://u@ref.test", "https://ref.test?apikey=" + anonKey, "http://a b"} {
		_, err := realtime.New(realtime.Options{URL: projectURL, Key: anonKey, ProjectURL: project})
		require.ErrorContains(t, err, "Options.ProjectURL", project)
		require.NotContains(t, err.Error(), anonKey)
	}
}

func TestDoKeepsTheKeyInTheProject(t *testing.T) {
	w := always(200)
	c := onWeb(t, w, realtime.Options{URL: "https://ref.test/p"})
	for _, foreign := range []string{
		"https://evil.test/rest/v1/a", "http://ref.test/p/rest/v1/a", "https://ref.test:444/a", "https://ref.test.evil.test/a", "https://sub.ref.test/a",
		"//evil.test/a", "https://u:p@ref.test/a", "https:ref.test/a", "file:///a",
	} {
		body := &closing{}
		u, err := url.Parse(foreign)
		require.NoError(t, err)
		_, err = c.Do(&http.Request{Method: http.MethodPost, URL: u, Body: body})
		require.ErrorIs(t, err, realtime.ErrForeignURL, foreign)
		require.True(t, body.closed, "as with http.Client")
	}
	_, err := c.Do(&http.Request{})
	require.ErrorIs(t, err, realtime.ErrForeignURL)
	require.Empty(t, w.seen)
	for _, own := range []string{"https://ref.test/rest/v1/a", "HTTPS://REF.test:443/rest/v1/a"} {
		_, err := get(t, c, own)
		require.NoError(t, err, own)
	}
	r, err := http.NewRequest(http.MethodGet, "/rest/v1/a", nil)
	require.NoError(t, err)
	r.Host = "evil.test"
	_, err = c.Do(r)
	require.NoError(t, err)
	require.Empty(t, w.seen[2].Host, "a gateway would take the request to another project")
}

type closing struct{ closed bool }

func (*closing) Read([]byte) (int, error) { return 0, io.EOF }
func (c *closing) Close() error           { c.closed = true; return nil }

func TestDoHeaders(t *testing.T) {
	user := func(context.Context) (string, time.Time, error) { return "user-token", time.Time{}, nil }
	for _, c := range []struct {
		key    string
		source realtime.TokenSource
		want   string // Authorization
	}{
		{anonKey, nil, "Bearer " + anonKey},
		{anonKey, user, "Bearer user-token"},
		{sbKey, nil, ""},
		{sbKey, user, "Bearer user-token"},
		{anonKey, func(context.Context) (string, time.Time, error) { return sbKey, time.Time{}, nil }, ""},
	} {
		w := always(204)
		client := onWeb(t, w, realtime.Options{Key: c.key, Token: c.source})
		r, err := http.NewRequest(http.MethodPost, "/rest/v1/a", strings.NewReader("{}"))
		require.NoError(t, err)
		r.Header = http.Header{"Prefer": {"return=minimal"}, "Authorization": {"Basic of the caller"}}
		answer, err := client.Do(r)
		require.NoError(t, err)
		require.Equal(t, 204, answer.StatusCode)
		sent := w.seen[0]
		require.Equal(t, c.key, sent.Header.Get("apikey"))
		require.Equal(t, c.want, sent.Header.Get("Authorization"))
		require.Equal(t, "return=minimal", sent.Header.Get("Prefer"))
		require.Empty(t, r.Header.Get("apikey"), "the caller's request is left alone")
		require.Equal(t, "/rest/v1/a", r.URL.String())
	}
}

func TestDoRedirects(t *testing.T) {
	location := ""
	w := &web{}
	w.answer = func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/from" {
			return respond(http.StatusTemporaryRedirect, "Location", location), nil
		}
		return respond(http.StatusOK), nil
	}
	c := onWeb(t, w, realtime.Options{URL: "https://ref.test"})
	for _, location = range []string{"https://evil.test/to", "http://ref.test/to", "https://sub.ref.test/to", "//evil.test/to"} {
		w.seen = nil
		answer, err := get(t, c, "/from")
		require.NoError(t, err)
		require.Equal(t, http.StatusTemporaryRedirect, answer.StatusCode, "the caller may look where it leads")
		require.Len(t, w.seen, 1, location)
	}
	location = "/to?x=1"
	answer, err := get(t, c, "/from")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Equal(t, anonKey, w.seen[len(w.seen)-1].Header.Get("apikey"))

	w.seen, location = nil, "/from"
	_, err = get(t, c, "/from")
	require.ErrorContains(t, err, "stopped after 10 redirects")
	require.Len(t, w.seen, 10)
}

func TestDoAsksForATokenAfter401(t *testing.T) {
	given := []string{"one", "two", "three"}
	calls := 0
	source := func(context.Context) (string, time.Time, error) {
		calls++
		return given[min(calls-1, 2)], time.Time{}, nil
	}
	w := &web{}
	w.answer = func(r *http.Request) (*http.Response, error) {
		switch {
		case r.URL.Path == "/rest/v1/denied":
			return respond(http.StatusUnauthorized, "WWW-Authenticate", "Bearer"), nil
		case r.Header.Get("Authorization") == "Bearer one":
			return respond(http.StatusUnauthorized, "WWW-Authenticate", `Bearer error="invalid_token"`), nil
		}
		return respond(http.StatusOK), nil
	}
	c := onWeb(t, w, realtime.Options{Token: source})
	answer, err := get(t, c, "/rest/v1/a")
	require.NoError(t, err)
	require.Equal(t, 401, answer.StatusCode, "there is no retry")
	require.Equal(t, 1, calls)
	for range 3 {
		answer, err = get(t, c, "/rest/v1/a")
		require.NoError(t, err)
		require.Equal(t, 200, answer.StatusCode)
		require.Equal(t, 2, calls)
	}
	_, err = get(t, c, "/rest/v1/denied")
	require.NoError(t, err)
	_, err = get(t, c, "/rest/v1/a")
	require.NoError(t, err)
	require.Equal(t, 2, calls, "a right that the role lacks is not the token's fault")

	// Any number of refusals leaves channels their chance; the source is asked
	// each time, and a token that it returns again is an error.
	w.answer = func(*http.Request) (*http.Response, error) {
		return respond(401, "WWW-Authenticate", `Bearer error="invalid_token"`), nil
	}
	for n := 3; n <= 4; n++ {
		_, err = get(t, c, "/rest/v1/a")
		if n == 4 {
			_, again := get(t, c, "/rest/v1/a")
			require.ErrorContains(t, again, "token source")
		}
		require.NoError(t, err)
	}
}

// Only the project's own APIs can say that a token is of no use.
func TestDo_WhoseRefusalOfATokenCounts(t *testing.T) {
	const page, object = "text/html; charset=utf-8", "application/json; charset=utf-8"
	invalid := []string{"WWW-Authenticate", `Bearer error="invalid_token", error_description="JWT expired"`}
	for _, c := range []struct {
		path    string
		status  int
		headers []string
		counts  bool
	}{
		{"/rest/v1/orders", 401, invalid, true},
		{"/rest/v1/rpc/f", 401, invalid, true},
		{"/graphql/v1/", 401, invalid, true},
		{"/storage/v1/object/a", 401, invalid, true},
		{"/auth/v1/user", 403, []string{"x-sb-error-code", "bad_jwt"}, true},
		{"/auth/v1/user", 401, []string{"x-sb-error-code", "bad_jwt"}, true},
		{"/realtime/v1/api/broadcast", 401, []string{"Content-Type", object}, true},

		{"/functions/v1/mine", 401, nil, false},
		{"/functions/v1/mine", 401, invalid, false},
		{"/functions/v1/mine", 401, []string{"Content-Type", object}, false},
		{"/functions/v1/rest/v1/orders", 401, invalid, false},
		{"/mine", 401, invalid, false},
		{"/rest/v1/orders", 401, nil, false},
		{"/rest/v1/orders", 401, []string{"WWW-Authenticate", "Bearer"}, false},
		{"/rest/v1/orders", 401, []string{"WWW-Authenticate", `Key realm="kong"`}, false},
		{"/rest/v1/orders", 401, []string{"Content-Type", page}, false},
		{"/rest/v1/orders", 403, invalid, false},
		{"/auth/v1/user", 403, nil, false},
		{"/auth/v1/user", 403, []string{"x-sb-error-code", "user_banned"}, false},
		{"/realtime/v1/api/broadcast", 401, []string{"Content-Type", page}, false},
		{"/realtime/v1/api/broadcast", 403, []string{"Content-Type", object}, false},
	} {
		calls := 0
		source := func(context.Context) (string, time.Time, error) {
			calls++
			return fmt.Sprint("token-", calls), time.Time{}, nil
		}
		client := onWeb(t, always(c.status, c.headers...), realtime.Options{Token: source})
		_, err := get(t, client, c.path)
		require.NoError(t, err)
		_, err = client.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, c.counts, calls == 2, "%s %d %v", c.path, c.status, c.headers)
	}
}

func TestOptions_HeaderGoesWithEveryRequest(t *testing.T) {
	w := always(202)
	c := onWeb(t, w, realtime.Options{Header: http.Header{
		"X-Tenant": {"t1"}, "Prefer": {"of the options"}, "Apikey": {"not this"}, "Authorization": {"nor this"}}})
	r, err := http.NewRequest(http.MethodGet, "/rest/v1/a", nil)
	require.NoError(t, err)
	r.Header.Set("Prefer", "of the request")
	_, err = c.Do(r)
	require.NoError(t, err)
	require.NoError(t, c.Broadcast(t.Context(), realtime.BroadcastMessage{Topic: "t", Event: "e", Payload: map[string]any{}}))
	for i, prefer := range []string{"of the request", "of the options"} {
		h := w.seen[i].Header
		require.Equal(t, []string{"t1"}, h["X-Tenant"])
		require.Equal(t, []string{prefer}, h["Prefer"])
		require.Equal(t, []string{anonKey}, h["Apikey"])
		require.Equal(t, []string{"Bearer " + anonKey}, h["Authorization"])
	}
	require.Len(t, r.Header, 1, "the caller's request is left alone")
}

func TestOptions_WhatNoRequestCanCarryIsRefused(t *testing.T) {
	for name, o := range map[string]realtime.Options{
		"Options.Key":    {Key: anonKey + "\n"},
		"Options.Header": {Key: anonKey, Header: http.Header{"X-Tenant": {"one\r\nX-Other: two"}}},
	} {
		o.URL = projectURL
		_, err := realtime.New(o)
		require.ErrorContains(t, err, name)
		require.NotContains(t, err.Error(), "\n")
		require.NotContains(t, err.Error(), anonKey)
	}
	w := always(200)
	c := onWeb(t, w, realtime.Options{Token: func(context.Context) (string, time.Time, error) { return "SECRET\n", time.Time{}, nil }})
	_, err := get(t, c, "/rest/v1/a")
	require.ErrorContains(t, err, "the token has a space, a line break")
	require.NotContains(t, err.Error(), "SECRET")
	require.Empty(t, w.seen)
}

func TestDo_APanicOfTheTransportIsAnError(t *testing.T) {
	c := onWeb(t, &web{answer: func(*http.Request) (*http.Response, error) { panic("boom") }}, realtime.Options{})
	_, err := get(t, c, "/rest/v1/a")
	require.ErrorContains(t, err, "panic in Options.HTTPClient: boom")
	var p *rescue.Error
	require.ErrorAs(t, err, &p)
}

func TestDoErrors(t *testing.T) {
	const secretQuery = "name=eq.of-a-patient"
	cause := errors.New("no route to host")
	w := &web{answer: func(*http.Request) (*http.Response, error) { return nil, cause }}
	c := onWeb(t, w, realtime.Options{})
	_, err := get(t, c, "/rest/v1/a%20b?"+secretQuery)
	require.ErrorIs(t, err, cause)
	require.EqualError(t, err, "realtime: GET /rest/v1/a%20b: no route to host")

	for _, leak := range []error{errors.New("bad " + secretQuery), errors.New("bad " + anonKey), &url.Error{Op: "Get", URL: "http://x/?" + secretQuery, Err: cause}} {
		w.answer = func(*http.Request) (*http.Response, error) { return nil, leak }
		_, err = get(t, c, "/rest/v1/a?"+secretQuery)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "patient")
		require.NotContains(t, err.Error(), anonKey)
	}
	w.answer = func(*http.Request) (*http.Response, error) {
		return respond(302, "Location", "http://[?"+secretQuery), nil
	}
	_, err = get(t, c, "/rest/v1/a?"+secretQuery)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "patient")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.answer = func(r *http.Request) (*http.Response, error) { return nil, r.Context().Err() }
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/a", nil)
	require.NoError(t, err)
	_, err = c.Do(r)
	require.ErrorIs(t, err, context.Canceled)

	down := errors.New("the source is down")
	failing := onWeb(t, w, realtime.Options{Token: func(context.Context) (string, time.Time, error) { return "", time.Time{}, down }})
	_, err = get(t, failing, "/a")
	require.ErrorIs(t, err, down)

	require.NoError(t, c.Close(t.Context()))
	_, err = get(t, c, "/a")
	require.ErrorIs(t, err, realtime.ErrClosed)
}

// Close ends a call that waits for the token source.
func TestDoWhileClosing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := onWeb(t, always(200), realtime.Options{Token: func(ctx context.Context) (string, time.Time, error) {
			<-ctx.Done()
			return "", time.Time{}, ctx.Err()
		}})
		time.AfterFunc(time.Second, func() { _ = c.Close(context.Background()) })
		_, err := get(t, c, "/a")
		require.ErrorIs(t, err, realtime.ErrClosed)
	})
}
