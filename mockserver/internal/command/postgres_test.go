package command

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver/internal/pgtest"
)

// start runs the command, and returns what it prints first, by its labels, and
// what stops it, which returns the exit status.
func start(t *testing.T, args ...string) (map[string]string, func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	out, in := io.Pipe()
	var errors bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"-postgres", "-addr", "127.0.0.1:0", "-pg-addr", "127.0.0.1:0"}, args...), in, &errors)
		_ = in.Close()
	}()
	printed := map[string]string{}
	var text strings.Builder
	for buffer := make([]byte, 4096); !strings.Contains(text.String(), "token of"); {
		n, err := out.Read(buffer)
		if err != nil {
			break
		}
		text.Write(buffer[:n])
	}
	for line := range strings.SplitSeq(text.String(), "\n") {
		label, value, _ := strings.Cut(line, ": ")
		printed[label] = strings.TrimSpace(value)
	}
	return printed, func() int {
		cancel()
		_, _ = io.Copy(io.Discard, out)
		status := <-code
		if status != 0 {
			t.Log(errors.String())
		}
		return status
	}
}

func get(t *testing.T, printed map[string]string, path, token string) string {
	t.Helper()
	r, err := http.NewRequest("GET", printed["project URL"]+path, nil)
	require.NoError(t, err)
	r.Header.Set("apikey", printed["anon key"])
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return string(body)
}

func execute(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

func TestOnPostgres_Demo(t *testing.T) {
	printed, stop := start(t, "-dir", pgtest.Private(t, nil).Dir)
	require.Equal(t, `[{"name":"Ann"},{"name":"Ben"}]`, get(t, printed, "/rest/v1/customers?select=name&order=id", ""))
	execute(t, printed["database URL"], "insert into todos (owner, title) select id, 'write' from auth.users")
	require.Equal(t, `[{"title":"write"}]`, get(t, printed, "/rest/v1/todos?select=title", printed["token of ann@example.com"]))
	require.Equal(t, `[]`, get(t, printed, "/rest/v1/todos", ""))
	require.Zero(t, stop())
}

// A named directory keeps what is in it, and migrations are applied once.
func TestOnPostgres_Migrations(t *testing.T) {
	data := pgtest.Private(t, nil).Dir
	sql := filepath.Join(filepath.Dir(data), "sql")
	require.NoError(t, os.Mkdir(sql, 0o755))
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(sql, name), []byte(text), 0o644))
	}
	write("001.sql", "create table a (id int primary key);\ninsert into a values (1)")
	printed, stop := start(t, "-dir", data, "-schema", sql, "-user", "me@example.com")
	require.NotEmpty(t, printed["token of me@example.com"])
	require.Equal(t, `[{"id":1}]`, get(t, printed, "/rest/v1/a", ""))
	require.Zero(t, stop())

	write("002.sql", "insert into a values (2)")
	printed, stop = start(t, "-dir", data, "-schema", sql)
	require.Equal(t, "[{\"id\":1},{\"id\":2}]", get(t, printed, "/rest/v1/a?order=id", ""))
	require.Zero(t, stop())

	var errors bytes.Buffer
	fail := func() string {
		errors.Reset()
		require.Equal(t, 1, run(t.Context(), []string{"-postgres", "-addr", "127.0.0.1:0", "-pg-addr", "", "-dir", data, "-schema", sql}, io.Discard, &errors))
		return errors.String()
	}
	write("003.sql", "insert into a values (3);\n\ninsert into nope values (1)")
	require.Contains(t, fail(), `003.sql: line 3: relation "nope" does not exist`)
	write("003.sql", "")
	write("001.sql", "something else")
	require.Contains(t, fail(), "001.sql: it was applied before")
}

func TestOnPostgres_WrongFlags(t *testing.T) {
	var errors bytes.Buffer
	require.Equal(t, 2, run(t.Context(), []string{"-postgres", "-nope"}, io.Discard, &errors))
	require.Equal(t, 2, run(t.Context(), []string{"nope", "-postgres"}, io.Discard, &errors))
	require.Equal(t, 0, run(t.Context(), []string{"-h", "--postgres"}, io.Discard, &errors))
	require.Contains(t, errors.String(), "-pg-bin")
	errors.Reset()
	require.Equal(t, 1, run(t.Context(), []string{"-postgres", "-pg-bin", t.TempDir()}, io.Discard, &errors))
	require.Contains(t, errors.String(), "not installed")
}
