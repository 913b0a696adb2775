package channel

import (
	"context"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cdc"
)

// castQueue stands between the socket and the consumer of one listener. It is
// bounded and in order, and puts a gap where it had to drop something: from
// there on everything is dropped until the consumer arrives, so that there is
// one gap and one place for it.
type castQueue struct {
	limit, maxBytes int

	mu       sync.Mutex
	items    []Broadcast
	bytes    int
	open     *cdc.Gap // whose beginning is in the stream, and whose end is not
	overflow *cdc.Gap // not nil: behind items, until the consumer has them
	offline  bool     // the connection keeps a gap open
	err      error

	ready chan struct{} // capacity 1: something to take
}

func newCastQueue(q Queue) *castQueue {
	return &castQueue{limit: q.Changes, maxBytes: q.Bytes, ready: make(chan struct{}, 1)}
}

// push adds a broadcast. It reports whether there was room.
func (q *castQueue) push(b Broadcast) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return true // nobody wants it
	}
	size := castSize(b)
	if q.overflow == nil && len(q.items) > 0 && (len(q.items) >= q.limit || q.bytes+size > q.maxBytes) {
		q.overflow = &cdc.Gap{Since: time.Now(), Reason: cdc.Overflow}
		if q.open != nil { // it goes on
			g := *q.open
			q.overflow = &g
		}
	}
	if q.overflow != nil {
		q.overflow.Lost++
		return false
	}
	q.items = append(q.items, b)
	q.bytes += size
	signal(q.ready)
	return true
}

// gap adds the beginning of a gap, or an end, which is that of the one that is
// open. A gap that the consumer has not taken yet, with nothing behind it,
// becomes this one but keeps its beginning: so a connection that comes and goes
// does not fill the queue.
func (q *castQueue) gap(g cdc.Gap, replay Replay) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.offline = g.Open()
	if q.overflow != nil || q.err != nil || q.open != nil && g.Open() {
		return // the gap at the end covers it
	}
	if q.open != nil {
		g.Since, g.Reason, g.Lost = q.open.Since, q.open.Reason, q.open.Lost
		if g.Lost > 0 {
			replay = ReplayIncomplete
		}
	}
	if n := len(q.items); n > 0 && q.items[n-1].Gap != nil {
		if first := q.items[n-1]; !first.Gap.Open() {
			g.Since, g.Reason, replay = first.Gap.Since, first.Gap.Reason, max(replay, first.Replay)
		}
		q.items = q.items[:n-1]
	}
	q.open = nil
	if g.Open() {
		q.open = &g
	}
	q.items = append(q.items, Broadcast{Gap: &g, Replay: replay})
	signal(q.ready)
}

// end lets the consumer take what is there and then see err.
func (q *castQueue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
		signal(q.ready)
	}
}

// pop takes the next value, waiting for it until ctx ends.
func (q *castQueue) pop(ctx context.Context) (Broadcast, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Broadcast{}, err
		}
		b, ok, err := q.take()
		if ok || err != nil {
			return b, err
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
		}
	}
}

func (q *castQueue) take() (b Broadcast, ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) > 0 {
		b = q.items[0]
		q.items[0] = Broadcast{}
		if q.items = q.items[1:]; len(q.items) == 0 {
			q.items = nil
		}
		q.bytes -= castSize(b)
		return b, true, nil
	}
	if q.overflow != nil {
		if b, ok = q.caughtUp(); ok {
			return b, true, nil
		}
	}
	return Broadcast{}, false, q.err
}

// caughtUp ends an overflow: the consumer has everything that came before it.
// The gap stays open while the connection is away; then there is nothing to
// tell if the consumer has its beginning.
func (q *castQueue) caughtUp() (b Broadcast, ok bool) {
	g, told := *q.overflow, q.open != nil
	q.overflow = nil
	if q.offline {
		q.open = &g
		return Broadcast{Gap: &g}, !told
	}
	q.open = nil
	g.Until = time.Now()
	return Broadcast{Gap: &g, Replay: ReplayIncomplete}, true
}

// castSize is roughly what a broadcast holds in memory beside its fixed part.
func castSize(b Broadcast) int { return len(b.Payload) + len(b.Binary) }
