package cache

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLatestIsAMap holds latest against Go's map, with keys that come and go.
func TestLatestIsAMap(t *testing.T) {
	for _, keys := range []int{3, 50, 3000} {
		r := rand.New(rand.NewPCG(uint64(keys), 0))
		var l latest[int, int]
		want := map[int]int{}
		check := func() {
			for k := range keys {
				e, known := l.get(k)
				require.True(t, known)
				v, there := want[k]
				require.Equal(t, there, e != nil)
				require.True(t, !there || e.value == v && e.key == k)
			}
			require.Equal(t, len(want), l.rows)
		}
		for n := range 40_000 {
			k := r.IntN(keys)
			p := put[int, int]{key: k}
			if n/4000%2 == 0 && r.IntN(5) > 0 {
				p.entry, want[k] = &entry[int, int]{key: k, value: n}, n
			} else {
				delete(want, k)
			}
			l.change([]put[int, int]{p}, func() {
				_, known := l.get(k)
				require.False(t, known, "while there is a change")
			})
			if n%4000 == 0 {
				check()
			}
		}
		check()
	}
}

// TestLatestDoesNotGrowByWhatIsGone has new keys all the time, and few at once.
func TestLatestDoesNotGrowByWhatIsGone(t *testing.T) {
	var l latest[int, int]
	for k := range 100_000 {
		l.set(k, &entry[int, int]{key: k})
		l.set(k-100, nil)
	}
	require.Equal(t, 100, l.rows)
	require.LessOrEqual(t, len(*l.table.Load()), 64)
	for k := range 100_000 {
		e, _ := l.get(k)
		require.Equal(t, k >= 100_000-100, e != nil)
	}
}

// TestGetIsOfTheView reads while a writer changes all rows at once, again and
// again, and removes and adds others. What Get returns is never older than a view
// from before, and never newer than one from after.
func TestGetIsOfTheView(t *testing.T) {
	const fixed, turns = 20, 2000
	var tab Table[int, int]
	tab.view.Store(&View[int, int]{})
	tab.core = newCore[int, int](nil, 0)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(1, 2))
			for {
				select {
				case <-done:
					return
				default:
				}
				k := r.IntN(fixed)
				before, _ := tab.View().Get(k)
				got, there := tab.Get(k)
				after, _ := tab.View().Get(k)
				if got < before || got > after || !there && before > 0 {
					t.Errorf("key %d is %d (%v) between views with %d and %d", k, got, there, before, after)
					return
				}
			}
		})
	}
	for n := 1; n <= turns; n++ {
		for k := range fixed {
			tab.core.put(k, &entry[int, int]{value: n}, CauseStream)
		}
		tab.core.put(fixed+n, &entry[int, int]{value: n}, CauseStream)
		tab.core.remove(fixed+n-3, CauseStream)
		tab.publish()
	}
	close(done)
	readers.Wait()
	_, there := tab.Get(fixed + 1)
	require.False(t, there)
	got, there := tab.Get(fixed + turns)
	require.True(t, there)
	require.Equal(t, turns, got)
}
