package backoff_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/backoff"
)

func TestFullJitterSpreadsUpToTheCeiling(t *testing.T) {
	for _, c := range []struct {
		n        int
		min, max time.Duration
		ceiling  time.Duration
	}{
		{0, time.Second, 30 * time.Second, time.Second},
		{3, time.Second, 30 * time.Second, 8 * time.Second},
		{5, time.Second, 30 * time.Second, 30 * time.Second},
		{1000, time.Second, 30 * time.Second, 30 * time.Second},
		{0, 0, 0, 0},
	} {
		var least, most time.Duration = c.ceiling, 0
		for range 2000 {
			d := backoff.Full(c.n, c.min, c.max)
			require.True(t, d >= 0 && (d < c.ceiling || c.ceiling == 0), "attempt %d waits %v", c.n, d)
			least, most = min(least, d), max(most, d)
		}
		require.LessOrEqual(t, least, c.ceiling/20, "attempt %d never waits little", c.n)
		require.GreaterOrEqual(t, most, c.ceiling-c.ceiling/20, "attempt %d never waits long", c.n)
	}
}

// No attempt, and no limits, make the wait overflow to nothing.
func TestFull_DoesNotOverflow(t *testing.T) {
	for _, least := range []time.Duration{1, time.Second, 18 * time.Second, 30 * time.Second, time.Minute, time.Hour, 1 << 62} {
		for _, most := range []time.Duration{time.Hour, 24 * time.Hour, 1<<63 - 1} {
			for n := range 200 {
				var longest time.Duration
				for range 20 {
					d := backoff.Full(n, least, most)
					require.GreaterOrEqual(t, d, time.Duration(0))
					require.Less(t, d, most)
					longest = max(longest, d)
				}
				require.True(t, longest > 0 || least == 1 && n < 5, "least %v, attempt %d: no wait", least, n)
			}
		}
	}
}
