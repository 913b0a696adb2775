package channel

import (
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/backoff"
	"github.com/gapless-go/gapless/internal/link"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/rescue"
)

const (
	// lasting is how long a channel must have been live for its earlier failures
	// to be forgotten.
	lasting = 30 * time.Second
	// leaveTimeout bounds how long a leave waits for the server.
	leaveTimeout = 10 * time.Second
)

// cause explains an input: what a gap that follows from it says.
type cause struct {
	since  time.Time // when what is lost was last known to be whole
	reason cdc.GapReason
	err    error
	replay Replay // what a replay that is over has brought
}

// happen applies an input that comes from outside.
func (c *Channel) happen(in input, why cause) {
	c.mu.Lock()
	defer c.unlock()
	c.apply(in, why)
}

// happenOn is happen if the join still holds.
func (c *Channel) happenOn(join phoenix.Ref, in input, why cause) {
	c.mu.Lock()
	defer c.unlock()
	if c.joinRef == join {
		c.apply(in, why)
	}
}

// apply moves the machine and carries out what follows. Whatever happens to a
// join, the socket or a stream passes here, and nothing else opens or closes a
// gap, but an overflow. It is called under mu.
func (c *Channel) apply(in input, why cause) {
	was := c.m
	if was.state == Closed {
		return
	}
	var e effects
	c.m, e = c.m.next(in)
	now := time.Now()
	if why.since.IsZero() {
		why.since = c.lastWhole
	}
	if why.err != nil && (why.reason != cdc.Undecodable || in == inEnded) && c.m.state >= Joining && c.m.state != Live {
		c.reason = why.err
	}
	if was.state == Live && c.m.state != Live && now.Sub(c.liveSince) >= lasting {
		c.failures = 0
	}
	if c.m.join == joinNone {
		c.joinRef = ""
	}
	c.interrupt(e.lost, why)
	c.restore(e.restored, cdc.Gap{Until: now, Reason: cdc.Started}, why.replay)
	if e.passing != 0 {
		g := cdc.Gap{Since: why.since, Until: now, Reason: why.reason, Err: why.err}
		replay := NoReplay
		if c.cfg.replay {
			replay = ReplayIncomplete // it is not asked for again
		}
		c.restore(e.passing, g, replay)
		if e.passing&c.told() != 0 && now.Sub(c.lastPassing) >= time.Second { // a flood of them is not one of notices
			c.lastPassing = now
			c.note(link.Notice{Gap: &g})
		}
	}
	if why.reason == cdc.Undecodable && now.Sub(c.lastDropped) >= time.Second {
		c.lastDropped = now
		c.note(link.Notice{Dropped: why.err})
	}
	if e.joinOver {
		c.abandon(why.err)
	}
	if was.join != joinAccepted && c.m.join == joinAccepted {
		c.joins.Worked()
		c.note(link.Notice{Joined: true})
	}
	if c.m.state == Live && was.state != Live {
		c.reason, c.liveSince = nil, now
		c.subscribes.Worked()
		c.note(link.Notice{Live: true})
	}
	if c.m.state != was.state {
		close(c.changed)
		c.changed = make(chan struct{})
	}
	if c.m.state == Closed {
		c.finish(why.err)
		return
	}
	c.await(e.wait)
	if e.request {
		c.link.RequestJoin(c.wireTopic(), c.failures > 0)
	}
}

// interrupt opens a gap in streams that were whole. There is one notice of it:
// of the changes if there are subscriptions, of the broadcasts otherwise.
func (c *Channel) interrupt(lost streams, why cause) {
	g := cdc.Gap{Since: why.since, Reason: why.reason, Err: why.err}
	for kind, list := range c.streams {
		if lost&kind != 0 {
			for _, s := range list {
				s.open(g)
			}
		}
	}
	if lost&broadcasts != 0 {
		c.replayFrom(g.Since)
	}
	if told := c.told(); lost&told != 0 && len(c.streams[told]) > 0 {
		c.note(link.Notice{Gap: &g})
	}
}

