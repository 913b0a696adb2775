package enrich

import "sync/atomic"

// Counters is what operators count, for metrics. The zero value is ready. It
// may be read at any time, and several operators may share it.
type Counters struct {
	Pending    atomic.Int64  // values that are held, now
	Missed     atomic.Uint64 // lookups that did not find their row at first
	Expired    atomic.Uint64 // values that were held until their time was over
	Overflowed atomic.Uint64 // values that were let go early because too many were held
	Late       atomic.Uint64 // events that came behind the close of their windows
	Degraded   atomic.Uint64 // outputs of a join that may rest on stale data
	Incomplete atomic.Uint64 // outputs of a windowed join that may lack something
	Repeated   atomic.Uint64 // values that Dedup left out
}

// orNew spares the operators a check for nil.
func (c *Counters) orNew() *Counters {
	if c == nil {
		return new(Counters)
	}
	return c
}
