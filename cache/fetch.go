package cache

import "context"

// flight is a read of one row that several callers wait for.
type flight[T any] struct {
	done  chan struct{}
	row   T
	found bool
	err   error
}

// Fetch returns the row of a key: that of the cache if there is one, else that
// of the table, which is read. Callers who ask for one key at once share one
// read. With WithMaxRows and Evict the row that was read is in the cache then.
//
// The error is ctx's, that of a request that does not pass, or the one that Run
// ended with; requests that fail for a while are made again. Fetch needs Run.
func (t *Table[K, T]) Fetch(ctx context.Context, k K) (row T, found bool, err error) {
	for {
		if row, found := t.Get(k); found {
			return row, true, nil
		}
		if t.compute != nil {
			return row, false, nil
		}
		f, first := t.join(k)
		if first {
			f.row, f.found, f.err = t.fetch(ctx, k)
			if t.leave(k, f); reshapedBy(f.err) {
				continue
			}
			return f.row, f.found, f.err
		}
		select {
		case <-f.done:
			if f.err == nil {
				return f.row, f.found, nil
			} // whose context may be over, and ours is not
		case <-ctx.Done():
		}
		if err := ctx.Err(); err != nil {
			return row, false, err
		}
	}
}

func (t *Table[K, T]) join(k K) (f *flight[T], first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f, there := t.flights[k]; there {
		return f, false
	}
	f = &flight[T]{done: make(chan struct{})}
	t.flights[k] = f
	return f, true
}

func (t *Table[K, T]) leave(k K, f *flight[T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.flights, k)
	close(f.done)
}

// fetch reads a row. A cache that holds the whole table does not take it: the
// stream is about to bring it, in its place.
func (t *Table[K, T]) fetch(ctx context.Context, k K) (row T, found bool, err error) {
	var p page[K, T]
	rd, err := t.reading(ctx, nil, func() (err error) {
		p, err = t.source.byKeys(ctx, []K{k})
		return err
	})
	if err != nil {
		return row, false, err
	}
	defer rd.over.Store(true)
	if len(p.rows) == 0 {
		return row, false, nil
	}
	if t.core.bound.evicts() {
		err = t.do(ctx, func() { t.core.merge(rd, p.rows, how{cause: CauseSnapshot, early: true}) })
	}
	if of := p.rows[0].err; err == nil && of != nil {
		return row, false, of
	}
	return p.rows[0].row, true, err
}
