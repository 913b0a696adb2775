package cache_test

import (
	"context"
	"net/http"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// TestAllocations: what a table costs the garbage collector is nearly the same on
// any machine, and is not to rise unnoticed. A read makes none. A change makes a
// row, and copies the nodes of the tree on its way that a view has, of which a
// batch of ten shares some. The figures are of a table of 10,000 rows.
func TestAllocations(t *testing.T) {
	table, do := edited(t, 10_000)
	var id int64
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		id = (id + 7) % 10_000
		if _, ok := table.Get(id); !ok {
			t.Error(id)
		}
	}))
	require.Zero(t, testing.AllocsPerRun(1000, func() { _ = table.View() }))

	version := int64(1)
	changes := func() {
		do(func(e *cache.Editor[int64, record]) {
			for range 10 {
				id = (id + 7919) % 10_000
				row := recordOf(id)
				version++
				row.Ver = version
				e.Put(id, row, cache.CauseStream)
			}
			e.Publish(true)
		})
	}
	perChange := testing.AllocsPerRun(200, changes) / 10
	t.Log(perChange)
	require.LessOrEqual(t, perChange, 4.2)
}

// A row that is loaded is a row, its text, its key's text, and its part of the
// tree; a page is little beside a thousand of them.
func TestAllocationsOfALoad(t *testing.T) {
	server := mockserver.Start(t, mockserver.Config{InMemory: true, Timing: mockserver.Fast(), Tables: []mockserver.Table{recordTable()}})
	const rows = 50_000
	rest := &pages{to: server.HTTPClient().Transport, rows: rows}
	client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.AnonKey(), HTTPClient: &http.Client{Transport: rest}})
	require.NoError(t, err)
	table, err := cache.New(client, "records", func(r record) int64 { return r.ID }, cache.WithSettle(0))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	go func() { defer close(ended); _ = table.Run(ctx) }()
	require.NoError(t, table.WaitSynced(ctx))
	runtime.ReadMemStats(&after)
	require.Equal(t, rows, table.Len())
	stop()
	<-ended
	require.NoError(t, client.Close(context.Background()))
	t.Log(float64(after.Mallocs-before.Mallocs)/rows, float64(after.TotalAlloc-before.TotalAlloc)/rows)
	require.LessOrEqual(t, float64(after.Mallocs-before.Mallocs)/rows, 4.3)
}
