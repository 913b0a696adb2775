package cache_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// item is a row of the table items.
type item struct {
	ID    int64   `json:"id"`
	Name  string  `json:"name"`
	Note  *string `json:"note"`
	Owner string  `json:"owner"`
	Ver   int64   `json:"ver"`
}

func itemID(i item) int64 { return i.ID }

// world is a project and a client of it, in virtual time.
type world struct {
	*testing.T
	server *mockserver.Server
	client *realtime.Client
	ctx    context.Context
}

const user = "11111111-1111-1111-1111-111111111111"

func itemsConfig() mockserver.Config {
	cfg := mockserver.Config{
		InMemory: true,
		Timing:   mockserver.Timing{},
		Tables: []mockserver.Table{{
			Name: "items",
			Columns: []mockserver.Column{
				{Name: "id", Type: "int8"},
				{Name: "name", Type: "text", NotNull: true, Default: func() any { return "" }},
				{Name: "note", Type: "text"},
				{Name: "owner", Type: "text", NotNull: true, Default: func() any { return "all" }},
				{Name: "ver", Type: "int8", NotNull: true, Default: func() any { return 0 }},
			},
			PrimaryKey: []string{"id"},
		}},
	}
	mockserver.InstallCache(&cfg)
	return cfg
}

// inWorld runs a test in a bubble.
func inWorld(t *testing.T, cfg mockserver.Config, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := mockserver.Start(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		w := &world{T: t, server: server, ctx: ctx}
		w.client = w.newClient(server.AnonKey())
		t.Cleanup(cancel)
		f(w)
	})
}

// newClient returns a client with an API key and the user's token.
func (w *world) newClient(key string) *realtime.Client {
	w.Helper()
	client, err := realtime.New(realtime.Options{URL: w.server.URL(), Key: key, HTTPClient: w.server.HTTPClient(),
		Token: func(context.Context) (string, time.Time, error) {
			return w.server.UserToken(user, time.Hour), time.Time{}, nil
		}})
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, client.Close(context.Background())) })
	return client
}

// items makes the cache of the table items and runs it until the test ends.
func (w *world) items(opts ...cache.Option) *cache.Table[int64, item] {
	w.Helper()
	t, err := cache.New(w.client, "items", itemID, opts...)
	require.NoError(w, err)
	w.run(t.Run)
	return t
}

// run runs something until the test ends.
func (w *world) run(f func(context.Context) error) (result chan error) {
	ctx, cancel := context.WithCancel(w.ctx)
	result = make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		result <- f(ctx)
	}()
	w.Cleanup(func() { cancel(); <-done })
	return result
}

func (w *world) insert(rows ...mockserver.Row) {
	w.Helper()
	require.NoError(w, w.server.Insert("items", rows...))
}

func row(id int64, name string) mockserver.Row { return mockserver.Row{"id": id, "name": name} }

func (w *world) sync(t *cache.Table[int64, item]) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Minute)
	defer cancel()
	require.NoError(w, t.WaitSynced(ctx))
}

// names is the content of a cache, for comparison.
func names(v cache.View[int64, item]) string {
	rows := maps.Collect(v.All())
	s := ""
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		s += fmt.Sprintf("%d:%s ", k, rows[k].Name)
	}
	return s
}
