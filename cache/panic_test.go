package cache_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/realtime"
)

// fuse panics once it is lit.
type fuse struct{ lit atomic.Bool }

func (f *fuse) burn() {
	if f.lit.Load() {
		panic("boom")
	}
}

type brokenCheckpoint struct{ load, save *fuse }

func (b brokenCheckpoint) Load() (io.ReadCloser, error) {
	b.load.burn()
	return nil, fs.ErrNotExist
}
func (b brokenCheckpoint) Save(write func(io.Writer) error) error {
	b.save.burn()
	return write(io.Discard)
}

// lighted is decoded by itself, and panics when the fuse is lit.
var lighted fuse

type selfish struct {
	item
}

func (s *selfish) UnmarshalJSON(b []byte) error { lighted.burn(); return unmarshalItem(b, &s.item) }

// No panic of what a Table calls ends the process or leaves somebody waiting.
func TestPanicsEndRunWithAnError(t *testing.T) {
	type how struct {
		light func(w *world, key, index *fuse) // what makes it happen
	}
	for name, h := range map[string]how{
		"the key function, by a read": {func(w *world, key, _ *fuse) { key.lit.Store(true); w.server.KillSockets() }},
		"the key function, by the stream": {func(w *world, key, _ *fuse) {
			key.lit.Store(true)
			w.insert(row(2, "b"))
		}},
		"an index, by the stream": {func(w *world, _, index *fuse) {
			index.lit.Store(true)
			w.insert(row(2, "b"))
		}},
		"an index, by a read": {func(w *world, _, index *fuse) {
			w.server.DropChanges(1)
			w.insert(row(2, "b"))
			index.lit.Store(true)
			w.server.Heal()
			w.server.KillSockets()
		}},
		"UnmarshalJSON, by a read":     {func(w *world, _, _ *fuse) { lighted.lit.Store(true); w.server.KillSockets() }},
		"UnmarshalJSON, by the stream": {func(w *world, _, _ *fuse) { lighted.lit.Store(true); w.insert(row(2, "b")) }},
	} {
		for level, options := range levels() {
			t.Run(name+"/"+level, func(t *testing.T) {
				lighted.lit.Store(false)
				inWorld(t, itemsConfig(), func(w *world) {
					var key, index fuse
					w.insert(row(1, "a"))
					opts := append(options(w), cache.WithVerify(5*time.Second))
					items, err := cache.New(w.client, "items", func(s selfish) int64 { key.burn(); return s.ID }, opts...)
					require.NoError(t, err)
					_, err = cache.NewIndex(items, func(s selfish) []string { index.burn(); return []string{s.Name} })
					require.NoError(t, err)
					ended := w.run(items.Run)
					require.NoError(t, items.WaitSynced(w.ctx))
					h.light(w, &key, &index)
					waiting := make(chan error, 1)
					go func() { _, err := items.Verify(w.ctx, true); waiting <- err }()
					err = <-ended
					var panicked *realtime.PanicError
					require.ErrorAs(t, err, &panicked)
					require.ErrorContains(t, err, "boom")
					require.ErrorContains(t, err, "items")
					<-waiting
					require.Error(t, items.CatchUp(w.ctx))
				})
			})
		}
	}
	lighted.lit.Store(false)
}

func TestPanicsOfACheckpointAreItsErrors(t *testing.T) {
	for _, during := range []string{"load", "save"} {
		inWorld(t, itemsConfig(), func(w *world) {
			c := brokenCheckpoint{&fuse{}, &fuse{}}
			c.load.lit.Store(during == "load")
			c.save.lit.Store(during == "save")
			w.insert(row(1, "a"))
			items := w.items(cache.WithCheckpoint(c, time.Second))
			w.sync(items)
			if during == "save" {
				w.insert(row(2, "b")) // so that there is something to save
				time.Sleep(3 * time.Second)
			}
			require.ErrorContains(t, items.Status().CheckpointErr, "boom")
		})
	}
}

func TestAPanicOfComputeEndsRun(t *testing.T) {
	table := cache.NewComputed("computed", func(context.Context, *cache.Editor[int, int]) error { panic(errors.New("boom")) })
	var panicked *realtime.PanicError
	require.ErrorAs(t, table.Run(t.Context()), &panicked)
	require.ErrorAs(t, table.WaitSynced(t.Context()), &panicked)
}

func TestAPanicInFetchIsItsError(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		var key fuse
		w.insert(row(1, "a"), row(2, "b"))
		items, err := cache.New(w.client, "items", func(i item) int64 { key.burn(); return i.ID }, cache.WithMaxRows(1, cache.Evict))
		require.NoError(t, err)
		w.run(items.Run)
		w.sync(items)
		key.lit.Store(true)
		for k := range int64(3) {
			if _, there := items.Get(k); !there {
				_, _, err = items.Fetch(w.ctx, k)
			}
		}
		var panicked *realtime.PanicError
		require.ErrorAs(t, err, &panicked)
	})
}

func unmarshalItem(b []byte, i *item) error { return json.Unmarshal(b, i) }
