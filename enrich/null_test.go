package enrich_test

import (
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/enrich"
)

// keyed is an event with a key that may be null.
type keyed[K any] struct {
	id  string
	key K
}

// paired joins two streams and returns what comes out, sorted.
func paired[K comparable](t *testing.T, kind enrich.Kind, w enrich.Window, null func(K) bool, l, r []keyed[K]) (out []string) {
	synctest.Test(t, func(t *testing.T) {
		at := func(e keyed[K]) (K, time.Time) { return e.key, noon }
		s := enrich.JoinStreams(enrich.Of(l...), enrich.Of(r...), enrich.Streams[K, keyed[K], keyed[K]]{
			Kind: kind, Window: w, Left: at, Right: at, Null: null, Idle: time.Second, MaxPending: 100, Full: cache.Fail})
		for p, err := range s(t.Context()) {
			require.NoError(t, err)
			name := func(e *keyed[K]) string {
				if e == nil {
					return "-"
				}
				return e.id
			}
			require.False(t, p.Start.After(noon))
			require.False(t, p.End.Before(noon))
			out = append(out, name(p.Left)+name(p.Right))
		}
	})
	slices.Sort(out)
	return out
}

// TestJoinStreams_NullMatchesNothing, not even another null, as in SQL; and it
// comes out alone where the kind asks for that.
func TestJoinStreams_NullMatchesNothing(t *testing.T) {
	windows := map[string]enrich.Window{"tumbling": enrich.Tumbling(time.Minute), "session": enrich.Session(time.Second, time.Minute),
		"interval": enrich.Interval(time.Second, 2*time.Second)}
	one := 1
	for name, w := range windows {
		for kind, want := range map[enrich.Kind][]string{
			enrich.Inner: {"bB"}, enrich.Left: {"a-", "bB"}, enrich.Outer: {"-A", "a-", "bB"},
		} {
			t.Run(fmt.Sprint(name, " ", kind), func(t *testing.T) {
				require.Equal(t, want, paired(t, kind, w, nil,
					[]keyed[*int]{{"a", nil}, {"b", &one}}, []keyed[*int]{{"A", nil}, {"B", &one}}))
				require.Equal(t, want, paired(t, kind, w, nil,
					[]keyed[any]{{"a", nil}, {"b", 1}}, []keyed[any]{{"A", nil}, {"B", 1}}))
				require.Equal(t, want, paired(t, kind, w, nil,
					[]keyed[sql.NullInt64]{{"a", sql.NullInt64{}}, {"b", sql.NullInt64{Valid: true}}},
					[]keyed[sql.NullInt64]{{"A", sql.NullInt64{}}, {"B", sql.NullInt64{Valid: true}}}))
				require.Equal(t, want, paired(t, kind, w, func(k int) bool { return k == 0 },
					[]keyed[int]{{"a", 0}, {"b", 1}}, []keyed[int]{{"A", 0}, {"B", 1}}))
			})
		}
	}
	require.Equal(t, []string{"a-", "a-", "a-"}, paired(t, enrich.Left, enrich.Sliding(3*time.Minute, time.Minute), nil, []keyed[*int]{{"a", nil}}, nil))
	require.Equal(t, []string{"aA"}, paired(t, enrich.Outer, enrich.Tumbling(time.Minute), nil, []keyed[int]{{"a", 0}}, []keyed[int]{{"A", 0}}), "0 is a key unless Null says otherwise")
}
