package cache

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// TestFeed_TellsOnlyChangesThatWere follows feeds of every kind that are taken at
// random moments. Each change must fit what the ones before have made: an Insert
// of a key that is not there, an Update or Delete whose Old is the row that is.
// With touched, every key that changed is told, though the changes came to nothing.
func TestFeed_TellsOnlyChangesThatWere(t *testing.T) {
	equal := func(a, b int) bool { return a == b }
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		o := feedOptions{touched: r.IntN(2) == 0}
		if r.IntN(3) == 0 {
			o.buffered, o.full = 1+r.IntN(4), Conflate
		}
		f := newFeed[int](equal, o)
		table, told := map[int]int{}, map[int]int{}
		changed := map[int]bool{}
		take := func() {
			changes, err := f.take()
			require.NoError(t, err)
			for _, c := range changes {
				held, there := told[c.Key]
				what := fmt.Sprintf("seed %d: %v %d>%d of a key with %d, %v", seed, c.Op, c.Old, c.New, held, there)
				require.Equal(t, c.Op != cdc.Insert, there, what)
				require.Equal(t, held, c.Old, what)
				if delete(changed, c.Key); c.Op == cdc.Delete {
					delete(told, c.Key)
				} else {
					told[c.Key] = c.New
				}
			}
			require.Equal(t, table, told, "seed %d", seed)
			if o.touched {
				require.Empty(t, changed, "seed %d", seed)
			}
		}
		for range 60 {
			k := r.IntN(3)
			old, there := table[k]
			c := &Change[int, int]{Key: k, Old: old, New: 1 + r.IntN(2)}
			switch {
			case there && r.IntN(2) == 0:
				c.Op, c.New = cdc.Delete, 0
				delete(table, k)
			case there && old == c.New:
				continue
			case there:
				c.Op = cdc.Update
			default:
				c.Op = cdc.Insert
			}
			if c.Op != cdc.Delete {
				table[k] = c.New
			}
			changed[k] = true
			require.True(t, f.add([]*Change[int, int]{c}))
			if r.IntN(6) == 0 {
				take()
			}
		}
		take()
	}
}

// TestFeed_InitialEndWaitsForTheTable: a feed that begins before the table has been
// read says that it has told everything when it has, and once.
func TestFeed_InitialEndWaitsForTheTable(t *testing.T) {
	equal := func(a, b int) bool { return a == b }
	f := newFeed[int](equal, feedOptions{initial: true})
	f.move(Joining, Position{})
	f.move(Loading, Position{})
	changes, _ := f.take()
	require.Empty(t, changes)
	f.add([]*Change[int, int]{{Op: cdc.Insert, Key: 1, New: 1}})
	f.move(Synced, Position{Epoch: 1})
	f.move(Stale, Position{Epoch: 1})
	f.move(Synced, Position{Epoch: 2})
	changes, _ = f.take()
	require.Len(t, changes, 2)
	require.Equal(t, cdc.Insert, changes[0].Op)
	require.Equal(t, Change[int, int]{InitialEnd: true, Pos: Position{Epoch: 1}}, *changes[1])
	f.move(Synced, Position{Epoch: 3})
	changes, _ = f.take()
	require.Empty(t, changes)
}
