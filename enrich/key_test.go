package enrich

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMatchable(t *testing.T) {
	nan := math.NaN()
	require.True(t, matchable(1.5))
	require.True(t, matchable[any](nil))
	require.False(t, matchable(nan))
	require.False(t, matchable([2]float64{1, nan}))
	require.False(t, matchable[any](struct{ f float64 }{nan}))
}

// A pool forgets keys whose values are done, and knows none that does not equal itself.
func TestParallel_HoldsNoKeys(t *testing.T) {
	p := newPool(1, func(k float64) float64 { return k }, func(context.Context, float64) (int, error) { return 0, nil })
	for _, k := range []float64{1, 1, math.NaN(), math.NaN()} {
		require.True(t, p.take(k, k))
	}
	require.Len(t, p.busy, 1)
	for range 4 {
		task, _ := p.next()
		p.finish(task.key, item[int]{})
	}
	require.Empty(t, p.busy)
	require.Len(t, p.done, 4)
}
