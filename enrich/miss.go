package enrich

import "time"

// Miss is what a join does with an event whose row is not there. There is no
// default: the zero Miss is refused.
type Miss struct {
	kind missKind
	wait time.Duration
	max  int
}

type missKind uint8

const (
	missUnset missKind = iota
	missDrop
	missNull
	missFetch
	missWait
	missPark
)

// Drop leaves the event out: an inner join.
func Drop() Miss { return Miss{kind: missDrop} }

// Null gives the event without a row: a left join.
func Null() Miss { return Miss{kind: missNull} }

// Fetch reads the row from the database, and gives the event without one if it
// is not there either, or could not be read in time (see Joined.Err). The stream
// waits meanwhile. A key that is not there is not asked for again for as long as
// timeout. The table must be a *cache.Table.
func Fetch(timeout time.Duration) Miss { return Miss{kind: missFetch, wait: timeout} }

// Wait has the stream wait for the row, at most d for each event, and gives the
// event without one after that. All events stay in order, and none is pulled
// meanwhile.
func Wait(d time.Duration) Miss { return Miss{kind: missWait, wait: d} }

// Park puts the event aside until its row is there, and gives it without one
// after ttl. Other keys go on; later events of the same key queue behind, so
// that the order of each key stays. At most max events are aside: one more, and
// the oldest is given without a row (see Counters.Overflowed).
func Park(ttl time.Duration, max int) Miss { return Miss{kind: missPark, wait: ttl, max: max} }

// check returns what is wrong with the policy; empty if nothing is.
func (m Miss) check() string {
	switch {
	case m.kind == missUnset:
		return "choose one: Drop, Null, Fetch, Wait or Park"
	case m.kind >= missFetch && m.wait <= 0:
		return "the time must be more than 0"
	case m.kind == missPark && m.max < 1:
		return "at least one event must be allowed to be aside"
	}
	return ""
}
