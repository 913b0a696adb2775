package cache_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// A change that another one of its row has overtaken, as may happen between
// regions, neither takes a row back nor brings one back that is gone.
func TestOvertaken_ChangesAreReadAgain(t *testing.T) {
	writes := map[string][2]func(w *world){
		"update, update": {
			func(w *world) { w.update(mockserver.Row{"name": "b"}, mockserver.Row{"id": 1}) },
			func(w *world) { w.update(mockserver.Row{"name": "c"}, mockserver.Row{"id": 1}) },
		},
		"update, delete": {
			func(w *world) { w.update(mockserver.Row{"name": "b"}, mockserver.Row{"id": 1}) },
			func(w *world) { w.delete(mockserver.Row{"id": 1}) },
		},
		"insert, delete": {
			func(w *world) { w.insert(row(2, "b")) },
			func(w *world) { w.delete(mockserver.Row{"id": 2}) },
		},
		"delete, insert": {
			func(w *world) { w.delete(mockserver.Row{"id": 1}) },
			func(w *world) { w.insert(row(1, "b")) },
		},
		"a key that changes, update": {
			func(w *world) { w.update(mockserver.Row{"id": 2}, mockserver.Row{"id": 1}) },
			func(w *world) { w.update(mockserver.Row{"name": "b"}, mockserver.Row{"id": 2}) },
		},
	}
	for name, write := range writes {
		for _, apart := range []time.Duration{5 * time.Millisecond, 400 * time.Millisecond, 3 * time.Second} {
			for _, marked := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " ", apart, " ", marked), func(t *testing.T) {
					cfg := itemsConfig()
					inWorld(t, cfg, func(w *world) {
						w.insert(row(1, "a"))
						var opts []cache.Option
						if marked {
							opts = w.marked()
						}
						items := w.items(opts...)
						w.sync(items)
						time.Sleep(10 * time.Second)
						w.server.DelayChanges(10 * time.Second)
						w.server.ReorderChanges(2)
						write[0](w)
						time.Sleep(apart)
						write[1](w)
						time.Sleep(time.Minute)
						require.Equal(t, cache.Synced, items.Phase())
						rows, err := w.server.Rows("items")
						require.NoError(t, err)
						require.Equal(t, len(rows), items.Len())
						for _, r := range rows {
							got, _ := items.Get(r["id"].(int64))
							require.Equal(t, r["name"], got.Name)
						}
					})
				})
			}
		}
	}
}

// Cut ends with its context also while there is no loop that could let go of it.
func TestCut_EndsWithItsContext(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		w.insert(row(1, "a"))
		items := w.items(w.marked(cache.WithCanary(5*time.Second, 5*time.Second))...)
		w.sync(items)
		w.server.DropChanges(1 << 20) // the stream is deaf
		ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := cache.Cut(ctx, items)
			done <- err
		}()
		time.Sleep(time.Second) // it waits for its mark, which does not come
		_, err := w.server.Delete("rt_mark", mockserver.Row{})
		require.NoError(w, err)
		w.server.FaultREST(mockserver.RESTFault{Method: "POST", Path: "rt_mark", Status: 503, Body: `{"message":"away"}`})
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, done, 1)
		require.ErrorIs(t, <-done, context.DeadlineExceeded)
	})
}

// What passes does not end a Cut.
func TestCut_TriesAgainWithoutARow(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		w.insert(row(1, "a"))
		items := w.items(w.marked()...)
		w.sync(items)
		_, err := w.server.Delete("rt_mark", mockserver.Row{})
		require.NoError(w, err)
		w.server.FaultREST(mockserver.RESTFault{Method: "POST", Path: "rt_mark", Status: 503, Times: 1, Body: `{"message":"away"}`})
		_, err = cache.Cut(w.ctx, items)
		require.NoError(t, err)
	})
}

