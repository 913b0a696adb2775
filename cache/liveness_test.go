package cache_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/mockserver"
)

// hot is a row that never rests: N counts its updates, Doc is stored out of line
// and mostly left alone, and Realtime does not send Amount and Code as they are.
type hot struct {
	ID     int64    `json:"id"`
	N      int64    `json:"n"`
	Doc    string   `json:"doc"`
	Amount *float64 `json:"amount"`
	Code   string   `json:"code"`
	Ver    int64    `json:"ver"`
}

// hotKinds are what is beside the counter in a row.
var hotKinds = map[string]mockserver.Row{
	"plain":   {"doc": "short", "amount": 1.5, "code": nil},
	"toast":   {"doc": strings.Repeat("d", 4000), "amount": 1.5, "code": nil},
	"null":    {"doc": "short", "amount": nil, "code": nil},
	"char(n)": {"doc": "short", "amount": 1.5, "code": "EUR"},
	"all":     {"doc": strings.Repeat("d", 4000), "amount": nil, "code": "EUR"},
}

// hotEvery is how often a row is updated.
var hotEvery = []time.Duration{20 * time.Millisecond, 500 * time.Millisecond, 1900 * time.Millisecond}

// waits and verifications are how often something is waited for, or verified.
var waits, verifications = 10, 5

// hotTable is a table of such rows in which one is updated all the time.
type hotTable struct {
	*world
	table *cache.Table[int64, hot]
	stop  context.CancelFunc

	mu    sync.Mutex
	wrote []time.Time // when the row got each N
}

func hotConfig() mockserver.Config {
	cfg := itemsConfig()
	cfg.Tables = append(cfg.Tables, mockserver.Table{
		Name: "hot",
		Columns: []mockserver.Column{
			{Name: "id", Type: "int8"}, {Name: "n", Type: "int8", NotNull: true}, {Name: "doc", Type: "text", Toast: true},
			{Name: "amount", Type: "float8"}, {Name: "code", Type: "character(3)"}, {Name: "ver", Type: "int8", NotNull: true},
		},
		PrimaryKey: []string{"id"},
	})
	return cfg
}

// hotLevels are the options of each level.
var hotLevels = []func(w *world) []cache.Option{
	func(*world) []cache.Option { return nil },
	func(*world) []cache.Option { return []cache.Option{cache.WithVerify(20 * time.Second)} },
	func(w *world) []cache.Option { return w.marked() },
	func(w *world) []cache.Option { return w.marked(cache.WithVersion("ver")) },
}

func (w *world) hot(kind string, every time.Duration, opts ...cache.Option) *hotTable {
	h := &hotTable{world: w}
	row := mockserver.Row{"id": 1, "n": 0, "ver": 0}
	for name, value := range hotKinds[kind] {
		row[name] = value
	}
	require.NoError(w, w.server.Insert("hot", row))
	h.wrote = append(h.wrote, time.Now())
	ctx, stop := context.WithCancel(w.ctx)
	h.stop = stop
	h.run(func(context.Context) error {
		for n := int64(1); ctx.Err() == nil; n++ {
			h.mu.Lock()
			h.wrote = append(h.wrote, time.Now())
			h.mu.Unlock()
			if _, err := w.server.Update("hot", mockserver.Row{"n": n, "ver": n}, mockserver.Row{"id": 1}); err != nil {
				return err
			}
			select {
			case <-time.After(every):
			case <-ctx.Done():
			}
		}
		return nil
	})
	var err error
	h.table, err = cache.New(w.client, "hot", func(h hot) int64 { return h.ID }, opts...)
	require.NoError(w, err)
	w.run(h.table.Run)
	return h
}

