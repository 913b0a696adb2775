package postgres_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/internal/pgtest"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

const outageSchema = `create table t (id int primary key); alter publication supabase_realtime add table t`

// journal is what a server logs.
type journal struct {
	mu sync.Mutex
	bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.Buffer.Write(p)
}

func (j *journal) has(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Contains(j.String(), text)
}

// outage starts a server on a cluster that has room for few connections.
func outage(t *testing.T) (*postgres.Server, *journal) {
	log := &journal{}
	return postgres.Start(t, postgres.Options{
		Cluster: pgtest.Private(t, map[string]string{"max_connections": "20"}),
		Schema:  outageSchema,
		Config:  mockserver.Config{Timing: mockserver.Fast(), Logger: slog.New(slog.NewTextHandler(log, nil))},
	}), log
}

// read reads the table over the REST API.
func read(t *testing.T, s *postgres.Server) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/rest/v1/t", nil)
	require.NoError(t, err)
	r.Header.Set("apikey", s.AnonKey())
	answer, err := s.HTTPClient().Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(raw)
}

const everything = `[{"event":"*","schema":"public","table":"t"}]`

// heard has a new socket hear of a row that is written then: all is well again.
func heard(t *testing.T, s *postgres.Server, id string) {
	t.Helper()
	c := open(t, s)
	c.join("1", "realtime:after", `{"postgres_changes":`+everything+`}`, s.AnonKey())
	for message := ""; !strings.Contains(message, phoenix.MessageSubscribed); { // a connection may still be one of before
		message = string(c.next().Payload)
	}
	run(t, s.DatabaseURL(), "insert into t values ("+id+")")
	require.JSONEq(t, `{"id":`+id+`}`, string(c.change().Data.Record))
}

func TestExhaustConnections(t *testing.T) {
	t.Parallel()
	s, log := outage(t)
	c := open(t, s)
	c.subscribed("1", "realtime:a", everything, s.AnonKey())
	early, err := pgx.Connect(t.Context(), s.DatabaseURL())
	require.NoError(t, err)
	defer early.Close(context.Background())

	require.NoError(t, s.Inject(mockserver.Fault{Name: "exhaust-connections", Params: json.RawMessage(`{"for":"1h"}`)}))
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(t.Context(), s.DatabaseURL())
		if err == nil {
			require.NoError(t, conn.Close(t.Context()))
			return false
		}
		require.ErrorContains(t, err, "53300")
		return true
	}, time.Minute, 10*time.Millisecond)
	_, err = early.Exec(t.Context(), "insert into t values (1)")
	require.NoError(t, err, "who has a connection keeps it")

	status, body := read(t, s)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.JSONEq(t, `{"code":"PGRST000","message":"Database connection error. Retrying the connection.",
		"details":"connection to server failed: FATAL:  sorry, too many clients already","hint":null}`, body)
	late := open(t, s)
	late.join("1", "realtime:b", "{}", s.AnonKey())
	require.Contains(t, string(late.next().Payload), "DatabaseLackOfConnections: Database can't accept more connections, Realtime won't connect")
	c.send(`["1","2","realtime:a","access_token",{"access_token":"` + s.UserToken(benchUser, time.Hour) + `"}]`)
	require.Contains(t, string(c.next().Payload), `{:error, \"Too many database timeouts\"}`)
	require.Eventually(t, func() bool { return log.has("nobody reads the log any more") }, time.Minute, time.Millisecond)

	s.ExhaustConnections(0)
	for message := ""; !strings.Contains(message, phoenix.MessageSubscribed); { // it has tried again
		message = string(c.next().Payload)
	}
	require.Eventually(t, func() bool { status, body = read(t, s); return status == http.StatusOK }, time.Minute, 10*time.Millisecond)
	require.JSONEq(t, `[{"id":1}]`, body)
	heard(t, s, "2")
	require.JSONEq(t, `{"id":2}`, string(c.change().Data.Record), "the first row is lost")
}

func TestExhaustConnectionsEndsByItself(t *testing.T) {
	t.Parallel()
	s, _ := outage(t)
	s.ExhaustConnections(200 * time.Millisecond)
	require.Eventually(t, func() bool { status, _ := read(t, s); return status == http.StatusServiceUnavailable }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { status, _ := read(t, s); return status == http.StatusOK }, time.Minute, 10*time.Millisecond)
	heard(t, s, "1")
	s.ExhaustConnections(time.Hour)
	s.Heal()
	require.Eventually(t, func() bool { status, _ := read(t, s); return status == http.StatusOK }, time.Minute, 10*time.Millisecond)
	heard(t, s, "2")
	s.ExhaustConnections(time.Hour) // which Close ends
}

// A database that is really away makes the same of the server, and after six
// attempts to read its log in vain nobody tries any more (L5).
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	s, log := outage(t)
	c := open(t, s)
	c.subscribed("1", "realtime:a", everything, s.AnonKey())
	s.Cluster().Crash()

	status, body := read(t, s)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, `"PGRST000"`)
	late := open(t, s)
	late.join("1", "realtime:private", `{"private":true}`, s.UserToken(benchUser, time.Hour))
	require.Contains(t, string(late.next().Payload), "UnableToConnectToProject: Realtime was unable to connect to the project database")
	late.join("2", "realtime:b", `{"postgres_changes":`+everything+`}`, s.AnonKey())
	require.Contains(t, string(late.next().Payload), `"ok"`)
	require.Contains(t, string(late.next().Payload), `{:error, \"Too many database timeouts\"}`)
	late.send(`["2","3","realtime:b","phx_leave",{}]`) // so that it subscribes no more
	require.Eventually(t, func() bool { return log.has("nobody reads the log any more") }, time.Minute, time.Millisecond)

	require.NoError(t, s.Cluster().Start(t.Context()))
	run(t, s.DatabaseURL(), "insert into t values (1)")
	heard(t, s, "2")
	heard(t, s, "3")
	require.Equal(t, 2, c.count(), "the workers that start have forgotten who subscribed before")
	c.join("2", "realtime:a", `{"postgres_changes":`+everything+`}`, s.AnonKey())
	for message := ""; !strings.Contains(message, phoenix.MessageSubscribed); {
		message = string(c.next().Payload)
	}
	run(t, s.DatabaseURL(), "insert into t values (5)")
	require.JSONEq(t, `{"id":5}`, string(c.change().Data.Record))
	rows(t, s, 3) // of those who were forgotten there is none
}