// told returns of which streams' gaps there is a notice.
func (c *Channel) told() streams {
	if len(c.subs) == 0 {
		return broadcasts
	}
	return changes
}

// restore closes the gap of streams, begins them, or adds a gap that is over.
func (c *Channel) restore(kinds streams, g cdc.Gap, replay Replay) {
	for kind, list := range c.streams {
		if kinds&kind != 0 {
			for _, s := range list {
				s.restore(g, replay)
			}
		}
	}
}

// abandon forgets a join that is over: nothing that was sent on it is answered.
func (c *Channel) abandon(err error) {
	if c.presence != nil {
		delete(c.awaited, c.presence.track.ref)
		c.presence.track.stop()
	}
	c.replay.stop()
	c.systemError, c.pushes, c.doubted = "", 0, time.Time{}
	awaited := c.awaited
	c.awaited = map[phoenix.Ref]func(reply){}
	for _, f := range awaited {
		f(reply{err: joinOver(err)})
	}
}

// finish ends the streams of a channel that is over.
func (c *Channel) finish(err error) {
	c.timer.stop()
	if c.attached {
		c.attached = false
		c.link.Detach(c.wireTopic())
	}
	for _, list := range c.streams {
		for _, s := range list {
			s.end(err)
		}
	}
	if c.presence != nil {
		c.presence.track.stop()
		c.presence.track.wake()
	}
	c.note(link.Notice{Ended: err})
}

// await sets the timer for what the machine waits for.
func (c *Channel) await(w wait) {
	switch w {
	case waitNothing:
		c.timer.stop()
	case waitConfirmed:
		c.after(&c.timer, c.cfg.liveTimeout, func() { c.apply(inUnconfirmed, cause{err: errNotLive}) })
	case waitServer:
		c.after(&c.timer, c.cfg.liveTimeout, c.tryAgain)
	case waitBackoff:
		c.after(&c.timer, backoff.Full(c.failures, c.cfg.backoffMin, c.cfg.backoffMax), c.tryAgain)
		c.failures++
	case waitLeft:
		c.after(&c.timer, leaveTimeout, func() { c.apply(inLeft, cause{err: ErrClosed}) })
	}
}

// tryAgain joins anew. The server ends a join of the topic that still holds.
func (c *Channel) tryAgain() { c.apply(inRetry, cause{reason: cdc.Closed, err: c.reason}) }

// timer runs one function at a time.
type timer struct{ *time.Timer }

// after makes f run in d, under mu, unless t is set again or stopped before.
func (c *Channel) after(t *timer, d time.Duration, f func()) {
	t.stop()
	var this *time.Timer
	this = time.AfterFunc(d, func() {
		c.guard("a timer of the channel", func() {
			c.mu.Lock()
			defer c.unlock()
			if t.Timer == this {
				t.Timer = nil
				f()
			}
		})
	})
	t.Timer = this
}

func (t *timer) stop() {
	if t.Timer != nil {
		t.Timer.Stop()
		t.Timer = nil
	}
}

// guard runs f, which does not hold mu. If it panics the channel joins anew, or
// ends if that panics, too; nothing else is affected.
func (c *Channel) guard(where string, f func()) {
	err := rescue.Do(where, func() error { f(); return nil })
	if err == nil {
		return
	}
	if rescue.Do(where, func() error { c.broken(err); return nil }) != nil {
		_ = rescue.Do(where, func() error { c.happen(inFail, cause{err: err}); return nil })
	}
}

// broken has the channel join anew after a panic. What was under way may have
// been to open a gap.
func (c *Channel) broken(err error) {
	c.mu.Lock()
	defer c.unlock()
	why := cause{since: c.lastWhole, reason: cdc.Crashed, err: err}
	c.note(link.Notice{Dropped: err})
	begun := c.m.begun &^ c.m.whole
	c.apply(inBroken, why)
	if c.m.state == Degraded {
		c.interrupt(begun, why)
	}
}
