package memdb

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// pairTable is a table with a primary key of two columns.
func pairTable(t testing.TB) *table {
	t.Helper()
	spec := Table{Name: "pairs", Columns: []pgtype.Column{{Name: "a", Type: "int8"}, {Name: "b", Type: "int8"}, {Name: "v", Type: "int8"}}, PrimaryKey: []string{"a", "b"}}
	made, err := newTable(spec)
	require.NoError(t, err)
	return made
}

func pairEntry(a, b, v int64) entry { return entry{row: row{a, b, v}} }

func keysOfSet(rows []entry) (keys [][2]int64) {
	for _, e := range rows {
		keys = append(keys, [2]int64{e.row[0].(int64), e.row[1].(int64)})
	}
	return keys
}

// A set holds what a map with sorted keys would hold, and earlier sets stay as
// they were.
func TestRowSetKeepsOrder(t *testing.T) {
	table := pairTable(t)
	random := rand.New(rand.NewPCG(1, 2))
	model := map[[2]int64]int64{}
	set := &rowSet{}
	var earlier []*rowSet
	var earlierKeys [][][2]int64
	for step := range 5000 {
		key := [2]int64{random.Int64N(40), random.Int64N(40)}
		if random.IntN(3) == 0 {
			delete(model, key)
			set = set.without(table, []any{key[0], key[1]})
		} else {
			model[key] = int64(step)
			set = set.with(table, pairEntry(key[0], key[1], int64(step)))
		}
		if step%1000 == 0 {
			earlier = append(earlier, set)
			earlierKeys = append(earlierKeys, keysOfSet(slices.Collect(set.all(table))))
		}
	}
	requireSameRows(t, table, set, model)
	for i, set := range earlier {
		require.Equal(t, earlierKeys[i], keysOfSet(slices.Collect(set.all(table))))
	}
	for key := range model {
		set = set.without(table, []any{key[0], key[1]})
	}
	require.Zero(t, set.count)
	require.Empty(t, slices.Collect(set.all(table)))
	require.Same(t, set, set.without(table, []any{int64(1), int64(1)}))
}

func requireSameRows(t *testing.T, table *table, set *rowSet, model map[[2]int64]int64) {
	t.Helper()
	require.Equal(t, len(model), set.count)
	var keys [][2]int64
	for key, v := range model {
		keys = append(keys, key)
		e, ok := set.get(table, []any{key[0], key[1]})
		require.True(t, ok)
		require.Equal(t, v, e.row[2])
	}
	slices.SortFunc(keys, func(a, b [2]int64) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	require.Equal(t, keys, keysOfSet(slices.Collect(set.all(table))))
	for _, chunk := range set.chunks {
		require.NotEmpty(t, chunk)
		require.LessOrEqual(t, len(chunk), chunkSize)
	}
}

// Between any two positions come the rows that are between them, in either
// direction.
func TestRowSetRanges(t *testing.T) {
	table := pairTable(t)
	var all []entry
	for a := range int64(30) {
		for b := range int64(30) {
			all = append(all, pairEntry(a*2, b*2, 0))
		}
	}
	set := newRowSet(all)
	random := rand.New(rand.NewPCG(3, 4))
	position := func() position {
		prefix := []any{random.Int64N(62) - 1, random.Int64N(62) - 1}
		return position{prefix: prefix[:random.IntN(3)], after: random.IntN(2) == 0}
	}
	for range 500 {
		from, to := position(), position()
		var want []entry
		for _, e := range all {
			if isBehind(e, from) && !isBehind(e, to) {
				want = append(want, e)
			}
		}
		require.Equal(t, keysOfSet(want), keysOfSet(slices.Collect(set.between(table, from, to, false))), "%v %v", from, to)
		slices.Reverse(want)
		require.Equal(t, keysOfSet(want), keysOfSet(slices.Collect(set.between(table, from, to, true))), "%v %v", from, to)
	}
}

// isBehind reports whether a row comes after a position.
func isBehind(e entry, p position) bool {
	for i, v := range p.prefix {
		if n := cmp.Compare(e.row[i].(int64), v.(int64)); n != 0 {
			return n > 0
		}
	}
	return !p.after
}
