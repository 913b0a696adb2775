package cache_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/mockserver"
)

func TestAFeedConflates(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		w.insert(row(1, "a"), row(2, "b"))
		items := w.items(w.marked()...)
		w.sync(items)
		stop := make(chan struct{})
		var told []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for c, err := range items.Changes(w.ctx, cache.WithInitial()) {
				if err != nil {
					return
				}
				if c.InitialEnd {
					slices.Sort(told)
					told = append(told, "end")
					<-stop
					continue
				}
				told = append(told, c.Op.String()+" "+c.Old.Name+">"+c.New.Name+" "+c.Cause.String())
				if c.Key == 99 {
					return
				}
			}
		}()
		synctest.Wait()
		w.update(mockserver.Row{"name": "x"}, mockserver.Row{"id": 1})
		w.update(mockserver.Row{"name": "y"}, mockserver.Row{"id": 1})
		w.insert(row(3, "c"))
		w.delete(mockserver.Row{"id": 3}) // comes to nothing
		w.delete(mockserver.Row{"id": 2})
		w.insert(row(2, "again"))
		w.insert(row(99, "last"))
		require.NoError(t, items.CatchUp(w.ctx))
		close(stop)
		<-done
		require.Equal(t, []string{"INSERT >a snapshot", "INSERT >b snapshot", "end",
			"UPDATE a>y stream", "UPDATE b>again stream", "INSERT >last stream"}, told)
	})
}

func TestABufferedFeedTellsAllOrSaysThatItDoesNot(t *testing.T) {
	for _, full := range []cache.Overflow{cache.Fail, cache.Conflate} {
		inWorld(t, itemsConfig(), func(w *world) {
			items := w.items(w.marked()...)
			w.sync(items)
			started, stop := make(chan struct{}), make(chan struct{})
			count, failed := 0, error(nil)
			last := item{}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for c, err := range items.Changes(w.ctx, cache.WithInitial(), cache.Buffered(10, full)) {
					switch {
					case err != nil:
						failed = err
						return
					case c.InitialEnd:
						close(started)
						<-stop
					default:
						if count, last = count+1, c.New; last.Name == "end" {
							return
						}
					}
				}
			}()
			<-started
			w.insert(row(1, "a"))
			for range 5 {
				w.update(mockserver.Row{"name": "b"}, mockserver.Row{"id": 1})
				w.update(mockserver.Row{"name": "end"}, mockserver.Row{"id": 1})
			}
			require.NoError(t, items.CatchUp(w.ctx))
			close(stop)
			<-done
			if full == cache.Fail {
				require.ErrorIs(t, failed, cache.ErrOverflow)
				require.Zero(t, count)
			} else {
				require.NoError(t, failed)
				require.Equal(t, 1, count)
				require.Equal(t, "end", last.Name)
			}
		})
	}
}

func TestFeedsEndWithRunBehindAllChanges(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		items, err := cache.New(w.client, "items", itemID)
		require.NoError(t, err)
		ctx, stop := context.WithCancel(w.ctx)
		ended := w.run(func(context.Context) error { return items.Run(ctx) })
		w.insert(row(1, "a"))
		var got []string
		var last error
		done := make(chan struct{})
		go func() {
			defer close(done)
			for c, err := range items.Changes(context.Background()) {
				if last = err; err == nil {
					got = append(got, c.New.Name)
				}
			}
		}()
		w.sync(items)
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
		<-done
		require.ErrorIs(t, last, context.Canceled)
		require.Equal(t, []string{"a"}, got)
		require.Equal(t, cache.Stale, items.Phase())
		for _, err := range items.Changes(w.ctx) {
			require.ErrorIs(t, err, context.Canceled)
		}
	})
}

