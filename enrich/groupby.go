package enrich

import (
	"context"
	"math"
	"math/cmplx"
	"reflect"
	"sync"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
)

// GroupBy makes a table of what the rows of each group come to: a count, a sum, a
// set. A group begins with the zero A; add adds a row to it, and sub takes one
// back that was added. They must return a new value, not change what the old one
// points to, and must not wait. A group whose last row is gone is gone. A row whose
// group does not equal itself, such as a NaN, is in none.
//
// It is kept up to date by its Run, change by change: a row that moves from one
// group to another is taken back from the first and added to the second, and
// both are seen at once. Sums of floating point numbers drift by that. What has
// seen an infinity or a NaN cannot be taken back: a group whose A has one (as a
// field or an element of an array, not behind a pointer or in a slice) is added up
// anew from its rows when one of them changes or goes. For that the rows are kept
// once more, if A has floating point numbers.
//
// The result is Synced and Stale as the table is, and its Run ends as that of
// JoinTables.
func GroupBy[K, G comparable, T, A any](t Table[K, T], group func(T) G, add, sub func(A, T) A) (*cache.Table[G, A], error) {
	if t == nil || group == nil || add == nil || sub == nil {
		return nil, &ConfigError{Operator: "GroupBy", Field: "t, group, add, sub", Reason: "is missing"}
	}
	return cache.NewComputed("group", func(ctx context.Context, e *cache.Editor[G, A]) error {
		g := &grouping[K, G, T, A]{group: group, add: add, sub: sub, out: e, sizes: map[G]int{}}
		if hasFloats(reflect.TypeFor[A]()) {
			g.rows = map[G]map[K]T{}
		}
		ctx, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop()
		in := &input[K, T]{of: e.Input(), take: g.take}
		return g.run(ctx, in, pump(ctx, &wg, in.feed(t)))
	}), nil
}

type grouping[K, G comparable, T, A any] struct {
	group    func(T) G
	add, sub func(A, T) A
	out      *cache.Editor[G, A]
	sizes    map[G]int
	rows     map[G]map[K]T // as they were told; nil if A has no floating point numbers
}

func (g *grouping[K, G, T, A]) run(ctx context.Context, in *input[K, T], changes <-chan item[cache.Change[K, T]]) error {
	for {
		var c item[cache.Change[K, T]]
		var more bool
		select {
		case c, more = <-changes:
		case <-ctx.Done():
			return ctx.Err()
		}
		for n := 1; ; n++ {
			if err := in.next(ctx, c, more); err != nil {
				return err
			}
			if len(changes) == 0 || n == maxBatch {
				break
			}
			c, more = <-changes
		}
		g.out.Publish(in.synced)
	}
}

func (g *grouping[K, G, T, A]) take(c cache.Change[K, T]) {
	if c.Op == cdc.Update {
		if from, to := g.group(c.Old), g.group(c.New); from == to {
			g.keep(to, c.Key, c.New)
			a, _ := g.out.Get(to)
			g.out.Put(to, g.without(to, a, func() A { return g.add(g.sub(a, c.Old), c.New) }), c.Cause)
			return
		}
	}
	if c.Op != cdc.Insert {
		g.leave(c)
	}
	if c.Op == cdc.Delete {
		return
	}
	if k := g.group(c.New); matchable(k) {
		g.keep(k, c.Key, c.New)
		a, _ := g.out.Get(k)
		g.sizes[k]++
		g.out.Put(k, g.add(a, c.New), c.Cause)
	}
}

func (g *grouping[K, G, T, A]) leave(c cache.Change[K, T]) {
	k := g.group(c.Old)
	if !matchable(k) {
		return
	}
	delete(g.rows[k], c.Key)
	if g.sizes[k]--; g.sizes[k] <= 0 {
		delete(g.sizes, k)
		delete(g.rows, k)
		g.out.Delete(k, c.Cause)
		return
	}
	a, _ := g.out.Get(k)
	g.out.Put(k, g.without(k, a, func() A { return g.sub(a, c.Old) }), c.Cause)
}

func (g *grouping[K, G, T, A]) keep(group G, k K, row T) {
	if g.rows == nil {
		return
	}
	if g.rows[group] == nil {
		g.rows[group] = map[K]T{}
	}
	g.rows[group][k] = row
}

// without is a group behind a row that was taken back: as undo makes it, or, if the
// group has what cannot be undone, of all its rows.
func (g *grouping[K, G, T, A]) without(group G, before A, undo func() A) A {
	if g.rows == nil || finite(reflect.ValueOf(&before).Elem()) {
		return undo()
	}
	var sum A
	for _, row := range g.rows[group] {
		sum = g.add(sum, row)
	}
	return sum
}

// hasFloats reports whether values of a type have floating point numbers in them,
// not behind pointers.
func hasFloats(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return true
	case reflect.Array:
		return hasFloats(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if hasFloats(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

// finite reports whether all of those are numbers.
func finite(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Float32, reflect.Float64:
		f := v.Float()
		return !math.IsInf(f, 0) && !math.IsNaN(f)
	case reflect.Complex64, reflect.Complex128:
		c := v.Complex()
		return !cmplx.IsInf(c) && !cmplx.IsNaN(c)
	case reflect.Array:
		for i := range v.Len() {
			if !finite(v.Index(i)) {
				return false
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !finite(v.Field(i)) {
				return false
			}
		}
	}
	return true
}
