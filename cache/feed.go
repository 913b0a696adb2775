package cache

import (
	"context"
	"iter"
	"sync"

	"github.com/gapless-go/gapless/cdc"
)

// FeedOption is a choice about a feed of changes.
type FeedOption func(*feedOptions)

type feedOptions struct {
	initial  bool
	phases   bool
	touched  bool
	input    *Input // the feed is that of a Table that is made of this one
	aside    bool
	buffered int
	full     Overflow
}

// WithInitial makes a feed begin with the rows that are there, as Inserts of
// CauseSnapshot in no particular order, and gives a value with InitialEnd once
// the feed has told the whole table: behind those rows if the Table is Synced,
// and otherwise behind the changes by which it comes to be. What has not been
// told by then, or was told as deleted, is not in the table. A Table that is never
// Synced gives no InitialEnd.
func WithInitial() FeedOption { return func(o *feedOptions) { o.initial = true } }

// WithPhases makes a feed tell of the Table's phase, too: of the one that it
// begins in (behind the rows of WithInitial), and of each that it comes to, by
// values whose Phase is set. Of several that wait it tells the last one, behind
// the changes that wait. So a consumer that is told Synced has all that the
// Table has read again after a gap.
func WithPhases() FeedOption { return func(o *feedOptions) { o.phases = true } }

// WithTouched makes a feed tell changes that come to nothing while they wait, too:
// a row that was added and removed again as an Insert and a Delete, one that is as
// it was as an Update. A consumer that reads the Table when it is told something
// may have seen what was in between, and has to read again.
func WithTouched() FeedOption { return func(o *feedOptions) { o.touched = true } }

// WithSetAside makes a feed tell of rows that do not fit into T, too, by values
// whose Err is set: their Op is Update for a row that is set aside, behind the
// Delete of the version that did fit, and Delete when the table has the row no
// more. It begins with those that are set aside already. See WithMisfits.
func WithSetAside() FeedOption { return func(o *feedOptions) { o.aside = true } }

// Buffered makes a feed tell of every change, up to n of which may wait. What
// happens to a consumer that falls further behind, full says: with Fail it gets
// ErrOverflow and has to begin anew; with Conflate those that wait become one
// for each row, and so do all that come until it has taken everything. There is
// no way to make the Table wait, as all of its readers would wait with it.
//
// Without Buffered a feed always conflates: of several changes of one row that
// wait it tells the sum, so that it never holds more than one for each row.
func Buffered(n int, full Overflow) FeedOption {
	return func(o *feedOptions) { o.buffered, o.full = max(n, 1), full }
}

// feed is what waits for one consumer. The Table adds to it, in the order of
// the changes, which all feeds share; the consumer's own goroutine takes.
type feed[K comparable, T any] struct {
	equal   func(a, b T) bool
	limit   int // 0: conflate
	full    Overflow
	phases  bool
	touched bool
	aside   bool
	initial bool // InitialEnd is to be told when the Table is Synced
	input   *Input

	mu    sync.Mutex
	queue []*Change[K, T] // with a limit
	keys  []K             // without: in the order of their first change
	sums  map[K]sum[K, T]
	signs map[K]*Change[K, T] // without a limit: of rows that are set aside
	whole *Change[K, T]       // InitialEnd, if it was not told and is to be
	phase *Change[K, T]       // the last one that was not told
	err   error
	ready chan struct{} // capacity 1
}

func newFeed[K comparable, T any](equal func(a, b T) bool, o feedOptions) *feed[K, T] {
	return &feed[K, T]{equal: equal, limit: o.buffered, full: o.full, phases: o.phases, touched: o.touched, aside: o.aside, initial: o.initial, input: o.input, sums: map[K]sum[K, T]{}, ready: make(chan struct{}, 1)}
}

// sum is what the changes of one key that wait come to.
type sum[K comparable, T any] struct {
	change *Change[K, T]
	// removed, if not nil, is the Delete of the row that change inserts: together
	// they come to nothing.
	removed *Change[K, T]
}

// add adds changes, and reports whether the feed is still wanted.
func (f *feed[K, T]) add(changes []*Change[K, T]) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err != nil:
		return false
	case f.limit == 0, len(f.keys) > 0, len(f.signs) > 0:
		f.conflateAll(changes)
	case len(f.queue)+len(changes) > f.limit && f.full == Conflate:
		f.conflateAll(f.queue)
		f.conflateAll(changes)
		f.queue = nil
	case len(f.queue)+len(changes) > f.limit:
		f.queue, f.err = nil, ErrOverflow
	default:
		f.queue = append(f.queue, changes...)
	}
	signal(f.ready)
	return f.err == nil
}

func (f *feed[K, T]) conflateAll(changes []*Change[K, T]) {
	for _, c := range changes {
		f.conflate(c)
	}
}

