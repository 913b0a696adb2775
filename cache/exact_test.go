package cache_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/mockserver"
)

// marked are the options of a table with a marker, without a canary that a test
// could notice.
func (w *world) marked(more ...cache.Option) []cache.Option {
	return append([]cache.Option{cache.WithMarker(cache.NewMarker(w.client))}, more...)
}

func (w *world) update(set, where mockserver.Row) {
	w.Helper()
	_, err := w.server.Update("items", set, where)
	require.NoError(w, err)
}

func (w *world) delete(where mockserver.Row) {
	w.Helper()
	_, err := w.server.Delete("items", where)
	require.NoError(w, err)
}

func TestCatchUpReadsYourWrites(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		items := w.items(w.marked()...)
		w.sync(items)
		for i := range int64(5) {
			w.insert(row(i, "a"))
			_, ok := items.Get(i)
			require.False(t, ok, "the change cannot be there yet")
			require.NoError(t, items.CatchUp(w.ctx))
			_, ok = items.Get(i)
			require.True(t, ok)
		}
		require.Positive(t, items.Status().MarkRTT)
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		w.server.LoseSlot(time.Minute)
		require.ErrorIs(t, items.CatchUp(ctx), context.DeadlineExceeded)
	})
	inWorld(t, itemsConfig(), func(w *world) {
		items := w.items()
		require.ErrorIs(t, items.CatchUp(w.ctx), cache.ErrNoMarker)
		_, err := cache.Cut(w.ctx, items)
		require.ErrorIs(t, err, cache.ErrNoMarker)
	})
}

// A cut of two tables has both halves of every transaction, or neither.
func TestCutIsOneStateOfSeveralTables(t *testing.T) {
	cfg := itemsConfig()
	other := cfg.Tables[0]
	other.Name = "others"
	cfg.Tables = append(cfg.Tables, other)
	inWorld(t, cfg, func(w *world) {
		marker := cache.WithMarker(cache.NewMarker(w.client))
		items := w.items(marker)
		others, err := cache.New(w.client, "others", itemID, marker)
		require.NoError(t, err)
		w.run(others.Run)
		ctx, stop := context.WithCancel(w.ctx)
		defer stop()
		w.run(func(context.Context) error {
			for i := int64(1); ctx.Err() == nil; i++ {
				err := w.server.Tx(func(tx *mockserver.Tx) error {
					for _, table := range []string{"items", "others"} {
						if err := tx.Insert(table, row(i, "a")); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					return err
				}
				time.Sleep(70 * time.Millisecond)
			}
			return nil
		})
		largest := 0
		for range 20 {
			cut, err := cache.Cut(w.ctx, items, others)
			require.NoError(t, err)
			require.Equal(t, names(items.In(cut)), names(others.In(cut)))
			require.GreaterOrEqual(t, items.In(cut).Len(), largest)
			largest = items.In(cut).Len()
			time.Sleep(300 * time.Millisecond)
		}
		require.Greater(t, largest, 50)
		w.server.KillSockets()
		cut, err := cache.Cut(w.ctx, items, others)
		require.NoError(t, err)
		require.Equal(t, names(items.In(cut)), names(others.In(cut)))
		require.Zero(t, items.In(&cache.Snapshot{}).Len())
	})
}

// What the server loses without a word, a canary finds, and the table is equal
// again without any other sign.
func TestC51TheCanaryFindsSilentLosses(t *testing.T) {
	for name, c := range map[string]struct {
		lose   func(s *mockserver.Server)
		reason cdc.GapReason
	}{
		"L3 a poll that fails":        {func(s *mockserver.Server) { s.FailPolls(3) }, cdc.MarkLost},
		"L4 the database restarts":    {func(s *mockserver.Server) { s.RestartDatabase(8 * time.Second) }, cdc.Silent},
		"L5 the workers stop":         {func(s *mockserver.Server) { s.StopWorkers() }, cdc.Silent},
		"L6 deaf subscriptions":       {func(s *mockserver.Server) { s.RestartWorkers() }, cdc.Silent},
		"L7 over the rate of events":  {func(s *mockserver.Server) { s.ExceedRate(6 * time.Second) }, cdc.MarkLost},
		"nothing but marks come late": {func(s *mockserver.Server) { dropChanges(s, "rt_mark", 1) }, cdc.MarkLost},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, itemsConfig(), func(w *world) {
				items := w.items(w.marked(cache.WithCanary(3*time.Second, 6*time.Second))...)
				w.insert(row(1, "a"))
				w.sync(items)
				gaps := items.Status().Gaps
				c.lose(w.server)
				var reasons []string
				found := false
				for i := range 300 {
					if i < 8 {
						w.insert(row(int64(10+i), "lost"))
					}
					time.Sleep(time.Second)
					if s := items.Status(); s.Gaps > gaps {
						gaps = s.Gaps
						reasons = append(reasons, s.LastGap.Reason.String())
						found = found || s.LastGap.Reason == c.reason
					}
				}
				require.True(t, found, "gaps: %v", reasons)
				require.NoError(t, items.CatchUp(w.ctx))
				require.Equal(t, 9, items.Len())
			})
		})
	}
}

