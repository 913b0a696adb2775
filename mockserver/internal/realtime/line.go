package realtime

import (
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// line is what lies between the poll and the channels, which faults make
// changes wait in. It is of the poller's goroutine.
type line struct {
	held []heldChange // in the order in which they go on
	pool []heldChange // that go on in another order than theirs
	full time.Time    // when the pool goes on even if more are expected
}

// heldChange is what is to be sent of a change.
type heldChange struct {
	due        time.Time
	deliveries []project.Delivery
}

// reorderWait is for how long changes wait for others to be mixed with, in
// units of Timing.Poll.
const reorderWait = 10

// take sends a change on its way: once, twice, later, or in another order.
func (p *poller) take(c project.Change) {
	f := p.rt.Faults.OnTheWay(c.Table)
	for range f.Copies {
		h := heldChange{time.Now().Add(f.Delay), c.Deliveries}
		if !f.Pooled {
			p.line.put(h)
			continue
		}
		if len(p.line.pool) == 0 {
			p.line.full = time.Now().Add(reorderWait * p.rt.timing.Poll)
		}
		p.line.pool = append(p.line.pool, h)
	}
	if f.Last {
		p.mix()
	}
}

// release sends what is due.
func (p *poller) release() {
	if len(p.line.pool) > 0 && !p.line.full.After(time.Now()) {
		p.mix()
	}
	p.line.release()
}

// mix sends on what is in the pool, in another order.
func (p *poller) mix() {
	pool := p.line.pool
	p.line.pool = nil
	if len(pool) == 0 {
		return
	}
	for _, i := range p.chance.Shuffled(len(pool)) {
		h := pool[i]
		h.due = time.Now().Add(p.rt.Faults.Now().ChangeDelay)
		p.line.put(h)
	}
}

// put sends a change, when it is due and all those before it are sent.
func (l *line) put(h heldChange) {
	if len(l.held) == 0 && !h.due.After(time.Now()) {
		h.send(false)
		return
	}
	l.held = append(l.held, h)
}

// release sends what is due.
func (l *line) release() {
	n := 0
	for n < len(l.held) && !l.held[n].due.After(time.Now()) {
		l.held[n].send(true)
		l.held[n] = heldChange{}
		n++
	}
	l.held = l.held[n:]
}

// until returns how long to wait, which is d or less if something is due
// earlier.
func (l *line) until(d time.Duration) time.Duration {
	if len(l.held) > 0 {
		d = min(d, time.Until(l.held[0].due))
	}
	if len(l.pool) > 0 {
		d = min(d, time.Until(l.full))
	}
	return max(d, 0)
}

func (h heldChange) send(late bool) {
	for _, d := range h.deliveries {
		send(d, late)
	}
}
