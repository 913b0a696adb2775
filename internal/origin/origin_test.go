package origin_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/origin"
)

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}

func TestSame(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"https://ref.supabase.co/rest", "https://ref.supabase.co:443/auth", true},
		{"wss://ref.supabase.co/realtime", "https://REF.supabase.co", true},
		{"ws://127.0.0.1:80", "http://127.0.0.1", true},
		{"https://ref.supabase.co", "http://ref.supabase.co", false},
		{"https://ref.supabase.co", "https://ref.supabase.co.evil.example", false},
		{"https://ref.supabase.co", "https://ref.supabase.co:8443", false},
		{"https://ref.supabase.co", "https://user@evil.example", false},
	} {
		require.Equal(t, c.same, origin.Same(parse(t, c.a), parse(t, c.b)), "%s %s", c.a, c.b)
	}
}

func TestWithin_KeepsABodyThatARedirectWouldRepeat(t *testing.T) {
	var leaked []string
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		leaked = append(leaked, string(body)+r.Header.Get("apikey"))
	}))
	defer foreign.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/start":
				http.Redirect(w, r, "/next", status)
			default:
				http.Redirect(w, r, foreign.URL+"/", status)
			}
		}))
		client := http.Client{CheckRedirect: origin.Within(parse(t, home.URL), nil)}
		r, err := http.NewRequest(http.MethodPost, home.URL+"/start", strings.NewReader("password"))
		require.NoError(t, err)
		r.Header.Set("apikey", "key")
		answer, err := client.Do(r)
		require.NoError(t, err)
		answer.Body.Close()
		require.Equal(t, status, answer.StatusCode)
		require.Equal(t, "/next", answer.Request.URL.Path, "a redirect within the origin is followed")
		home.Close()
	}
	require.Empty(t, leaked)
}

func TestWithin_EndsALoop(t *testing.T) {
	n := 0
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		http.Redirect(w, r, "/again", http.StatusFound)
	}))
	defer home.Close()
	client := http.Client{CheckRedirect: origin.Within(parse(t, home.URL), nil)}
	_, err := client.Get(home.URL)
	require.Error(t, err)
	require.LessOrEqual(t, n, 11)
}
