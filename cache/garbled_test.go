package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/mockserver"
)

// A key that Realtime garbles says nothing of the row: the table is read.
func TestGarbled_AKeyPutsTheTableInDoubt(t *testing.T) {
	type rate struct{ Code, Name string }
	for typ, keys := range map[string][4]string{"character(3)": {"EUR", "USD", "GBP", "EEK"}, "numeric": {"1", "2", "3", "NaN"}, "bit(4)": {"1010", "1011", "0001", "1000"}} {
		for _, level := range []string{"level 0", "level 2"} {
			t.Run(typ+" "+level, func(t *testing.T) {
				cfg := itemsConfig()
				cfg.Tables = append(cfg.Tables, mockserver.Table{Name: "rates", PrimaryKey: []string{"code"},
					Columns: []mockserver.Column{{Name: "code", Type: typ}, {Name: "name", Type: "text"}}})
				inWorld(t, cfg, func(w *world) {
					for _, key := range keys[:3] {
						require.NoError(t, w.server.Insert("rates", mockserver.Row{"code": key, "name": "old"}))
					}
					table, err := cache.New(w.client, "rates", func(r rate) string { return r.Code }, append(levels()[level](w), cache.WithPrimaryKey("code"))...)
					require.NoError(t, err)
					w.run(table.Run)
					require.NoError(t, table.WaitSynced(w.ctx))
					require.NoError(t, w.server.Insert("rates", mockserver.Row{"code": keys[3], "name": "new"}))
					_, err = w.server.Update("rates", mockserver.Row{"name": "new"}, mockserver.Row{"code": keys[0]})
					require.NoError(t, err)
					_, err = w.server.Delete("rates", mockserver.Row{"code": keys[1]})
					require.NoError(t, err)
					if level == "level 2" {
						require.NoError(t, table.CatchUp(w.ctx))
					} else {
						time.Sleep(15 * time.Second)
					}
					rows := map[string]string{}
					for k, r := range table.All() {
						rows[k] = r.Name
					}
					require.Equal(t, map[string]string{keys[0]: "new", keys[2]: "old", keys[3]: "new"}, rows)
					time.Sleep(15 * time.Second)
					require.Zero(t, table.Status().Doubtful)
					require.Equal(t, cache.Synced, table.Phase())
				})
			})
		}
	}
}

// A row is never shown with a value that Realtime has garbled.
func TestGarbled_ValuesAreNotShown(t *testing.T) {
	inWorld(t, hotConfig(), func(w *world) {
		require.NoError(t, w.server.Insert("hot", mockserver.Row{"id": 1, "n": 0, "ver": 0, "doc": "d", "amount": "Infinity", "code": "EUR"}))
		table, err := cache.New(w.client, "hot", func(h hot) int64 { return h.ID })
		require.NoError(t, err)
		w.run(table.Run)
		require.NoError(t, table.WaitSynced(w.ctx))
		ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
		defer cancel()
		w.run(func(context.Context) error {
			_, err := w.server.Update("hot", mockserver.Row{"n": 1}, mockserver.Row{"id": 1})
			return err
		})
		told := 0
		for c, err := range table.Changes(ctx) {
			if err != nil {
				break
			}
			told++
			require.Equal(t, "EUR", c.New.Code)
			require.Greater(t, *c.New.Amount, 1.0)
			require.EqualValues(t, 1, c.New.N)
		}
		require.Equal(t, 1, told)
	})
}

// A dead stream is a gap in as long as WithCanary says.
func TestCanary_FindsADeadStreamInItsTime(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		const every, timeout = 7 * time.Second, 9 * time.Second
		items := w.items(w.marked(cache.WithCanary(every, timeout))...)
		w.sync(items)
		time.Sleep(10 * time.Second)
		w.server.RestartWorkers()
		start := time.Now()
		require.NoError(t, items.WaitFor(w.ctx, 0, func(item, bool) bool { return items.Phase() == cache.Stale }))
		require.LessOrEqual(t, time.Since(start), every+timeout)
	})
}

// With a Marker the first load does not wait for the settle time.
func TestMarker_TheFirstLoadNeedsNoSettle(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		start := time.Now()
		w.sync(w.items(w.marked()...))
		require.Less(t, time.Since(start), 2*time.Second)
	})
}
