package mockserver_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver"
)

// lockedBuffer is written by a recorder and read by its test.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// A recording has none of the secrets of a session, in whatever they are wrapped.
func TestRecorder_Secrets(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Content-Type", "application/json")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, `{"access_token":"SECRET-1","message":"kept"}`)
			_ = z.Close()
		case "/location":
			w.Header().Set("Location", "https://u:SECRET-2@app.example/?code=SECRET-3&type=kept#access_token=SECRET-4")
			w.Header().Set("Set-Cookie", "sb=SECRET-5")
			w.WriteHeader(http.StatusSeeOther)
		default:
			_, _ = io.WriteString(w, "{}")
		}
	}))
	defer up.Close()
	var file lockedBuffer
	r, err := mockserver.NewRecorder(&file, mockserver.RecorderConfig{Upstream: up.URL})
	require.NoError(t, err)
	do := func(method, path, contentType, body string) {
		request, err := http.NewRequest(method, r.URL()+path, strings.NewReader(body))
		require.NoError(t, err)
		if contentType != "" {
			request.Header.Set("Content-Type", contentType)
		}
		request.Header.Set("X-Custom", "SECRET-6")
		client := http.Client{Transport: r.HTTPClient().Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		answer, err := client.Do(request)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, answer.Body)
		require.NoError(t, answer.Body.Close())
	}
	do("GET", "/gzip", "", "")
	do("GET", "/location", "", "")
	for _, c := range [][3]string{
		{"/auth/v1/otp", "application/json", `{"nonce":"SECRET","code":"SECRET","factor":{"qr_code":"SECRET","uri":"otpauth://x?secret=SECRET"},"data":[{"pin":12345678}]}`},
		{"/auth/v1/verify?token=SECRET&type=email&redirect_to=SECRET", "application/json", `{"type":"email","token":"SECRET"}`},
		{"/auth/v1/token", "multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nSECRET\r\n--B--"},
		{"/auth/v1/token", "application/x-www-form-urlencoded", "username=kept&client_secret=SECRET&code=SECRET"},
		{"/rest/v1/users", "application/json", `[{"password":["SECRET"],"api_key":{"v":"SECRET"},"newPassword":"SECRET","name":"kept"}]`},
		{"/rest/v1/users", "text/csv", "email,password\na@b,SECRET\n"},
		{"/rest/v1/users?apikey=SECRET&name=eq.kept", "application/json", `{"note":"postgres://u:SECRET@h/x","b64":"eyJhY2Nlc3NfdG9rZW4iOiJTRUNSRVQiLCJ4IjoxfQ=="}`},
		{"/functions/v1/f", "application/octet-stream", "\x00SECRET"},
	} {
		do("POST", c[0], c[1], c[2])
	}
	require.NoError(t, r.Close())
	text := file.String()
	require.NotContains(t, text, "SECRET")
	require.NotContains(t, text, "12345678")
	require.NotContains(t, text, "eyJhY2Nlc3NfdG9rZW4i", "base64 of a token")
	require.Len(t, regexp.MustCompile("kept").FindAllString(text, -1), 5, "%s", text)
	_, err = transcript.Read("r", strings.NewReader(text))
	require.NoError(t, err)
}

// An answer passes a recorder as it comes, and is written down when it ends.
func TestRecorder_Streams(t *testing.T) {
	more := make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for i := range 2 {
			fmt.Fprintf(w, "line %d\n", i)
			_ = http.NewResponseController(w).Flush()
			<-more
		}
	}))
	defer up.Close()
	var file lockedBuffer
	r, err := mockserver.NewRecorder(&file, mockserver.RecorderConfig{Upstream: up.URL})
	require.NoError(t, err)
	client := *r.HTTPClient()
	client.Timeout = time.Minute
	answer, err := client.Get(r.URL() + "/functions/v1/stream")
	require.NoError(t, err)
	lines := bufio.NewReader(answer.Body)
	for i := range 2 {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("line %d\n", i), line)
		more <- struct{}{}
	}
	_, err = lines.ReadString('\n')
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, answer.Body.Close())
	require.NoError(t, r.Close())
	require.Contains(t, file.String(), `200 text/plain\n\nline 0\nline 1\n`)
}
