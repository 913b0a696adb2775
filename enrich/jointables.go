package enrich

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
)

// JoinTables makes a table of each row of l and the row of r that its foreign key
// names: what f makes of the two, under the key of l. With Left a row whose
// foreign key is null (false) or names no row is made with a nil; with Inner
// there is none for it. Outer is refused, as the rows of r have no key in the
// result.
//
// The result is kept up to date by its Run, which calls fk and f: change by
// change, by an index of the foreign keys, and never by reading all anew. A row
// of r that changes changes all results that have it, one that goes takes them
// back. f must make equal results of equal rows, and must not wait.
//
// Each row of the result is made of what both tables had at one moment of this
// process, if both are a *cache.Table; two rows may be of different moments. It is
// no moment of the database: each table follows a stream of its own, so that a
// transaction which writes to both is in one of them first, and a row of the result
// has one half of it until the other has come.
//
// The result is Synced when both tables are and all that they told is in it, and
// Stale when one is not. Its Run ends with ctx's error, or with that of the table
// that ended first; ErrFeedEnded if that has none.
func JoinTables[LK, RK comparable, L, R, O any](kind Kind, l Table[LK, L], r Table[RK, R],
	fk func(L) (RK, bool), f func(L, *R) O) (*cache.Table[LK, O], error) {
	bad := func(field, reason string) (*cache.Table[LK, O], error) {
		return nil, &ConfigError{Operator: "JoinTables", Field: field, Reason: reason}
	}
	switch {
	case kind != Inner && kind != Left:
		return bad("kind", "choose one: Inner or Left")
	case l == nil || r == nil:
		return bad("l, r", "is missing")
	case fk == nil || f == nil:
		return bad("fk, f", "is missing")
	}
	foreign := func(row L) (RK, bool) {
		rk, ok := fk(row)
		return rk, ok && matchable(rk)
	}
	return cache.NewComputed("join", func(ctx context.Context, e *cache.Editor[LK, O]) error {
		j := &tableJoin[LK, RK, L, R, O]{kind: kind, l: l, r: r, fk: foreign, f: f, out: e,
			names: map[LK]RK{}, named: map[RK]map[LK]struct{}{}}
		return follow(ctx, e, l, r, j.left, j.right)
	}), nil
}

// tableJoin is the work of a join of tables. Rows are not kept twice: each result
// is made of what both tables have at one moment, and whatever changes later comes
// later.
type tableJoin[LK, RK comparable, L, R, O any] struct {
	kind  Kind
	l     Table[LK, L]
	r     Table[RK, R]
	fk    func(L) (RK, bool)
	f     func(L, *R) O
	out   *cache.Editor[LK, O]
	names map[LK]RK              // the foreign key of each left, as it is in named
	named map[RK]map[LK]struct{} // the lefts of each foreign key, whether there is such a right or not
}

func (j *tableJoin[LK, RK, L, R, O]) left(c cache.Change[LK, L]) {
	lefts, rights := j.views()
	j.make(lefts, rights, c.Key, c.Cause)
}

func (j *tableJoin[LK, RK, L, R, O]) right(c cache.Change[RK, R]) {
	lefts, rights := j.views()
	for k := range j.named[c.Key] {
		j.make(lefts, rights, k, c.Cause)
	}
}

// getter is a table, or what it was at one moment.
type getter[K comparable, R any] interface{ Get(K) (R, bool) }

// views returns the rows that both tables had at one moment.
func (j *tableJoin[LK, RK, L, R, O]) views() (getter[LK, L], getter[RK, R]) {
	l, ok := j.l.(*cache.Table[LK, L])
	r, ok2 := j.r.(*cache.Table[RK, R])
	if !ok || !ok2 {
		return j.l, j.r
	}
	return together(l.View, r.View, cache.View[LK, L].Same)
}

// together returns what l and r gave at one moment: l the same before and after r was
// asked. Each further try means that l has changed meanwhile.
func together[A, B any](l func() A, r func() B, same func(A, A) bool) (A, B) {
	before := l()
	for {
		other, after := r(), l()
		if same(before, after) {
			return after, other
		}
		before = after
	}
}

