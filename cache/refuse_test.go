package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/mockserver"
)

// runErr runs a table until it ends by itself, within a minute.
func runErr[K comparable, T any](w *world, table *cache.Table[K, T]) error {
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Minute)
	defer cancel()
	return table.Run(ctx)
}

func oddConfig() mockserver.Config {
	cfg := itemsConfig()
	columns := []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "name", Type: "text"}, {Name: "note", Type: "text"},
		{Name: "owner", Type: "text"}, {Name: "ver", Type: "int8"}}
	cfg.Tables = append(cfg.Tables,
		mockserver.Table{Name: "keyless", Columns: columns},
		mockserver.Table{Name: "unpublished", Columns: columns, PrimaryKey: []string{"id"}, Unpublished: true},
		mockserver.Table{Name: "pairs", Columns: columns, PrimaryKey: []string{"id", "name"}},
		mockserver.Table{Name: "secret", Columns: columns, PrimaryKey: []string{"id"}, Grants: map[string][]string{}},
	)
	return cfg
}

// What can never be a cache of a table says so when it is run, and does not stay
// empty.
func TestWhatCannotBeFollowedIsAnErrorAtTheStart(t *testing.T) {
	type wide struct{ ID, Name int64 }
	for _, level := range []string{"level 0", "level 2"} {
		for _, c := range []struct {
			name, table string
			key         func(item) int64
			rows        []mockserver.Row
			want        string
		}{
			{name: "no primary key", table: "keyless", want: "table public.keyless, primary key (): the table has none"},
			{name: "not published", table: "unpublished", want: "publication"},
			{name: "no such table", table: "nothing", want: "nothing"},
			{name: "no right to read it", table: "secret", want: "permission denied for table secret"},
			{name: "a key of too few columns", table: "pairs", want: "a key of 2 columns is a struct"},
			{name: "a key function that disagrees", table: "items", key: func(i item) int64 { return i.ID % 10 },
				rows: []mockserver.Row{row(11, "a")}, want: "the key function makes 1 of a row whose key is (11)"},
		} {
			t.Run(level+"/"+c.name, func(t *testing.T) {
				inWorld(t, oddConfig(), func(w *world) {
					for _, r := range c.rows {
						w.insert(r)
					}
					key := itemID
					if c.key != nil {
						key = c.key
					}
					// The project describes its API to secret keys alone.
					w.client = w.newClient(w.server.ServiceKey())
					table, err := cache.New(w.client, c.table, key, levels()[level](w)...)
					require.NoError(t, err)
					err = runErr(w, table)
					require.ErrorContains(t, err, c.want)
					require.ErrorContains(t, err, c.table)
					require.Equal(t, err, table.WaitSynced(w.ctx), "whoever waits is told, too")
					require.Equal(t, cache.ErrRunning, table.Run(w.ctx))
				})
			})
		}
	}
	t.Run("a column that cannot be decoded", func(t *testing.T) {
		inWorld(t, itemsConfig(), func(w *world) {
			w.insert(row(1, "a"))
			table, err := cache.New(w.client, "items", func(x wide) int64 { return x.ID }, cache.WithMisfits(cache.EndRun))
			require.NoError(t, err)
			var decode *cdc.DecodeError
			require.ErrorAs(t, runErr(w, table), &decode)
			require.Equal(t, "items", decode.Table)
			require.Equal(t, "name", decode.Column)
		})
	})
	t.Run("in a change", func(t *testing.T) {
		inWorld(t, itemsConfig(), func(w *world) {
			table, err := cache.New(w.client, "items", func(x wide) int64 { return x.ID }, cache.WithMisfits(cache.EndRun))
			require.NoError(t, err)
			ended := w.run(table.Run)
			require.NoError(t, table.WaitSynced(w.ctx))
			w.insert(row(1, "a"))
			var decode *cdc.DecodeError
			require.ErrorAs(t, <-ended, &decode)
			require.Equal(t, "name", decode.Column)
		})
	})
	t.Run("a marker without its table", func(t *testing.T) {
		cfg := itemsConfig()
		cfg.Tables, cfg.Functions = cfg.Tables[:1], nil
		inWorld(t, cfg, func(w *world) {
			table, err := cache.New(w.client, "items", itemID, cache.WithMarker(cache.NewMarker(w.client)))
			require.NoError(t, err)
			require.ErrorContains(t, runErr(w, table), "rt_mark of package sql")
		})
	})
	t.Run("a private channel that may not be joined", func(t *testing.T) {
		cfg := itemsConfig()
		cfg.Channels = func(string, mockserver.Claims) bool { return false }
		inWorld(t, cfg, func(w *world) {
			table, err := cache.New(w.client, "items", itemID, cache.WithChannel("forbidden", channel.Private()))
			require.NoError(t, err)
			var join *channel.JoinError
			require.ErrorAs(t, runErr(w, table), &join)
		})
	})
}

func TestWrongOptionsAreErrorsOfNew(t *testing.T) {
	for name, option := range map[string]cache.Option{
		"page":                         cache.WithPageSize(0),
		"settle":                       cache.WithSettle(-1),
		"verify":                       cache.WithVerify(time.Millisecond),
		"canary":                       cache.WithCanary(0, time.Second),
		"marker":                       cache.WithMarker(nil),
		"checkpoint":                   cache.WithCheckpoint(nil, 0),
		"history":                      cache.WithHistory(time.Hour, 1),
		"rows":                         cache.WithMaxRows(0, cache.Evict),
		"overflow":                     cache.WithMaxRows(1, cache.Conflate),
		"columns":                      cache.WithColumns(),
		"schema":                       cache.WithSchema(""),
		"topic":                        cache.WithChannel(""),
		"key":                          cache.WithPrimaryKey("id", ""),
		"a key that T has no room for": cache.WithPrimaryKey("a", "b"),
		"filter":                       cache.WithFilter(cdc.In("id")),
		"version":                      cache.WithVersion("nothing"),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, itemsConfig(), func(w *world) {
				_, err := cache.New(w.client, "items", itemID, option)
				require.Error(t, err)
			})
		})
	}
	inWorld(t, itemsConfig(), func(w *world) {
		var typ *cdc.TypeError
		_, err := cache.New(w.client, "items", func(i int) int { return i })
		require.ErrorAs(t, err, &typ)
		_, err = cache.New(w.client, "", itemID)
		require.Error(t, err)
	})
}
