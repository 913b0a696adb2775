package realtime

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConnectionsAreReadInLargePieces: with and without TLS, and through
// whatever dials.
func TestConnectionsAreReadInLargePieces(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") })
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	for url, base := range map[string]*http.Client{plain.URL: {}, plain.URL + "/": plain.Client(), secure.URL: secure.Client()} {
		client, idle := bigReads(base)
		require.NotSame(t, base, client)
		ctx, under := traceConn(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		require.NoError(t, err)
		response, err := client.Do(request)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, "hello", string(body))
		require.NotNil(t, under(), url)
		idle()
	}
	plain.Client().CloseIdleConnections()
	secure.Client().CloseIdleConnections()
}

type ownTransport struct{ http.RoundTripper }

// TestTransportsOfOthersStayAsTheyAre: there is no telling how they dial.
func TestTransportsOfOthersStayAsTheyAre(t *testing.T) {
	base := &http.Client{Transport: ownTransport{http.DefaultTransport}}
	client, idle := bigReads(base)
	require.Same(t, base, client)
	idle()
	_, under := traceConn(t.Context())
	require.Nil(t, under())
	require.False(t, under().more())
}

func TestBigReader(t *testing.T) {
	near, far := net.Pipe()
	before := 0
	b := &bigReader{Conn: near, before: func() { before++ }}
	text := strings.Repeat("0123456789", 20_000) // more than one piece
	go func() {
		_, _ = io.WriteString(far, text)
		_ = far.Close()
	}()
	p := make([]byte, 7)
	n, err := b.Read(p)
	require.NoError(t, err)
	require.Equal(t, text[:7], string(p[:n]))
	require.True(t, b.more())
	require.Equal(t, 1, before)
	_, err = b.Read(p)
	require.NoError(t, err)
	require.Equal(t, 1, before, "what is there is handed over first")
	rest, err := io.ReadAll(b)
	require.NoError(t, err)
	require.Equal(t, text[14:], string(rest))
	require.False(t, b.more())
	require.NoError(t, near.Close())
}
