package enrich

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// TestMicros_OfTimesBeyondMicroseconds: a time that microseconds do not hold is
// in no window, and is not another time.
func TestMicros_OfTimesBeyondMicroseconds(t *testing.T) {
	for _, at := range []time.Time{cdc.Infinity, cdc.NegInfinity, time.Date(294276, 12, 31, 0, 0, 0, 0, time.UTC)} {
		finite := inWindow(at)
		require.False(t, finite, at)
	}
	for _, at := range []time.Time{{}, time.Unix(0, 1000), time.Date(190_000, 1, 1, 0, 0, 0, 1000, time.UTC), time.Date(-4713, 1, 1, 0, 0, 0, 0, time.UTC)} {
		us, finite := micros(at), inWindow(at)
		require.True(t, finite)
		require.True(t, at.Equal(fromMicros(us)), at)
	}
}
