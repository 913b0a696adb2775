package hamt

import (
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMap_KeepsItsStates holds the map against Go's map, with keys
// few and many, and published states against what they were.
func TestMap_KeepsItsStates(t *testing.T) {
	t.Run("as it is", testStore)
	t.Run("hashes of few bits", func(t *testing.T) {
		was := levels
		defer func() { levels = was }()
		levels = 1 // so that most keys agree in all of them
		testStore(t)
	})
}

func testStore(t *testing.T) {
	for _, keys := range []int{3, 50, 3000} {
		r := rand.New(rand.NewPCG(uint64(keys), 0))
		var s Map[int, int]
		want := map[int]int{}
		type state struct {
			is  Snapshot[int, int]
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
				states = append(states, state{s.Publish(), maps.Clone(want)})
			}
		}
		require.Equal(t, want, maps.Collect(s.All()))
		for _, st := range states {
			require.Equal(t, st.was, maps.Collect(st.is.All()))
			require.Equal(t, len(st.was), st.is.Len())
			for k := range keys {
				v, ok := st.is.Get(k)
				w, there := st.was[k]
				require.Equal(t, there, ok)
				require.Equal(t, w, v)
			}
		}
	}
}

// TestMap_GivesBackWhatItHadTaken fills a map and empties it again: forks and
// buckets that are not needed any more are gone, and none is left by two ways
// that are not its own.
func TestMap_GivesBackWhatItHadTaken(t *testing.T) {
	var s Map[int, int]
	for k := range 10_000 {
		s.Set(k, k)
	}
	forks, buckets := nodes(t, s.root, 0)
	require.Less(t, buckets, 10_000/bucketSize*2, "they are half full at least")
	require.Less(t, forks, buckets)
	for k := range 10_000 - 1 {
		_, had := s.Delete(k)
		require.True(t, had)
		s.Publish()
	}
	forks, buckets = nodes(t, s.root, 0)
	require.Zero(t, forks)
	require.Equal(t, 1, buckets)
	s.Delete(10_000 - 1)
	require.Nil(t, s.root)
}

func nodes(t *testing.T, n *node, level int) (forks, buckets int) {
	if n.leaf {
		b := bucketOf[int, int](n)
		for i := range b.slots {
			require.Equal(t, i >= int(b.n), b.slots[i] == slot[int, int]{} && b.n <= uint8(i))
		}
		return 0, 1
	}
	forks = 1
	for i, to := range n.fork().to {
		if to.leaf && i>>to.depth != 0 {
			require.Same(t, n.fork().to[i%(1<<to.depth)], to)
			continue
		}
		if to.leaf {
			for _, x := range bucketOf[int, int](to).slots[:to.n] {
				require.Equal(t, i, way(x.key, Hash(x.key), level)%(1<<to.depth))
			}
		}
		f, b := nodes(t, to, level+1)
		forks, buckets = forks+f, buckets+b
	}
	return forks, buckets
}
