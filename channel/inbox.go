package channel

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gapless-go/gapless/cdc"
)

// inbox stands between the socket and the consumer of one stream. It is
// bounded, in order, and never loses a value without putting a gap in its
// place.
//
// A gap is open while the stream is interrupted (open to restore) or while the
// inbox overflows; both may overlap and are then one gap to the consumer. While
// it overflows nothing is added, so that the gap is where the consumer arrives
// when it has taken everything: then it is over.
type inbox[T any] struct {
	traits[T]
	bounds Queue
	notify func(cdc.Gap) // an overflow has begun, or is over

	busy atomic.Bool // it is being iterated
	hand []T         // the consumer's own: hand[next:] has been taken, and not been returned
	next int

	mu          sync.Mutex
	items       []T // items[head:] wait
	head        int
	bytes       int    // of what waits
	pushed      uint64 // values so far
	marks       []mark // gaps that wait
	gap         mark   // the one that is open, if inGap
	inGap       bool
	interrupted bool // the connection keeps it open
	overflowing bool // the inbox keeps it open
	told        bool // the consumer has, or will find in marks, its open form
	waiting     bool // the consumer waits for ready
	err         error

	ready chan struct{} // capacity 1: something to take
	room  chan struct{} // capacity 1: something was taken
}

// traits are what an inbox must know of its values.
type traits[T any] struct {
	size func(*T) int              // in bytes, beside the fixed part
	note func(*T, cdc.Gap, Replay) // makes the value one that has a gap
	// merge adds a value to one that has not been taken and reports whether
	// nothing is left of both. Such values never queue; nil: all do.
	merge func(into, v *T) (nothing bool)
}

// mark is a gap and its place in the stream.
type mark struct {
	cdc.Gap
	replay Replay
	behind uint64 // so many values
}

func newInbox[T any](t traits[T], bounds Queue, notify func(cdc.Gap)) *inbox[T] {
	return &inbox[T]{traits: t, bounds: bounds, notify: notify,
		ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// push adds a value of a size. If there is no room it is counted as lost, in a gap since
// whole; with the policy Block, push waits for room until ctx ends: then the
// value is lost with the connection, whose gap follows.
func (q *inbox[T]) push(ctx context.Context, v *T, size int, whole time.Time) {
	for !q.add(v, size, whole) {
		select {
		case <-q.room:
		case <-ctx.Done():
			return
		}
	}
}

// add is push that does not wait. It reports false if it would have to.
func (q *inbox[T]) add(v *T, size int, whole time.Time) bool {
	q.mu.Lock()
	n := len(q.items) - q.head
	switch {
	case q.err != nil: // nobody wants it
	case q.overflowing:
		q.gap.Lost++
	case q.merge != nil:
		q.mergeIn(*v)
	case n == 0 || n < q.bounds.Changes && q.bytes+size <= q.bounds.Bytes:
		q.items = append(q.items, *v)
		q.pushed++
		q.bytes += size
	case q.bounds.Full == Block:
		q.mu.Unlock()
		return false
	default:
		if !q.inGap {
			q.gap = mark{Gap: cdc.Gap{Since: whole, Reason: cdc.Overflow}}
			q.inGap, q.told = true, false
		}
		q.overflowing = true
		q.gap.Lost++
		begun := q.gap.Gap
		q.mu.Unlock()
		q.notify(begun)
		return true
	}
	q.wake()
	q.mu.Unlock()
	return true
}

// mergeIn adds a value to the one that waits.
func (q *inbox[T]) mergeIn(v T) {
	if q.items = q.items[q.head:]; len(q.items) == 0 {
		q.items = append(q.items, v)
	} else if q.merge(&q.items[0], &v) {
		q.items = nil
	}
	q.head = 0
}

// wake wakes the consumer if it waits.
func (q *inbox[T]) wake() {
	if q.waiting {
		q.waiting = false
		signal(q.ready)
	}
}

// open begins a gap, unless one is open. One that the consumer has not taken
// yet, with no value behind it, opens again: so a connection that comes and
// goes while nobody takes anything does not fill the inbox with gaps.
func (q *inbox[T]) open(g cdc.Gap) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.interrupted = true
	if q.inGap || q.err != nil {
		return
	}
	q.gap = mark{Gap: g}
	if tail := q.tail(); tail != nil {
		tail.Until = time.Time{}
		q.gap = *tail
	} else {
		q.addMark(q.gap)
	}
	q.inGap, q.told = true, true
}

// restore ends the gap that open began. With none open it adds g, which is how
// a stream begins and how it reports a gap that was over when it was noticed.
func (q *inbox[T]) restore(g cdc.Gap, replay Replay) { q.restoreWith(g, replay, nil) }

// restoreWith is restore and the push of a value that merges, in one step.
func (q *inbox[T]) restoreWith(g cdc.Gap, replay Replay, v *T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.interrupted = false
	if v != nil {
		q.mergeIn(*v)
	}
	switch {
	case q.err != nil:
		return
	case q.overflowing: // over when the consumer has caught up
		if g.Reason == cdc.Started {
			q.gap.Since, q.gap.Reason = g.Since, g.Reason
		}
		return
	case q.inGap:
		q.inGap = false
		q.gap.Until = g.Until
		g = q.gap.Gap
		if g.Lost > 0 { // what overflowed is not replayed
			replay = ReplayIncomplete
		}
	}
	if tail := q.tail(); tail != nil {
		tail.Until, tail.replay = g.Until, max(tail.replay, replay)
	} else {
		q.addMark(mark{Gap: g, replay: replay})
	}
	q.wake()
}

// tail returns the gap that is last in the inbox, nil if a value is, or
// nothing. Gaps of values that merge are one, wherever they stand.
func (q *inbox[T]) tail() *mark {
	if n := len(q.marks); n > 0 && (q.marks[n-1].behind == q.pushed || q.merge != nil) {
		return &q.marks[n-1]
	}
	return nil
}

func (q *inbox[T]) addMark(m mark) {
	m.behind = q.pushed
	q.marks = append(q.marks, m)
	q.wake()
}

// end lets the consumer take what is there and then see err.
func (q *inbox[T]) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
		q.wake()
		signal(q.room)
	}
}

