package site_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/examples/internal/site"
)

// A page whose name was made to resolve to this machine is not answered, whatever it
// asks for and by whatever method.
func TestServe_RefusesOtherHosts(t *testing.T) {
	l, err := site.Listen("localhost:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- site.Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "rows") }))
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for host, want := range map[string]int{"": 200, "localhost": 200, l.Addr().String(): 200, "evil.test": 403, "localhost.evil.test:8899": 403} {
		for _, method := range []string{"GET", "POST"} {
			r, err := http.NewRequest(method, "http://"+l.Addr().String()+"/search", nil)
			require.NoError(t, err)
			r.Host = host
			answer, err := client.Do(r)
			require.NoError(t, err)
			require.Equal(t, want, answer.StatusCode, host)
			body, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			require.Equal(t, want == 200, string(body) == "rows")
			require.NoError(t, answer.Body.Close())
		}
	}
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}