// dropChanges loses changes of one table without a word.
func dropChanges(s *mockserver.Server, table string, n int) {
	params := fmt.Sprintf(`{"table":%q,"times":%d}`, table, n)
	if err := s.Inject(mockserver.Fault{Name: "drop-changes", Params: []byte(params)}); err != nil {
		panic(err)
	}
}

// Level 0 promises nothing for such losses but that the next gap heals them.
func TestWithoutAMarkerASilentLossStaysUntilVerifyOrAGap(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		items := w.items()
		w.sync(items)
		w.server.DropChanges(1)
		w.insert(row(1, "lost"))
		time.Sleep(time.Hour)
		require.Zero(t, items.Len())
		require.Equal(t, cache.Synced, items.Phase())
		w.server.KillSockets()
		require.NoError(t, items.WaitFor(w.ctx, 1, func(_ item, there bool) bool { return there }))
	})
}

func TestADeafChannelIsFoundByVerify(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		items := w.items(cache.WithVerify(time.Minute))
		w.sync(items)
		w.server.RestartWorkers()
		w.insert(row(1, "lost"))
		time.Sleep(2 * time.Minute)
		require.Equal(t, 1, items.Len())
		require.EqualValues(t, 1, items.Status().LastReport.Missing+int(items.Status().Repaired)-1)
		time.Sleep(time.Minute)
		w.insert(row(2, "heard"))
		time.Sleep(5 * time.Second)
		require.Equal(t, 2, items.Len(), "the channel was joined anew")
	})
}

// diverge makes a cache of three rows wrong in three ways, without a word.
func (w *world) diverge(items *cache.Table[int64, item]) {
	w.insert(row(1, "a"), row(2, "b"), row(3, "c"))
	w.update(mockserver.Row{"ver": 1}, mockserver.Row{})
	w.sync(items)
	synctest.Wait()
	time.Sleep(5 * time.Second)
	w.server.DropChanges(3)
	w.update(mockserver.Row{"name": "B", "ver": 2}, mockserver.Row{"id": 2})
	w.delete(mockserver.Row{"id": 3})
	w.insert(row(4, "d"))
	time.Sleep(5 * time.Second)
	require.Equal(w, "1:a 2:b 3:c ", names(items.View()))
}

func TestVerifyFindsAndRepairs(t *testing.T) {
	for _, c := range []struct {
		by                     cache.Check
		marked                 bool
		version                bool
		missing, ghosts, wrong int
		did                    cache.Check
	}{
		{by: cache.ByRows, missing: 1, ghosts: 1, wrong: 1, did: cache.ByRows},
		{by: cache.ByRows, marked: true, missing: 1, ghosts: 1, wrong: 1, did: cache.ByRows},
		{by: cache.ByKeys, missing: 1, ghosts: 1, did: cache.ByKeys},
		{by: cache.ByKeys, version: true, missing: 1, ghosts: 1, wrong: 1, did: cache.ByKeys},
		{by: cache.ByDigest, version: true, missing: 1, ghosts: 1, wrong: 1, did: cache.ByKeys},
		{by: cache.ByDigest, marked: true, version: true, missing: 1, ghosts: 1, wrong: 1, did: cache.ByDigest},
		{by: cache.ByDigest, marked: true, missing: 1, ghosts: 1, did: cache.ByDigest},
		{by: cache.ByCount, did: cache.ByCount}, // one is missing and one too many
	} {
		t.Run(fmt.Sprintf("%v marked %v version %v", c.by, c.marked, c.version), func(t *testing.T) {
			inWorld(t, itemsConfig(), func(w *world) {
				var opts []cache.Option
				if c.marked {
					opts = w.marked()
				}
				if c.version {
					opts = append(opts, cache.WithVersion("ver"))
				}
				items := w.items(append(opts, cache.WithPageSize(2))...)
				w.diverge(items)
				for _, repair := range []bool{false, true} {
					r, err := items.Verify(w.ctx, repair, c.by)
					require.NoError(t, err)
					r.Bytes, r.Took = 0, 0
					rows := 3
					require.Equal(t, cache.Report{Check: c.did, Rows: rows, Missing: c.missing, Ghosts: c.ghosts, Wrong: c.wrong, Repaired: repair}, r)
					if !repair {
						require.Equal(t, "1:a 2:b 3:c ", names(items.View()))
					}
				}
				if c.missing+c.ghosts+c.wrong == 3 {
					require.Equal(t, "1:a 2:B 4:d ", names(items.View()))
				}
				r, err := items.Verify(w.ctx, false, c.by)
				require.NoError(t, err)
				require.Zero(t, r.Differences())
			})
		})
	}
}