// stream iterates an inbox: all that is in it, and then the reason for which
// the channel ended. It is the body of every iterator of this package.
func stream[T any](ctx context.Context, c *Channel, q *inbox[T]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if !q.busy.CompareAndSwap(false, true) {
			yield(none, ErrBusy)
			return
		}
		defer q.busy.Store(false)
		_ = c.start() // an error has ended the inbox
		for {
			v, err := q.pop(ctx)
			if err != nil {
				yield(none, err)
				return
			}
			if !yield(*v, nil) {
				return
			}
		}
	}
}

// pop returns the next value, which is valid until the next call, and waits for
// it until ctx ends.
func (q *inbox[T]) pop(ctx context.Context) (*T, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if v, err := q.take(); v != nil || err != nil {
			return v, err
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
		}
	}
}

// take is pop that does not wait: it returns nil if there is nothing.
func (q *inbox[T]) take() (*T, error) {
	if q.next == len(q.hand) {
		caughtUp, err := q.refill()
		if caughtUp != nil {
			q.notify(*caughtUp)
		}
		if err != nil || len(q.hand) == 0 {
			return nil, err
		}
	}
	q.next++
	return &q.hand[q.next-1], nil
}

// atOnce is how many values a consumer takes at a time, so that the lock is not
// taken for each, nor more than a sixteenth of what may wait.
const atOnce = 64

// refill takes what comes next: a gap, or values up to the next gap. A gap that
// waits can still become a longer one. It returns the gap of an overflow that
// is over by that.
func (q *inbox[T]) refill() (caughtUp *cdc.Gap, err error) {
	clear(q.hand)
	q.hand, q.next = q.hand[:0], 0
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.items[q.head:]
	n := len(waiting)
	if len(q.marks) > 0 && q.merge == nil {
		n = min(n, int(q.marks[0].behind+uint64(len(waiting))-q.pushed))
	}
	switch {
	case n > 0:
		q.takeValues(waiting, n)
	case len(q.marks) > 0:
		q.takeMark()
	case q.overflowing:
		g, news := q.catchUp()
		if news {
			q.hand = append(q.hand, q.marked(g))
			return &g.Gap, nil
		}
		q.waiting = q.err == nil
		return &g.Gap, q.err
	default:
		q.waiting = q.err == nil
		return nil, q.err
	}
	return nil, nil
}

// takeValues moves up to n of the values that wait into the consumer's hand.
func (q *inbox[T]) takeValues(waiting []T, n int) {
	most, bytes := max(1, min(atOnce, n, q.bounds.Changes/16)), 0
	for n = 0; n < most && (n == 0 || bytes < q.bounds.Bytes/16); n++ {
		bytes += q.size(&waiting[n])
	}
	q.bytes -= bytes
	if n == len(waiting) && q.head == 0 && cap(q.items) <= 2*atOnce { // two slices that have grown are not kept
		q.hand, q.items = q.items, q.hand
	} else {
		q.hand = append(q.hand, waiting[:n]...)
		clear(waiting[:n])
		q.head += n
		q.compact()
	}
	if q.merge != nil && len(q.marks) > 0 { // both are one value
		q.note(&q.hand[0], q.marks[0].Gap, q.marks[0].replay)
		q.marks = q.marks[:0]
	}
	if q.bounds.Full == Block {
		signal(q.room)
	}
}

func (q *inbox[T]) takeMark() {
	q.hand = append(q.hand, q.marked(q.marks[0]))
	if q.marks = q.marks[1:]; len(q.marks) == 0 {
		q.marks = nil
	}
}

func (q *inbox[T]) marked(m mark) (v T) {
	q.note(&v, m.Gap, m.replay)
	return v
}

// catchUp ends an overflow: the consumer has everything that came before it.
// The gap stays open if the stream is interrupted or over; then it is no news
// if the consumer has its open form.
func (q *inbox[T]) catchUp() (m mark, news bool) {
	q.overflowing = false
	if q.interrupted || q.err != nil {
		news = !q.told
		q.told = true
		return q.gap, news
	}
	q.inGap = false
	m = q.gap
	m.Until, m.replay = time.Now(), ReplayIncomplete
	return m, true
}

// compact lets go of what has been taken, now and then.
func (q *inbox[T]) compact() {
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head > 32 && q.head*2 >= len(q.items):
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
