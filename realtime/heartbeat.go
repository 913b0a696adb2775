package realtime

import (
	"time"

	"github.com/gapless-go/gapless/internal/phoenix"
)

// heart decides when to send a heartbeat and when a missing answer means that
// the socket is dead. It is pure: it is told the time and what happened.
type heart struct {
	every, timeout time.Duration

	beat    time.Time   // when the last one was sent
	pending phoenix.Ref // the last one, if it has no answer
	since   time.Time   // since when an answer is awaited
}

// start begins with the socket.
func (h *heart) start(now time.Time) { h.beat = now }

// sent notes a heartbeat.
func (h *heart) sent(ref phoenix.Ref, now time.Time) {
	if h.pending == "" {
		h.since = now
	}
	h.beat, h.pending = now, ref
}

// answered notes an answer, be it to an earlier heartbeat than the last.
func (h *heart) answered(ref phoenix.Ref, now time.Time) {
	h.since = now
	if ref == h.pending {
		h.pending = ""
	}
}

// excuse restarts the wait for the answer: until now the server was busy with
// a join, or this side did not read.
func (h *heart) excuse(now time.Time) {
	if now.After(h.since) {
		h.since = now
	}
}

// due says what to do at a time: send a heartbeat, give the socket up.
// Heartbeats go out while an answer is awaited: the server closes a socket on
// which it hears nothing, whoever is to blame for the missing answer.
func (h *heart) due(now time.Time) (beat, dead bool) {
	return !now.Before(h.beat.Add(h.every)), h.pending != "" && !now.Before(h.since.Add(h.timeout))
}

// next returns when due has something new to say.
func (h *heart) next() time.Time {
	next := h.beat.Add(h.every)
	if deadline := h.since.Add(h.timeout); h.pending != "" && deadline.Before(next) {
		next = deadline
	}
	return next
}
