package cache_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/mockserver"
)

// levels are the ways to run a table: with nothing installed, and with marks.
func levels() map[string]func(w *world) []cache.Option {
	return map[string]func(w *world) []cache.Option{
		"level 0": func(*world) []cache.Option { return nil },
		"level 1": func(*world) []cache.Option { return []cache.Option{cache.WithVerify(time.Minute)} },
		"level 2": func(w *world) []cache.Option {
			return []cache.Option{cache.WithMarker(cache.NewMarker(w.client)), cache.WithCanary(5*time.Second, 10*time.Second)}
		},
	}
}

func TestATableLoadsAndFollows(t *testing.T) {
	for name, options := range levels() {
		t.Run(name, func(t *testing.T) {
			inWorld(t, itemsConfig(), func(w *world) {
				w.insert(row(1, "a"), row(2, "b"), row(3, "c"))
				items := w.items(append(options(w), cache.WithPageSize(2))...)
				w.sync(items)
				require.Equal(t, "1:a 2:b 3:c ", names(items.View()))
				w.insert(row(4, "d"))
				_, err := w.server.Update("items", mockserver.Row{"name": "B"}, mockserver.Row{"id": 2})
				require.NoError(t, err)
				_, err = w.server.Update("items", mockserver.Row{"id": 9}, mockserver.Row{"id": 3})
				require.NoError(t, err)
				_, err = w.server.Delete("items", mockserver.Row{"id": 1})
				require.NoError(t, err)
				require.NoError(t, items.WaitFor(w.ctx, 1, func(_ item, there bool) bool { return !there }))
				require.Equal(t, "2:B 4:d 9:c ", names(items.View()))
				require.Equal(t, cache.Synced, items.Phase())
				require.Zero(t, items.Status().Contradictions)
			})
		})
	}
}