func TestAnIndexFollowsTheRows(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		w.insert(row(1, "red"), row(2, "red"), row(3, "blue"))
		items, err := cache.New(w.client, "items", itemID, w.marked()...)
		require.NoError(t, err)
		byName, err := cache.NewIndex(items, func(i item) []string { return []string{i.Name, i.Name, "all"} })
		require.NoError(t, err)
		require.Empty(t, keysOf(byName, items.View(), "red"))
		w.run(items.Run)
		w.sync(items)
		before := items.View()
		require.Equal(t, []int64{1, 2}, keysOf(byName, before, "red"))
		require.Equal(t, []int64{1, 2, 3}, keysOf(byName, before, "all"))
		w.update(mockserver.Row{"name": "blue"}, mockserver.Row{"id": 2})
		w.delete(mockserver.Row{"id": 1})
		w.insert(row(4, "blue"))
		require.NoError(t, items.CatchUp(w.ctx))
		now := items.View()
		require.Empty(t, keysOf(byName, now, "red"))
		require.Equal(t, []int64{2, 3, 4}, keysOf(byName, now, "blue"))
		require.Equal(t, 3, byName.Count(now, "all"))
		require.Equal(t, []int64{1, 2}, keysOf(byName, before, "red"), "a view does not change")
		for k, i := range byName.Lookup("blue") {
			require.Equal(t, k, i.ID)
		}
		_, err = cache.NewIndex(items, func(i item) []string { return nil })
		require.ErrorIs(t, err, cache.ErrRunning)
	})
}

func keysOf(x *cache.Index[string, int64, item], v cache.View[int64, item], name string) (keys []int64) {
	for k := range x.In(v, name) {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func TestHistoryTellsWhatARowWas(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		first := w.items() // so that the log is read
		w.sync(first)
		w.insert(row(1, "old"), row(2, "b"))
		time.Sleep(2 * time.Second)
		items := w.items(w.marked(cache.WithHistory(time.Minute, 3))...)
		w.sync(items)
		began := time.Now()
		time.Sleep(time.Second)
		w.update(mockserver.Row{"name": "new"}, mockserver.Row{"id": 1})
		changed := time.Now()
		w.insert(row(3, "c"))
		time.Sleep(time.Second)
		w.delete(mockserver.Row{"id": 2})
		require.NoError(t, items.CatchUp(w.ctx))

		v := items.AsOf(1, changed.Add(-time.Millisecond))
		require.Equal(t, "old", v.Row.Name)
		require.Equal(t, cache.Exact, v.Trust)
		require.True(t, v.From.IsZero())
		v = items.AsOf(1, began.Add(-time.Hour))
		require.Equal(t, "old", v.Row.Name)
		require.Equal(t, cache.SinceSnapshot, v.Trust)
		v = items.AsOf(1, changed)
		require.Equal(t, "new", v.Row.Name)
		require.Equal(t, cache.Exact, v.Trust)
		require.True(t, v.From.Equal(changed.Truncate(time.Millisecond)), v.From)
		v = items.AsOf(3, changed.Add(-time.Millisecond))
		require.False(t, v.Found)
		require.Equal(t, cache.Exact, v.Trust)
		v = items.AsOf(2, time.Now())
		require.False(t, v.Found)
		v = items.AsOf(2, changed)
		require.True(t, v.Found)
		require.Equal(t, "b", v.Row.Name)
		v = items.AsOf(77, time.Now())
		require.False(t, v.Found)
		require.Equal(t, cache.Exact, v.Trust)

		for _, name := range []string{"p", "q", "r"} {
			w.update(mockserver.Row{"name": name}, mockserver.Row{"id": 1})
			time.Sleep(time.Second)
		}
		require.NoError(t, items.CatchUp(w.ctx))
		v = items.AsOf(1, changed)
		require.Equal(t, "p", v.Row.Name, "no more than three versions are kept")
		require.Equal(t, cache.Truncated, v.Trust)

		time.Sleep(2 * time.Minute)
		w.insert(row(9, "time passes for the history"))
		require.NoError(t, items.CatchUp(w.ctx))
		v = items.AsOf(2, changed)
		require.False(t, v.Found)
		require.Equal(t, cache.Truncated, v.Trust)
		v = items.AsOf(1, time.Now())
		require.Equal(t, "r", v.Row.Name)
		require.Equal(t, cache.Exact, v.Trust)

		dropChanges(w.server, "items", 1)
		w.server.KillSockets()
		w.update(mockserver.Row{"name": "in the gap"}, mockserver.Row{"id": 1})
		gap := time.Now()
		require.NoError(t, items.CatchUp(w.ctx))
		v = items.AsOf(1, gap)
		require.Equal(t, "in the gap", v.Row.Name)
		require.Equal(t, cache.SinceSnapshot, v.Trust)
		time.Sleep(time.Second)
		require.Equal(t, cache.Exact, items.AsOf(1, time.Now()).Trust)
	})
}

