package realtime

import (
	"slices"
	"time"

	"github.com/gapless-go/gapless/internal/phoenix"
)

// maxJoins is how many joins may be under way on a socket. The server takes
// them one after the other; sending a few ahead saves the round trips.
const maxJoins = 8

// gate decides which channel may join next. The server holds the whole socket
// while it works on a join, and 5 s longer when it refuses one, so those that
// were refused before go one at a time. It is pure.
type gate struct {
	waiting []waitingJoin
	sentOff []sentJoin
	since   time.Time // when the oldest join's turn at the server began
}

type waitingJoin struct {
	topic   string
	failing bool
}

type sentJoin struct {
	waitingJoin
	ref phoenix.Ref
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
	if len(g.sentOff) >= maxJoins {
		return w, false
	}
	trying := slices.ContainsFunc(g.sentOff, func(s sentJoin) bool { return s.failing })
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
	if len(g.sentOff) == 0 {
		g.since = now
	}
	g.sentOff = append(g.sentOff, sentJoin{w, ref})
}

// answered notes a reply and reports whether it was one to a join.
func (g *gate) answered(ref phoenix.Ref, now time.Time) bool {
	i := slices.IndexFunc(g.sentOff, func(s sentJoin) bool { return s.ref == ref })
	if i < 0 {
		return false
	}
	g.sentOff = slices.Delete(g.sentOff, i, i+1)
	g.since = now
	return true
}

// overdue takes out the join whose turn it is, if the server has worked on it
// for timeout.
func (g *gate) overdue(now time.Time, timeout time.Duration) (topic string, ok bool) {
	if len(g.sentOff) == 0 || now.Before(g.since.Add(timeout)) {
		return "", false
	}
	topic = g.sentOff[0].topic
	g.sentOff = slices.Delete(g.sentOff, 0, 1)
	g.since = now
	return topic, true
}

// hold restarts the wait for the join whose turn it is: until now nobody read
// what the server sends.
func (g *gate) hold(now time.Time) {
	if now.After(g.since) {
		g.since = now
	}
}

// busy reports whether a join is under way.
func (g *gate) busy() bool { return len(g.sentOff) > 0 }
