package push

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNtfyPublishes(t *testing.T) {
	status := http.StatusOK
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(status)
	}))
	defer server.Close()
	defer server.Client().CloseIdleConnections()
	s := &Ntfy{URL: server.URL + "/", Token: "tk", Client: server.Client()}
	d := Device{Address: "a-topic_X"}
	n := Notification{Title: "Ø\r\nX: y", Body: "Ann, it is here.", Expires: time.Now().Add(time.Minute)}
	require.NoError(t, s.Send(t.Context(), d, n))
	require.Equal(t, "PUT", got.Method)
	require.Equal(t, "/a-topic_X", got.URL.EscapedPath())
	require.Equal(t, "=?utf-8?b?w5gNClg6IHk=?=", got.Header.Get("Title"), "no header of its own")
	require.Equal(t, "Bearer tk", got.Header.Get("Authorization"))
	require.Equal(t, "Ann, it is here.", string(body))

	for code, want := range map[int]error{404: ErrGone, 410: ErrGone, 400: ErrRefused, 413: ErrRefused} {
		status = code
		require.ErrorIs(t, s.Send(t.Context(), d, n), want, code)
	}
	for _, status = range []int{401, 403, 429, 500, 503} {
		err := s.Send(t.Context(), d, n)
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrGone)
		require.NotErrorIs(t, err, ErrRefused, "it may pass")
	}
	n.Expires = time.Now()
	require.ErrorIs(t, s.Send(t.Context(), d, n), ErrRefused)
}

func TestNtfyKeepsTheTopicToItself(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	s := &Ntfy{URL: server.URL, Client: server.Client()}
	err := s.Send(t.Context(), Device{Address: "secret"}, Notification{Expires: time.Now().Add(time.Minute)})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
}