func TestABoundThatFails(t *testing.T) {
	for _, inLoad := range []bool{true, false} {
		inWorld(t, itemsConfig(), func(w *world) {
			items, err := cache.New(w.client, "items", itemID, cache.WithMaxRows(2, cache.Fail))
			require.NoError(t, err)
			if inLoad {
				w.insert(row(1, "a"), row(2, "b"), row(3, "c"))
			}
			ended := w.run(items.Run)
			if !inLoad {
				w.sync(items)
				w.insert(row(1, "a"), row(2, "b"), row(3, "c"))
			}
			require.ErrorIs(t, <-ended, cache.ErrTooManyRows)
		})
	}
}

func TestABoundThatEvicts(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		for i := range int64(10) {
			w.insert(row(i, "a"))
		}
		items := w.items(cache.WithMaxRows(3, cache.Evict), cache.WithPageSize(2))
		var evicted []int64
		w.run(func(ctx context.Context) error {
			for c, err := range items.Changes(ctx, cache.Buffered(100, cache.Fail)) {
				if err != nil {
					return err
				}
				if c.Cause == cache.CauseEvicted {
					evicted = append(evicted, c.Key)
				}
			}
			return nil
		})
		w.sync(items)
		require.Equal(t, 3, items.Len())
		_, ok := items.Get(7)
		require.False(t, ok)
		got, found, err := items.Fetch(w.ctx, 7)
		require.NoError(t, err)
		require.True(t, found)
		require.EqualValues(t, 7, got.ID)
		_, ok = items.Get(7) // read, so that it stays for longer than those that are not
		require.True(t, ok)
		_, found, err = items.Fetch(w.ctx, 77)
		require.NoError(t, err)
		require.False(t, found)
		w.insert(row(20, "b"), row(21, "b"))
		time.Sleep(2 * time.Second)
		require.Equal(t, 3, items.Len())
		_, ok = items.Get(7)
		require.True(t, ok)
		synctest.Wait()
		require.NotEmpty(t, evicted)
		require.EqualValues(t, 3+len(evicted), 3+int(items.Status().Evicted))

		w.server.DropChanges(1) // of a row that is in the cache
		w.update(mockserver.Row{"name": "changed"}, mockserver.Row{"id": 7})
		time.Sleep(2 * time.Second)
		r, err := items.Verify(w.ctx, true)
		require.NoError(t, err)
		require.Equal(t, 1, r.Wrong)
		w.server.KillSockets()
		w.update(mockserver.Row{"name": "in a gap"}, mockserver.Row{"id": 7})
		require.NoError(t, items.WaitFor(w.ctx, 7, func(i item, there bool) bool { return i.Name == "in a gap" }))
		require.Equal(t, 3, items.Len())
	})
}

