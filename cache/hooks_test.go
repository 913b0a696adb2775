package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// told is what hooks were told.
type told struct {
	mu    sync.Mutex
	lines []string
}

func (s *told) add(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *told) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

func (s *told) hooks() cache.Hooks {
	return cache.Hooks{
		Phase:    func(table string, from, to cache.Phase) { s.add("%s: %v to %v", table, from, to) },
		Gap:      func(_ string, g cdc.Gap) { s.add("gap %v, open %v", g.Reason, g.Open()) },
		Repair:   func(_ string, rows int) { s.add("repaired %d", rows) },
		Doubt:    func(_ string, rows int) { s.add("doubt %d", rows) },
		SetAside: func(_ string, err *cache.RowError) { s.add("aside %s", err.Key) },
		Trouble:  func(_ string, err error) { s.add("trouble %v", err != nil) },
	}
}

// All that happens to a Table is told in one place, a canary's gap included.
func TestHooks(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		var s told
		var log bytes.Buffer
		w.insert(wideRow(1, 1, "a"), wideRow(2, 1000, "b"))
		items, err := cache.New(w.client, "items", func(n named) int64 { return n.ID },
			w.marked(cache.WithHooks(s.hooks()), cache.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))...)
		require.NoError(t, err)
		ctx, stop := context.WithCancel(w.ctx)
		ended := w.run(func(context.Context) error { return items.Run(ctx) })
		require.NoError(t, items.WaitSynced(w.ctx))
		w.server.DropChanges(1)
		require.NoError(t, w.server.Insert("items", wideRow(3, 3, "c")))
		time.Sleep(time.Second)
		_, _, err = items.Refresh(w.ctx, 3)
		require.NoError(t, err)
		time.Sleep(5 * time.Second) // what Refresh has found has the table verified, with marks
		w.server.TruncateChanges(1)
		w.update(mockserver.Row{"name": "A"}, mockserver.Row{"id": 1})
		time.Sleep(time.Minute)
		w.server.DropChanges(1) // a mark
		time.Sleep(time.Minute)
		w.server.KillSockets()
		time.Sleep(time.Minute)
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
		for _, want := range []string{"public.items: joining to settling", "aside 2", "catching up to synced", "repaired 1", "doubt 1\n", "doubt 0",
			"gap a mark", "gap disconnected, open true", "gap disconnected, open false"} {
			require.Contains(t, s.String(), want)
		}
		for _, want := range []string{"gap opened", "gap closed", "table=public.items", "rows repaired", "a row is set aside"} {
			require.Contains(t, log.String(), want)
		}
	})
}

// A hook may panic, and may call the Table.
func TestHooks_HoldUpNothing(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		var items *cache.Table[int64, item]
		var log bytes.Buffer
		var err error
		synced := make(chan error, 10)
		items, err = cache.New(w.client, "items", itemID, cache.WithLogger(slog.New(slog.NewTextHandler(&log, nil))), cache.WithHooks(cache.Hooks{
			Phase: func(_ string, _, to cache.Phase) { synced <- items.WaitSynced(w.ctx) },
			Gap:   func(string, cdc.Gap) { panic("boom") },
		}))
		require.NoError(t, err)
		ended := w.run(items.Run)
		require.NoError(t, items.WaitSynced(w.ctx))
		require.NoError(t, <-synced)
		time.Sleep(time.Second)
		synctest.Wait() // so that nobody writes to log
		require.Empty(t, ended)
		require.Contains(t, log.String(), "boom")
	})
}

func TestRun_EndsAllWithTheFirst(t *testing.T) {
	inWorld(t, oddConfig(), func(w *world) {
		w.client = w.newClient(w.server.ServiceKey())
		items, err := cache.New(w.client, "items", itemID)
		require.NoError(t, err)
		secret, err := cache.New(w.client, "nothing", itemID)
		require.NoError(t, err)
		err = cache.Run(w.ctx, items, secret)
		var of *cache.RunError
		require.ErrorAs(t, err, &of)
		require.Equal(t, "public.nothing", of.Table)
		require.ErrorAs(t, err, new(*cache.TableError))
		items, err = cache.New(w.client, "items", itemID)
		require.NoError(t, err)
		other, err := cache.New(w.client, "items", itemID)
		require.NoError(t, err)
		ctx, stop := context.WithCancel(w.ctx)
		ended := w.run(func(context.Context) error { return cache.Run(ctx, items, other) })
		require.NoError(t, errors.Join(items.WaitSynced(w.ctx), other.WaitSynced(w.ctx)))
		stop()
		require.Equal(t, context.Canceled, <-ended)
	})
}