// A gap while a verification reads makes it begin anew: what it has read is of
// no use, and that it found nothing no finding.
func TestVerifyBeginsAnewBehindAGap(t *testing.T) {
	for _, by := range []cache.Check{cache.ByRows, cache.ByKeys, cache.ByCount, cache.ByDigest} {
		t.Run(by.String(), func(t *testing.T) {
			inWorld(t, itemsConfig(), func(w *world) {
				items := w.items()
				w.sync(items)
				w.server.DropChanges(1)
				w.insert(row(1, "lost"))
				w.server.FaultREST(mockserver.RESTFault{Path: "items", Before: 4 * time.Second})
				w.run(func(context.Context) error { // while it reads
					time.Sleep(2 * time.Second)
					w.server.Resubscribe()
					return nil
				})
				r, err := items.Verify(w.ctx, true, by)
				require.NoError(t, err)
				require.Zero(t, r.Differences(), "the gap has repaired it")
				require.Equal(t, "1:lost ", names(items.View()))
			})
		})
	}
}

// A count that differs is looked into.
func TestVerifyByCount(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		items := w.items()
		w.sync(items)
		w.server.DropChanges(1)
		w.insert(row(1, "lost"))
		r, err := items.Verify(w.ctx, true, cache.ByCount)
		require.NoError(t, err)
		require.Equal(t, 1, r.Missing)
		require.Equal(t, cache.ByKeys, r.Check)
	})
}

// Behind a gap, a table with digests reads what differs and no more.
func TestAResyncByDigestReadsWhatDiffers(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		items := w.items(w.marked(cache.WithVersion("ver"))...)
		for i := range int64(3000) {
			w.insert(row(i, "a"))
		}
		w.sync(items)
		loaded := 0
		w.server.FaultREST(mockserver.RESTFault{Path: "rpc/rt_chunk", Status: 500, Body: `{"message":"there is no need to read pages"}`})
		w.server.KillSockets()
		w.update(mockserver.Row{"name": "new", "ver": 1}, mockserver.Row{"id": 77})
		w.delete(mockserver.Row{"id": 78})
		w.insert(row(5000, "new"))
		require.NoError(t, items.WaitFor(w.ctx, 5000, func(_ item, there bool) bool { return there }))
		w.sync(items)
		got, _ := items.Get(77)
		require.Equal(t, "new", got.Name)
		_, there := items.Get(78)
		require.False(t, there)
		require.Equal(t, 3000, items.Len())
		require.Zero(t, loaded)
	})
}

// A value that is stored out of line and that an UPDATE left alone is taken from
// the row before, or read.
func TestUnchangedValuesAreKept(t *testing.T) {
	cfg := itemsConfig()
	cfg.Tables[0].Columns[2].Toast = true
	inWorld(t, cfg, func(w *world) {
		w.insert(mockserver.Row{"id": 1, "note": long})
		items := w.items(w.marked()...)
		w.sync(items)
		w.update(mockserver.Row{"name": "b"}, mockserver.Row{"id": 1})
		require.NoError(t, items.CatchUp(w.ctx))
		got, _ := items.Get(1)
		require.Equal(t, "b", got.Name)
		require.Equal(t, long, *got.Note)
		require.Zero(t, items.Status().Repaired, "the cache had it")

		w.server.TruncateChanges(1)
		w.update(mockserver.Row{"name": "c", "note": long + "!"}, mockserver.Row{"id": 1})
		require.NoError(t, items.CatchUp(w.ctx))
		got, _ = items.Get(1)
		require.Equal(t, "c", got.Name)
		require.Equal(t, long+"!", *got.Note)
		require.EqualValues(t, 1, items.Status().Repaired)
	})
}

// The REST API may be slow, limited, out of order or out of its mind for a
// while: the load goes on, and says why it waits.
func TestALoadSurvivesABadRESTAPI(t *testing.T) {
	for name, fault := range map[string]mockserver.RESTFault{
		"429":  {Times: 3, Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "7"}, Body: `{"message":"slow down"}`},
		"401":  {Times: 1, Status: http.StatusUnauthorized, Header: map[string]string{"WWW-Authenticate": `Bearer error="invalid_token"`}, Body: `{"code":"PGRST303","message":"JWT expired"}`},
		"503":  {Times: 3, Status: http.StatusServiceUnavailable, Body: `{"code":"PGRST000","message":"no database"}`},
		"html": {Times: 3, Status: http.StatusBadGateway, Header: map[string]string{"Content-Type": "text/html"}, Body: "<html><body>Bad Gateway</body></html>"},
		"cut":  {Times: 3, Cut: true},
		"slow": {Times: 3, Before: 20 * time.Second, After: 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, itemsConfig(), func(w *world) {
				w.insert(row(1, "a"), row(2, "b"), row(3, "c"))
				w.server.LimitRows(1)
				w.server.FaultREST(fault)
				items := w.items()
				var trouble error
				for trouble == nil && fault.Before == 0 {
					time.Sleep(time.Millisecond)
					trouble = items.Status().Trouble
				}
				if trouble != nil {
					ctx, cancel := context.WithTimeout(w.ctx, time.Microsecond)
					require.ErrorContains(t, items.WaitSynced(ctx), trouble.Error())
					cancel()
				}
				w.sync(items)
				require.NoError(t, items.Status().Trouble)
				require.Equal(t, "1:a 2:b 3:c ", names(items.View()))
			})
		})
	}
}