func TestFetchReadsThroughOnce(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		w.insert(row(1, "a"))
		items := w.items(cache.WithMaxRows(1, cache.Evict))
		w.sync(items)
		w.insert(row(5, "b"), row(6, "c"))
		time.Sleep(2 * time.Second)
		w.server.FaultREST(mockserver.RESTFault{Before: time.Second})
		var readers sync.WaitGroup
		start := time.Now()
		for range 50 {
			readers.Go(func() {
				got, found, err := items.Fetch(w.ctx, 1)
				if err != nil || !found || got.Name != "a" {
					t.Error(got, found, err)
				}
			})
		}
		readers.Wait()
		require.Less(t, time.Since(start), 3*time.Second)
		ctx, cancel := context.WithTimeout(w.ctx, time.Millisecond)
		defer cancel()
		_, _, err := items.Fetch(ctx, 5)
		require.True(t, err == nil || errors.Is(err, context.DeadlineExceeded), err)
	})
}

func TestAWarmStartServesStaleRowsAndThenWhatDiffers(t *testing.T) {
	for _, level := range []string{"level 0", "level 2"} {
		file := filepath.Join(t.TempDir(), "items")
		cfg := itemsConfig()
		inWorld(t, cfg, func(w *world) {
			w.insert(row(1, "a"), row(2, "b"), row(3, "c"))
			ctx, stop := context.WithCancel(w.ctx)
			items, err := cache.New(w.client, "items", itemID, append(levels()[level](w), cache.WithCheckpoint(cache.File(file), 0))...)
			require.NoError(t, err)
			ended := w.run(func(context.Context) error { return items.Run(ctx) })
			w.sync(items)
			time.Sleep(2 * time.Minute)
			require.False(t, items.Status().Saved.IsZero())
			w.insert(row(4, "d"))
			time.Sleep(5 * time.Second)
			stop()
			<-ended
			require.NoError(t, items.Status().CheckpointErr)

			w.update(mockserver.Row{"name": "B"}, mockserver.Row{"id": 2})
			w.delete(mockserver.Row{"id": 3})
			time.Sleep(2 * time.Second) // the log is read though nobody listens
			warm := w.items(append(levels()[level](w), cache.WithCheckpoint(cache.File(file), 0))...)
			synctest.Wait()
			require.Equal(t, "1:a 2:b 3:c 4:d ", names(warm.View()))
			require.Equal(t, cache.Stale, warm.Phase(), "it is served as what it is")
			var told []string
			w.run(func(ctx context.Context) error {
				for c, err := range warm.Changes(ctx) {
					if err != nil {
						return err
					}
					told = append(told, c.Op.String()+" "+c.Old.Name+" "+c.Cause.String())
				}
				return nil
			})
			w.sync(warm)
			synctest.Wait()
			require.Equal(t, "1:a 2:B 4:d ", names(warm.View()))
			slices.Sort(told)
			require.Equal(t, []string{"DELETE c resync", "UPDATE b resync"}, told)

			for name, content := range map[string]string{"empty": "", "cut": "{\"format\":", "another": "{\"format\":\"x\"}\n"} {
				require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
				cold := w.items(append(levels()[level](w), cache.WithCheckpoint(cache.File(file), 0))...)
				synctest.Wait()
				require.Error(t, cold.Status().CheckpointErr, name)
				require.Zero(t, cold.Len())
				w.sync(cold)
				require.Equal(t, 3, cold.Len())
			}
		})
	}
}

