package cache

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

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
