package mockserver_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

// A page whose name was made to resolve to this machine reaches neither the admin
// API nor the inspector.
func TestOwnHost(t *testing.T) {
	s := mockserver.Start(t, mockserver.Config{InMemory: true, Inspector: true, Tables: []mockserver.Table{orders}})
	do := func(host, method, path string) int {
		r, err := http.NewRequest(method, s.URL()+path, strings.NewReader(`{"id":1}`))
		require.NoError(t, err)
		if host != "" {
			r.Host = host
			r.Header.Set("Origin", "http://"+host)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
		}
		answer, err := s.HTTPClient().Do(r)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		return answer.StatusCode
	}
	for _, host := range []string{"evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.nip.io", ""} {
		for _, page := range []string{"GET /", "GET /inspect/", "GET /inspect/rows?table=orders", "GET /mock/v1/tables", "POST /mock/v1/tables/orders/rows"} {
			method, path, _ := strings.Cut(page, " ")
			if got := do(host, method, path); host == "" {
				require.Equal(t, 200, got, page)
			} else {
				require.Equal(t, 403, got, "%s of %s", page, host)
			}
		}
	}
	for _, host := range []string{"localhost:1234", "LOCALHOST", "app.localhost:80", "127.0.0.1:1", "[::1]:1", "192.168.1.7"} {
		require.Equal(t, 200, do(host, "GET", "/mock/v1/tables"), host)
	}
}

// What there is not is answered as JSON, which clients parse, and with what
// browsers need to show it to them.
func TestUnservedPaths(t *testing.T) {
	s := mockserver.Start(t, mockserver.Config{InMemory: true})
	for _, path := range []string{"POST /auth/v1/signup", "GET /auth/v1/token", "GET /storage/v1/bucket", "POST /functions/v1/x", "GET /graphql/v1", "GET /"} {
		method, path, _ := strings.Cut(path, " ")
		r, err := http.NewRequest(method, s.URL()+path, nil)
		require.NoError(t, err)
		r.Header.Set("apikey", s.AnonKey())
		answer, err := s.HTTPClient().Do(r)
		require.NoError(t, err)
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, 404, answer.StatusCode, path)
		require.Regexp(t, `^\{".+\}\n$`, string(text))
		require.Equal(t, "application/json; charset=utf-8", answer.Header.Get("Content-Type"))
		require.Equal(t, "*", answer.Header.Get("Access-Control-Allow-Origin"))
	}
}
