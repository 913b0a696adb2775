package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
)

// attempts answers requests one after the other, with an answer or an error.
type attempts struct {
	t       *testing.T
	answers []any
	bodies  []string
	at      []time.Time
}

func (a *attempts) RoundTrip(r *http.Request) (*http.Response, error) {
	require.NotEmpty(a.t, a.answers, "one request too many")
	next := a.answers[0]
	a.answers, a.at = a.answers[1:], append(a.at, time.Now())
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		require.NoError(a.t, err)
		a.bodies = append(a.bodies, string(body))
	}
	if err, ok := next.(error); ok {
		return nil, err
	}
	return next.(*http.Response), nil
}

func (a *attempts) post(ctx context.Context) (*http.Response, []error, error) {
	var told []error
	client := &http.Client{Transport: newRetrying(a, func(why error, _ time.Duration) { told = append(told, why) })}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://server.test/", io.NopCloser(strings.NewReader("the body")))
	require.NoError(a.t, err)
	answer, err := client.Do(r)
	return answer, told, err
}

func cut() *http.Response {
	answer := answer(200, "")
	answer.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"half`), iotest.ErrReader(io.ErrUnexpectedEOF)))
	return answer
}

func TestRetryingWaitsForTroubleToPass(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &attempts{t: t, answers: []any{
			errors.New("connection refused"), answer(503, ""), answer(429, ""), answer(408, ""), cut(), answer(500, ""), answer(200, "at last"),
		}}
		got, told, err := a.post(t.Context())
		require.NoError(t, err)
		text, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		require.Equal(t, "at last", string(text))
		require.Len(t, told, 6)
		require.ErrorContains(t, told[0], "connection refused")
		for _, body := range a.bodies {
			require.Equal(t, "the body", body)
		}
		for n := range 6 {
			require.Less(t, a.at[n+1].Sub(a.at[n]), firstWait<<n)
		}
	})
}

func TestRetryingReturnsWhatDoesNotPass(t *testing.T) {
	for _, status := range []int{200, 202, 301, 400, 401, 403, 404, 409, 413, 501} {
		bubble(t, func(t *testing.T) {
			a := &attempts{t: t, answers: []any{answer(status, "")}}
			got, told, err := a.post(t.Context())
			require.NoError(t, err)
			require.Equal(t, status, got.StatusCode)
			require.Empty(t, told)
		})
	}
}

func TestRetryingDoesWhatTheServerAsks(t *testing.T) {
	for name, c := range map[string]struct {
		header      func() string
		least, most time.Duration
	}{
		"seconds":  {func() string { return "30" }, 30 * time.Second, 30 * time.Second},
		"a date":   {func() string { return time.Now().Add(time.Minute).UTC().Format(http.TimeFormat) }, 59 * time.Second, time.Minute},
		"too much": {func() string { return "100000" }, longestAsked, longestAsked},
		"nonsense": {func() string { return "soon" }, 0, firstWait},
		"the past": {func() string { return "-5" }, 0, firstWait},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				busy := answer(429, "")
				busy.Header.Set("Retry-After", c.header())
				a := &attempts{t: t, answers: []any{busy, answer(200, "")}}
				_, _, err := a.post(t.Context())
				require.NoError(t, err)
				waited := a.at[1].Sub(a.at[0])
				require.GreaterOrEqual(t, waited, c.least)
				require.LessOrEqual(t, waited, c.most)
			})
		})
	}
}

func TestRetryingEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		busy := answer(503, "")
		busy.Header.Set("Retry-After", "60")
		a := &attempts{t: t, answers: []any{busy}}
		_, _, err := a.post(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "Service Unavailable", "and says why it was waiting")
	})
}

// A server that takes a request and never answers is given up on.
func TestRetryingBoundsAnAttempt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := 0
		client := &http.Client{Transport: newRetrying(roundTrip(func(r *http.Request) (*http.Response, error) {
			if n++; n == 1 {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return answer(200, ""), nil
		}), func(error, time.Duration) {})}
		_, err := client.Get("http://server.test/")
		require.NoError(t, err)
		require.Equal(t, 2, n)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)),
	}
}
