package cache_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// CatchUp cannot know of a change that was lost without a word and without a mark.
// Refresh asks the table.
func TestRefresh_FindsASilentLoss(t *testing.T) {
	for level, options := range levels() {
		t.Run(level, func(t *testing.T) {
			inWorld(t, itemsConfig(), func(w *world) {
				w.insert(row(1, "a"), row(3, "c"))
				items := w.items(options(w)...)
				w.sync(items)
				var told []cache.Change[int64, item]
				w.run(func(ctx context.Context) error {
					for c, err := range items.Changes(ctx) {
						if err != nil {
							return err
						}
						told = append(told, c)
					}
					return nil
				})
				w.server.DropChanges(3)
				w.update(mockserver.Row{"name": "b"}, mockserver.Row{"id": 1})
				w.insert(row(2, "b"))
				w.delete(mockserver.Row{"id": 3})
				time.Sleep(3 * time.Second)
				w.server.Heal()
				if level == "level 2" {
					require.NoError(t, items.CatchUp(w.ctx))
				}
				require.Equal(t, "1:a 3:c ", names(items.View()), "nobody can know")
				start := time.Now()
				for k, want := range map[int64]string{1: "b", 2: "b", 3: "", 4: ""} {
					got, ok, err := items.Refresh(w.ctx, k)
					require.NoError(t, err)
					require.Equal(t, want, got.Name, k)
					require.Equal(t, want != "", ok, k)
				}
				require.Less(t, time.Since(start), 20*time.Second)
				require.Equal(t, "1:b 2:b ", names(items.View()))
				st := items.Status()
				require.Equal(t, uint64(3), st.Repaired)
				require.NotZero(t, st.Contradictions, "the first has the others verified, where there is no other reason")
				time.Sleep(time.Second)
				synctest.Wait()
				require.Len(t, told, 3)
				for _, c := range told {
					require.Equal(t, cache.CauseRepair, c.Cause)
				}
				_, _, err := items.Refresh(w.ctx, 1)
				require.NoError(t, err)
				require.Equal(t, st.Repaired, items.Status().Repaired, "nothing is wrong")
			})
		})
	}
}

// What is read while changes are under way is laid in at its place: no row steps back.
func TestRefresh_KeepsTheOrder(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		w.insert(row(1, "0"))
		items := w.items(w.marked()...)
		w.sync(items)
		w.server.DelayChanges(3 * time.Second)
		var seen []string
		w.run(func(ctx context.Context) error {
			for c, err := range items.Changes(ctx, cache.Buffered(100, cache.Fail)) {
				if err != nil {
					return err
				}
				seen = append(seen, c.New.Name)
			}
			return nil
		})
		for _, name := range []string{"1", "2", "3"} {
			w.update(mockserver.Row{"name": name}, mockserver.Row{"id": 1})
			time.Sleep(500 * time.Millisecond)
		}
		got, ok, err := items.Refresh(w.ctx, 1)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "3", got.Name)
		synctest.Wait()
		require.Equal(t, []string{"1", "2", "3"}, seen)
		require.Zero(t, items.Status().Repaired)
	})
}

