package mockserver

import (
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/fault"
)

// DropChanges loses the next n row changes that would be looked at, whoever
// subscribes to them, without a sign. A negative n is until further notice,
// which is n = 0.
func (s *Server) DropChanges(n int) {
	s.set(func(f *fault.InForce) { f.Dropped = fault.OfTable{Budget: fault.Budget(n)} })
}

// DuplicateChanges delivers the next n row changes that have subscribers twice,
// one right behind the other. The real server is not known to. A negative n is
// until further notice, which is n = 0.
func (s *Server) DuplicateChanges(n int) {
	s.set(func(f *fault.InForce) { f.Doubled = fault.OfTable{Budget: fault.Budget(n)} })
}

// ReorderChanges delivers the next n row changes that have subscribers in
// another order than theirs, which Config.Seed decides. The real server may do
// so between regions. The changes wait for each other, but no longer than ten
// times Timing.Poll for the last ones. A negative n mixes what each look at the
// log finds, until further notice, which is n = 0.
func (s *Server) ReorderChanges(n int) {
	s.set(func(f *fault.InForce) { f.Reordered = fault.Budget(n) })
}

// DelayChanges delivers row changes d later than the server finds them, in
// their order. Those that are under way when d is made shorter are not
// overtaken. A channel that ends or joins again meanwhile does not get them.
func (s *Server) DelayChanges(d time.Duration) {
	s.set(func(f *fault.InForce) { f.ChangeDelay = max(d, 0) })
}

// TruncateChanges makes the next n row changes come as those do that are larger
// than 1 MB: with the error "Error 413: Payload Too Large" and without NULLs
// and all values that take more than 64 bytes. A negative n is until further
// notice, which is n = 0.
func (s *Server) TruncateChanges(n int) {
	s.set(func(f *fault.InForce) { f.Truncated = fault.OfTable{Budget: fault.Budget(n)} })
}

// FaultREST makes requests to the REST API go wrong, in the place of what was
// asked for before; without arguments nothing goes wrong any more. Of several
// faults that fit a request, the first one that is not used up meets it, and
// no other. Requests that wait end with Close.
func (s *Server) FaultREST(faults ...fault.REST) {
	s.rest.Faults.Set(faults)
	s.db.KeepPast(s.rest.Faults.Stale())
}

// LimitRows makes one answer of the REST API hold no more than n rows, as with
// a project whose setting db-max-rows is lower than one thinks; 0: as many as
// Config.MaxRows says.
func (s *Server) LimitRows(n int) {
	s.rest.Faults.LimitRows(n)
}
