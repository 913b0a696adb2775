package memdb

import (
	"context"
	"iter"
	"slices"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// scan is a way to read the rows that a condition holds for.
type scan struct {
	table    *table
	from, to position // all rows that it could hold for are between these
	backward bool
	sorted   bool // rows come in the order that was asked for
	order    []boundOrder
	where    *condition
}

// boundOrder is an project.OrderTerm with its column looked up.
type boundOrder struct {
	column     int
	desc       bool
	nullsFirst bool
}

// newScan plans the reading: if the order is that of the primary key, or its
// opposite, as it is for keyset paging, the rows are read in it, from the
// first key that the condition allows.
func (t *table) newScan(where *condition, order []project.OrderTerm) (*scan, error) {
	s := &scan{table: t, where: where, from: t.bound(where, false), to: t.bound(where, true)}
	for _, term := range order {
		i, ok := t.byName[term.Column]
		if !ok {
			return nil, noColumn(t, term.Column)
		}
		if c := t.columns[i]; !c.Type.Comparable() {
			return nil, pgtype.Errorf(pgtype.CodeUndefinedOp, "could not identify an ordering operator for type %s", c.Type.SQLName)
		}
		s.order = append(s.order, boundOrder{i, term.Desc, term.NullsFirst})
	}
	s.sorted, s.backward = t.keyOrder(s.order)
	return s, nil
}

// keyOrder reports whether an order is that of the primary key, and in which
// direction. What stands behind the whole key does not matter.
func (t *table) keyOrder(order []boundOrder) (sorted, backward bool) {
	for i, term := range order {
		if i == len(t.pk) && i > 0 {
			break
		}
		if i >= len(t.pk) || term.column != t.pk[i] || term.desc != order[0].desc {
			return false, false
		}
	}
	return true, len(order) > 0 && order[0].desc
}

// rows yields the rows of a set that the condition holds for, in order. It ends
// early when ctx ends.
func (s *scan) rows(ctx context.Context, set *rowSet) iter.Seq[entry] {
	s.where.during(ctx)
	found := func(yield func(entry) bool) {
		for e := range set.between(s.table, s.from, s.to, s.backward) {
			if ctx.Err() != nil {
				return
			}
			if s.where.holds(e.row) > 0 && !yield(e) {
				return
			}
		}
	}
	if s.sorted {
		return found
	}
	return func(yield func(entry) bool) {
		all := slices.Collect(found)
		s.sort(all)
		for _, e := range all {
			if !yield(e) {
				return
			}
		}
	}
}

// sort sorts rows as asked for; those that are equal in it stay as they were.
func (s *scan) sort(rows []entry) {
	slices.SortStableFunc(rows, func(a, b entry) int {
		for _, term := range s.order {
			if n := term.compare(s.table, a.row[term.column], b.row[term.column]); n != 0 {
				return n
			}
		}
		return 0
	})
}

func (o boundOrder) compare(t *table, a, b any) int {
	if a == nil || b == nil {
		n := pgtype.CompareBools(a == nil, b == nil)
		if o.nullsFirst {
			return -n
		}
		return n
	}
	n, _ := t.columns[o.column].Type.Compare(a, b)
	if o.desc {
		return -n
	}
	return n
}

// comparePositions orders two places between rows.
func (t *table) comparePositions(p, q position) int {
	for i := range min(len(p.prefix), len(q.prefix)) {
		if n, _ := t.columns[t.pk[i]].Type.Compare(p.prefix[i], q.prefix[i]); n != 0 {
			return n
		}
	}
	switch { // one prefix begins with the other
	case len(p.prefix) < len(q.prefix):
		return int(truthOf(p.after))
	case len(p.prefix) > len(q.prefix):
		return -int(truthOf(q.after))
	}
	return pgtype.CompareBools(p.after, q.after)
}

// bound finds the end of the range of keys that a condition leaves: the upper
// one or the lower one. All parts of an and narrow it; of an or the widest
// counts.
func (t *table) bound(c *condition, upper bool) position {
	if c.negate || len(t.pk) == 0 {
		return position{after: upper}
	}
	switch c.op {
	case "and":
		best := t.keyBound(c.parts, upper)
		for _, part := range c.parts {
			best = t.narrower(best, t.bound(part, upper), upper)
		}
		return best
	case "or":
		best := t.bound(c.parts[0], upper)
		for _, part := range c.parts[1:] {
			best = t.narrower(best, t.bound(part, upper), !upper)
		}
		return best
	}
	return t.keyBound([]*condition{c}, upper)
}

// narrower returns the smaller of two upper bounds, or the greater of two
// lower ones.
func (t *table) narrower(p, q position, upper bool) position {
	if t.comparePositions(p, q) > 0 == upper {
		return q
	}
	return p
}

// keyBound finds the bound that comparisons of the first columns of the key
// make together: equal in some, and then a range of the next.
func (t *table) keyBound(parts []*condition, upper bool) position {
	var prefix []any
	for _, column := range t.pk {
		i := slices.IndexFunc(parts, func(c *condition) bool { return c.isFilterOf(column) && c.op == "eq" })
		if i < 0 {
			return t.rangeBound(prefix, column, parts, upper)
		}
		prefix = append(prefix, parts[i].want)
	}
	return position{prefix: prefix, after: upper}
}

// rangeBound adds the bound of one more column of the key to a prefix.
func (t *table) rangeBound(prefix []any, column int, parts []*condition, upper bool) position {
	best := position{prefix: prefix, after: upper}
	for _, c := range parts {
		if !c.isFilterOf(column) {
			continue
		}
		q := position{after: upper}
		end := c.want
		switch {
		case c.op == "in" && len(c.wants) > 0:
			end = c.extreme(upper)
		case upper && c.op == "lt", !upper && c.op == "gt":
			q.after = !upper
		case upper && c.op == "lte", !upper && c.op == "gte":
		default:
			continue
		}
		q.prefix = append(slices.Clip(prefix), end)
		best = t.narrower(best, q, upper)
	}
	return best
}

// isFilterOf reports whether the condition is a filter of that column that is
// not negated.
func (c *condition) isFilterOf(column int) bool {
	return c.op != "and" && c.op != "or" && c.column == column && !c.negate
}

// extreme returns the greatest or the least of a list.
func (c *condition) extreme(greatest bool) any {
	best := c.wants[0]
	for _, want := range c.wants[1:] {
		if n, _ := c.typ.Compare(want, best); n > 0 == greatest {
			best = want
		}
	}
	return best
}
