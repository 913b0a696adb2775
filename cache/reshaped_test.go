package cache_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/realtime"
)

type graded struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Grade string `db:"grade,optional" json:"grade"`
}

// A read whose rows have other columns ends the epoch; one that lacks a column of T
// ends Run, by its name, and no row is ever without its value.
func TestAReadOfAnotherShape(t *testing.T) {
	for level, options := range levels() {
		t.Run(level, func(t *testing.T) {
			inWorldVia(t, itemsConfig(), realtime.Options{}, func(w *world, b *between) {
				var grade atomic.Value
				grade.Store("")
				b.edit = func(r *http.Request, body string) string {
					if r.URL.Path == "/rest/v1/items" || strings.HasSuffix(r.URL.Path, "rt_chunk") {
						body = strings.ReplaceAll(body, `"owner":"all"`, grade.Load().(string)+`"owner":"all"`)
						if grade.Load() == "gone" {
							body = strings.ReplaceAll(strings.ReplaceAll(body, `gone"owner"`, `"owner"`), `"name":"a",`, ``)
						}
					}
					return body
				}
				w.insert(row(1, "a"))
				items, err := cache.New(w.client, "items", func(g graded) int64 { return g.ID }, append(options(w), cache.WithVerify(5*time.Second, cache.ByRows))...)
				require.NoError(t, err)
				ended := w.run(items.Run)
				require.NoError(t, items.WaitSynced(w.ctx))
				grade.Store(`"grade":"gold",`)
				time.Sleep(time.Minute)
				require.Equal(t, cache.Synced, items.Phase())
				require.Equal(t, cdc.Reshaped, items.Status().LastGap.Reason)
				got, _ := items.Get(1)
				require.Equal(t, graded{1, "a", "gold"}, got)
				gaps := items.Status().Gaps
				time.Sleep(time.Minute)
				require.Equal(t, gaps, items.Status().Gaps, "once")
				grade.Store("gone")
				err = <-ended
				require.ErrorIs(t, err, cdc.ErrMissing)
				require.ErrorContains(t, err, `column "grade"`)
				got, _ = items.Get(1)
				require.Equal(t, graded{1, "a", "gold"}, got)
			})
		})
	}
}
