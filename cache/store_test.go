package cache

import (
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStoreIsAMapWhoseStatesStay holds the store against Go's map, with keys
// few and many, and published states against what they were.
func TestStoreIsAMapWhoseStatesStay(t *testing.T) {
	for _, keys := range []int{3, 50, 3000} {
		r := rand.New(rand.NewPCG(uint64(keys), 0))
		var s store[int, int]
		want := map[int]int{}
		type state struct {
			is  snapshot[int, int]
			was map[int]int
		}
		var states []state
		for n := range 20_000 {
			k := r.IntN(keys)
			if r.IntN(3) == 0 {
				old, had := s.Delete(k)
				before, there := want[k]
				require.Equal(t, there, had)
				require.Equal(t, before, old)
				delete(want, k)
			} else {
				old, had := s.Set(k, n)
				before, there := want[k]
				require.Equal(t, there, had)
				require.Equal(t, before, old)
				want[k] = n
			}
			require.Equal(t, len(want), s.Len())
			if r.IntN(200) == 0 {
				states = append(states, state{s.publish(), maps.Clone(want)})
			}
		}
		require.Equal(t, want, maps.Collect(s.All()))
		for _, st := range states {
			require.Equal(t, st.was, maps.Collect(st.is.all()))
			require.Equal(t, len(st.was), st.is.size)
			for k := range keys {
				v, ok := st.is.get(k)
				w, there := st.was[k]
				require.Equal(t, there, ok)
				require.Equal(t, w, v)
			}
		}
	}
}
