package cache

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestChanges_EndWithTheirContextAndLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewComputed("numbers", func(ctx context.Context, e *Editor[int, int]) error {
			for k := range 100 {
				e.Put(k, k, CauseSnapshot)
			}
			e.Publish(true)
			<-ctx.Done()
			return ctx.Err()
		})
		running, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = table.Run(running) }()
		synctest.Wait()

		for range 10 {
			for range table.Changes(t.Context(), WithInitial()) {
				break
			}
		}
		require.Empty(t, table.feeds, "feeds that nobody iterates")

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		told := 0
		for _, err := range table.Changes(ctx, WithPhases()) {
			cancel() // while it is told something; what waits then is not
			if told++; err != nil {
				require.ErrorIs(t, err, context.Canceled)
			}
		}
		require.Equal(t, 2, told)
		stop()
		<-ended
	})
}

func TestComputed_ThatReturnsNilIsComplete(t *testing.T) {
	table := NewComputed("one", func(_ context.Context, e *Editor[int, int]) error {
		e.Put(1, 1, CauseSnapshot)
		e.Publish(true)
		return nil
	})
	require.NoError(t, table.Run(t.Context()))
	require.NoError(t, table.WaitSynced(t.Context()))
	require.Equal(t, Synced, table.Phase())
	require.Equal(t, 1, table.Len())
	for _, err := range table.Changes(t.Context(), WithInitial()) { // which ends
		require.NoError(t, err)
	}
}