func (f *feed[K, T]) conflate(c *Change[K, T]) {
	if c.Err != nil {
		if f.signs == nil {
			f.signs = map[K]*Change[K, T]{}
		}
		f.signs[c.Key] = c
		return
	}
	delete(f.signs, c.Key)
	before, waits := f.sums[c.Key]
	switch {
	case !waits:
		f.keys = append(f.keys, c.Key)
		fallthrough
	case before.removed != nil: // there was no row, and is one now
		f.sums[c.Key] = sum[K, T]{change: c}
		return
	}
	after, any := fold(*before.change, *c, f.equal)
	switch {
	case any, f.touched && after.Op == cdc.Update:
		f.sums[c.Key] = sum[K, T]{change: &after}
	case f.touched:
		f.sums[c.Key] = sum[K, T]{before.change, c}
	default:
		delete(f.sums, c.Key) // its place in keys is passed over, and bounded by compact
		f.compact()
	}
}

// compact drops the places of changes that came to nothing, when they are most.
func (f *feed[K, T]) compact() {
	if len(f.keys) < 64 || len(f.keys) < 2*len(f.sums) {
		return
	}
	kept, seen := f.keys[:0], make(map[K]bool, len(f.sums))
	for _, k := range f.keys {
		if _, waits := f.sums[k]; waits && !seen[k] {
			kept, seen[k] = append(kept, k), true
		}
	}
	clear(f.keys[len(kept):])
	f.keys = kept
}

// take returns what waits, and the error that the feed has ended with.
func (f *feed[K, T]) take() ([]*Change[K, T], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.queue
	for _, k := range f.keys {
		if s, waits := f.sums[k]; waits {
			if out = append(out, s.change); s.removed != nil {
				out = append(out, s.removed)
			}
			delete(f.sums, k)
		}
	}
	for _, sign := range f.signs {
		out = append(out, sign)
	}
	f.signs = nil
	for _, sign := range []*Change[K, T]{f.whole, f.phase} {
		if sign != nil {
			out = append(out, sign)
		}
	}
	f.queue, f.keys, f.whole, f.phase = nil, nil, nil, nil
	return out, f.err
}

// move notes a phase, behind what was added. The first Synced is InitialEnd.
func (f *feed[K, T]) move(p Phase, pos Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return
	}
	if f.initial && p == Synced {
		f.initial, f.whole = false, &Change[K, T]{InitialEnd: true, Pos: pos}
		signal(f.ready)
	}
	if f.phases {
		f.phase = &Change[K, T]{Phase: &p, Pos: pos}
		signal(f.ready)
	}
}

// end makes the feed end behind what waits. The first reason counts.
func (f *feed[K, T]) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	signal(f.ready)
}

// Changes is the feed of net changes: who starts from nothing, or with
// WithInitial, and carries out every change has at any time a state that the
// cache had, and the last of them when it has taken everything. The changes of
// a feed come in one order; by default those of one row that wait are told as
// one, see Buffered.
//
// It ends with ctx's error, whatever waits; with ErrOverflow; or, when Run has
// returned, with its error, behind all changes. The loop blocks while there is nothing to
// tell. Each call is a feed of its own, which begins when it is iterated.
func (t *Table[K, T]) Changes(ctx context.Context, opts ...FeedOption) iter.Seq2[Change[K, T], error] {
	var o feedOptions
	for _, opt := range opts {
		opt(&o)
	}
	return func(yield func(Change[K, T], error) bool) {
		f := newFeed[K](t.core.equal, o)
		view := t.attach(f)
		defer t.detach(f)
		if o.initial {
			for k, row := range view.All() {
				if ctx.Err() != nil {
					yield(Change[K, T]{}, ctx.Err())
					return
				}
				if !yield(Change[K, T]{Op: cdc.Insert, Key: k, New: row, Cause: CauseSnapshot, Pos: view.Pos()}, nil) {
					return
				}
			}
		}
		if o.aside && !initialAside(view, yield) {
			return
		}
		for {
			changes, err := f.take()
			for _, c := range changes {
				if ctx.Err() != nil {
					yield(Change[K, T]{}, ctx.Err())
					return
				}
				if !yield(*c, nil) {
					return
				}
			}
			if err == errComplete {
				return
			}
			if err != nil {
				yield(Change[K, T]{}, err)
				return
			}
			if len(changes) > 0 {
				continue
			}
			select {
			case <-f.ready:
			case <-ctx.Done():
				yield(Change[K, T]{}, ctx.Err())
				return
			}
		}
	}
}

func initialAside[K comparable, T any](view View[K, T], yield func(Change[K, T], error) bool) bool {
	for k, err := range view.SetAside() {
		if !yield(Change[K, T]{Op: cdc.Update, Key: k, Err: err, Cause: CauseSnapshot, Pos: view.Pos()}, nil) {
			return false
		}
	}
	return true
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
