package enrich_test

import (
	"context"
	"iter"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/enrich"
)

// events is how many events each operator is given: twenty thousand, or as many as
// GAPLESS_EVENTS says.
func events(t *testing.T) int {
	n := 20_000
	if s := os.Getenv("GAPLESS_EVENTS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	return n
}

// tick is an event: one comes each millisecond of its own time.
type tick struct{ n, key int }

func tickTime(e tick) (int, time.Time) {
	return e.key, noon.Add(time.Duration(e.n) * time.Millisecond)
}

// meter takes the heap's size at each tenth of a stream, the first fifth aside.
type meter struct {
	n     int
	sizes []uint64
}

func (m *meter) ticks(keys int) enrich.Stream[tick] {
	return func(ctx context.Context) iter.Seq2[tick, error] {
		return func(yield func(tick, error) bool) {
			for i := range m.n {
				m.pass(i)
				if !yield(tick{i, i * 7919 % keys}, nil) {
					return
				}
			}
		}
	}
}

func (m *meter) pass(i int) {
	if i%(m.n/10) == 0 && i >= m.n/5 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		m.sizes = append(m.sizes, s.HeapAlloc)
	}
}

// plain is the same without measuring.
func plain(n, keys int) enrich.Stream[tick] {
	return func(ctx context.Context) iter.Seq2[tick, error] {
		return func(yield func(tick, error) bool) {
			for i := range n {
				if ctx.Err() != nil || !yield(tick{i, i * 7919 % keys}, nil) {
					return
				}
			}
		}
	}
}

func drain[T any](t testing.TB, s enrich.Stream[T]) (n int) {
	t.Helper()
	for _, err := range s(t.Context()) {
		if err != nil { // to ask require each time would be half of a benchmark's work
			require.NoError(t, err)
		}
		n++
	}
	return n
}

// table is one that is made once and stays.
func table[K comparable, R any](tb testing.TB, fill func(e *cache.Editor[K, R])) *cache.Table[K, R] {
	t := cache.NewComputed("rows", func(ctx context.Context, e *cache.Editor[K, R]) error {
		fill(e)
		e.Publish(true)
		<-ctx.Done()
		return nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = t.Run(ctx) }()
	tb.Cleanup(func() { cancel(); <-done })
	require.NoError(tb, t.WaitSynced(ctx))
	return t
}

// What an operator holds does not grow with what it is given.
func TestMemoryIsFlat(t *testing.T) {
	even := func(e *cache.Editor[int, int]) {
		for k := 0; k < 1000; k += 2 {
			e.Put(k, k, cache.CauseSnapshot)
		}
	}
	key := func(e tick) (int, bool) { return e.key, true }
	join := func(l enrich.Lookup[tick, int, int]) func(*testing.T, *meter) int {
		return func(t *testing.T, m *meter) int {
			l.Table, l.Key = table(t, even), key
			return drain(t, enrich.Join(m.ticks(1000), l))
		}
	}
	windows := func(w enrich.Window) func(*testing.T, *meter) int {
		return func(t *testing.T, m *meter) int {
			return drain(t, enrich.JoinStreams(m.ticks(100), plain(m.n, 100), enrich.Streams[int, tick, tick]{Kind: enrich.Outer, Window: w,
				Left: tickTime, Right: tickTime, Grace: 100 * time.Millisecond, Idle: time.Hour, MaxPending: 20_000}))
		}
	}
	for name, run := range map[string]func(*testing.T, *meter) int{
		"join":             join(enrich.Lookup[tick, int, int]{Miss: enrich.Null()}),
		"join fetch":       join(enrich.Lookup[tick, int, int]{Miss: enrich.Fetch(time.Second)}),
		"join park":        join(enrich.Lookup[tick, int, int]{Miss: enrich.Park(time.Second, 1000)}),
		"join reemit":      join(enrich.Lookup[tick, int, int]{Miss: enrich.Null(), Reemit: &enrich.Reemit{For: time.Minute, Max: 1000}}),
		"streams tumbling": windows(enrich.Tumbling(200 * time.Millisecond)),
		"streams sliding":  windows(enrich.Sliding(200*time.Millisecond, 100*time.Millisecond)),
		"streams session":  windows(enrich.Session(50*time.Millisecond, time.Second)),
		"streams interval": windows(enrich.Interval(100*time.Millisecond, 100*time.Millisecond)),
		"dedup": func(t *testing.T, m *meter) int {
			return drain(t, enrich.Dedup(m.ticks(10), func(e tick) (int, bool) { return e.n, true }, time.Hour, 1000, nil))
		},
		"parallel": func(t *testing.T, m *meter) int {
			return drain(t, enrich.Parallel(m.ticks(100), 2, func(e tick) int { return e.key },
				func(_ context.Context, e tick) (tick, error) { return e, nil }))
		},
		"tables": tablesOfTables,
	} {
		t.Run(name, func(t *testing.T) {
			m := &meter{n: events(t)}
			outputs := run(t, m)
			require.Positive(t, outputs)
			require.Len(t, m.sizes, 8)
			// How far one stream is ahead of another, and so what is held, differs a
			// little from time to time.
			const slack = 2 << 20
			early, late := slices.Max(m.sizes[:3]), slices.Min(m.sizes[5:])
			require.Less(t, late, early+early/4+slack, "%v", m.sizes)
			t.Logf("%d events, %d outputs, heap from %.1f to %.1f MB", m.n, outputs,
				float64(m.sizes[0])/1e6, float64(m.sizes[len(m.sizes)-1])/1e6)
		})
	}
}

// tablesOfTables changes a table that is joined with another one, and grouped.
func tablesOfTables(t *testing.T, m *meter) int {
	rights := table(t, func(e *cache.Editor[int, string]) {
		for k := range 100 {
			e.Put(k, "right "+strconv.Itoa(k), cache.CauseSnapshot)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var written atomic.Bool // the last change of lefts
	lefts := cache.NewComputed("lefts", func(ctx context.Context, e *cache.Editor[int, tick]) error {
		for i := range m.n {
			m.pass(i)
			if e.Put(i*7919%1000, tick{i, i % 130}, cache.CauseStream); i%100 == 0 {
				e.Publish(true)
			}
			if i%13 == 0 {
				e.Delete(i%1000, cache.CauseStream)
			}
		}
		e.Publish(true)
		written.Store(true)
		<-ctx.Done()
		return nil
	})
	joined, err := enrich.JoinTables(enrich.Left, lefts, rights, func(e tick) (int, bool) { return e.key, true },
		func(e tick, right *string) string {
			if right == nil {
				return "none"
			}
			return *right
		})
	require.NoError(t, err)
	counts, err := enrich.GroupBy(joined, func(s string) string { return s }, func(n int, _ string) int { return n + 1 }, func(n int, _ string) int { return n - 1 })
	require.NoError(t, err)
	done := make(chan error)
	for _, run := range []func(context.Context) error{lefts.Run, joined.Run, counts.Run} {
		go func() { done <- run(ctx) }()
	}
	require.Eventually(t, written.Load, 20*time.Minute, time.Millisecond)
	require.NoError(t, counts.WaitFor(ctx, "", func(int, bool) bool {
		sum := 0
		for _, n := range counts.All() {
			sum += n
		}
		return sum == lefts.Len()
	}))
	n := counts.Len()
	cancel()
	for range 3 {
		<-done
	}
	return n
}
