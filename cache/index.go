package cache

import (
	"iter"
	"slices"

	"github.com/gapless-go/gapless/cache/internal/hamt"
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
	live  hamt.Map[I, *keys[K]]
	edit  uint64 // of the sets that were changed since the last publish
}

// NewIndex adds an index to a Table, by the values that the function finds in a
// row: none, one or several; the same one twice counts once. The function must
// find the same in equal rows, and is called by Run, so that it must not wait.
// Add indexes before Run is called: the error is ErrRunning after that.
//
// A value that is not equal to itself, such as NaN, finds nothing and is left out.
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
		for k := range x.keys(v, value).All() {
			if row, ok := v.Get(k); ok && !yield(k, row) {
				return
			}
		}
	}
}

// Count returns how many rows of the view have the value.
func (x *Index[I, K, T]) Count(v View[K, T], value I) int { return x.keys(v, value).Len() }

// keys returns the keys of the rows that have the value. They are not nil.
func (x *Index[I, K, T]) keys(v View[K, T], value I) *keys[K] {
	if x.nth < len(v.indexes) { // else a view from before there was anything
		state := v.indexes[x.nth].(hamt.Snapshot[I, *keys[K]])
		if set, ok := state.Get(value); ok {
			return set
		}
	}
	return &keys[K]{}
}

func (x *Index[I, K, T]) publish() any {
	x.edit++
	return x.live.Publish()
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
		if same := value; value == same && !slices.Contains(after, value) {
			x.remove(value, c.Key)
		}
	}
	for _, value := range after {
		if same := value; value == same && !slices.Contains(before, value) { // NaN would never be found again
			x.own(value).add(c.Key)
		}
	}
}

func (x *Index[I, K, T]) remove(value I, k K) {
	set := x.own(value)
	if set.remove(k); set.Len() == 0 {
		x.live.Delete(value)
	}
}

// own returns the keys of a value to be changed: themselves if nobody else has
// them, else a copy, which costs as much as a change of it.
func (x *Index[I, K, T]) own(value I) *keys[K] {
	set, there := x.live.Peek(value)
	if there && set.edit == x.edit {
		return set
	}
	fresh := &keys[K]{edit: x.edit}
	if there {
		if len(set.few) > 0 {
			fresh.few = append(make([]K, 0, len(set.few)+1), set.few...)
		}
		fresh.many = set.many
		fresh.many.Publish()
	}
	x.live.Set(value, fresh)
	return fresh
}

// keys is a set. As long as they are few, they are a list: the index of a column
// in which each value is there once or twice has as many sets as there are rows.
type keys[K comparable] struct {
	few  []K
	many hamt.Map[K, struct{}] // if there were ever more than maxFew
	edit uint64                // of the Index, when it was made
}

const maxFew = 16

func (s *keys[K]) Len() int { return len(s.few) + s.many.Len() }

func (s *keys[K]) All() iter.Seq[K] {
	return func(yield func(K) bool) {
		for _, k := range s.few {
			if !yield(k) {
				return
			}
		}
		for k := range s.many.All() {
			if !yield(k) {
				return
			}
		}
	}
}

func (s *keys[K]) add(k K) {
	switch {
	case slices.Contains(s.few, k):
	case s.many.Len() == 0 && len(s.few) < maxFew:
		s.few = append(s.few, k)
	default:
		for _, k := range s.few {
			s.many.Set(k, struct{}{})
		}
		s.few = nil
		s.many.Set(k, struct{}{})
	}
}

func (s *keys[K]) remove(k K) {
	if i := slices.Index(s.few, k); i >= 0 {
		last := len(s.few) - 1
		s.few[i] = s.few[last]
		s.few = s.few[:last]
		return
	}
	s.many.Delete(k)
}
