package mockserver_test

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

func TestServerOverTCP(t *testing.T) {
	s := mockserver.Start(t, mockserver.Config{Tables: restConfig().Tables, Addr: "127.0.0.1:0"})
	require.Regexp(t, `^http://127\.0\.0\.1:\d+$`, s.URL())
	require.Regexp(t, `^ws://127\.0\.0\.1:\d+/realtime/v1/websocket$`, s.WebsocketURL())
	restCall{path: "stock?select=id&id=eq.1", want: `[{"id":1}]`}.check(t, s)
	_, err := mockserver.New(mockserver.Config{Addr: s.URL()[len("http://"):]})
	require.ErrorContains(t, err, "address already in use")
}

func TestCloseEndsEverything(t *testing.T) {
	s, err := mockserver.New(restConfig())
	require.NoError(t, err)
	require.Equal(t, "http://mockserver.test", s.URL())
	client := s.HTTPClient()
	answer, err := client.Get(s.URL() + "/healthcheck") // and leave the connection to the server
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_, err = client.Get(s.URL() + "/healthcheck")
	require.Error(t, err)
	require.NoError(t, s.Insert("pairs", row{"a": 1, "b": "x"}), "the data outlives the server")
}

// A request that is under way when the server is closed ends with it.
func TestCloseDuringARequest(t *testing.T) {
	reached := make(chan struct{})
	var once sync.Once
	cfg := restConfig()
	cfg.Tables = append(cfg.Tables, mockserver.Table{
		Name: "slow", Columns: []col{{Name: "id", Type: "int8"}}, RLS: true, Rows: []row{{"id": 1}},
		Select: func(mockserver.Claims, row) bool {
			once.Do(func() { close(reached) })
			return true
		},
	})
	s, err := mockserver.New(cfg)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, _ := http.NewRequest("GET", s.URL()+"/rest/v1/slow", nil)
		r.Header.Set("apikey", s.AnonKey())
		if answer, err := s.HTTPClient().Do(r); err == nil {
			_ = answer.Body.Close()
		}
	}()
	<-reached
	require.NoError(t, s.Close())
	<-done
}

// In a bubble the whole server lives on virtual time.
func TestServerInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := mockserver.Table{
			Name:       "events",
			Columns:    []col{{Name: "id", Type: "bigserial"}, {Name: "at", Type: "timestamptz", Default: func() any { return time.Now() }}},
			PrimaryKey: []string{"id"},
		}
		s := startWith(t, table)
		restCall{method: "POST", path: "events", body: "{}", status: 201}.check(t, s)
		time.Sleep(time.Hour)
		restCall{method: "POST", path: "events", body: "{}", status: 201}.check(t, s)
		restCall{path: "events", want: `[{"id":1,"at":"2000-01-01T00:00:00+00:00"},{"id":2,"at":"2000-01-01T01:00:00+00:00"}]`}.check(t, s)
	})
}

func TestOtherPaths(t *testing.T) {
	s := mockserver.Start(t, restConfig())
	for path, want := range map[string]string{"/healthcheck": "ok", "/api/ping": `{"message":"Success"}`, "/realtime/v1/api/ping": `{"message":"Success"}`} {
		answer, err := s.HTTPClient().Get(s.URL() + path)
		require.NoError(t, err)
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, want, string(body))
	}
	answer, err := s.HTTPClient().Get(s.URL() + "/nope")
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusNotFound, answer.StatusCode)
}
