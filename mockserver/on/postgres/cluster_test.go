package postgres_test

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver/internal/pgtest"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

// ask runs a query that gives one text.
func ask(t *testing.T, url, query string, args ...any) string {
	t.Helper()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	defer conn.Close(ctx)
	var answer string
	require.NoError(t, conn.QueryRow(ctx, query, args...).Scan(&answer))
	return answer
}

func run(t *testing.T, url, statement string) {
	t.Helper()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	require.NoError(t, err)
}

// begun is a cluster as users have it, with initdb and in a directory of its own.
func begun(t *testing.T, opts postgres.ClusterOptions) *postgres.Cluster {
	pgtest.Need(t)
	opts.BinDir = os.Getenv("GAPLESS_PG_BIN")
	c, err := postgres.StartCluster(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestClusterDecodesItsLog(t *testing.T) {
	t.Parallel()
	c := begun(t, postgres.ClusterOptions{Addr: "127.0.0.1:0", Password: `it's "quoted" % \ é`})
	require.Equal(t, "logical", ask(t, c.URL(), "show wal_level"))
	require.Equal(t, "UTF8", ask(t, c.URL(), "show server_encoding"))
	require.Equal(t, "UTC", ask(t, c.URL(), "show timezone"))
	require.Equal(t, "grüße", ask(t, c.URL(), "select lower('GRÜßE')"))
	require.GreaterOrEqual(t, c.Version(), postgres.MinVersion)

	require.Equal(t, "1", ask(t, c.URL(), "select '1'"))
	conf, err := pgx.ParseConfig(c.URL())
	require.NoError(t, err)
	conf.Password = "wrong"
	_, err = pgx.ConnectConfig(t.Context(), conf)
	require.ErrorContains(t, err, "password authentication failed")
}

func TestClusterKeepsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*postgres.Cluster){"stop": (*postgres.Cluster).Stop, "crash": (*postgres.Cluster).Crash} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := pgtest.Start(t)
			url := c.URL()
			run(t, url, "create table t (v text); insert into t values ('kept')")
			end(c)
			_, err := pgx.Connect(t.Context(), url)
			require.Error(t, err)
			require.NoError(t, c.Start(t.Context()))
			require.NoError(t, c.Start(t.Context()), "of one that runs")
			require.Equal(t, "kept", ask(t, url, "select v from t"))
		})
	}
}

func TestClusterInANamedDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(pgtest.Dir(t), "data")
	c := begun(t, postgres.ClusterOptions{Dir: dir, Settings: map[string]string{"max_connections": "7"}})
	require.Equal(t, "7", ask(t, c.URL(), "show max_connections"))
	require.Equal(t, "on", ask(t, c.URL(), "show fsync"))
	run(t, c.URL(), "create table t (v text); insert into t values ('kept')")
	require.NoError(t, c.Close())
	require.NoError(t, c.Close(), "twice")

	again := begun(t, postgres.ClusterOptions{Dir: dir})
	require.Equal(t, "kept", ask(t, again.URL(), "select v from t"))
}

func TestClusterLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	c := begun(t, postgres.ClusterOptions{})
	conf, err := pgx.ParseConfig(c.URL())
	require.NoError(t, err)
	require.DirExists(t, conf.Host)
	require.NoError(t, c.Close())
	require.NoDirExists(t, conf.Host)
}

func TestClusterDoesNotStart(t *testing.T) {
	t.Parallel()
	pgtest.Need(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	file := filepath.Join(pgtest.Dir(t), "full")
	require.NoError(t, os.Mkdir(file, 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(file, "mine.txt"), nil, 0o666))
	done, cancel := context.WithCancel(t.Context())
	cancel()

	for name, c := range map[string]struct {
		ctx  context.Context
		opts postgres.ClusterOptions
		want string
	}{
		"address taken":       {t.Context(), postgres.ClusterOptions{Addr: busy.Addr().String()}, "address already in use"},
		"no binaries there":   {t.Context(), postgres.ClusterOptions{BinDir: file}, "not installed"},
		"directory not empty": {t.Context(), postgres.ClusterOptions{Dir: file}, "exists but is not empty"},
		"bad setting":         {t.Context(), postgres.ClusterOptions{Settings: map[string]string{"no_such": "1"}}, "no_such"},
		"ctx is over":         {done, postgres.ClusterOptions{}, "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := postgres.StartCluster(c.ctx, c.opts)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestClusterEndsWithUs runs this test in a process of its own, kills that, and
// looks whether its server ends.
func TestClusterEndsWithUs(t *testing.T) {
	t.Parallel()
	if os.Getenv("GAPLESS_VICTIM") != "" {
		c := begun(t, postgres.ClusterOptions{})
		_, _ = os.Stdout.WriteString("URL " + c.URL() + "\n")
		select {} // until we are killed
	}
	pgtest.Need(t)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestClusterEndsWithUs$")
	cmd.Env = append(os.Environ(), "GAPLESS_VICTIM=1")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "URL ") {
	}
	url := strings.TrimPrefix(lines.Text(), "URL ")
	require.Equal(t, "1", ask(t, url, "select '1'"))
	conf, err := pgx.ParseConfig(url)
	require.NoError(t, err)

	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	require.Error(t, cmd.Wait())
	require.Eventually(t, func() bool {
		_, err := os.Stat(conf.Host)
		return os.IsNotExist(err)
	}, time.Minute, 50*time.Millisecond, "the directory of the server")
	_, err = pgx.Connect(t.Context(), url)
	require.Error(t, err)
}
