package channel

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/cputime"
)

// withinBudget runs f, which works on so many bytes of a server, and fails if it
// takes more of the processors' time or allocates more memory than such a number
// may cost: the bounds of the package's documentation, with room for a slow machine.
func withinBudget(t testing.TB, size int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := cputime.Used()
	f()
	took := cputime.Used() - began
	runtime.ReadMemStats(&after)
	require.Less(t, took, 2*time.Second+time.Duration(size)*20*time.Microsecond)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20+size*400))
}
