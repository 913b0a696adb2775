package channel

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/cputime"
)

// metas is a roster of metas named key/ref.
func metas(ids ...string) roster {
	r := roster{}
	for _, id := range ids {
		key, ref, _ := strings.Cut(id, "/")
		r[metaID{key, ref}] = meta{}
	}
	return r
}

// C64: an update is a join and a leave; several metas of a key; unknown keys
// and refs; any string is a key.
func TestRoster_Diffs(t *testing.T) {
	r := roster{}
	require.Equal(t, rosterDiff{metas("ann/1", "ann/2", "__proto__/x"), roster{}},
		r.apply(rosterDiff{joined: metas("ann/1", "ann/2", "__proto__/x")}))
	done := r.apply(rosterDiff{joined: metas("ann/3"), left: metas("ann/1", "ann/nobody", "bob/9")})
	require.Equal(t, rosterDiff{metas("ann/3"), metas("ann/1")}, done)
	require.Equal(t, metas("ann/2", "ann/3", "__proto__/x"), r)
	r.apply(rosterDiff{left: metas("ann/2", "ann/3")})
	require.NotContains(t, r.byKey(), "ann")
	require.True(t, r.apply(rosterDiff{joined: metas("__proto__/x")}).empty(), "is there already")
}

// C64: the state compares metas by their refs.
func TestRoster_Sync(t *testing.T) {
	d := metas("gone/1", "stays/2", "mixed/3", "mixed/4").until(metas("stays/2", "mixed/4", "mixed/5", "new/6"))
	require.Equal(t, metas("mixed/5", "new/6"), d.joined)
	require.Equal(t, metas("gone/1", "mixed/3"), d.left)
}

// Whatever the consumer takes, and when, adds up to the roster.
func TestRoster_MergedChangesAddUp(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		truth, seen, pending := roster{}, roster{}, newDiff()
		for next := range 60 {
			d := newDiff()
			for id := range truth {
				if random.IntN(3) == 0 {
					d.left[id] = meta{}
				}
			}
			if random.IntN(2) == 0 {
				d.joined[metaID{fmt.Sprint(random.IntN(3)), fmt.Sprint(next)}] = meta{}
			}
			if random.IntN(10) == 0 {
				state := metas(fmt.Sprint("0/", next), "1/s")
				pending.merge(truth.until(state))
				truth = state
			}
			pending.merge(truth.apply(d))
			if random.IntN(5) == 0 {
				require.Equal(t, pending, seen.apply(pending), "only what has really changed is in it")
				pending = newDiff()
				require.Equal(t, truth, seen)
			}
		}
	}
}

func TestRoster_MetasAreWithoutTheServersRefsAndInOrder(t *testing.T) {
	var reader rosterReader
	r, err := reader.state([]byte(`{"ann":{"metas":[{"phx_ref":"r","phx_ref_prev":"q","n":12345678901234567890},{"phx_ref":"a"}]}}`))
	require.NoError(t, err)
	require.Equal(t, map[string][]PresenceMeta{"ann": {{Ref: "r", Payload: json.RawMessage(`{"n":12345678901234567890}`)}, {Ref: "a", Payload: json.RawMessage(`{}`)}}}, r.byKey())
	for _, bad := range []string{`{"a":{"metas":[{}]}}`, `{"a":{"metas":[null]}}`, `{"a":{"metas":[{"phx_ref":1}]}}`, `[]`} {
		_, err := reader.state([]byte(bad))
		require.Error(t, err, bad)
	}
}

// FuzzPresence: whatever a server sends as presence is refused or read, in time
// and memory in proportion to its bytes.
func FuzzPresence(f *testing.F) {
	f.Add([]byte(`{"joins":{"a":{"metas":[{"phx_ref":"1","x":null}]}},"leaves":{"b":{"metas":[]}}}`))
	f.Add([]byte(`{"a":{"metas":[{"phx_ref":1}]}}`))
	f.Add([]byte(`{"a":null,"b":{"metas":null}}`))
	f.Add([]byte(`{"a":{"metas":[{"phx_ref":"1"},{"phx_ref":"1"}]}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		withinBudget(t, len(payload), func() {
			var reader rosterReader
			r := metas("a/1", "a/2")
			if d, err := reader.diff(payload); err == nil {
				r.apply(d)
			}
			if state, err := reader.state(payload); err == nil {
				d := r.until(state)
				r.apply(d)
				require.Equal(t, len(state), len(r))
				r.byKey()
			}
		})
	})
}

// The cost of presence is that of its bytes, however they are spread.
func TestRoster_LinearInItsBytes(t *testing.T) {
	for name, payload := range map[string]string{
		"one key":   `{"k":{"metas":[` + list(50_000, func(i int) string { return fmt.Sprintf(`{"phx_ref":"a%d"}`, i) }) + `]}}`,
		"many keys": `{` + list(50_000, func(i int) string { return fmt.Sprintf(`"k%d":{"metas":[{"phx_ref":"a%d"}]}`, i, i) }) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			var reader rosterReader
			began := cputime.Used()
			first, err := reader.state([]byte(payload))
			require.NoError(t, err)
			second, err := reader.state([]byte(payload))
			require.NoError(t, err)
			require.True(t, first.until(second).empty())
			for i := range 50_000 { // small diffs of a large key
				first.apply(rosterDiff{joined: roster{metaID{"k", fmt.Sprint("b", i)}: meta{}}, left: roster{metaID{"k", fmt.Sprint("a", i)}: meta{}}})
			}
			require.Less(t, cputime.Used()-began, 20*time.Second)
		})
	}
}

func list(n int, f func(i int) string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(f(i))
	}
	return b.String()
}