// age is for how long the row of the cache has not been that of the table. Of a
// row that is not there it is since the beginning.
func (h *hotTable) age() time.Duration {
	row, there := h.table.Get(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	next := row.N + 1
	if !there {
		next = 0
	}
	if next >= int64(len(h.wrote)) {
		return 0
	}
	return time.Since(h.wrote[next])
}

// oldest is the greatest age of the row in a time during which the table is
// Synced, and for how long it was not Synced.
func (h *hotTable) oldest(during time.Duration) (age, apart time.Duration) {
	const step = 50 * time.Millisecond
	for range during / step {
		time.Sleep(step)
		if h.table.Phase() != cache.Synced {
			apart += step
			continue
		}
		age = max(age, h.age())
	}
	return age, apart
}

// A row is never older than the package's documentation says, however often it
// changes, whatever of it Realtime does not send, and behind each gap.
func TestLiveness_ARowIsNeverOlderThanItsBound(t *testing.T) {
	t.Parallel()
	for level, options := range hotLevels {
		for kind := range hotKinds {
			for _, every := range hotEvery {
				t.Run(fmt.Sprintf("level %d, %s, every %v", level, kind, every), func(t *testing.T) {
					t.Parallel()
					inWorld(t, hotConfig(), func(w *world) {
						h := w.hot(kind, every, options(w)...)
						for range 2 {
							age, apart := h.oldest(20 * time.Second)
							h.Logf("%v, not synced for %v, %d in doubt", age, apart, h.table.Status().Doubtful)
							require.LessOrEqual(h, age, 8*time.Second, "the row's age")
							require.LessOrEqual(h, apart, 10*time.Second, "not synced")
							h.server.KillSockets()
						}
						h.stop()
						time.Sleep(10 * time.Second)
						require.Zero(h, h.age())
						require.Zero(h, h.table.Status().Doubtful, "at rest nothing is in doubt")
					})
				})
			}
		}
	}
}

// Whoever waits, waits for what was in doubt when the call began.
func TestLiveness_CatchUpAndCutEndWhateverIsWritten(t *testing.T) {
	t.Parallel()
	for _, level := range []int{2, 3} {
		for kind := range hotKinds {
			for _, every := range []time.Duration{5 * time.Millisecond, 500 * time.Millisecond} {
				t.Run(fmt.Sprintf("level %d, %s, every %v", level, kind, every), func(t *testing.T) {
					t.Parallel()
					inWorld(t, hotConfig(), func(w *world) {
						h := w.hot(kind, every, hotLevels[level](w)...)
						require.NoError(h, h.table.WaitSynced(h.ctx))
						for range waits {
							start := time.Now()
							ctx, cancel := context.WithTimeout(h.ctx, 30*time.Second)
							require.NoError(h, h.table.CatchUp(ctx))
							require.LessOrEqual(h, time.Since(start), 4*time.Second)
							require.Less(h, h.age(), time.Since(start)+time.Millisecond, "CatchUp shows what was written before it")
							start = time.Now()
							cut, err := cache.Cut(ctx, h.table)
							require.NoError(h, err)
							require.LessOrEqual(h, time.Since(start), 12*time.Second)
							require.Equal(h, 1, h.table.In(cut).Len())
							cancel()
							time.Sleep(700 * time.Millisecond)
						}
					})
				})
			}
		}
	}
}

// Without a Marker, a table that is quiet while it is read and busy from then on
// is Synced all the same.
func TestLiveness_SyncedComesWhateverIsWritten(t *testing.T) {
	inWorld(t, hotConfig(), func(w *world) {
		start := time.Now()
		table, err := cache.New(w.client, "hot", func(h hot) int64 { return h.ID })
		require.NoError(t, err)
		w.run(table.Run)
		require.NoError(t, table.WaitFor(w.ctx, 0, func(hot, bool) bool { return table.Phase() == cache.CatchingUp }))
		w.hot("plain", 20*time.Millisecond)
		ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
		defer cancel()
		require.NoError(t, table.WaitSynced(ctx))
		require.Less(t, time.Since(start), 10*time.Second)
	})
}

// A verification compares when the stream has passed its read: what is written
// meanwhile is not taken for wrong.
func TestLiveness_VerifyFindsNothingWhereNothingIsWrong(t *testing.T) {
	t.Parallel()
	for level, options := range hotLevels {
		for _, by := range []cache.Check{cache.ByRows, cache.ByKeys, cache.ByDigest, cache.ByCount} {
			t.Run(fmt.Sprintf("level %d, %v", level, by), func(t *testing.T) {
				t.Parallel()
				inWorld(t, hotConfig(), func(w *world) {
					w.hot("all", 5*time.Millisecond)
					rows := make([]mockserver.Row, 200)
					for i := range rows {
						rows[i] = mockserver.Row{"id": i + 2, "n": 0, "ver": 0, "doc": "short", "amount": 1}
					}
					require.NoError(t, w.server.Insert("hot", rows...))
					table, err := cache.New(w.client, "hot", func(h hot) int64 { return h.ID }, append(options(w), cache.WithPageSize(20))...)
					require.NoError(t, err)
					w.run(table.Run)
					w.run(func(ctx context.Context) error {
						for n := 1; ctx.Err() == nil; n++ {
							_, err := w.server.Update("hot", mockserver.Row{"n": n, "ver": n}, mockserver.Row{"id": 2 + n*37%200})
							if err != nil {
								return err
							}
							time.Sleep(20 * time.Millisecond)
						}
						return nil
					})
					require.NoError(t, table.WaitSynced(w.ctx))
					for range verifications {
						r, err := table.Verify(w.ctx, true, by)
						require.NoError(t, err)
						require.Zero(t, r.Differences(), "%+v", r)
						time.Sleep(200 * time.Millisecond)
					}
				})
			})
		}
	}
}
