package postgres_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if url := os.Getenv("GAPLESS_TEST_DELIVER"); url != "" {
		consumeUntilKilled(url)
		return
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
	}()
	return a.M.Run()
}