func TestCatchUp_LeavesNothingBehind(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		w.insert(row(1, "a"))
		items := w.items(w.marked()...)
		w.sync(items)
		w.server.FaultREST(mockserver.RESTFault{Path: "rt_mark", Status: 503, Body: `{"message":"away"}`})
		var before, after runtime.MemStats
		try := func(n int) {
			for range n {
				ctx, cancel := context.WithTimeout(w.ctx, time.Millisecond)
				require.Error(t, items.CatchUp(ctx))
				cancel()
			}
		}
		try(1000)
		runtime.GC()
		runtime.ReadMemStats(&before)
		const n = 20_000
		try(n)
		runtime.GC()
		runtime.ReadMemStats(&after)
		require.Less(t, (float64(after.HeapAlloc)-float64(before.HeapAlloc))/n, 32.0, "bytes that a call leaves behind")
	})
}

// Run ends with its context also while another Table of the Marker waits for the
// API.
func TestMarker_HoldsUpNoOtherTable(t *testing.T) {
	cfg := itemsConfig()
	other := cfg.Tables[0]
	other.Name = "others"
	cfg.Tables = append(cfg.Tables, other)
	inWorld(t, cfg, func(w *world) {
		for i := range int64(30) {
			w.insert(row(i, "a"))
		}
		marker := cache.WithMarker(cache.NewMarker(w.client))
		items, err := cache.New(w.client, "items", itemID, marker, cache.WithPageSize(5))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(w.ctx)
		ended := make(chan error, 1)
		w.server.FaultREST(mockserver.RESTFault{Method: "POST", Path: "rpc/rt_chunk", Before: 2 * time.Second})
		go func() { ended <- items.Run(ctx) }()
		time.Sleep(5 * time.Second)
		require.Equal(t, cache.Loading, items.Phase())
		_, err = w.server.Delete("rt_mark", mockserver.Row{})
		require.NoError(w, err)
		w.server.FaultREST(mockserver.RESTFault{Method: "POST", Path: "rt_mark", Before: time.Hour})
		others, err := cache.New(w.client, "others", itemID, marker)
		require.NoError(t, err)
		w.run(others.Run)
		time.Sleep(10 * time.Second)
		began := time.Now()
		cancel()
		<-ended
		require.Less(t, time.Since(began), 5*time.Second)
	})
}

func TestChanges_InitialRowsEndWithTheContext(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		for i := range int64(100) {
			w.insert(row(i, "a"))
		}
		items := w.items()
		w.sync(items)
		ctx, cancel := context.WithCancel(w.ctx)
		defer cancel()
		n := 0
		for _, err := range items.Changes(ctx, cache.WithInitial()) {
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
				break
			}
			n++
			cancel()
		}
		require.Equal(t, 1, n)
	})
}

// A verification that a gap overtakes neither says that the table has been read
// since, nor holds up who reads it.
func TestVerify_OfTheEpochBeforeMovesNothing(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		for i := range int64(20) {
			w.insert(row(i, "a"))
		}
		items := w.items(cache.WithPageSize(5))
		w.sync(items)
		w.server.FaultREST(mockserver.RESTFault{Method: "GET", Path: "items", Before: 10 * time.Second})
		go func() { _, _ = items.Verify(w.ctx, false, cache.ByRows) }()
		time.Sleep(15 * time.Second)
		w.server.KillSockets()
		time.Sleep(time.Second)
		for items.Phase() != cache.CatchingUp {
			time.Sleep(100 * time.Millisecond)
		}
		began := time.Now()
		for items.Phase() != cache.Synced {
			time.Sleep(100 * time.Millisecond)
		}
		require.Less(t, time.Since(began), 10*time.Second, "no page was left to be read")
	})
}

type pairKey struct {
	A string `json:"a"`
	B string `json:"b"`
}

type pairRow struct {
	pairKey
	V string `json:"v"`
}

