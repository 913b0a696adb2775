package channel

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func metas(refs ...string) (list []Meta) {
	for _, ref := range refs {
		list = append(list, Meta{Ref: ref})
	}
	return list
}

// C64: an update is a join and a leave; several metas of a key; unknown keys
// and refs; any string is a key.
func TestC64Diffs(t *testing.T) {
	r := roster{}
	require.Equal(t, rosterDiff{roster{"ann": metas("1", "2"), "__proto__": metas("x")}, roster{}},
		r.apply(rosterDiff{joined: roster{"ann": metas("1", "2"), "__proto__": metas("x")}}))
	done := r.apply(rosterDiff{joined: roster{"ann": metas("3")}, left: roster{"ann": metas("1", "nobody"), "bob": metas("9")}})
	require.Equal(t, rosterDiff{roster{"ann": metas("3")}, roster{"ann": metas("1")}}, done)
	require.Equal(t, metas("2", "3"), r["ann"])
	r.apply(rosterDiff{left: roster{"ann": metas("2", "3")}})
	require.NotContains(t, r, "ann")
	require.True(t, r.apply(rosterDiff{joined: roster{"__proto__": metas("x")}}).empty(), "is there already")
}

// C64: the state compares metas by their refs.
func TestC64Sync(t *testing.T) {
	r := roster{"gone": metas("1"), "stays": metas("2"), "mixed": metas("3", "4")}
	d := r.sync(roster{"stays": metas("2"), "mixed": metas("4", "5"), "new": metas("6")})
	require.Equal(t, roster{"mixed": metas("5"), "new": metas("6")}, d.joined)
	require.Equal(t, roster{"gone": metas("1"), "mixed": metas("3")}, d.left)
	require.Equal(t, roster{"stays": metas("2"), "mixed": metas("4", "5"), "new": metas("6")}, r)
}

// Whatever the consumer takes, and when, adds up to the roster.
func TestMergedChangesAddUp(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		truth, seen := roster{}, roster{}
		pending := rosterDiff{roster{}, roster{}}
		next := 0
		for range 60 {
			d := rosterDiff{roster{}, roster{}}
			key := fmt.Sprint(random.IntN(3))
			if all := truth[key]; len(all) > 0 && random.IntN(2) == 0 {
				d.left[key] = all[:1+random.IntN(len(all))]
			}
			if random.IntN(2) == 0 {
				next++
				d.joined[key] = metas(fmt.Sprint(next))
			}
			if random.IntN(10) == 0 {
				pending.merge(truth.sync(roster{"0": metas(fmt.Sprint(next)), key: metas("s")}))
			}
			pending.merge(truth.apply(d))
			if random.IntN(5) == 0 {
				done := seen.apply(pending) // only what has really changed is told
				requireSame(t, pending.joined, done.joined)
				requireSame(t, pending.left, done.left)
				pending = rosterDiff{roster{}, roster{}}
				requireSame(t, truth, seen)
			}
		}
	}
}

func requireSame(t *testing.T, want, got roster) {
	t.Helper()
	require.Len(t, got, len(want))
	for key := range want {
		require.ElementsMatch(t, want[key], got[key], key)
	}
}

func TestMetasAreWithoutTheServersRefs(t *testing.T) {
	r, err := readRoster([]byte(`{"ann":{"metas":[{"phx_ref":"r","phx_ref_prev":"q","n":12345678901234567890}]}}`))
	require.NoError(t, err)
	require.Equal(t, roster{"ann": {{Ref: "r", Payload: json.RawMessage(`{"n":12345678901234567890}`)}}}, r)
}

func FuzzPresence(f *testing.F) {
	f.Add([]byte(`{"joins":{"a":{"metas":[{"phx_ref":"1","x":null}]}},"leaves":{"b":{"metas":[]}}}`))
	f.Add([]byte(`{"a":{"metas":[{"phx_ref":1}]}}`))
	f.Add([]byte(`{"a":null,"b":{"metas":null}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		r := roster{"a": metas("1", "2")}
		if d, err := readRosterDiff(payload); err == nil {
			r.apply(d)
		}
		if state, err := readRoster(payload); err == nil {
			r.sync(state)
			for key, list := range r {
				require.NotEmpty(t, list, key)
			}
		}
	})
}
