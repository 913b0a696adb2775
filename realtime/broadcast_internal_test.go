package realtime

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
)

func TestBroadcastError_IsOneShortLine(t *testing.T) {
	long := strings.Repeat("a\\nb", 10_000)
	for _, body := range []string{
		`{"message":"` + long + `"}`,
		`{"error":"` + long + `"}`,
		`{"errors":{"messages":["` + long + `"]}}`,
		`{"errors":{"messages":[{"` + long + `":["` + long + `"]}]}}`,
		`{"errors":{"other":"` + long + `"}}`,
		strings.Repeat("x", 1<<20),
	} {
		err := broadcastError(&http.Response{StatusCode: 422, Body: io.NopCloser(strings.NewReader(body))})
		require.Less(t, len(err.Error()), 800)
		require.NotContains(t, err.Error(), "\n")
	}
	err := broadcastError(&http.Response{StatusCode: 422, Body: io.NopCloser(strings.NewReader(`{"message":12,"error":{"a":1}}`))})
	require.EqualError(t, err, "realtime: broadcast: HTTP 422: Unprocessable Entity")
}

func FuzzBroadcastError(f *testing.F) {
	f.Add([]byte(`{"errors":{"messages":[{"event":["can't be blank"]},"x",null]}}`))
	f.Add([]byte(`{"message":"Unauthorized","error":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		text := parseBroadcastError(422, body).Error()
		require.Less(t, len(text), 800)
		require.NotContains(t, text, "\n")
	})
}

// encoding/json would send another topic in its place.
func TestBroadcastMessage_NotUTF8(t *testing.T) {
	for _, m := range []BroadcastMessage{{Topic: "caf\xe9", Event: "e"}, {Topic: "t", Event: "\xff"}, {Topic: "t", Event: "e", ID: "\xff"},
		{Topic: "t", Event: "e", Payload: map[string]string{"a": "caf\xe9"}}} {
		_, err := m.json()
		require.ErrorIs(t, err, phoenix.ErrNotUTF8)
	}
}
