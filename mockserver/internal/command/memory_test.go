package command

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gapless-go/gapless/mockserver/internal/pgtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		pgtest.End()
		os.Exit(code)
	}))
}

// startInMemory runs the command until the returned function is called, which returns
// the exit status. The lines that it prints first are returned.
func startInMemory(t *testing.T, lines int, args ...string) ([]string, func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	out, in := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), in, io.Discard)
		_ = in.Close()
	}()
	var printed bytes.Buffer
	buffer := make([]byte, 4096)
	for strings.Count(printed.String(), "\n") < lines {
		n, err := out.Read(buffer)
		require.NoError(t, err, printed.String())
		printed.Write(buffer[:n])
	}
	var rest sync.WaitGroup
	rest.Go(func() { _, _ = io.Copy(io.Discard, out) }) // ends with the command
	return strings.Split(strings.TrimSpace(printed.String()), "\n"), func() int {
		cancel()
		defer rest.Wait()
		return <-code
	}
}

// getWith reads a table with an API key and, if there is one, a token.
func getWith(t *testing.T, url, key, token string) (int, string) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	require.NoError(t, err)
	r.Header.Set("apikey", key)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	http.DefaultClient.CloseIdleConnections()
	return answer.StatusCode, string(body)
}

func TestInMemory_Demo(t *testing.T) {
	lines, stop := startInMemory(t, 9)
	require.Regexp(t, `^project URL:     http://127\.0\.0\.1:\d+$`, lines[0])
	require.Regexp(t, `^websocket URL:   ws://127\.0\.0\.1:\d+/realtime/v1/websocket$`, lines[1])
	require.Regexp(t, `^inspector:       http://127\.0\.0\.1:\d+/inspect/$`, lines[2])
	require.Regexp(t, `^publishable key: sb_publishable_[\w-]{31}$`, lines[3])
	require.Regexp(t, `^secret key:      sb_secret_[\w-]{31}$`, lines[4])
	require.Regexp(t, `^anon key:        eyJ`, lines[5])
	require.Regexp(t, `^service key:     eyJ`, lines[6])
	require.Regexp(t, `^token of ann@example.com: eyJ`, lines[7])
	require.Regexp(t, `^token of ben@example.com: eyJ`, lines[8])
	last := func(line string) string { return regexp.MustCompile(`\S+$`).FindString(line) }
	status, body := getWith(t, last(lines[0])+"/rest/v1/customers?select=name", last(lines[3]), last(lines[7]))
	require.Equal(t, 200, status, body)
	require.JSONEq(t, `[{"name":"Ann"},{"name":"Ben"}]`, body)
	status, body = getWith(t, last(lines[0])+"/rest/v1/todos", last(lines[3]), "")
	require.Equal(t, 200, status, body)
	require.JSONEq(t, `[]`, body)
	require.Zero(t, stop())
}

func TestInMemory_SchemaFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "schema.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"tables":[{"name":"t","columns":[{"name":"id","type":"int8"}],"rows":[{"id":1}]}],"users":[{"phone":"+4711","password":"p","role":"service_role"}]}`), 0o600))
	lines, stop := startInMemory(t, 8, "-schema", path, "-secret", "a-secret-of-one's-own-that-is-long-enough")
	require.Regexp(t, `^token of \+4711: eyJ`, lines[7])
	require.Zero(t, stop())
}

func TestInMemory_Errors(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.json")
	require.NoError(t, os.WriteFile(bad, []byte(`{"tables":[{"name":"t","columns":[{"name":"id","type":"int8"}],"primary_key":["x"]}]}`), 0o600))
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-h"}, 0, "tables and users in JSON"},
		{[]string{"-nope"}, 2, "flag provided but not defined"},
		{[]string{"schema.json"}, 2, `what is "schema.json"? There are only flags`},
		{[]string{"-schema", filepath.Join(t.TempDir(), "none.json")}, 1, "no such file"},
		{[]string{"-schema", "schema.sql"}, 1, "-schema schema.sql: tables in memory are described in JSON; SQL needs -postgres"},
		{[]string{"-schema", t.TempDir()}, 1, "SQL needs -postgres"},
		{[]string{"-schema", bad}, 1, "table public.t: column x: it is in the primary key but not in the table"},
		{[]string{"-proxy", "http://localhost:1"}, 1, "-proxy and -record belong together"},
		{[]string{"-record", "x"}, 1, "-proxy and -record belong together"},
		{[]string{"-play", "x", "-proxy", "http://localhost:1", "-record", "y"}, 1, "-play and -proxy do not go together"},
		{[]string{"-play", bad}, 1, "transcript bad.json: there is nothing to play"},
		{[]string{"-proxy", "localhost", "-record", filepath.Join(t.TempDir(), "r")}, 1, "is not the http or https URL of a project"},
		{[]string{"-proxy", "http://localhost:1", "-record", bad}, 1, "file exists"},
		{[]string{"-addr", "256.0.0.1:1"}, 1, "mockserver: listen tcp"},
	} {
		var out, errOut bytes.Buffer
		require.Equal(t, c.code, run(t.Context(), c.args, &out, &errOut), c.args)
		require.Contains(t, errOut.String(), c.want)
		require.Empty(t, out.String())
	}
}

// A session is recorded through the proxy and played to the same client, and
// to one that asks for something else.
func TestRecordAndPlay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "session.jsonl")
	last := func(line string) string { return regexp.MustCompile(`\S+$`).FindString(line) }
	server, stopServer := startInMemory(t, 9)
	key := last(server[3])
	proxy, stopProxy := startInMemory(t, 3, "-proxy", last(server[0]), "-record", path)
	session := func(url string) string {
		status, body := getWith(t, url+"/rest/v1/customers?select=name", key, last(server[7]))
		require.Equal(t, 200, status, body)
		return body
	}
	recorded := session(last(proxy[0]))
	require.Zero(t, stopProxy())
	require.Zero(t, stopServer())
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotContains(t, string(file), "eyJ")
	require.NotContains(t, string(file), key)

	player, stopPlayer := startInMemory(t, 3, "-play", path)
	require.Equal(t, recorded, session(last(player[0])))
	require.Zero(t, stopPlayer())

	other, stopOther := startInMemory(t, 3, "-play", path)
	status, body := getWith(t, last(other[0])+"/rest/v1/customers?select=city", key, "")
	require.Equal(t, http.StatusNotImplemented, status)
	require.Contains(t, body, "no answer to this request")
	require.Equal(t, 1, stopOther())
}
