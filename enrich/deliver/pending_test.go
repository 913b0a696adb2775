package deliver

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPending_ReachesWhatIsOverFromTheBeginning compares the position with that of
// a list of all values, for values that are over in any order.
func TestPending_ReachesWhatIsOverFromTheBeginning(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		var p pending[int]
		var all, under []*job[int]
		over := map[*job[int]]bool{}
		for i := 0; i < 60 || len(under) > 0; i++ {
			if i < 60 && r.IntN(2) == 0 {
				j := &job[int]{}
				if r.IntN(4) > 0 {
					j.position = strconv.Itoa(i)
				}
				p.add(j)
				all, under = append(all, j), append(under, j)
			} else if len(under) > 0 {
				n := r.IntN(len(under))
				over[under[n]] = true
				p.end(under[n])
				under = append(under[:n], under[n+1:]...)
			}
			want := ""
			for _, j := range all {
				if !over[j] {
					break
				}
				if j.position != "" {
					want = j.position
				}
			}
			require.Equal(t, want, p.reached, "seed %d", seed)
			require.Equal(t, len(under), p.len)
		}
		require.Nil(t, p.first)
		require.Nil(t, p.last)
	}
}
