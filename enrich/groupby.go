package enrich

import (
	"context"
	"sync"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
)

// GroupBy makes a table of what the rows of each group come to: a count, a sum, a
// set. A group begins with the zero A; add adds a row to it, and sub takes one
// back that was added. They must return a new value, not change what the old one
// points to, and must not wait. A group whose last row is gone is gone.
//
// It is kept up to date by its Run, change by change: a row that moves from one
// group to another is taken back from the first and added to the second, and
// both are seen at once. Sums of floating point numbers drift by that.
//
// The result is Synced and Stale as the table is, and its Run ends as that of
// JoinTables.
func GroupBy[K, G comparable, T, A any](t Table[K, T], group func(T) G, add, sub func(A, T) A) (*cache.Table[G, A], error) {
	if t == nil || group == nil || add == nil || sub == nil {
		return nil, &ConfigError{Operator: "GroupBy", Field: "t, group, add, sub", Reason: "is missing"}
	}
	return cache.NewComputed("group", func(ctx context.Context, e *cache.Editor[G, A]) error {
		g := &grouping[K, G, T, A]{group: group, add: add, sub: sub, out: e, sizes: map[G]int{}}
		ctx, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop()
		return g.run(ctx, pump(ctx, &wg, feedOf(t)))
	}), nil
}

type grouping[K, G comparable, T, A any] struct {
	group    func(T) G
	add, sub func(A, T) A
	out      *cache.Editor[G, A]
	sizes    map[G]int
}

func (g *grouping[K, G, T, A]) run(ctx context.Context, changes <-chan item[cache.Change[K, T]]) error {
	synced := false
	for {
		var c item[cache.Change[K, T]]
		select {
		case c = <-changes:
		case <-ctx.Done():
			return ctx.Err()
		}
		for n := 1; ; n++ {
			if err := takeChange(c, &synced, g.take); err != nil {
				return err
			}
			if len(changes) == 0 || n == maxBatch {
				break
			}
			c = <-changes
		}
		g.out.Publish(synced)
	}
}

func (g *grouping[K, G, T, A]) take(c cache.Change[K, T]) {
	if c.Op == cdc.Update {
		if from, to := g.group(c.Old), g.group(c.New); from == to {
			a, _ := g.out.Get(to)
			g.out.Put(to, g.add(g.sub(a, c.Old), c.New), c.Cause)
			return
		}
	}
	if c.Op != cdc.Insert {
		g.leave(c)
	}
	if c.Op != cdc.Delete {
		k := g.group(c.New)
		a, _ := g.out.Get(k)
		g.sizes[k]++
		g.out.Put(k, g.add(a, c.New), c.Cause)
	}
}

func (g *grouping[K, G, T, A]) leave(c cache.Change[K, T]) {
	k := g.group(c.Old)
	if g.sizes[k]--; g.sizes[k] <= 0 {
		delete(g.sizes, k)
		g.out.Delete(k, c.Cause)
		return
	}
	a, _ := g.out.Get(k)
	g.out.Put(k, g.sub(a, c.Old), c.Cause)
}
