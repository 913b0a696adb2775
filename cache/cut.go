package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// AnyTable is a *Table of any type.
type AnyTable interface {
	fmt.Stringer
	Run(ctx context.Context) error
	marker() *Marker
	beginCut(ctx context.Context) (cutter, error)
}

// cutter is a Table that takes part in a cut.
type cutter interface {
	table() any
	// view returns the view at the mark of that number, once it has come.
	view(ctx context.Context, seq int64) (view any, doubtful int, err error)
	end()
}

// A Snapshot is what several Tables had at one and the same mark: one consistent
// state of the database. Cut makes it. It never changes.
type Snapshot struct {
	views    map[any]any
	doubtful int
}

// Doubtful returns how many rows of the Tables were in doubt at the mark: rows
// that change all the time and of which Realtime does not send every value as it
// is. They are as they were when they were read last, which was since Cut was
// called.
func (s *Snapshot) Doubtful() int { return s.doubtful }

// Cut returns the content of several Tables as it was at one position in the
// log of the database, so that what one transaction did to them is in all of
// them or in none. The Tables must have the same Marker: ErrNoMarker otherwise.
//
// It waits until all of them are Synced, until the rows have been read that were
// in doubt when it was called, and then for one mark. Where a row is in doubt at
// that mark it tries once more, and then says so by Snapshot.Doubtful. It returns
// ctx's error, or the one that a Run ended with. When changes may have been
// lost in between it begins anew.
func Cut(ctx context.Context, tables ...AnyTable) (*Snapshot, error) {
	for tries := 0; ; {
		s, err := cutOnce(ctx, tables)
		switch {
		case errors.Is(err, errEpochOver):
		case err != nil || s.doubtful == 0 || tries == 1:
			return s, err
		default:
			tries++
		}
	}
}

func cutOnce(ctx context.Context, tables []AnyTable) (*Snapshot, error) {
	s := &Snapshot{views: map[any]any{}}
	if len(tables) == 0 {
		return s, nil
	}
	marker := tables[0].marker()
	var parts []cutter
	defer func() {
		for _, p := range parts {
			p.end()
		}
	}()
	for _, t := range tables {
		if t.marker() != marker || marker == nil {
			return nil, ErrNoMarker
		}
		part, err := t.beginCut(ctx)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	var k mark
	id, err := marker.row(ctx)
	if err == nil {
		k, err = marker.write(ctx, id)
	}
	switch {
	case errors.Is(err, errMarkGone), temporary(err):
		return nil, errors.Join(errEpochOver, sleep(ctx, retryMin))
	case err != nil:
		return nil, err
	}
	for _, p := range parts {
		view, doubtful, err := p.view(ctx, k.seq)
		if err != nil {
			return nil, err
		}
		s.views[p.table()] = view
		s.doubtful += doubtful
	}
	return s, nil
}

// In returns what a Table of the cut had; the zero View for any other.
func (t *Table[K, T]) In(s *Snapshot) View[K, T] {
	v, _ := s.views[t].(View[K, T])
	return v
}

func (t *Table[K, T]) marker() *Marker { return t.opts.marker }

// cutting is a Table's part in a cut: the views at the marks that have come
// since it began, among which is the one that is wanted.
type cutting[K comparable, T any] struct {
	*Table[K, T]
	epoch uint64
	ended atomic.Bool   // nobody waits for it any more
	more  chan struct{} // capacity 1

	mu    sync.Mutex
	views map[int64]cutView[K, T]
	over  bool
}

// cutView is a view at a mark, with the number of its rows in doubt.
type cutView[K comparable, T any] struct {
	view     View[K, T]
	doubtful int
}

func (t *Table[K, T]) beginCut(ctx context.Context) (cutter, error) {
	c := &cutting[K, T]{Table: t, more: make(chan struct{}, 1), views: map[int64]cutView[K, T]{}}
	for {
		if err := t.WaitSynced(ctx); err != nil {
			return nil, err
		}
		var at moment
		if err := t.do(ctx, func() { at = t.now(); t.want(at) }); err != nil {
			return nil, err
		}
		if err := t.waitCertain(ctx, at); err != nil {
			return nil, err
		}
		began := false
		err := t.do(ctx, func() {
			if began = t.status.Phase == Synced; began {
				c.epoch = t.core.pos.Epoch
				t.passage.cuts = append(slices.DeleteFunc(t.passage.cuts, (*cutting[K, T]).isOver), c)
			}
		})
		if err != nil || began {
			return c, err
		}
	}
}

func (c *cutting[K, T]) table() any { return c.Table }

func (c *cutting[K, T]) view(ctx context.Context, seq int64) (view any, doubtful int, err error) {
	for {
		c.mu.Lock()
		v, there := c.views[seq]
		over := c.over
		c.mu.Unlock()
		switch {
		case there:
			return v.view, v.doubtful, nil
		case over:
			return nil, 0, errEpochOver
		}
		select {
		case <-c.more:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-c.Table.over:
			return nil, 0, c.endError()
		}
	}
}

// end takes the part out. The loop, which nobody waits for here, lets go of it at
// the next mark or cut.
func (c *cutting[K, T]) end() { c.ended.Store(true) }

func (c *cutting[K, T]) isOver() bool { return c.ended.Load() }

// take is given the view at a mark.
func (c *cutting[K, T]) take(seq int64, v View[K, T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.pos.Epoch == c.epoch && v.phase == Synced {
		c.views[seq] = cutView[K, T]{v, c.core.doubts()}
	} else {
		c.over = true
	}
	signal(c.more)
}

// cut gives the view at a mark to those who wait for one.
func (m *passage[K, T]) cut(seq int64, v View[K, T]) {
	m.cuts = slices.DeleteFunc(m.cuts, (*cutting[K, T]).isOver)
	for _, c := range m.cuts {
		c.take(seq, v)
	}
}
