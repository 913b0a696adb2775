package realtime

import (
	"context"
	"slices"
	"time"

	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/mockserver/internal/fault"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// maxFailures is how many attempts to make a slot may fail in a row before the
// poller gives up for good.
const maxFailures = 6

// poller reads the log and sends what it finds to the subscribers, in one order
// for all tables. There is one from the first subscription on until there has
// been none for a while; where there is none, nobody hears of any change.
//
// Its slot is a temporary one, which is lost with all that is in it when the
// query fails or the connection does. The next one begins with what is
// committed after it was made. Nobody is told.
type poller struct {
	rt     *Server
	ctx    context.Context // ends with the server, or when the poller is stopped
	stop   context.CancelFunc
	wake   chan struct{} // holds a value when there is something to do at once
	chance *fault.Chance

	// Under rt.mu:
	log    project.Log // nil: there is none
	reopen time.Time   // when one is to be made, where there is none

	// Of the poller's goroutine:
	failures int           // attempts to make a slot, in a row
	backoff  time.Duration // after the last failure
	line     line
}

// startPoller begins to read what is committed from now on. Whoever had
// subscribed before is forgotten: workers that start delete all subscriptions.
// The caller holds mu.
func (rt *Server) startPoller() {
	rt.pollers++
	p := &poller{rt: rt, wake: make(chan struct{}, 1), chance: fault.NewChance(rt.seed, fault.StreamPollers+uint64(rt.pollers)<<8)}
	p.ctx, p.stop = context.WithCancel(rt.ctx)
	p.reopen = time.Now().Add(rt.Faults.Now().SlotDelay)
	p.makeSlot()
	rt.poller = p
	rt.removeAll()
	rt.wg.Add(1)
	go p.run() // ends with p.ctx, when it gives up, or when there has been no subscription for a while
}

// stopPoller ends the poller at once, if there is one. Subscriptions stay, and
// nobody serves them. The caller holds mu.
func (rt *Server) stopPoller() {
	if p := rt.poller; p != nil {
		rt.poller = nil
		p.drop()
		p.stop()
	}
}

// run is the poller's goroutine.
func (p *poller) run() {
	defer p.rt.wg.Done()
	defer p.end()
	for wait := time.Duration(0); p.rest(wait); {
		if p.retire() {
			return
		}
		if p.rt.publicationChanged() {
			p.rt.resubscribe(0)
		}
		more := false
		if wait, more = p.look(); !more {
			return
		}
		wait = p.line.until(wait)
	}
}

// end leaves nothing behind.
func (p *poller) end() {
	p.rt.mu.Lock()
	defer p.rt.mu.Unlock()
	p.leave()
	p.drop()
}

// rest waits for d, or until there is something to do. It reports false when
// the poller is to end.
func (p *poller) rest(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.wake:
	case <-p.opening():
	case <-p.ctx.Done():
	}
	return p.ctx.Err() == nil
}

// opening is closed when the log that is being opened is open; nil: none is.
func (p *poller) opening() <-chan struct{} {
	p.rt.mu.Lock()
	defer p.rt.mu.Unlock()
	if p.log == nil || isOpened(p.log) || hasFailed(p.log) {
		return nil
	}
	return p.log.Opened()
}

// retire ends the poller if there has been no subscription for long, which it
// reports. The next subscription starts another one.
func (p *poller) retire() bool {
	p.rt.mu.Lock()
	defer p.rt.mu.Unlock()
	if len(p.rt.subs) > 0 || time.Since(p.rt.asleep) < p.rt.timing.SlotIdle {
		return false
	}
	p.leave()
	return true
}

// leave leaves the server without a poller. The caller holds rt.mu.
func (p *poller) leave() {
	if p.rt.poller == p {
		p.rt.stopPoller()
	}
}

