// Package pgtest starts PostgreSQL for tests, or skips them where there is
// none.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

// Start starts a cluster that lives as long as the test. Where PostgreSQL is
// missing it skips the test, or fails it if GAPLESS_NEED_POSTGRES is set, as
// the gate does. GAPLESS_PG_BIN names a directory with other binaries than the
// newest.
func Start(tb testing.TB) *postgres.Cluster {
	tb.Helper()
	return StartWith(tb, postgres.ClusterOptions{})
}

// StartWith is Start with options.
func StartWith(tb testing.TB, opts postgres.ClusterOptions) *postgres.Cluster {
	tb.Helper()
	if opts.Dir == "" {
		opts = Private(tb, opts.Settings)
	}
	c := start(tb, opts)
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// Private returns the options of a cluster with these settings, whose directory is
// made already, in a tenth of the time that initdb takes, and lives as long as
// the test. It skips the test as Start does.
func Private(tb testing.TB, settings map[string]string) postgres.ClusterOptions {
	tb.Helper()
	dir := Dir(tb)
	opts := postgres.ClusterOptions{Dir: filepath.Join(dir, "data"), Settings: map[string]string{"fsync": "off", "full_page_writes": "off"}}
	maps.Copy(opts.Settings, settings)
	from := template(tb)
	if out, err := exec.Command("cp", "-a", from, opts.Dir).CombinedOutput(); err != nil {
		tb.Fatalf("%v: %s", err, out)
	}
	return opts
}

// Dir makes a directory that the server's user may enter, for as long as the test.
func Dir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "gapless-test-")
	must(tb, err)
	must(tb, os.Chmod(dir, 0o755))
	tb.Cleanup(func() { must(tb, os.RemoveAll(dir)) })
	return dir
}

// made is the data directory of a cluster that never ran a test.
var made = struct {
	sync.Mutex
	dir string
}{}

// template returns a data directory to copy. It is made once in a process; End
// removes it.
func template(tb testing.TB) string {
	tb.Helper()
	made.Lock()
	defer made.Unlock()
	if made.dir == "" {
		dir, err := os.MkdirTemp("", "gapless-test-")
		must(tb, err)
		must(tb, os.Chmod(dir, 0o755))
		data := filepath.Join(dir, "data")
		c, err := open(postgres.ClusterOptions{Dir: data, Settings: map[string]string{"fsync": "off"}})
		if err == nil {
			err = c.Close()
		}
		if err != nil {
			_ = os.RemoveAll(dir)
		}
		fatal(tb, err)
		made.dir = data
	}
	return made.dir
}

// End removes what this package keeps between tests. TestMain calls it.
func End() {
	made.Lock()
	defer made.Unlock()
	if made.dir != "" {
		_ = os.RemoveAll(filepath.Dir(made.dir))
		made.dir = ""
	}
}

func start(tb testing.TB, opts postgres.ClusterOptions) *postgres.Cluster {
	tb.Helper()
	c, err := open(opts)
	fatal(tb, err)
	return c
}

func open(opts postgres.ClusterOptions) (*postgres.Cluster, error) {
	if opts.BinDir == "" {
		opts.BinDir = os.Getenv("GAPLESS_PG_BIN")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return postgres.StartCluster(ctx, opts)
}

// Need skips the test where PostgreSQL is missing, as Start does, and starts
// nothing.
func Need(tb testing.TB) {
	tb.Helper()
	if os.Getenv("GAPLESS_PG_BIN") != "" {
		return
	}
	_, _, err := postgres.FindBinaries()
	fatal(tb, err)
}

// fatal ends the test for an error: where PostgreSQL is missing, and that is
// allowed, by skipping it.
func fatal(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case errors.Is(err, postgres.ErrNoBinaries) && os.Getenv("GAPLESS_NEED_POSTGRES") == "":
		tb.Skip("this test needs PostgreSQL 14 or newer (apt-get install postgresql)")
	case err != nil:
		tb.Fatal(err)
	}
}

// Keep is Start for a cluster that lives as long as the process. It ends with
// it, whichever way that ends.
func Keep(tb testing.TB) *postgres.Cluster {
	tb.Helper()
	return start(tb, postgres.ClusterOptions{})
}

// Create makes an empty database in the cluster and returns its URL. It is
// dropped at the end of the test, with whoever is connected to it.
func Create(tb testing.TB, c *postgres.Cluster) string {
	tb.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	must(tb, run(c, "create database "+name))
	tb.Cleanup(func() {
		// A slot lives on for a moment after its connection.
		err := run(c, "drop database "+name+" with (force)")
		for tries := 0; err != nil && tries < 100; tries++ {
			time.Sleep(50 * time.Millisecond)
			err = run(c, "drop database "+name+" with (force)")
		}
		must(tb, err)
	})
	u, err := url.Parse(c.URL())
	if err != nil {
		tb.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

func run(c *postgres.Cluster, statement string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, c.URL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
