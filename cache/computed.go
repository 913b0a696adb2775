package cache

import (
	"context"
	"errors"
)

// errComputed is the error of what needs a table in the database.
var errComputed = errors.New("cache: a computed table has no table in the database that could be read")

// NewComputed makes a Table whose rows are not read but computed: Run calls
// compute, and ends with its error. Everything that tells of rows works as with
// other Tables: reads, views, indexes, feeds, waiting, phases. Fetch finds what
// Get finds; Verify returns an error, CatchUp and Cut return ErrNoMarker. The
// name is what String gives.
//
// Package enrich makes joins and groups of Tables by it.
func NewComputed[K comparable, T any](name string, compute func(ctx context.Context, e *Editor[K, T]) error) *Table[K, T] {
	t := newTable[K, T](name, defaults())
	t.core = newCore[K, T](nil, 0)
	t.compute = compute
	t.view.Store(&View[K, T]{})
	return t
}

// Editor is how a computed Table is written. It is for the call of compute that
// it was given to, and not safe for concurrent use.
type Editor[K comparable, T any] struct{ t *Table[K, T] }

// Get returns a row as it is, published or not.
func (e *Editor[K, T]) Get(k K) (row T, ok bool) {
	if x, there := e.t.core.rows.Peek(k); there {
		return x.value, true
	}
	return row, false
}

// Put sets a row. A row that is as it was makes no change.
func (e *Editor[K, T]) Put(k K, row T, cause Cause) {
	e.t.core.pos.Seq++
	e.t.core.put(k, &entry[K, T]{value: row}, cause)
}

// Delete removes a row, if it is there.
func (e *Editor[K, T]) Delete(k K, cause Cause) {
	e.t.core.pos.Seq++
	e.t.core.remove(k, cause)
}

// Publish makes what was put and deleted since the last call visible, all at
// once, and tells the feeds. The rows can be relied on, or not: the phase is
// Synced, or else what it was before the first time that they could be, and
// Stale after that. It does not wait.
func (e *Editor[K, T]) Publish(synced bool) {
	switch now := e.t.Phase(); {
	case synced && now != Synced:
		e.t.core.begin(e.t.now())
		e.t.step(computed)
	case !synced && now == Synced:
		e.t.step(gapOpened)
	default:
		e.t.publish()
	}
}
