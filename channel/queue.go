package channel

import (
	"context"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cdc"
)

// queue stands between the socket and the consumer of one subscription. It is
// bounded, in order, and never loses a change without putting a gap in its
// place.
//
// A gap is open while the connection is (open to finish) or while the queue
// overflows; both may overlap and are then one gap to the consumer. While it
// overflows nothing is added, so that the gap is where the consumer arrives
// when it has taken everything: then it is over.
type queue struct {
	limit    int
	maxBytes int
	block    bool

	hand []cdc.Change // the consumer's own: hand[next:] has been taken, and not been returned
	next int

	mu       sync.Mutex
	items    []cdc.Change // items[head:] wait
	head     int
	changes  int // of them, not gaps
	bytes    int
	gap      cdc.Gap // the gap that is open, if inGap
	inGap    bool
	offline  bool // the connection keeps it open
	overflow bool // the queue keeps it open
	told     bool // the consumer has, or will find in items, its open form
	err      error
	waiting  bool // the consumer waits for ready, or is about to

	ready chan struct{} // capacity 1: something to take
	room  chan struct{} // capacity 1: something was taken
}

func newQueue(q Queue) *queue {
	return &queue{limit: q.Changes, maxBytes: q.Bytes, block: q.Full == Block,
		ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// fate is what became of a change that was pushed.
type fate uint8

const (
	kept     fate = iota
	dropped       // lost, in a gap that had begun before
	overflow      // lost, and the first of its gap
	gone          // nobody wants it: the stream is over, or the connection
)

// push adds a change, or counts it as lost if there is no room and the policy
// is to overflow. With the policy to block it waits for room until ctx ends;
// then the change is lost with the connection, whose gap follows.
func (q *queue) push(ctx context.Context, c *cdc.Change) fate {
	size := sizeOf(c)
	for {
		q.mu.Lock()
		switch {
		case q.err != nil:
			q.mu.Unlock()
			return gone
		case q.overflow:
			q.gap.Lost++
			q.mu.Unlock()
			return dropped
		case q.changes == 0 || (q.changes < q.limit && q.bytes+size <= q.maxBytes):
			q.items = append(q.items, *c)
			q.changes++
			q.bytes += size
			q.wake()
			q.mu.Unlock()
			return kept
		case !q.block:
			if !q.inGap {
				q.gap = cdc.Gap{Since: time.Now(), Reason: cdc.Overflow}
				q.inGap, q.told = true, false
			}
			q.overflow = true
			q.gap.Lost++
			q.wake()
			q.mu.Unlock()
			return overflow
		}
		q.mu.Unlock()
		select {
		case <-q.room:
		case <-ctx.Done():
			return gone
		}
	}
}

// wake wakes the consumer if it waits. It is called under mu.
func (q *queue) wake() {
	if q.waiting {
		q.waiting = false
		signal(q.ready)
	}
}

// open begins a gap, unless one is open. One that the consumer has not taken
// yet, with no change behind it, opens again: so a connection that comes and
// goes while nobody takes anything does not fill the queue with gaps.
func (q *queue) open(g cdc.Gap) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.offline = true
	if q.inGap {
		return
	}
	if tail := q.tail(); tail != nil {
		tail.Until = time.Time{}
		g = *tail
	} else {
		q.addGap(g)
	}
	q.gap, q.inGap, q.told = g, true, true
}

// finish ends the gap that open began. With none open it adds g, which is how
// a stream starts and how it tells of a gap that was over when it was noticed.
func (q *queue) finish(g cdc.Gap) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.offline = false
	if q.overflow { // over when the consumer has caught up
		if g.Reason == cdc.Started {
			q.gap.Since, q.gap.Reason = g.Since, g.Reason
		}
		return
	}
	if q.inGap {
		q.inGap = false
		q.gap.Until = g.Until
		g = q.gap
	}
	if tail := q.tail(); tail != nil {
		tail.Until = g.Until
	} else {
		q.addGap(g)
	}
}

// tail returns the gap that is last in the queue, nil if a change is, or
// nothing.
func (q *queue) tail() *cdc.Gap {
	if q.head == len(q.items) {
		return nil
	}
	return q.items[len(q.items)-1].Gap
}

// end lets the consumer take what is there and then see err.
func (q *queue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
		q.wake()
		signal(q.room)
	}
}

// pop returns the next value, which is valid until the next call, and waits for
// it until ctx ends.
func (q *queue) pop(ctx context.Context) (*cdc.Change, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if c, err := q.take(); c != nil || err != nil {
			return c, err
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
		}
	}
}

// take is pop that does not wait: it returns nil if there is nothing.
func (q *queue) take() (*cdc.Change, error) {
	if q.next == len(q.hand) {
		if err := q.refill(); err != nil || len(q.hand) == 0 {
			return nil, err
		}
	}
	q.next++
	return &q.hand[q.next-1], nil
}

// atOnce is how many changes a consumer takes at a time, so that the lock is not
// taken for each, nor more than a sixteenth of what may wait.
const atOnce = 64

// refill takes what comes next: a gap, or changes up to the next gap. A gap
// that waits can still become a longer one.
func (q *queue) refill() error {
	clear(q.hand)
	q.hand, q.next = q.hand[:0], 0
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head == len(q.items) {
		if q.overflow {
			if c, ok := q.caughtUp(); ok {
				q.hand = append(q.hand, c)
				return nil
			}
		}
		q.waiting = q.err == nil
		return q.err
	}
	waiting := q.items[q.head:]
	most := max(1, min(atOnce, q.limit/16))
	n, size := 0, 0
	for n < min(most, len(waiting)) && waiting[n].Gap == nil && (n == 0 || size < q.maxBytes/16) {
		size += sizeOf(&waiting[n])
		n++
	}
	q.changes -= n
	q.bytes -= size
	n = max(n, 1) // a gap
	// Two slices that have grown are not kept.
	if q.head == 0 && n == len(waiting) && cap(q.items) <= 2*atOnce {
		q.hand, q.items = q.items, q.hand
	} else {
		q.hand = append(q.hand, waiting[:n]...)
		clear(waiting[:n])
		q.head += n
		q.compact()
	}
	if q.block {
		signal(q.room)
	}
	return nil
}

// caughtUp ends an overflow: the consumer has everything that came before it.
// The gap stays open if the connection is down or the stream is over; then
// there is nothing to tell if its open form has been told.
func (q *queue) caughtUp() (cdc.Change, bool) {
	q.overflow = false
	g := q.gap
	if q.offline || q.err != nil {
		told := q.told
		q.told = true
		return cdc.Change{Gap: &g}, !told
	}
	q.inGap = false
	g.Until = time.Now()
	return cdc.Change{Gap: &g}, true
}

func (q *queue) addGap(g cdc.Gap) {
	q.items = append(q.items, cdc.Change{Gap: &g})
	q.wake()
}

// compact moves the waiting items to the front when there are none, or when
// half of the slice is behind them: a queue that is never empty does not grow.
func (q *queue) compact() {
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		return
	}
	if q.head > 32 && q.head*2 >= len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
}

// sizeOf is roughly what a change holds in memory beside its fixed part.
func sizeOf(c *cdc.Change) int { return len(c.Record) + len(c.OldRecord) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
