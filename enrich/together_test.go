package enrich

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
)

// What changes while the other one is read is read again.
func TestTogether(t *testing.T) {
	l, writes := 1, 3
	r := func() int {
		before := l
		if writes > 0 {
			writes--
			l++
		}
		return before
	}
	a, b := together(func() int { return l }, r, func(a, b int) bool { return a == b })
	require.Equal(t, []int{4, 4}, []int{a, b})
}

// A view is the same until a row is another one.
func TestViewSame(t *testing.T) {
	steps := make(chan func(*cache.Editor[int, int]))
	rows := cache.NewComputed("rows", func(_ context.Context, e *cache.Editor[int, int]) error {
		for step := range steps {
			step(e)
			e.Publish(true)
		}
		return nil
	})
	go func() {
		defer close(steps)
		for _, row := range []int{1, 1, 2, 1} {
			steps <- func(e *cache.Editor[int, int]) { e.Put(1, row, cache.CauseStream) }
			steps <- func(e *cache.Editor[int, int]) {}
		}
		steps <- func(e *cache.Editor[int, int]) { e.Delete(1, cache.CauseStream) }
	}()
	before := rows.View()
	require.True(t, before.Same(rows.View()))
	require.NoError(t, rows.Run(t.Context()))
	require.False(t, before.Same(rows.View()), "as empty as before, and not of the same moment")
	require.True(t, rows.View().Same(rows.View()))
}
