package supabasego_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/supabase-community/gotrue-go"
	supabase "github.com/supabase-community/supabase-go"
	"go.uber.org/goleak"

	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime/signin"
	"github.com/gapless-go/gapless/realtime/signin/supabasego"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // of http.DefaultTransport, which supabase-go uses
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

func client(t *testing.T, url, key string) *supabase.Client {
	t.Helper()
	c, err := supabase.NewClient(url, key, nil)
	require.NoError(t, err)
	return c
}

// The client's requests have the newest token, while many use it and the token
// changes. The race detector watches.
func TestClient_RequestsHaveTheNewestToken(t *testing.T) {
	var seen sync.Map
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization"), true)
		_, _ = w.Write([]byte("[]"))
	}))
	defer server.Close()
	var n atomic.Int64
	shared := supabasego.New(client(t, server.URL, "key"), func(context.Context) (string, time.Time, error) {
		return fmt.Sprint("token-", n.Add(1)), time.Time{}, nil
	})
	read := func() error {
		return shared.Use(t.Context(), func(c *supabase.Client) error {
			_, _, err := c.From("orders").Select("*", "", false).Execute()
			return err
		})
	}
	require.NoError(t, read())
	for i := 1; i <= 20; i++ {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { require.NoError(t, read()) })
		}
		token, _, err := shared.Token(t.Context())
		require.NoError(t, err)
		all.Wait()
		require.NoError(t, read())
		_, there := seen.Load("Bearer " + token)
		require.True(t, there, token)
	}
	_, there := seen.Load("Bearer key")
	require.True(t, there)
}

const aliceID = "11111111-1111-4111-8111-111111111111"

func start(t *testing.T) *mockserver.Server {
	return mockserver.Start(t, mockserver.Config{Users: []mockserver.User{{ID: aliceID, Email: "alice@example.com", Password: "password"}}})
}

// The community's client for the Auth API understands the mock server's answers.
func TestMockServer_SpeaksToGotrueGo(t *testing.T) {
	s := start(t)
	client := gotrue.New("", s.AnonKey()).WithCustomGoTrueURL(s.URL() + "/auth/v1")
	got, err := client.SignInWithEmailPassword("alice@example.com", "password")
	require.NoError(t, err)
	require.Equal(t, aliceID, got.User.ID.String())
	require.NotZero(t, got.ExpiresAt)
	again, err := client.RefreshToken(got.RefreshToken)
	require.NoError(t, err)
	require.NotEqual(t, got.AccessToken, again.AccessToken)
	_, err = client.SignInWithEmailPassword("alice@example.com", "wrong")
	require.ErrorContains(t, err, "Invalid login credentials")
	user, err := client.WithToken(again.AccessToken).GetUser()
	require.NoError(t, err)
	require.Equal(t, "alice@example.com", user.Email)
	require.NoError(t, client.WithToken(again.AccessToken).Logout())
}

func TestClient_ActsAsTheSignedInUser(t *testing.T) {
	srv := start(t)
	account, err := signin.New(signin.Options{URL: srv.URL(), Key: srv.AnonKey(), Email: "alice@example.com", Password: "password"})
	require.NoError(t, err)
	shared := supabasego.New(client(t, srv.URL(), srv.AnonKey()), account.Token)
	for range 3 {
		_, _, err = shared.Token(t.Context())
		require.NoError(t, err)
		require.NoError(t, shared.Use(t.Context(), func(c *supabase.Client) error {
			user, err := c.Auth.GetUser()
			if err == nil {
				require.Equal(t, "alice@example.com", user.Email)
			}
			return err
		}))
	}
}

// A request that hangs holds up neither the source nor a caller whose context
// ends, and a panic of a caller's gives the client back.
func TestClient_NobodyWaitsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := supabasego.New(client(t, "http://ref.test", "key"), func(context.Context) (string, time.Time, error) {
			return "token", time.Time{}, nil
		})
		release := make(chan struct{})
		var using sync.WaitGroup
		using.Go(func() {
			_ = shared.Use(context.Background(), func(*supabase.Client) error { <-release; return nil })
		})
		synctest.Wait()
		_, _, err := shared.Token(t.Context())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, shared.Use(ctx, func(*supabase.Client) error { return nil }), context.DeadlineExceeded)
		close(release)
		using.Wait()
		require.Panics(t, func() {
			_ = shared.Use(t.Context(), func(*supabase.Client) error { panic("boom") })
		})
		_, _, err = shared.Token(t.Context())
		require.NoError(t, err)
		failed := errors.New("no")
		require.Equal(t, failed, shared.Use(t.Context(), func(*supabase.Client) error { return failed }))
	})
}