func TestATableThatNobodyRuns(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		items, err := cache.New(w.client, "items", itemID)
		require.NoError(t, err)
		start := time.Now()
		require.Equal(t, cache.ErrNotRunning, items.WaitSynced(w.ctx))
		_, _, err = items.Refresh(w.ctx, 1)
		require.Equal(t, cache.ErrNotRunning, err)
		require.Less(t, time.Since(start), 11*time.Second)
		ctx, stop := context.WithTimeout(w.ctx, time.Second)
		defer stop()
		err = items.WaitSynced(ctx)
		require.ErrorIs(t, err, cache.ErrNotRunning)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestATopicOfTwoTables(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		first, err := cache.New(w.client, "items", itemID, cache.WithChannel("one"))
		require.NoError(t, err)
		second, err := cache.New(w.client, "items", itemID, cache.WithChannel("one"))
		require.NoError(t, err)
		w.run(first.Run)
		w.sync(first)
		check := func(err error) {
			t.Helper()
			require.ErrorIs(t, err, realtime.ErrTopicInUse)
			require.ErrorContains(t, err, `"one"`)
		}
		check(second.Run(w.ctx))
		_, err = cache.New(w.client, "items", itemID, cache.WithChannel("one", channel.Private()))
		check(err)
	})
}

// Keys that no column's values can be are refused by New.
func TestKeyTypesThatCannotBe(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		_, err := cache.New(w.client, "items", func(i *item) float64 { return float64(i.ID) })
		require.ErrorAs(t, err, new(*cache.KeyError))
		require.ErrorContains(t, err, "items")
	})
}

// A version that begins again for a row that was deleted and inserted tells nothing:
// whole rows are read from then on, so that no gap leaves the old row.
func TestVersionsThatBeginAgain(t *testing.T) {
	for _, fresh := range []int64{2, 1, 3} {
		t.Run(fmt.Sprint(fresh), func(t *testing.T) {
			inWorld(t, itemsConfig(), func(w *world) {
				w.insert(wideRow(1, 2, "a"), wideRow(2, 2, "b"))
				items := w.items(w.marked(cache.WithVersion("ver"))...)
				w.sync(items)
				w.delete(mockserver.Row{"id": 1})
				w.insert(wideRow(1, fresh, "c"))
				time.Sleep(5 * time.Second)
				if fresh > 2 {
					require.NoError(t, items.Status().VersionErr)
					return
				}
				require.ErrorContains(t, items.Status().VersionErr, "version")
				w.server.BlockSockets(10 * time.Second)
				w.server.KillSockets()
				w.delete(mockserver.Row{"id": 2})
				w.insert(wideRow(2, 2, "d"))
				time.Sleep(time.Minute)
				require.Equal(t, "1:c 2:d ", names(items.View()))
				w.server.DropChanges(1)
				w.update(mockserver.Row{"name": "e"}, mockserver.Row{"id": 2})
				time.Sleep(5 * time.Second)
				r, err := items.Verify(w.ctx, true)
				require.NoError(t, err)
				require.Equal(t, cache.ByRows, r.Check)
				require.Equal(t, 1, r.Wrong)
			})
		})
	}
}

// A server that starts confirms a subscription before it reads its log. What is
// committed until then never comes, and is read.
func TestAColdServerLosesNothing(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		w.server.DelaySlot(5 * time.Second)
		items := w.items()
		for n := range int64(40) {
			w.insert(row(n+1, "a"))
			time.Sleep(120 * time.Millisecond)
		}
		require.NotEqual(t, cache.Synced, items.Phase())
		w.sync(items)
		require.Equal(t, 40, items.Len())
	})
	inWorld(t, itemsConfig(), func(w *world) { // an event tells that it reads
		items := w.items()
		time.Sleep(3 * time.Second)
		require.Equal(t, cache.Settling, items.Phase())
		w.insert(row(1, "a"))
		time.Sleep(time.Second)
		require.NotEqual(t, cache.Settling, items.Phase())
		start := time.Now()
		w.sync(items)
		require.Less(t, time.Since(start), 3*time.Second)
	})
}

// What the database loses, it loses for all Tables of a Marker.
func TestOneLossIsOneForAllTablesOfAMarker(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		marked := w.marked()
		var gone [2]time.Time
		var tables [2]*cache.Table[int64, item]
		for i := range tables {
			tables[i] = w.items(append(marked, cache.WithHooks(cache.Hooks{Gap: func(string, cdc.Gap) { gone[i] = time.Now() }}))...)
		}
		for _, items := range tables {
			w.sync(items)
		}
		time.Sleep(time.Minute)
		before := [2]uint64{tables[0].Status().Gaps, tables[1].Status().Gaps}
		w.server.RestartDatabase(4 * time.Second)
		time.Sleep(2 * time.Minute)
		for i, items := range tables {
			require.Equal(t, cache.Synced, items.Phase())
			require.Greater(t, items.Status().Gaps, before[i])
		}
		synctest.Wait()
		require.InDelta(t, 0, gone[0].Sub(gone[1]).Seconds(), 2)
	})
}
