package postgres_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/gapless-go/gapless/mockserver/internal/pgtest"
)

func TestMain(m *testing.M) {
	if url := os.Getenv("GAPLESS_TEST_DELIVER"); url != "" {
		consumeUntilKilled(url)
		return
	}
	if url := os.Getenv("GAPLESS_TEST_OUTBOX"); url != "" {
		readUntilKilled(url)
	}
	flag.Parse()
	if set := flag.Lookup("test.parallel"); set.Value.String() == set.DefValue {
		_ = set.Value.Set("6") // they wait for PostgreSQL, and for time to pass, more than they work
	}
	goleak.VerifyTestMain(all{m})
}

// all ends the shared cluster behind the tests, before leaks are looked for.
type all struct{ *testing.M }

func (a all) Run() int {
	defer func() {
		if shared.cluster != nil {
			_ = shared.cluster.Close()
		}
		pgtest.End()
	}()
	return a.M.Run()
}
