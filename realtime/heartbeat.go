package realtime

import (
	"time"

	"github.com/gapless-go/gapless/internal/phoenix"
)

// lookEvery is how often the wait for an answer is looked at. If much more time
// than that has passed, this process did not run.
const lookEvery = time.Second

// heart decides when to send a heartbeat and when a missing answer means that
// the socket is dead. It is pure: it is given the time and what happened.
type heart struct {
	every, timeout time.Duration

	beat    time.Time   // when the last one was sent
	pending phoenix.Ref // the last one, if it has no answer
	joins   uint64      // how many joins had been written before the last one
	waited  time.Duration
	looked  time.Time // when waited was last added to
}

// start begins with the socket.
func (h *heart) start(now time.Time) { h.beat = now }

// sent notes a heartbeat that goes out behind so many joins.
func (h *heart) sent(ref phoenix.Ref, joins uint64, now time.Time) {
	if h.pending == "" {
		h.waited, h.looked = 0, now
	}
	h.beat, h.pending, h.joins = now, ref, joins
}

// answered notes an answer. If it is that to the last heartbeat, it returns when
// that was sent: what the server had sent by then has come.
func (h *heart) answered(ref phoenix.Ref, now time.Time) (sent time.Time, last bool) {
	h.waited, h.looked = 0, now
	if ref != h.pending {
		return sent, false
	}
	h.pending = ""
	return h.beat, true
}

// excuse begins the wait for the answer anew at a time: until then the server
// was busy with a join, or this side did not read.
func (h *heart) excuse(until time.Time) {
	if until.After(h.looked) {
		h.waited, h.looked = 0, until
	}
}

// due says what to do at a time: send a heartbeat, give the socket up.
// Heartbeats go out while an answer is awaited: the server closes a socket on
// which it hears nothing, whatever the reason for the missing answer.
func (h *heart) due(now time.Time) (beat, dead bool) {
	switch passed := apart(h.looked, now); {
	case h.pending == "":
	case passed > 2*lookEvery:
		h.excuse(now) // the answer may be there, unread
	default:
		h.waited += max(0, passed)
		h.looked = now
	}
	return !now.Before(h.beat.Add(h.every)), h.pending != "" && h.waited >= h.timeout
}

// next returns when due has something new to say.
func (h *heart) next() time.Time {
	next := h.beat.Add(h.every)
	if h.pending == "" {
		return next
	}
	look := h.looked.Add(min(lookEvery, h.timeout-h.waited))
	if look.Before(next) {
		return look
	}
	return next
}
