package cache_test

import (
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/mockserver"
)

// named is an item whose version has to fit into eight bits, and whose note must not
// be null.
type named struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
	Ver  int8   `json:"ver"`
}

func wideRow(id, ver int64, name string) mockserver.Row {
	return mockserver.Row{"id": id, "name": name, "ver": ver}
}

// A row that does not fit is one row's affair: by a page, by the stream, by a
// repair. Its column is named, and a version that fits brings it back.
func TestMisfit_IsSetAside(t *testing.T) {
	for level, options := range levels() {
		t.Run(level, func(t *testing.T) {
			inWorld(t, itemsConfig(), func(w *world) {
				w.insert(wideRow(1, 1, "a"), wideRow(2, 1000, "b"), wideRow(3, 3, "c"))
				items, err := cache.New(w.client, "items", func(n named) int64 { return n.ID }, append(options(w), cache.WithPageSize(2))...)
				require.NoError(t, err)
				ended := w.run(items.Run)
				require.NoError(t, items.WaitSynced(w.ctx))
				state, aside := map[int64]string{}, map[int64]error{}
				w.run(func(ctx context.Context) error {
					for c, err := range items.Changes(ctx, cache.WithInitial(), cache.WithSetAside()) {
						switch {
						case err != nil:
							return err
						case c.InitialEnd:
						case c.Err != nil && c.Op == cdc.Delete:
							delete(aside, c.Key)
						case c.Err != nil:
							aside[c.Key] = c.Err
						case c.Op == cdc.Delete:
							delete(state, c.Key)
							delete(aside, c.Key)
						default:
							state[c.Key] = c.New.Name
							delete(aside, c.Key)
						}
					}
					return nil
				})
				check := func(want map[int64]string, keys ...int64) {
					t.Helper()
					for range 100 {
						time.Sleep(time.Second)
						if items.Phase() == cache.Synced && items.Status().Doubtful == 0 && items.Len() == len(want) && items.Status().SetAside == len(keys) {
							break
						}
					}
					synctest.Wait()
					require.Equal(t, len(keys), items.Status().SetAside, "%v", maps.Collect(items.View().SetAside()))
					require.Equal(t, want, state)
					errs := maps.Collect(items.View().SetAside())
					require.Len(t, errs, len(keys))
					require.Equal(t, len(keys), len(aside))
					for _, k := range keys {
						var row *cache.RowError
						require.ErrorAs(t, errs[k], &row)
						require.ErrorContains(t, row, "items")
						require.ErrorContains(t, row, `"ver"`)
						require.Equal(t, errs[k], aside[k])
						_, there := items.Get(k)
						require.False(t, there)
						_, _, err := items.Fetch(w.ctx, k)
						require.ErrorAs(t, err, &row)
					}
					require.Empty(t, ended)
				}
				check(map[int64]string{1: "a", 3: "c"}, 2)
				w.update(mockserver.Row{"ver": 400}, mockserver.Row{"id": 1})
				w.insert(wideRow(4, 999, "d"), wideRow(5, 5, "e"))
				check(map[int64]string{3: "c", 5: "e"}, 1, 2, 4)
				w.update(mockserver.Row{"name": "A"}, mockserver.Row{"id": 1})
				w.update(mockserver.Row{"ver": 2}, mockserver.Row{"id": 2})
				check(map[int64]string{2: "b", 3: "c", 5: "e"}, 1, 4)
				w.update(mockserver.Row{"ver": 1}, mockserver.Row{"id": 1})
				_, err = w.server.Delete("items", mockserver.Row{"id": 4})
				require.NoError(t, err)
				check(map[int64]string{1: "A", 2: "b", 3: "c", 5: "e"})
				w.update(mockserver.Row{"ver": 300}, mockserver.Row{"id": 3})
				w.update(mockserver.Row{"id": 6}, mockserver.Row{"id": 3})
				check(map[int64]string{1: "A", 2: "b", 5: "e"}, 6)
				w.server.BlockSockets(time.Minute)
				w.server.KillSockets()
				_, err = w.server.Delete("items", mockserver.Row{"id": 6})
				require.NoError(t, err)
				w.update(mockserver.Row{"ver": 500}, mockserver.Row{"id": 5})
				time.Sleep(2 * time.Minute)
				check(map[int64]string{1: "A", 2: "b"}, 5)
				for _, by := range []cache.Check{cache.ByRows, cache.ByKeys, cache.ByCount, cache.ByDigest} {
					r, err := items.Verify(w.ctx, true, by)
					require.NoError(t, err)
					require.Zero(t, r.Differences(), by)
				}
				require.Zero(t, items.Status().Contradictions)
			})
		})
	}
}

// Whatever keeps the old version says that it does.
func TestMisfit_KeepOld(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		w.insert(wideRow(1, 1, "a"), wideRow(2, 2, "b"))
		items, err := cache.New(w.client, "items", func(n named) int64 { return n.ID }, cache.WithMisfits(cache.KeepOld))
		require.NoError(t, err)
		w.run(items.Run)
		require.NoError(t, items.WaitSynced(w.ctx))
		w.update(mockserver.Row{"ver": 1000, "name": "B"}, mockserver.Row{"id": 2})
		time.Sleep(time.Minute)
		got, _ := items.Get(2)
		require.Equal(t, named{2, "b", 2}, got)
		require.Equal(t, 1, items.Status().Doubtful)
		require.Equal(t, 1, items.Status().SetAside)
		w.update(mockserver.Row{"ver": 7}, mockserver.Row{"id": 2})
		time.Sleep(time.Minute)
		got, _ = items.Get(2)
		require.Equal(t, named{2, "B", 7}, got)
		require.Zero(t, items.Status().Doubtful)
	})
}

// A T that no row fits into is not the fault of the rows.
func TestMisfit_OfAllRowsEndsRun(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		type numbered struct{ ID, Name int64 }
		w.insert(row(1, "a"), row(2, "b"))
		items, err := cache.New(w.client, "items", func(x *numbered) int64 { return x.ID })
		require.NoError(t, err)
		var decode *cdc.DecodeError
		require.ErrorAs(t, runErr(w, items), &decode)
		require.Equal(t, "name", decode.Column)
		require.False(t, errors.As(err, new(*cache.RowError)))
	})
}