// Two keys are two, whatever characters are in them, also for a read of rows by
// their keys that the server answers in parts.
func TestKeys_OfSeveralColumnsAreToldApart(t *testing.T) {
	cfg := mockserver.Config{InMemory: true, MaxRows: 1, Tables: []mockserver.Table{{
		Name: "pairs", PrimaryKey: []string{"a", "b"},
		Columns: []mockserver.Column{{Name: "a", Type: "text"}, {Name: "b", Type: "text"}, {Name: "v", Type: "text"}},
	}}}
	for _, mark := range []string{"\x1f", ",", "\"", "1:", "\\"} {
		inWorld(t, cfg, func(w *world) {
			require.NoError(t, w.server.Insert("pairs", mockserver.Row{"a": "x" + mark + "y", "b": "z", "v": "1"}, mockserver.Row{"a": "x", "b": "y" + mark + "z", "v": "2"}))
			pairs, err := cache.New(w.client, "pairs", func(p pairRow) pairKey { return p.pairKey }, cache.WithPrimaryKey("a", "b"))
			require.NoError(t, err)
			w.run(pairs.Run)
			require.NoError(t, pairs.WaitSynced(w.ctx))
			require.Equal(t, 2, pairs.Len())
			w.server.TruncateChanges(2) // both rows are in doubt: their changes are too large
			require.NoError(t, w.server.Tx(func(tx *mockserver.Tx) error {
				_, err := tx.Update("pairs", mockserver.Row{"v": strings.Repeat("3", 100)}, mockserver.Row{})
				return err
			}))
			time.Sleep(10 * time.Minute)
			require.Equal(t, cache.Synced, pairs.Phase())
			require.Equal(t, 2, pairs.Len(), "%q", mark)
		})
	}
}

// A checkpoint is of one project and one user: nobody else gets its rows.
func TestCheckpoint_IsOfOneProjectAndUser(t *testing.T) {
	cfg := itemsConfig()
	cfg.Tables[0].RLS = true
	cfg.Tables[0].Select = func(c mockserver.Claims, r mockserver.Row) bool { return r["owner"] == c["sub"] }
	const a, b = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
	for name, next := range map[string]struct {
		user    string
		another bool
		taken   bool
	}{"the same": {a, false, true}, "another user": {b, false, false}, "another project": {a, true, false}} {
		t.Run(name, func(t *testing.T) {
			file := cache.File(t.TempDir() + "/items")
			synctest.Test(t, func(t *testing.T) {
				server := mockserver.Start(t, cfg)
				require.NoError(t, server.Insert("items", mockserver.Row{"id": 1, "name": "of a", "owner": a}))
				start := func(server *mockserver.Server, user string) (*cache.Table[int64, item], func()) {
					client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.AnonKey(), HTTPClient: server.HTTPClient(),
						Token: func(context.Context) (string, time.Time, error) {
							return server.UserToken(user, time.Hour), time.Time{}, nil
						}})
					require.NoError(t, err)
					items, err := cache.New(client, "items", itemID, cache.WithCheckpoint(file, time.Second))
					require.NoError(t, err)
					ctx, cancel := context.WithCancel(t.Context())
					done := make(chan struct{})
					go func() { defer close(done); _ = items.Run(ctx) }()
					return items, func() { cancel(); <-done; require.NoError(t, client.Close(context.Background())) }
				}
				items, stop := start(server, a)
				require.NoError(t, items.WaitSynced(t.Context()))
				time.Sleep(10 * time.Second)
				stop()
				if next.another { // servers in memory have one address
					text, err := os.ReadFile(string(file))
					require.NoError(t, err)
					was := fmt.Sprintf(`"project":%q`, server.URL())
					require.Contains(t, string(text), was)
					require.NoError(t, os.WriteFile(string(file), []byte(strings.Replace(string(text), was, `"project":"https://staging.test"`, 1)), 0o600))
				}
				items, stop = start(server, next.user)
				defer stop()
				synctest.Wait()
				_, there := items.Get(1)
				require.Equal(t, next.taken, there)
				require.Equal(t, !next.taken, items.Status().CheckpointErr != nil)
			})
		})
	}
}
