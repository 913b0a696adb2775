package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/gapless-go/gapless/internal/rescue"
)

// errComputed is the error of what needs a table in the database.
var errComputed = errors.New("cache: a computed table has no table in the database that could be read")

// NewComputed makes a Table whose rows are not read but computed: Run calls
// compute, and ends with its error. Everything that tells of rows works as with
// other Tables: reads, views, indexes, feeds, waiting, phases. Fetch finds what
// Get finds; Verify returns an error, Cut returns ErrNoMarker, and so does CatchUp of
// a Table without an Input. The name is what String gives.
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
	if !e.t.computing {
		e.t.note(func(*Status) { e.t.computing = true })
	}
	for _, in := range e.t.inputs {
		if in.next != in.took {
			e.t.note(func(*Status) { in.took = in.next })
		}
	}
}

// Input is a Table that a computed one is made of. Editor.Input makes one; CatchUp of
// the computed Table catches up with it first.
type Input struct {
	from       inputTable // the one whose feed was taken with Feed; nil: none yet
	next, took Position   // up to which the feed was taken, and what came of it was published
}

// inputTable is a *Table of any type.
type inputTable interface {
	CatchUp(ctx context.Context) error
	String() string
	position() Position
}

// Input adds a Table that the computed one is made of. Compute calls it once for each
// before it first publishes, gives Feed to its Changes, and calls Took.
func (e *Editor[K, T]) Input() *Input {
	in := &Input{}
	e.t.mu.Lock()
	defer e.t.mu.Unlock()
	e.t.inputs = append(e.t.inputs, in)
	return in
}

// Feed makes a feed the one of this Input. It tells of the phase behind everything
// that was published at once, and not only when it is another one.
func (in *Input) Feed() FeedOption { return func(o *feedOptions) { o.phases, o.input = true, in } }

// Took notes that a value of the feed with a Phase was taken, and so was all before
// it. It counts from the next Publish on.
func (in *Input) Took(c Position) { in.next = c }

// InputError is the error of CatchUp of a Table that is made of others: which one it
// could not catch up with.
type InputError struct {
	Table, Input string
	Err          error
}

func (e *InputError) Error() string {
	return fmt.Sprintf("cache: %s: catching up with %s: %v", e.Table, e.Input, e.Err)
}

func (e *InputError) Unwrap() error { return e.Err }

// catchUpInputs is CatchUp of a computed Table.
func (t *Table[K, T]) catchUpInputs(ctx context.Context) error {
	var inputs []*Input
	err := t.wait(ctx, func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		inputs = slices.Clone(t.inputs)
		return t.computing // all inputs are known
	})
	if err == nil && len(inputs) > 0 {
		err = t.WaitSynced(ctx) // their feeds have begun
	}
	switch {
	case err != nil:
		return err
	case len(inputs) == 0:
		return ErrNoMarker
	}
	errs, want := make([]error, len(inputs)), make([]Position, len(inputs))
	if slices.ContainsFunc(inputs, func(in *Input) bool { return in.from == nil }) {
		return ErrNoMarker
	}
	var waiting sync.WaitGroup
	for i, in := range inputs {
		waiting.Go(func() {
			err := rescue.Do("CatchUp", func() error { return in.from.CatchUp(ctx) })
			if want[i] = in.from.position(); err != nil {
				errs[i] = &InputError{t.String(), in.from.String(), err}
			}
		})
	}
	waiting.Wait()
	if err := cmp.Or(errs...); err != nil {
		return err
	}
	return t.wait(ctx, func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		for i, in := range inputs {
			if in.took.before(want[i]) {
				return false
			}
		}
		return true
	})
}

func (t *Table[K, T]) position() Position { return t.View().Pos() }
