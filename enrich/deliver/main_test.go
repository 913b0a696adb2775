package deliver_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("GAPLESS_TEST_FILE"); path != "" {
		writeUntilKilled(path)
		return
	}
	goleak.VerifyTestMain(m)
}
