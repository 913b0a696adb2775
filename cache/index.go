package cache

import (
	"iter"
	"slices"

	"github.com/gapless-go/gapless/cdc"
)

// indexer is an index as the core has it.
type indexer[K comparable, T any] interface {
	update(c Change[K, T])
	publish() any // its present state, which never changes
}

// Index finds the rows of a Table by values that are no key: an order by its
// customer, a document by each of its tags. NewIndex makes one; it is kept with
// the rows, so that a view and its indexes agree. It is safe for concurrent use.
type Index[I, K comparable, T any] struct {
	table *Table[K, T]
	nth   int // of the table's indexes
	of    func(T) []I
	live  store[I, *store[K, struct{}]]
	edit  *byte // owns the sets that were changed since the last publish
}

// NewIndex adds an index to a Table, by the values that the function finds in a
// row: none, one or several; the same one twice counts once. The function must
// find the same in equal rows, and is called by Run, so that it must not wait.
// Add indexes before Run is called: the error is ErrRunning after that.
//
// The work for a change does not grow with the rows that have its values.
func NewIndex[I, K comparable, T any](t *Table[K, T], of func(T) []I) (*Index[I, K, T], error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.run.Load() {
		return nil, ErrRunning
	}
	x := &Index[I, K, T]{table: t, nth: len(t.core.indexes), of: of}
	t.core.indexes = append(t.core.indexes, x)
	return x, nil
}

// Lookup returns the rows of the present view that have the value, in no
// particular order. It does not fail and takes no lock; there may be none. It
// goes on to be of that view while the Table changes.
func (x *Index[I, K, T]) Lookup(value I) iter.Seq2[K, T] { return x.In(x.table.View(), value) }

// In is Lookup in a view of the Table.
func (x *Index[I, K, T]) In(v View[K, T], value I) iter.Seq2[K, T] {
	return func(yield func(K, T) bool) {
		for k := range x.keys(v, value) {
			if row, ok := v.Get(k); ok && !yield(k, row) {
				return
			}
		}
	}
}

// Count returns how many rows of the view have the value.
func (x *Index[I, K, T]) Count(v View[K, T], value I) int {
	set, ok := x.set(v, value)
	if !ok {
		return 0
	}
	return set.Len()
}

func (x *Index[I, K, T]) keys(v View[K, T], value I) iter.Seq2[K, struct{}] {
	set, ok := x.set(v, value)
	if !ok {
		return func(func(K, struct{}) bool) {}
	}
	return set.All()
}

func (x *Index[I, K, T]) set(v View[K, T], value I) (*store[K, struct{}], bool) {
	if x.nth >= len(v.indexes) {
		return nil, false // a view from before there was anything
	}
	state := v.indexes[x.nth].(snapshot[I, *store[K, struct{}]])
	return state.get(value)
}

func (x *Index[I, K, T]) publish() any {
	x.edit = nil
	return x.live.publish()
}

// update moves a key from the values of the old row to those of the new one.
func (x *Index[I, K, T]) update(c Change[K, T]) {
	var before, after []I
	if c.Op != cdc.Insert {
		before = x.of(c.Old)
	}
	if c.Op != cdc.Delete {
		after = x.of(c.New)
	}
	for _, value := range before {
		if !slices.Contains(after, value) {
			x.remove(value, c.Key)
		}
	}
	for _, value := range after {
		if !slices.Contains(before, value) {
			x.own(value).Set(c.Key, struct{}{})
		}
	}
}

func (x *Index[I, K, T]) remove(value I, k K) {
	set := x.own(value)
	if set.Delete(k); set.Len() == 0 {
		x.live.Delete(value)
	}
}

// own returns the set of a value to be changed: itself if nobody else has it,
// else a copy, which costs as much as a change of it.
func (x *Index[I, K, T]) own(value I) *store[K, struct{}] {
	if x.edit == nil {
		x.edit = new(byte)
	}
	set, there := x.live.Peek(value)
	if there && set.edit == x.edit {
		return set
	}
	fresh := &store[K, struct{}]{edit: x.edit}
	if there {
		fresh.root, fresh.size = set.root, set.size
	}
	x.live.Set(value, fresh)
	return fresh
}
