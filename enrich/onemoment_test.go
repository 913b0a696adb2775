package enrich_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/enrich"
)

// TestJoinTables_RowsAreOfOneMoment: whatever is written between the reads of a join,
// no result has a row of one table with one that the other had before or after it.
func TestJoinTables_RowsAreOfOneMoment(t *testing.T) {
	for _, side := range []string{"left", "right"} {
		t.Run(side, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, r := newRig[int, int](t, nil), newRig[int, int](t, nil)
				set := func(g *rig[int, int], version int) {
					g.steps <- func(e *cache.Editor[int, int]) { e.Put(1, version, cache.CauseStream) }
					g.steps <- func(*cache.Editor[int, int]) {} // the one before is published when this is taken
				}
				set(l, 1)
				set(r, 1)
				var write func() // what somebody writes while the join is at work
				joined, err := enrich.JoinTables(enrich.Inner, l.table, r.table, func(int) (int, bool) {
					if f := write; f != nil {
						write = nil
						f()
					}
					return 1, true
				}, func(l int, r *int) string { return fmt.Sprint(l, *r) })
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); _ = joined.Run(ctx) }()
				defer func() { cancel(); <-done }()
				synctest.Wait()
				out := collect(t, ctx, func(ctx context.Context) seq[cache.Change[int, string]] {
					return joined.Changes(ctx, cache.Buffered(100, cache.Fail))
				})
				synctest.Wait()
				write = func() { set(l, 3); set(r, 3) }
				first, moments := l, []string{"2 1", "3 1", "3 3"}
				if side == "right" {
					first, moments = r, []string{"1 2", "3 2", "3 3"}
				}
				set(first, 2)
				synctest.Wait()
				last := ""
				for len(out.values) > 0 {
					last = out.next().New
					require.Contains(t, moments, last)
				}
				require.Equal(t, "3 3", last)
			})
		})
	}
}
