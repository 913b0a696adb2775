// Package pgtest starts PostgreSQL for tests, or skips them where there is
// none.
package pgtest

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/gapless-go/gapless/mockserver/postgres"
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
	if opts.BinDir == "" {
		opts.BinDir = os.Getenv("GAPLESS_PG_BIN")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := postgres.StartCluster(ctx, opts)
	switch {
	case errors.Is(err, postgres.ErrNoBinaries) && os.Getenv("GAPLESS_NEED_POSTGRES") == "":
		tb.Skip("this test needs PostgreSQL 14 or newer (apt-get install postgresql)")
	case err != nil:
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}
