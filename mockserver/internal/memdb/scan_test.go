package memdb

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/rest"
)

// planned binds a query string to a table.
func planned(t *table, raw string) (*scan, error) {
	q, err := rest.ParseQuery(raw)
	if err != nil {
		return nil, err
	}
	where, err := t.bind(&project.Condition{Op: "and", Parts: q.Where})
	if err != nil {
		return nil, err
	}
	return t.newScan(where, q.Order)
}

// A page by key reads nothing but its rows: in the order of the key, from
// where the filter begins.
func TestPlans(t *testing.T) {
	table := pairTable(t)
	at := func(prefix ...any) position { return position{prefix: prefix} }
	behind := func(prefix ...any) position { return position{prefix: prefix, after: true} }
	all, end := at(), behind()
	for _, c := range []struct {
		query            string
		from, to         position
		sorted, backward bool
	}{
		{"", all, end, true, false},
		{"order=a", all, end, true, false},
		{"order=a,b,v.desc", all, end, true, false},
		{"order=a.desc,b.desc", all, end, true, true},
		{"order=a.desc,b", all, end, false, true},
		{"order=b", all, end, false, false},
		{"order=v", all, end, false, false},
		{"a=gt.5", behind(int64(5)), end, true, false},
		{"a=gte.5&a=lt.9", at(int64(5)), at(int64(9)), true, false},
		{"a=lte.9", all, behind(int64(9)), true, false},
		{"a=eq.5", at(int64(5)), behind(int64(5)), true, false},
		{"a=eq.5&b=gt.7", behind(int64(5), int64(7)), behind(int64(5)), true, false},
		{"a=eq.5&b=eq.7", at(int64(5), int64(7)), behind(int64(5), int64(7)), true, false},
		{"a=gt.5&a=gt.7&a=gt.6", behind(int64(7)), end, true, false},
		{"a=in.(7,3,5)", at(int64(3)), behind(int64(7)), true, false},
		{"or=(a.gt.5,and(a.eq.5,b.gt.7))", behind(int64(5), int64(7)), end, true, false},
		{"or=(a.lt.5,and(a.eq.5,b.lt.7))", all, at(int64(5), int64(7)), true, false},
		{"or=(a.gt.5,v.gt.7)", all, end, true, false},
		{"not.and=(a.gt.5)", all, end, true, false},
		{"a=not.gt.5", all, end, true, false},
		{"b=gt.5", all, end, true, false},
		{"v=gt.5", all, end, true, false},
		{"a=neq.5", all, end, true, false},
	} {
		s, err := planned(table, c.query)
		require.NoError(t, err, c.query)
		require.Equal(t, c.sorted, s.sorted, c.query)
		require.Equal(t, c.backward && c.sorted, s.backward && s.sorted, c.query)
		require.Zero(t, table.comparePositions(c.from, s.from), "%s: from %v", c.query, s.from)
		require.Zero(t, table.comparePositions(c.to, s.to), "%s: to %v", c.query, s.to)
	}
}

// A hostile query string is refused, or finds what going through all rows
// finds, in the order that was asked for.
func FuzzQuery(f *testing.F) {
	for _, raw := range []string{
		"select=a,x:b::text&order=a.desc.nullslast,b&limit=5&offset=2&columns=a,b&on_conflict=a",
		"a=gt.5&b=not.in.(1,%222%22)&or=(a.lt.3,and(b.eq.1,not.or(v.is.null,v.gte.2)))",
		"and=(a.in.(1,2),b.eq.%221%22)&not.and=(a.eq.1)", "v=isdistinct.3&a=lte.9", "a=eq.{1,2}", "or=(((((((", "a=not.not.eq.1",
		"%zz=%", "select=%22", "a=in.(", "order=.", "limit=99999999999999999999", "a=is.nullx", "or=()", "a=eq.9223372036854775808", "a.b=eq.1", "not.=1", "order=a.desc",
	} {
		f.Add(raw)
	}
	table := pairTable(f)
	var entries []entry
	for i := range int64(60) {
		e := pairEntry(i/8, i%8, i*5%7)
		if i%9 == 0 {
			e.row[2] = nil
		}
		entries = append(entries, e)
	}
	set := newRowSet(entries)
	f.Fuzz(func(t *testing.T, raw string) {
		s, err := planned(table, raw)
		if err != nil {
			var refusal *project.Refusal
			var pg *pgtype.Error
			require.True(t, errors.As(err, &refusal) || errors.As(err, &pg), "%T", err)
			require.NotZero(t, rest.AsRefusal(err, "anon").Status)
			return
		}
		var want []entry
		for _, e := range entries {
			if s.where.holds(e.row) > 0 {
				want = append(want, e)
			}
		}
		if s.sorted && s.backward {
			slices.Reverse(want) // rows that are equal in the order come in that of reading
		}
		s.sort(want)
		require.Equal(t, keysOfSet(want), keysOfSet(slices.Collect(s.rows(t.Context(), set))))
	})
}