// What a Table writes comes by the stream, or is found to be lost.
func TestInsert_ReturnsTheRowAndSeesThatItComes(t *testing.T) {
	for level, options := range levels() {
		t.Run(level, func(t *testing.T) {
			inWorld(t, itemsConfig(), func(w *world) {
				items := w.items(options(w)...)
				w.sync(items)
				got, err := items.Insert(w.ctx, map[string]any{"id": 1, "name": "a"})
				require.NoError(t, err)
				require.Equal(t, item{ID: 1, Name: "a", Owner: "all"}, got)
				time.Sleep(10 * time.Second)
				require.Equal(t, "1:a ", names(items.View()))
				require.Zero(t, items.Status().Repaired)
				got, err = items.Upsert(w.ctx, map[string]any{"id": 1, "name": "A"})
				require.NoError(t, err)
				require.Equal(t, "A", got.Name)
				time.Sleep(10 * time.Second)
				require.Equal(t, "1:A ", names(items.View()))
				w.server.DropChanges(1)
				_, err = items.Insert(w.ctx, map[string]any{"id": 2, "name": "b"})
				require.NoError(t, err)
				time.Sleep(10 * time.Second)
				require.Equal(t, "1:A 2:b ", names(items.View()))
				require.Equal(t, uint64(1), items.Status().Repaired)
				_, err = items.Insert(w.ctx, map[string]any{"id": 2, "name": "b"})
				require.ErrorContains(t, err, "items")
				got, ok, err := items.Delete(w.ctx, 2)
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, "b", got.Name)
				_, ok, err = items.Delete(w.ctx, 2)
				require.NoError(t, err)
				require.False(t, ok)
				row, err := items.Decode([]byte(`{"id":7,"name":"x","note":null,"owner":"o","ver":3}`))
				require.NoError(t, err)
				require.Equal(t, item{ID: 7, Name: "x", Owner: "o", Ver: 3}, row)
				_, err = items.Decode([]byte(`{"id":"x"}`))
				require.ErrorAs(t, err, new(*cdc.DecodeError))
			})
		})
	}
}

// Of a table of which the role may read some columns, those that T has are read.
func TestColumnRights(t *testing.T) {
	type known struct {
		ID        int64 `json:"id"`
		OwnerName string
		Name      string  `json:"name"`
		Note      *string `db:"note,optional" json:"note"`
	}
	for level, options := range levels() {
		if level == "level 2" { // it reads by a function: see the tests of the mock server on PostgreSQL
			continue
		}
		t.Run(level, func(t *testing.T) {
			inWorldVia(t, itemsConfig(), realtime.Options{}, func(w *world, b *between) {
				denied := func(of ...string) {
					b.set(func(r *http.Request) *http.Response {
						if !strings.HasPrefix(r.URL.Path, "/rest/v1/items") || r.Method == http.MethodPatch {
							return nil
						}
						selected := r.URL.Query().Get("select")
						for _, column := range of {
							if selected == "" || strings.Contains(selected, column) {
								return reply(403, "application/json", `{"code":"42501","message":"permission denied for table items"}`)
							}
						}
						return nil
					})
				}
				denied("ver")
				w.insert(row(1, "a"), row(2, "b"))
				items, err := cache.New(w.client, "items", func(k *known) int64 { return k.ID }, options(w)...)
				require.NoError(t, err)
				ended := w.run(items.Run)
				require.NoError(t, items.WaitSynced(w.ctx))
				require.Equal(t, 2, items.Len())
				n, err := items.Verify(w.ctx, true, cache.ByCount)
				require.NoError(t, err)
				require.Zero(t, n.Differences())
				_, _, err = items.Refresh(w.ctx, 1)
				require.NoError(t, err)
				denied("ver", "name") // it cannot do without
				w.server.KillSockets()
				err = <-ended
				require.ErrorContains(t, err, "permission denied for table items")
				require.ErrorContains(t, err, "name")
			})
		})
	}
}

// A field whose column is nowhere is an error that names it, as soon as the columns
// are known.
func TestAFieldWithoutAColumn(t *testing.T) {
	type tagged struct {
		ID   int64  `json:"id"`
		Nmae string `json:"nmae"`
	}
	for level, options := range levels() {
		for _, rows := range []int{0, 1} {
			t.Run(level, func(t *testing.T) {
				inWorld(t, itemsConfig(), func(w *world) {
					items, err := cache.New(w.client, "items", func(i *tagged) int64 { return i.ID }, options(w)...)
					require.NoError(t, err)
					if rows > 0 {
						w.insert(row(1, "a"))
					}
					ended := w.run(items.Run)
					time.Sleep(10 * time.Second)
					if level != "level 2" && rows == 0 { // where nothing tells the columns
						w.insert(row(1, "a"))
						time.Sleep(10 * time.Second)
					}
					require.Len(t, ended, 1)
					err = <-ended
					var decode *cdc.DecodeError
					require.ErrorAs(t, err, &decode)
					require.Equal(t, "nmae", decode.Column)
					require.ErrorIs(t, err, cdc.ErrMissing)
					require.Zero(t, items.Len())
				})
			})
		}
	}
}
