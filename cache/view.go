package cache

import (
	"iter"

	"github.com/gapless-go/gapless/cache/internal/hamt"
)

// View is the content of a Table at one position. It never changes and costs
// nothing to keep but the memory of the rows that are not in the Table any
// more. The zero View is empty.
type View[K comparable, T any] struct {
	rows    hamt.Snapshot[K, *entry[K, T]]
	misfits hamt.Snapshot[K, *misfit]
	indexes []any // a snapshot of each
	past    hamt.Snapshot[K, *past[T]]
	since   int64 // from when on the past is whole, in Unix milliseconds
	pos     Position
	phase   Phase
	marks   bool // whether reads are marked, for evict
}

// Get returns a row.
func (v View[K, T]) Get(k K) (row T, ok bool) { return v.get(k) }

func (v *View[K, T]) get(k K) (row T, ok bool) {
	e, ok := v.rows.Get(k)
	if !ok {
		return row, false
	}
	if v.marks && !e.used.Load() {
		e.used.Store(true)
	}
	return e.value, true
}

// Same reports whether two views of one Table have the same rows because the Table
// has published no other ones between them. It compares no rows.
func (v View[K, T]) Same(w View[K, T]) bool { return v.rows == w.rows && v.pos == w.pos }

// Len returns how many rows there are.
func (v View[K, T]) Len() int { return v.rows.Len() }

// Pos returns the position.
func (v View[K, T]) Pos() Position { return v.pos }

// Phase returns the phase that the Table was in: whether the rows can be relied
// on to be those of the database.
func (v View[K, T]) Phase() Phase { return v.phase }

// All returns the rows, in no particular order.
func (v View[K, T]) All() iter.Seq2[K, T] {
	return func(yield func(K, T) bool) {
		for k, e := range v.rows.All() {
			if !yield(k, e.value) {
				return
			}
		}
	}
}
