package cache_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
)

func TestAComputedTableReadsLikeATable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := errors.New("over")
		steps := make(chan func(e *cache.Editor[int, string]))
		table := cache.NewComputed("words", func(ctx context.Context, e *cache.Editor[int, string]) error {
			for step := range steps {
				step(e)
			}
			return over
		})
		byLength, err := cache.NewIndex(table, func(s string) []int { return []int{len(s)} })
		require.NoError(t, err)
		ended := make(chan error)
		go func() { ended <- table.Run(t.Context()) }()

		steps <- func(e *cache.Editor[int, string]) {
			e.Put(1, "one", cache.CauseSnapshot)
			e.Put(2, "two", cache.CauseSnapshot)
			got, ok := e.Get(1)
			require.True(t, ok)
			require.Equal(t, "one", got)
		}
		synctest.Wait()
		require.Zero(t, table.Len(), "nothing was published")
		require.Equal(t, cache.Joining, table.Phase())

		var told []string
		feed := make(chan error)
		go func() {
			for c, err := range table.Changes(t.Context(), cache.WithInitial(), cache.WithPhases()) {
				switch {
				case err != nil:
					feed <- err
					return
				case c.Phase != nil:
					told = append(told, c.Phase.String())
				case c.InitialEnd:
					told = append(told, "initial end")
				default:
					told = append(told, c.Op.String()+" "+c.Old+">"+c.New+" "+c.Cause.String())
				}
			}
		}()
		synctest.Wait()
		steps <- func(e *cache.Editor[int, string]) { e.Delete(2, cache.CauseStream); e.Publish(true) }
		require.NoError(t, table.WaitSynced(t.Context()))
		synctest.Wait()
		steps <- func(e *cache.Editor[int, string]) {
			e.Put(1, "one", cache.CauseStream) // as it was
			e.Put(3, "three", cache.CauseStream)
			e.Publish(false)
		}
		synctest.Wait()
		require.Equal(t, cache.Stale, table.Phase())
		require.Equal(t, 1, byLength.Count(table.View(), 5))
		row, found, err := table.Fetch(t.Context(), 7)
		require.NoError(t, err)
		require.False(t, found, row)
		require.ErrorIs(t, table.CatchUp(t.Context()), cache.ErrNoMarker)
		steps <- func(e *cache.Editor[int, string]) { e.Publish(true) }
		_, err = table.Verify(t.Context(), true)
		require.ErrorContains(t, err, "computed")
		synctest.Wait()
		close(steps)
		require.ErrorIs(t, <-ended, over)
		require.ErrorIs(t, <-feed, over)
		require.Equal(t, []string{"joining", "INSERT >one snapshot", "initial end", "synced",
			"INSERT >three stream", "stale", "synced", "stale"}, told)
	})
}

// A feed that tells of phases says Synced behind the rows that were read again
// after a gap, and Stale when the gap begins.
func TestAFeedTellsOfPhases(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		w.insert(row(1, "a"))
		items := w.items()
		w.sync(items)
		var told []string
		w.run(func(ctx context.Context) error {
			for c, err := range items.Changes(ctx, cache.WithPhases()) {
				switch {
				case err != nil:
					return err
				case c.Phase != nil:
					told = append(told, c.Phase.String())
				case c.Op == cdc.Insert:
					told = append(told, "insert "+c.New.Name+" "+c.Cause.String())
				}
			}
			return nil
		})
		synctest.Wait()
		w.server.KillSockets()
		w.server.DropChanges(1)
		w.insert(row(2, "b"))
		require.NoError(t, items.WaitFor(w.ctx, 2, func(_ item, there bool) bool { return there }))
		w.sync(items)
		synctest.Wait()
		require.Equal(t, []string{"synced", "stale", "settling", "loading", "insert b resync", "catching up", "synced"}, told)
	})
}
