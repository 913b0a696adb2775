package cache

import (
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// TestStoreIsAMapWhoseStatesStay holds the store against Go's map, with keys
// few and many, and published states against what they were.
func TestStoreIsAMapWhoseStatesStay(t *testing.T) {
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

// TestStoreGivesBackWhatItHadTaken fills a store and empties it again: forks and
// buckets that are not needed any more are gone, and none is left by two ways
// that are not its own.
func TestStoreGivesBackWhatItHadTaken(t *testing.T) {
	var s store[int, int]
	for k := range 10_000 {
		s.Set(k, k)
	}
	forks, buckets := nodes(t, s.root, 0)
	require.Less(t, buckets, 10_000/bucketSize*2, "they are half full at least")
	require.Less(t, forks, buckets)
	for k := range 10_000 - 1 {
		_, had := s.Delete(k)
		require.True(t, had)
		s.publish()
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
				require.Equal(t, i, way(x.key, hash(x.key), level)%(1<<to.depth))
			}
		}
		f, b := nodes(t, to, level+1)
		forks, buckets = forks+f, buckets+b
	}
	return forks, buckets
}

// TestIndexSetsStay holds the sets of an index, small and large, against Go's
// maps, now and as they were.
func TestIndexSetsStay(t *testing.T) {
	table := NewComputed[int, int]("numbers", nil)
	x, err := NewIndex(table, func(v int) []int { return []int{v % 7 * (v % 5), v % 1000} })
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(1, 2))
	rows := map[int]int{}
	sets := func() map[int]map[int]bool {
		all := map[int]map[int]bool{}
		for k, v := range rows {
			for _, value := range x.of(v) {
				if all[value] == nil {
					all[value] = map[int]bool{}
				}
				all[value][k] = true
			}
		}
		return all
	}
	type state struct {
		is  any
		was map[int]map[int]bool
	}
	var states []state
	check := func(st state) {
		v := View[int, int]{indexes: []any{st.is}}
		for value := range 1000 {
			got := map[int]bool{}
			for k := range x.keys(v, value).All() {
				require.False(t, got[k], "a key comes once")
				got[k] = true
			}
			require.Equal(t, len(st.was[value]), x.Count(v, value))
			for k := range st.was[value] {
				require.True(t, got[k])
			}
		}
	}
	for n := range 10_000 {
		k := r.IntN(300)
		c := Change[int, int]{Key: k}
		old, had := rows[k]
		switch {
		case !had:
			c.Op, c.New = cdc.Insert, r.IntN(2000)
			rows[k] = c.New
		case n/1000%2 == 0 && r.IntN(3) > 0:
			c.Op, c.Old, c.New = cdc.Update, old, r.IntN(2000)
			rows[k] = c.New
		default:
			c.Op, c.Old = cdc.Delete, old
			delete(rows, k)
		}
		x.update(c)
		if r.IntN(300) == 0 {
			states = append(states, state{x.publish(), sets()})
			check(states[len(states)-1])
		}
	}
	require.Greater(t, len(states), 20)
	for _, st := range states {
		check(st)
	}
}
