package enrich_test

import (
	"context"
	"iter"
	"math"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/internal/rescue"
)

// foreign is a Table of one's own with whatever feed.
type foreign struct {
	feed func(yield func(cache.Change[int, float64], error) bool)
}

func (foreign) Get(int) (float64, bool)          { return 0, false }
func (foreign) Phase() cache.Phase               { return cache.Synced }
func (foreign) WaitSynced(context.Context) error { return nil }
func (foreign) WaitFor(context.Context, int, func(float64, bool) bool) error {
	return nil
}
func (f foreign) Changes(context.Context, ...cache.FeedOption) iter.Seq2[cache.Change[int, float64], error] {
	return f.feed
}

// TestTables_EndWithTheFeedOfATable: one that ends, and one that panics.
func TestTables_EndWithTheFeedOfATable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := foreign{func(yield func(cache.Change[int, float64], error) bool) { time.Sleep(time.Minute) }}
		id := func(f float64) float64 { return f }
		for _, end := range []struct {
			table foreign
			check func(error)
		}{
			{foreign{func(func(cache.Change[int, float64], error) bool) {}}, func(err error) { require.ErrorIs(t, err, enrich.ErrFeedEnded) }},
			{foreign{func(func(cache.Change[int, float64], error) bool) { panic("oops") }}, func(err error) {
				var p *rescue.Error
				require.ErrorAs(t, err, &p)
			}},
		} {
			groups, err := enrich.GroupBy(enrich.Table[int, float64](end.table), id, func(a, b float64) float64 { return a + b }, func(a, b float64) float64 { return a - b })
			require.NoError(t, err)
			end.check(groups.Run(t.Context()))
			for _, tables := range [][2]foreign{{end.table, waits}, {waits, end.table}} {
				join, err := enrich.JoinTables(enrich.Left, enrich.Table[int, float64](tables[0]), enrich.Table[int, float64](tables[1]),
					func(float64) (int, bool) { return 0, false }, func(l float64, _ *float64) float64 { return l })
				require.NoError(t, err)
				end.check(join.Run(t.Context()))
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		groups, err := enrich.GroupBy(enrich.Table[int, float64](waits), id, func(a, b float64) float64 { return a + b }, func(a, b float64) float64 { return a - b })
		require.NoError(t, err)
		require.ErrorIs(t, groups.Run(ctx), context.Canceled)
	})
}

// TestGroupBy_IsRightAgainBehindWhatCannotBeTakenBack: an infinity or a NaN
// is gone with its row.
func TestGroupBy_IsRightAgainBehindWhatCannotBeTakenBack(t *testing.T) {
	type row struct {
		ID    int
		Group string
		N     float64
	}
	type sum struct {
		Rows int
		N    [1]float64
	}
	for _, bad := range []float64{math.Inf(1), math.Inf(-1), math.NaN()} {
		synctest.Test(t, func(t *testing.T) {
			jobs := make(chan func(*cache.Editor[int, row]))
			table := cache.NewComputed("t", func(ctx context.Context, e *cache.Editor[int, row]) error {
				for {
					select {
					case f := <-jobs:
						f(e)
						e.Publish(true)
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			})
			groups, err := enrich.GroupBy(table, func(r row) string { return r.Group },
				func(s sum, r row) sum { return sum{s.Rows + 1, [1]float64{s.N[0] + r.N}} },
				func(s sum, r row) sum { return sum{s.Rows - 1, [1]float64{s.N[0] - r.N}} })
			require.NoError(t, err)
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 2)
			go func() { ended <- table.Run(ctx) }()
			go func() { ended <- groups.Run(ctx) }()
			defer func() { stop(); <-ended; <-ended }()
			put := func(id int, group string, n float64) {
				jobs <- func(e *cache.Editor[int, row]) { e.Put(id, row{id, group, n}, cache.CauseStream) }
				synctest.Wait()
			}
			is := func(group string, want sum) {
				t.Helper()
				got, there := groups.Get(group)
				require.True(t, there)
				require.Equal(t, want, got)
			}
			put(1, "a", 1)
			put(2, "a", 2)
			for _, n := range []float64{bad, bad} {
				put(3, "a", n)
				put(4, "a", n)
			}
			put(4, "a", 4) // changed
			put(3, "b", bad)
			put(3, "b", 3)
			is("a", sum{3, [1]float64{7}})
			is("b", sum{1, [1]float64{3}})
			put(3, "a", bad)
			jobs <- func(e *cache.Editor[int, row]) { e.Delete(3, cache.CauseStream) }
			synctest.Wait()
			is("a", sum{3, [1]float64{7}})
		})
	}
}

// TestStreams_APanicIsAnError: of an input that a goroutine of the module reads, of
// a key and of a function that it calls.
func TestStreams_APanicIsAnError(t *testing.T) {
	bad := func(context.Context) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) { yield(1, nil); panic("oops") }
	}
	one := enrich.Of(1, 2, 3)
	same := func(n int) int { return n }
	same2 := func(_ context.Context, n int) (int, error) { return n, nil }
	at := func(n int) (int, time.Time) { return n, noon }
	pairs := func(l, r enrich.Stream[int]) enrich.Stream[int] {
		return func(ctx context.Context) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				for p, err := range enrich.JoinStreams(l, r, enrich.Streams[int, int, int]{Kind: enrich.Outer, Window: enrich.Tumbling(time.Minute),
					Left: at, Right: at, Idle: time.Second, MaxPending: 10, Full: cache.Fail})(ctx) {
					if !yield(p.Key, err) {
						return
					}
				}
			}
		}
	}
	for door, s := range map[string]enrich.Stream[int]{
		"left":     pairs(bad, one),
		"right":    pairs(one, bad),
		"input":    enrich.Parallel(bad, 2, same, same2),
		"key":      enrich.Parallel(one, 2, func(int) int { panic("oops") }, same2),
		"function": enrich.Parallel(one, 2, same, func(context.Context, int) (int, error) { panic("oops") }),
	} {
		t.Run(door, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var last error
				for _, err := range s(t.Context()) {
					last = err
				}
				var p *rescue.Error
				require.ErrorAs(t, last, &p)
				require.Equal(t, "oops", p.Value)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		var last error
		for _, err := range enrich.Parallel(one, 1, same, func(context.Context, int) (int, error) { runtime.Goexit(); return 0, nil })(t.Context()) {
			last = err
		}
		require.ErrorContains(t, last, "Goexit")
	})
}