// look reads the log once and returns how long to wait before the next look.
// It reports false when the poller gives up.
func (p *poller) look() (wait time.Duration, more bool) {
	p.release()
	log, wait, more := p.slot()
	if log == nil {
		return wait, more
	}
	all, taken, err := p.read(log)
	delivered := false
	if err == nil && p.rt.Faults.PollTimedOut(len(all)) {
		p.rt.Pause(p.ctx, p.rt.timing.PollTimeout)
		err = fault.ErrPollTimeout
	}
	if err == nil {
		delivered, err = p.deliverAll(all)
	}
	timing := p.rt.timing
	switch {
	case err != nil:
		p.rt.log.Warn("the poll failed; changes are lost", "error", err)
		p.rt.LoseSlot(p.chance.Between(timing.Poll, 50*timing.Poll))
		return 0, true
	case delivered:
		return 0, true
	case taken > 0:
		return timing.Poll + p.chance.Between(timing.Poll/2, timing.Poll), true
	}
	return timing.PollIdle, true
}

// read takes changes from the log, if it is open, without those that are to be
// lost. It returns how many it took.
func (p *poller) read(log project.Log) (all []project.Change, taken int, err error) {
	if !isOpened(log) {
		return nil, 0, nil
	}
	err = rescue.Do("a policy", func() (err error) {
		all, err = log.Next(p.ctx, maxChanges, p.rt.subscribed, p.rt.Faults.ChangeTruncated)
		return err
	})
	taken = len(all)
	return slices.DeleteFunc(all, func(c project.Change) bool { return p.rt.Faults.ChangeDropped(c.Table) }), taken, err
}

// slot returns the slot, or makes one if it is time to. Without one it returns
// how long to wait, and false when it has failed too often.
func (p *poller) slot() (log project.Log, wait time.Duration, more bool) {
	p.rt.mu.Lock()
	defer p.rt.mu.Unlock()
	made := p.log != nil || p.makeSlot()
	if p.log != nil && hasFailed(p.log) {
		p.rt.log.Warn("the log cannot be read", "error", p.log.Err())
		p.drop()
		made = false
	}
	if !made {
		if p.failures++; p.failures > maxFailures {
			p.rt.log.Warn("nobody reads the log any more, until somebody subscribes", "attempts", p.failures)
			p.leave()
			return nil, 0, false
		}
		poll := p.rt.timing.Poll
		p.backoff = p.chance.Between(poll, min(3*max(p.backoff, poll), 50*poll))
		p.reopen = time.Now().Add(p.backoff)
	}
	if p.log != nil && isOpened(p.log) {
		p.failures, p.backoff = 0, 0
	}
	return p.log, time.Until(p.reopen), true
}

// makeSlot makes a slot if it is time to, and reports false if the database
// does not answer. The caller holds rt.mu.
func (p *poller) makeSlot() bool {
	if time.Now().Before(p.reopen) {
		return true
	}
	if p.rt.Faults.Outage() != nil {
		return false
	}
	p.log = p.rt.db.OpenLog(p.ctx, p.rt.arrived)
	return true
}

// drop loses the slot, if there is one. The caller holds rt.mu.
func (p *poller) drop() {
	if p.log != nil {
		p.log.Close()
		p.log = nil
	}
}

// LoseSlot drops the slot, with what is in it, and has another one made after
// d: at once for 0. Where there is none already, the next one does not come
// earlier than it would have.
func (rt *Server) LoseSlot(d time.Duration) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	p := rt.poller
	if p == nil {
		return
	}
	from := time.Now().Add(d)
	if p.log != nil || from.After(p.reopen) {
		p.drop()
		p.reopen = from
		p.makeSlot()
	}
	rt.wakePoller()
}

// mend makes the slot that is missing, if there is a poller.
func (rt *Server) mend() {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if p := rt.poller; p != nil && p.log == nil {
		p.reopen = time.Now()
		p.makeSlot()
		rt.wakePoller()
	}
}

// wakePoller has the poller look at once at what has changed. The caller holds
// mu.
func (rt *Server) wakePoller() {
	if rt.poller == nil {
		return
	}
	select {
	case rt.poller.wake <- struct{}{}:
	default:
	}
}
