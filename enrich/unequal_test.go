package enrich_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/enrich"
)

// place is a key that may contain a NaN.
type place struct{ x, y float64 }

var (
	nan     = math.NaN()
	nowhere = place{1, nan}
)

// TestJoin_KeyThatDoesNotEqualItself: the event has no row, and is given at once.
func TestJoin_KeyThatDoesNotEqualItself(t *testing.T) {
	reemit := &enrich.Reemit{For: time.Hour, Max: 2}
	for name, l := range map[string]enrich.Lookup[place, place, string]{
		"null": {Miss: enrich.Null()}, "wait": {Miss: enrich.Wait(time.Minute)}, "fetch": {Miss: enrich.Fetch(time.Minute)},
		"park": {Miss: enrich.Park(time.Minute, 2)}, "reemit": {Miss: enrich.Null(), Reemit: reemit}, "both": {Miss: enrich.Park(time.Minute, 2), Reemit: reemit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var count enrich.Counters
				rows := newRig[place, string](t, nil)
				rows.steps <- func(e *cache.Editor[place, string]) { e.Put(place{2, 2}, "here", cache.CauseStream) }
				synctest.Wait()
				l.Table, l.Counters = rows.table, &count
				l.Key = func(p place) (place, bool) { return p, true }
				began, got := time.Now(), ""
				in := newHandOf(nowhere, nowhere, nowhere, nowhere, place{2, 2})
				for o, err := range enrich.Join(in.stream, l)(t.Context()) {
					require.NoError(t, err)
					require.Equal(t, began, time.Now(), "nothing is waited for")
					if got += o.Right + "|"; o.Found {
						break
					}
					require.Zero(t, count.Pending.Load())
				}
				require.Equal(t, "||||here|", got)
				require.Zero(t, count.Overflowed.Load())
			})
		})
	}
}

// TestJoinStreams_KeyThatDoesNotEqualItself: it matches nothing, as null.
func TestJoinStreams_KeyThatDoesNotEqualItself(t *testing.T) {
	for name, w := range map[string]enrich.Window{"tumbling": enrich.Tumbling(time.Minute), "sliding": enrich.Sliding(time.Minute, time.Minute),
		"session": enrich.Session(time.Second, time.Minute), "interval": enrich.Interval(time.Second, 2*time.Second)} {
		for kind, want := range map[enrich.Kind][]string{
			enrich.Inner: {"bB"}, enrich.Left: {"a-", "a-", "bB"}, enrich.Outer: {"-A", "a-", "a-", "bB"},
		} {
			t.Run(fmt.Sprint(name, " ", kind), func(t *testing.T) {
				require.Equal(t, want, paired(t, kind, w, nil,
					[]keyed[float64]{{"a", nan}, {"b", 1}, {"a", nan}}, []keyed[float64]{{"A", nan}, {"B", 1}}))
				require.Equal(t, want, paired(t, kind, w, nil,
					[]keyed[place]{{"a", nowhere}, {"b", place{}}, {"a", nowhere}}, []keyed[place]{{"A", nowhere}, {"B", place{}}}))
				require.Equal(t, want, paired(t, kind, w, nil,
					[]keyed[any]{{"a", nan}, {"b", 1.5}, {"a", nowhere}}, []keyed[any]{{"A", nan}, {"B", 1.5}}))
			})
		}
	}
}

// measure is a row with a foreign key, or a group, that may be NaN.
type measure struct{ of, value float64 }

func (m measure) fk() (float64, bool) { return m.of, true }

// TestTables_KeysThatDoNotEqualThemselves: a row of such a group is in none, one with
// such a foreign key has no partner, and rows that come and go leave nothing.
func TestTables_KeysThatDoNotEqualThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows, names := newRig[int, measure](t, nil), newRig[float64, string](t, nil)
		groups, err := enrich.GroupBy(rows.table, func(m measure) float64 { return m.of },
			func(sum float64, m measure) float64 { return sum + m.value }, func(sum float64, m measure) float64 { return sum - m.value })
		require.NoError(t, err)
		counts, err := enrich.GroupBy(rows.table, func(m measure) place { return place{1, m.of} },
			func(n int, _ measure) int { return n + 1 }, func(n int, _ measure) int { return n - 1 })
		require.NoError(t, err)
		named := map[enrich.Kind]*cache.Table[int, string]{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 4)
		run := func(f func(context.Context) error) { go func() { done <- f(ctx) }() }
		defer func() {
			cancel()
			for range 4 {
				<-done
			}
		}()
		for _, kind := range []enrich.Kind{enrich.Inner, enrich.Left} {
			named[kind], err = enrich.JoinTables(kind, rows.table, names.table, measure.fk, func(_ measure, name *string) string {
				if name == nil {
					return "-"
				}
				return *name
			})
			require.NoError(t, err)
			run(named[kind].Run)
		}
		run(groups.Run)
		run(counts.Run)
		names.steps <- func(e *cache.Editor[float64, string]) { e.Put(1, "one", cache.CauseStream) }
		put := func(of float64) {
			rows.steps <- func(e *cache.Editor[int, measure]) { e.Put(1, measure{of, 5}, cache.CauseStream) }
			synctest.Wait()
		}
		for range 3 {
			put(nan)
			require.Equal(t, []int{0, 0, 0, 1}, []int{groups.Len(), counts.Len(), named[enrich.Inner].Len(), named[enrich.Left].Len()})
			require.Equal(t, "1:-", content(named[enrich.Left]))
			put(1)
			require.Equal(t, []int{1, 1, 1, 1}, []int{groups.Len(), counts.Len(), named[enrich.Inner].Len(), named[enrich.Left].Len()})
			require.Equal(t, "1:one", content(named[enrich.Left]))
			sum, _ := groups.Get(1)
			require.Equal(t, 5.0, sum)
			put(nan)
			rows.steps <- func(e *cache.Editor[int, measure]) { e.Delete(1, cache.CauseStream) }
			synctest.Wait()
			require.Equal(t, []int{0, 0, 0, 0}, []int{groups.Len(), counts.Len(), named[enrich.Inner].Len(), named[enrich.Left].Len()})
		}
	})
}

// TestDedup_IDThatDoesNotEqualItself: its values pass, and none is remembered.
func TestDedup_IDThatDoesNotEqualItself(t *testing.T) {
	var count enrich.Counters
	n := 0
	for _, err := range enrich.Dedup(enrich.Of(nan, nan, nan), func(f float64) (float64, bool) { return f, true }, time.Minute, 2, &count)(t.Context()) {
		require.NoError(t, err)
		require.Zero(t, count.Pending.Load())
		n++
	}
	require.Equal(t, 3, n)
	require.Zero(t, count.Overflowed.Load())
}

// TestParallel_KeyThatDoesNotEqualItself: its values are worked on, at once.
func TestParallel_KeyThatDoesNotEqualItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []int
		began := time.Now()
		for v, err := range enrich.Parallel(counted(20), 10, func(int) float64 { return nan },
			func(_ context.Context, v int) (int, error) { time.Sleep(time.Second); return v, nil })(t.Context()) {
			require.NoError(t, err)
			got = append(got, v)
		}
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(got))), 20)
		require.Equal(t, 2*time.Second, time.Since(began))
	})
}