// A run that ends in the middle of its first load leaves no half of a table to
// start from.
func TestHalfALoadIsNoCheckpoint(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		for i := range int64(20) {
			w.insert(row(i, "a"))
		}
		w.server.FaultREST(mockserver.RESTFault{Path: "items", After: time.Second})
		file := filepath.Join(t.TempDir(), "items")
		ctx, stop := context.WithCancel(w.ctx)
		items, err := cache.New(w.client, "items", itemID, cache.WithPageSize(1), cache.WithCheckpoint(cache.File(file), 0))
		require.NoError(t, err)
		ended := w.run(func(context.Context) error { return items.Run(ctx) })
		require.NoError(t, items.WaitFor(w.ctx, 5, func(_ item, there bool) bool { return there }))
		stop()
		<-ended
		_, err = os.Stat(file)
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

// A type that JSON does not keep is not saved, and the status says so.
func TestACheckpointThatWouldNotBeTheSameIsNotSaved(t *testing.T) {
	type forgetful struct {
		ID   int64  `db:"id" json:"id"`
		Name string `db:"name" json:"-"`
	}
	inWorld(t, itemsConfig(), func(w *world) {
		w.insert(row(1, "a"))
		file := filepath.Join(t.TempDir(), "items")
		items, err := cache.New(w.client, "items", func(f forgetful) int64 { return f.ID }, cache.WithCheckpoint(cache.File(file), time.Second))
		require.NoError(t, err)
		w.run(items.Run)
		require.NoError(t, items.WaitSynced(w.ctx))
		time.Sleep(3 * time.Second)
		require.ErrorContains(t, items.Status().CheckpointErr, "does not come out of JSON as it went in")
		_, err = os.Stat(file)
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

func TestAFilterAndColumnsNarrowBothLegs(t *testing.T) {
	for _, level := range []string{"level 0", "level 2"} {
		inWorld(t, itemsConfig(), func(w *world) {
			w.insert(row(1, "a"), row(2, "b"), row(3, "a"))
			opts := append(levels()[level](w), cache.WithFilter(cdc.Eq("name", "a")), cache.WithColumns("name"))
			items := w.items(opts...)
			w.sync(items)
			require.Equal(t, "1:a 3:a ", names(items.View()))
			w.insert(mockserver.Row{"id": 4, "name": "a", "ver": 7}, row(5, "b"))
			w.update(mockserver.Row{"name": "a"}, mockserver.Row{"id": 2})
			w.update(mockserver.Row{"name": "b"}, mockserver.Row{"id": 3}) // of which nobody tells
			time.Sleep(3 * time.Second)
			require.Equal(t, "1:a 2:a 3:a 4:a ", names(items.View()))
			got, _ := items.Get(4)
			require.Zero(t, got.Ver, "the column was not asked for")
			r, err := items.Verify(w.ctx, true)
			require.NoError(t, err)
			require.Equal(t, 1, r.Ghosts)
			require.Equal(t, "1:a 2:a 4:a ", names(items.View()))
		})
	}
}

func TestACompositeKey(t *testing.T) {
	type pair struct {
		ID   int64
		Name string
	}
	for _, level := range []string{"level 0", "level 2"} {
		inWorld(t, oddConfig(), func(w *world) {
			require.NoError(t, w.server.Insert("pairs", row(1, "a,b"), row(1, `"q"`), row(2, ""), row(2, "(x)")))
			w.client = w.newClient(w.server.ServiceKey()) // to which the key is described
			pairs, err := cache.New(w.client, "pairs", func(p pair) pair { return p }, append(levels()[level](w), cache.WithPageSize(1))...)
			require.NoError(t, err)
			w.run(pairs.Run)
			require.NoError(t, pairs.WaitSynced(w.ctx))
			require.Equal(t, 4, pairs.Len())
			_, err = w.server.Update("pairs", mockserver.Row{"name": "moved"}, mockserver.Row{"id": 2, "name": ""})
			require.NoError(t, err)
			require.NoError(t, pairs.WaitFor(w.ctx, pair{2, "moved"}, func(_ pair, there bool) bool { return there }))
			_, old := pairs.Get(pair{2, ""})
			require.False(t, old)
			r, err := pairs.Verify(w.ctx, true, cache.ByDigest)
			require.NoError(t, err)
			require.Zero(t, r.Differences())
		})
	}
}

// What WaitFor asks may ask the Table, which takes a lock for some answers.
func TestWaitForCallsNobodyUnderALock(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		items := w.items()
		w.sync(items)
		w.insert(row(1, "a"))
		require.NoError(t, items.WaitFor(w.ctx, 1, func(_ item, there bool) bool {
			return there && items.Status().Phase == cache.Synced && items.Len() == 1
		}))
	})
}
