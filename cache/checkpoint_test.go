package cache_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/mockserver"
)

// A second Table on one checkpoint says so and saves nothing; it is its turn when
// the first has ended. The file is its owner's alone.
func TestACheckpointHasOneUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "items")
	target := filepath.Join(t.TempDir(), "target")
	require.NoError(t, os.WriteFile(target, []byte("mine"), 0o600))
	require.NoError(t, os.Symlink(target, path+".tmp"))
	inWorld(t, itemsConfig(), func(w *world) {
		w.insert(row(1, "a"))
		first := w.items(cache.WithCheckpoint(cache.File(path), time.Second))
		w.sync(first)
		time.Sleep(3 * time.Second)
		second := w.items(cache.WithCheckpoint(cache.File(path), time.Second))
		w.sync(second)
		time.Sleep(3 * time.Second)
		require.NoError(t, first.Status().CheckpointErr)
		require.NotZero(t, first.Status().Saved)
		require.ErrorContains(t, second.Status().CheckpointErr, "in use")
		require.Zero(t, second.Status().Saved)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
		mine, err := os.ReadFile(target)
		require.NoError(t, err)
		require.Equal(t, "mine", string(mine))
	})
}

// A row that cannot be saved is left out, and rows in a map keep their types.
func TestACheckpointWithAnOddRow(t *testing.T) {
	type reading struct {
		ID int64   `json:"id"`
		V  float64 `json:"v"`
	}
	cfg := mockserver.Config{InMemory: true, Tables: []mockserver.Table{{Name: "readings",
		Columns: []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "v", Type: "float8"}}, PrimaryKey: []string{"id"}}}}
	inWorld(t, cfg, func(w *world) {
		require.NoError(w, w.server.Insert("readings", mockserver.Row{"id": 1, "v": "NaN"}, mockserver.Row{"id": 2, "v": 0.5}))
		path := filepath.Join(t.TempDir(), "readings")
		table, err := cache.New(w.client, "readings", func(r reading) int64 { return r.ID }, cache.WithCheckpoint(cache.File(path), time.Second))
		require.NoError(t, err)
		w.run(table.Run)
		require.NoError(t, table.WaitSynced(w.ctx))
		time.Sleep(3 * time.Second)
		require.ErrorContains(t, table.Status().CheckpointErr, "row 1")
		require.NotZero(t, table.Status().Saved)
		again, err := cache.New(w.client, "readings", func(r reading) int64 { return r.ID }, cache.WithCheckpoint(cache.File(path), time.Hour))
		require.NoError(t, err)
		w.run(again.Run)
		for again.Len() == 0 {
			time.Sleep(time.Millisecond)
		}
		require.NotEqual(t, cache.Synced, again.Phase(), "the rows are those of the checkpoint")
		got, there := again.Get(2)
		require.True(t, there)
		require.InDelta(t, 0.5, got.V, 0)
		require.NoError(t, again.WaitSynced(w.ctx))
		require.Equal(t, 2, again.Len())
	})
}
