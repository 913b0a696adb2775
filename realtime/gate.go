package realtime

import (
	"slices"
	"time"

	"github.com/gapless-go/gapless/internal/phoenix"
)

const (
	// maxJoins is how many joins the server may have to work on. It takes them
	// one after the other; sending a few ahead saves the round trips.
	maxJoins = 8
	// probeAfter is what gate.probeAfter is with long timeouts. A refusal takes
	// 5 s.
	probeAfter = 8 * time.Second
)

// gate decides which channel may join next. The server holds the whole socket
// while it works on a join, and 5 s longer when it refuses one, so those that
// were refused before go one at a time. It answers in order: once it has
// answered a join or a heartbeat, it is through with the joins before that, and
// they hold up no others, though they may still be answered. It is pure.
type gate struct {
	probeAfter time.Duration // how long a join may go without an answer before a heartbeat is sent behind it

	waiting []waitingJoin
	sentOff []sentJoin
	since   time.Time // when the turn of the first that is not passed began
	written uint64    // joins that have been written
}

type waitingJoin struct {
	topic   string
	failing bool
}

type sentJoin struct {
	waitingJoin
	ref    phoenix.Ref
	at     time.Time
	order  uint64 // as which it was written, 0: it has not been
	passed bool   // the server has answered something behind it
}

// request puts a topic in line, once.
func (g *gate) request(topic string, failing bool) {
	if !slices.ContainsFunc(g.waiting, func(w waitingJoin) bool { return w.topic == topic }) {
		g.waiting = append(g.waiting, waitingJoin{topic, failing})
	}
}

// forget takes a topic out of the line. A join of it that is under way goes on
// to count: it keeps the server busy.
func (g *gate) forget(topic string) {
	g.waiting = slices.DeleteFunc(g.waiting, func(w waitingJoin) bool { return w.topic == topic })
}

// next takes the next topic that may join out of the line.
func (g *gate) next() (w waitingJoin, ok bool) {
	working, trying := 0, false
	for _, s := range g.sentOff {
		if !s.passed {
			working++
			trying = trying || s.failing
		}
	}
	if working >= maxJoins {
		return w, false
	}
	for i, w := range g.waiting {
		if !w.failing || !trying {
			g.waiting = slices.Delete(g.waiting, i, i+1)
			return w, true
		}
	}
	return w, false
}

// sent notes that a join is under way.
func (g *gate) sent(w waitingJoin, ref phoenix.Ref, now time.Time) {
	if !g.busy() {
		g.since = now
	}
	g.sentOff = append(g.sentOff, sentJoin{waitingJoin: w, ref: ref, at: now})
}

// write notes that a join is being written.
func (g *gate) write(ref phoenix.Ref) {
	if i := g.index(ref); i >= 0 {
		g.written++
		g.sentOff[i].order = g.written
	}
}

func (g *gate) index(ref phoenix.Ref) int {
	return slices.IndexFunc(g.sentOff, func(s sentJoin) bool { return s.ref == ref })
}

// answered notes a reply and reports whether it was one to a join.
func (g *gate) answered(ref phoenix.Ref, now time.Time) bool {
	i := g.index(ref)
	if i < 0 {
		return false
	}
	order := g.sentOff[i].order
	g.sentOff = slices.Delete(g.sentOff, i, i+1)
	g.since = now
	g.pass(order, now)
	return true
}

// pass notes that the server is through with so many joins.
func (g *gate) pass(joins uint64, now time.Time) {
	for i := range g.sentOff {
		if s := &g.sentOff[i]; !s.passed && s.order > 0 && s.order <= joins {
			s.passed, g.since = true, now
		}
	}
}

// probe returns when a heartbeat should go out, to learn whether the server is
// through with the joins that have been written, the zero time for not as things
// are. So many had been written before the last heartbeat.
func (g *gate) probe(joins uint64) time.Time {
	if joins == g.written || !g.busy() {
		return time.Time{}
	}
	return g.since.Add(g.probeAfter)
}

// overdue takes out a join that has no answer: the one whose turn it is, if the
// server has worked on it for timeout, or one that the server passed.
func (g *gate) overdue(now time.Time, timeout time.Duration) (s sentJoin, ok bool) {
	first := true
	for i, s := range g.sentOff {
		since := s.at
		if !s.passed {
			if !first {
				continue
			}
			first, since = false, g.since
		}
		if !now.Before(since.Add(timeout)) {
			g.sentOff = slices.Delete(g.sentOff, i, i+1)
			if !s.passed {
				g.since = now
			}
			return s, true
		}
	}
	return s, false
}

// due returns when overdue has something new to say, the zero time for never.
func (g *gate) due(timeout time.Duration) (at time.Time) {
	for _, s := range g.sentOff {
		since := s.at
		if !s.passed {
			since = g.since
		}
		if at.IsZero() || since.Add(timeout).Before(at) {
			at = since.Add(timeout)
		}
	}
	return at
}

// hold restarts the wait for the join whose turn it is: until a time nobody
// read what the server sends.
func (g *gate) hold(until time.Time) {
	if until.After(g.since) {
		g.since = until
	}
}

// busy reports whether the server may be working on a join.
func (g *gate) busy() bool {
	return slices.ContainsFunc(g.sentOff, func(s sentJoin) bool { return !s.passed })
}