// make makes the result of a left anew, and its place in the index with it.
func (j *tableJoin[LK, RK, L, R, O]) make(lefts getter[LK, L], rights getter[RK, R], k LK, cause cache.Cause) {
	left, there := lefts.Get(k)
	if !there {
		j.unname(k)
		j.out.Delete(k, cause)
		return
	}
	var right *R
	if rk, ok := j.fk(left); ok {
		j.name(k, rk)
		if row, ok := rights.Get(rk); ok {
			right = &row
		}
	} else {
		j.unname(k)
	}
	if right == nil && j.kind == Inner {
		j.out.Delete(k, cause)
		return
	}
	j.out.Put(k, j.f(left, right), cause)
}

func (j *tableJoin[LK, RK, L, R, O]) name(k LK, rk RK) {
	if before, there := j.names[k]; there {
		if before == rk {
			return
		}
		j.unname(k)
	}
	j.names[k] = rk
	lefts, there := j.named[rk]
	if !there {
		lefts = map[LK]struct{}{}
		j.named[rk] = lefts
	}
	lefts[k] = struct{}{}
}

func (j *tableJoin[LK, RK, L, R, O]) unname(k LK) {
	rk, there := j.names[k]
	if !there {
		return
	}
	delete(j.names, k)
	if lefts := j.named[rk]; len(lefts) == 1 {
		delete(j.named, rk)
	} else {
		delete(lefts, k)
	}
}

// maxBatch is how many changes are taken before what they made is published, if
// so many wait.
const maxBatch = 256

// follow takes the changes of two tables, and tells after each batch whether the
// tables, and all of them that has been taken, can be relied on.
func follow[LK, RK comparable, L, R, O any](ctx context.Context, e *cache.Editor[LK, O], l Table[LK, L], r Table[RK, R],
	left func(cache.Change[LK, L]), right func(cache.Change[RK, R])) error {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	ls, rs := input[LK, L]{of: e.Input(), take: left}, input[RK, R]{of: e.Input(), take: right}
	lefts, rights := pump(ctx, &wg, ls.feed(l)), pump(ctx, &wg, rs.feed(r))
	for {
		var err error
		select {
		case c, more := <-lefts:
			err = ls.next(ctx, c, more)
		case c, more := <-rights:
			err = rs.next(ctx, c, more)
		case <-ctx.Done():
			err = ctx.Err()
		}
		for n := 1; err == nil && n < maxBatch; n++ {
			select {
			case c, more := <-lefts:
				err = ls.next(ctx, c, more)
				continue
			case c, more := <-rights:
				err = rs.next(ctx, c, more)
				continue
			default:
			}
			break
		}
		if err != nil {
			return err
		}
		e.Publish(ls.synced && rs.synced)
	}
}

// input is a table whose feed is taken.
type input[K comparable, T any] struct {
	of     *cache.Input
	take   func(cache.Change[K, T])
	synced bool // all that was taken is all that the table has, and can be relied on
}

// feed is all that a table has and all that it emits after that, changes that came
// to nothing among them: what they were in between may be in a result that was made
// of the table when another change came.
func (i *input[K, T]) feed(t Table[K, T]) Stream[cache.Change[K, T]] {
	return func(ctx context.Context) iter.Seq2[cache.Change[K, T], error] {
		return t.Changes(ctx, cache.WithInitial(), cache.WithPhases(), cache.WithTouched(), i.of.Feed())
	}
}

// ErrFeedEnded ends the Run of a table that is made of tables, one of which ended
// its feed without an error.
var ErrFeedEnded = errors.New("enrich: the feed of a table has ended without a reason")

// next takes a value of the feed, if there is one more. A phase comes behind what
// belongs to it.
func (i *input[K, T]) next(ctx context.Context, c item[cache.Change[K, T]], more bool) error {
	switch {
	case !more:
		return cmp.Or(ctx.Err(), ErrFeedEnded)
	case c.err != nil:
		return c.err
	case c.value.Phase != nil:
		i.synced = *c.value.Phase == cache.Synced
		i.of.Took(c.value.Pos)
	case c.value.Op != cdc.Op(0) && matchable(c.value.Key):
		i.take(c.value)
	}
	return nil
}
