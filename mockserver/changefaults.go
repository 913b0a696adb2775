package mockserver

import (
	"errors"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/fault"
)

// errPollTimeout is the error of a poll that took too long.
var errPollTimeout = errors.New("the query took longer than 15 s")

// errPollFault is the error of a poll that is to fail.
var errPollFault = errors.New("the query was made to fail")

func (f *faults) failedPoll(changes int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if changes > 0 && f.polls.Take() {
		return errPollFault
	}
	return nil
}

// pollTimedOut reports whether a poll that found something takes too long.
func (f *faults) pollTimedOut(changes int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return changes > 0 && f.slowPolls.Take()
}

func (f *faults) lateSlot() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.slotDelay
}

func (f *faults) changeDropped(table string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dropped.takeOf(table)
}

func (f *faults) changeTruncated(table string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.truncated.takeOf(table)
}

func (f *faults) rateExceeded() bool { return f.until(&f.over) > 0 }

func (f *faults) changeDelay() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lag
}

// onTheWay is what happens to a change between the poll and the channels.
type onTheWay struct {
	copies int
	delay  time.Duration
	pooled bool // it waits for others to be mixed with
	last   bool // and it is the last that they wait for
}

func (f *faults) onTheWay(table string) onTheWay {
	f.mu.Lock()
	defer f.mu.Unlock()
	way := onTheWay{copies: 1, delay: f.lag, pooled: f.reordered.Take()}
	way.last = way.pooled && f.reordered == 0
	if f.doubled.takeOf(table) {
		way.copies = 2
	}
	return way
}

// mixesPolls reports whether the changes of each poll are mixed.
func (f *faults) mixesPolls() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reordered < 0
}

// DropChanges loses the next n row changes that would be looked at, whoever
// subscribes to them, without a sign. A negative n is until further notice,
// which is n = 0.
func (s *Server) DropChanges(n int) {
	f := &s.realtime.faults
	f.set(func() { f.dropped = tableBudget{Budget: fault.Budget(n)} })
}

// DuplicateChanges delivers the next n row changes that have subscribers twice,
// one right behind the other. The real server is not known to. A negative n is
// until further notice, which is n = 0.
func (s *Server) DuplicateChanges(n int) {
	f := &s.realtime.faults
	f.set(func() { f.doubled = tableBudget{Budget: fault.Budget(n)} })
}

// ReorderChanges delivers the next n row changes that have subscribers in
// another order than theirs, which Config.Seed decides. The real server may do
// so between regions. The changes wait for each other, but no longer than ten
// times Timing.Poll for the last ones. A negative n mixes what each look at the
// log finds, until further notice, which is n = 0.
func (s *Server) ReorderChanges(n int) {
	f := &s.realtime.faults
	f.set(func() { f.reordered = fault.Budget(n) })
}

// DelayChanges delivers row changes d later than the server finds them, in
// their order. Those that are under way when d is made shorter are not
// overtaken. A channel that ends or joins again meanwhile does not get them.
func (s *Server) DelayChanges(d time.Duration) {
	f := &s.realtime.faults
	f.set(func() { f.lag = max(d, 0) })
}

// TruncateChanges makes the next n row changes come as those do that are larger
// than 1 MB: with the error "Error 413: Payload Too Large" and without NULLs
// and all values that take more than 64 bytes. A negative n is until further
// notice, which is n = 0.
func (s *Server) TruncateChanges(n int) {
	f := &s.realtime.faults
	f.set(func() { f.truncated = tableBudget{Budget: fault.Budget(n)} })
}
