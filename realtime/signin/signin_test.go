package signin_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
	"github.com/gapless-go/gapless/realtime/signin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "a password that must not be printed"

func start(t *testing.T) *mockserver.Server {
	return mockserver.Start(t, mockserver.Config{
		InMemory: true, TokenLifetime: time.Hour,
		Users: []mockserver.User{
			{ID: "11111111-1111-4111-8111-111111111111", Email: "alice@example.com", Password: password},
			{ID: "22222222-2222-4222-8222-222222222222", Phone: "15550100", Password: password},
		},
	})
}

// watched notes the requests that pass, and may answer them itself.
type watched struct {
	next   http.RoundTripper
	mu     sync.Mutex
	grants []string
	answer func(*http.Request) (*http.Response, error)
}

func (w *watched) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.grants = append(w.grants, r.URL.Query().Get("grant_type"))
	answer := w.answer
	w.mu.Unlock()
	if answer != nil {
		return answer(r)
	}
	return w.next.RoundTrip(r)
}

func options(srv *mockserver.Server, w *watched) signin.Options {
	w.next = srv.HTTPClient().Transport
	return signin.Options{URL: srv.URL(), Key: srv.AnonKey(), HTTPClient: &http.Client{Transport: w}}
}

func source(t *testing.T, o signin.Options) *signin.Source {
	t.Helper()
	s, err := signin.New(o)
	require.NoError(t, err)
	return s
}

func claims(t *testing.T, token string) jwt.MapClaims {
	t.Helper()
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	require.NoError(t, err)
	return parsed.Claims.(jwt.MapClaims)
}

func TestSignsInAndRefreshes(t *testing.T) {
	for _, who := range []signin.Options{{Email: "alice@example.com"}, {Phone: "15550100"}} {
		synctest.Test(t, func(t *testing.T) {
			w := &watched{}
			o := options(start(t), w)
			o.Email, o.Phone, o.Password = who.Email, who.Phone, password
			s := source(t, o)
			seen := map[string]bool{}
			for range 3 {
				token, expiry, err := s.Token(t.Context())
				require.NoError(t, err)
				require.Equal(t, time.Now().Add(time.Hour), expiry)
				require.Equal(t, "authenticated", claims(t, token)["role"])
				seen[token] = true
				time.Sleep(time.Minute)
			}
			require.Len(t, seen, 3, "a fresh token each time")
			require.Equal(t, []string{"password", "refresh_token", "refresh_token"}, w.grants)
		})
	}
}

func TestAnEndedSessionIsBegunAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{}
		o := options(start(t), w)
		o.Email, o.Password, o.RefreshToken = "alice@example.com", password, "revoked long ago"
		_, _, err := source(t, o).Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"refresh_token", "password"}, w.grants)
	})
}

func TestRefusalsArePermanent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{}
		o := options(start(t), w)
		o.Email, o.Password = "alice@example.com", "wrong "+password
		_, _, err := source(t, o).Token(t.Context())
		require.ErrorContains(t, err, "Invalid login credentials")
		require.True(t, realtime.IsPermanent(err))
		require.NotContains(t, err.Error(), password)

		o.Email, o.Password, o.RefreshToken = "", "", "revoked long ago"
		_, _, err = source(t, o).Token(t.Context())
		require.ErrorContains(t, err, "the session is over")
		require.True(t, realtime.IsPermanent(err))
		require.NotContains(t, err.Error(), "revoked long ago")
	})
}

func TestTroubleIsNotPermanent(t *testing.T) {
	reply := func(status int) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("<html>"))}, nil
		}
	}
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"429":     reply(429),
		"500":     reply(500),
		"503":     reply(503),
		"200":     reply(200),
		"network": func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &watched{}
				o := options(start(t), w)
				o.Email, o.Password = "alice@example.com", password
				s := source(t, o)
				_, _, err := s.Token(t.Context())
				require.NoError(t, err)
				w.answer = answer
				for range 3 {
					_, _, err = s.Token(t.Context())
					require.Error(t, err)
					require.False(t, realtime.IsPermanent(err), "%v", err)
				}
				w.answer = nil
				_, _, err = s.Token(t.Context())
				require.NoError(t, err)
				require.Equal(t, "refresh_token", w.grants[len(w.grants)-1], "the session has outlived it")
			})
		})
	}
}

func TestTheContextBoundsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{answer: func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}}
		o := options(start(t), w)
		o.Email, o.Password = "alice@example.com", password
		s := source(t, o)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		for range 3 { // one asks, the others wait for their turn
			all.Go(func() {
				_, _, err := s.Token(ctx)
				require.Error(t, err)
			})
		}
		all.Wait()
		require.Equal(t, context.DeadlineExceeded, ctx.Err())
	})
}

func TestBadOptions(t *testing.T) {
	for want, o := range map[string]signin.Options{
		"URL and Key":          {Email: "a", Password: "p"},
		"both Email and Phone": {URL: "http://x", Key: "k", Email: "a", Phone: "1", Password: "p"},
		"needs an Email":       {URL: "http://x", Key: "k", Password: "p"},
		"neither Password nor": {URL: "http://x", Key: "k", Email: "a"},
	} {
		_, err := signin.New(o)
		require.ErrorContains(t, err, want)
	}
}

// Signed in, a client delivers the user's own rows of a private channel.
func ExampleNew() {
	source, err := signin.New(signin.Options{
		URL: "https://ref.supabase.co", Key: "sb_publishable_…", Email: "alice@example.com", Password: "…",
	})
	if err != nil {
		panic(err)
	}
	client, err := realtime.New(realtime.Options{URL: "https://ref.supabase.co", Key: "sb_publishable_…", Token: source.Token})
	if err != nil {
		panic(err)
	}
	_ = client
}
