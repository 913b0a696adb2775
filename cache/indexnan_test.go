package cache

import (
	"math"
	"testing"

	"github.com/gapless-go/gapless/cdc"
	"github.com/stretchr/testify/require"
)

// A value that is not equal to itself could be found by nobody, and not be removed.
func TestIndex_LeavesNaNOut(t *testing.T) {
	x := &Index[float64, int, float64]{of: func(f float64) []float64 { return []float64{f} }}
	nan := math.NaN()
	for range 3 {
		x.update(Change[int, float64]{Op: cdc.Insert, Key: 1, New: nan})
		require.Zero(t, x.live.Len())
		x.update(Change[int, float64]{Op: cdc.Update, Key: 1, Old: nan, New: 2})
		require.Equal(t, 1, x.live.Len())
		x.update(Change[int, float64]{Op: cdc.Update, Key: 1, Old: 2, New: nan})
		require.Zero(t, x.live.Len())
		x.update(Change[int, float64]{Op: cdc.Delete, Key: 1, Old: nan})
	}
}
