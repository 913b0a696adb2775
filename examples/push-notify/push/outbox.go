package push

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/enrich/deliver"
)

// Outbox is the stream of the events in a table whose rows are only added, and have
// the time at which they were.
//
// It goes by that time and not by the numbers: those of a sequence with CACHE are in
// the order of sessions, not of rows. A row becomes visible when its transaction
// commits, behind rows with later times. So each reading begins Settle before the
// last event, and one in Every begins with the oldest that anybody wants. The
// numbers that were read tell what is new.
//
// A reading gives what it has found in the order of the times. What it takes several
// pages for is read again until there is nothing new: then no event is given before
// another one of its customer that was committed first, as long as each of their
// transactions locks the customer's row, or that of the order.
//
// It needs a program that has the REST API alone, and one reader, whose store
// remembers what was done. With a connection to the database take deliver.Outbox,
// which claims rows and marks them in the table.
type Outbox struct {
	Reader Reader
	// Bell rings when there may be something new: a change, or a gap in which one
	// may have been lost.
	Bell Bell
	// Fresh, if set, is called between the reading of new events and the giving of
	// them, to have what they are joined with as new as they are.
	Fresh func(ctx context.Context) error
	// Settle is how long a transaction takes at most, but for the longest, and how
	// far the REST API may be behind.
	Settle time.Duration
	// Every is how often the table is read though the bell is silent, and all of it.
	Every time.Duration
	Log   *slog.Logger
}

// Reader reads rows of the outbox; a *Table is one.
type Reader interface {
	// Behind returns the first rows behind a place, in order, all as they were at one
	// time; none if there is no such row.
	Behind(ctx context.Context, p Place) ([]Event, error)
}

// Place is one in the order of the events.
type Place struct {
	At time.Time
	ID int64 // among those of one time
}

func (p Place) compare(q Place) int { return cmp.Or(p.At.Compare(q.At), cmp.Compare(p.ID, q.ID)) }

func (e Event) place() Place { return Place{e.At, e.ID} }

// Bell is the stream of changes; *channel.Subscription is one.
type Bell interface {
	Changes(ctx context.Context) iter.Seq2[cdc.Change, error]
}

// Events gives the events that are not older than maxAge, each once in a run, and
// goes on with what comes. 0: all events, all of which are read each time in Every.
// It ends with the error with which the bell or the table ends.
func (o *Outbox) Events(maxAge time.Duration) enrich.Stream[Event] {
	return func(ctx context.Context) iter.Seq2[Event, error] {
		r := &reading{Outbox: o, maxAge: maxAge, given: map[int64]time.Time{}}
		return deliver.Poll(r.read, o.Bell.Changes, o.Every)(ctx)
	}
}

// reading is how far an Outbox has been read.
type reading struct {
	*Outbox
	maxAge time.Duration
	given  map[int64]time.Time // by number, as long as they can be read
	last   time.Time           // the latest of them
	whole  time.Time           // when all was read last
}

// readAtOnce is how many new events a reading stops at.
const readAtOnce = 5000

// read returns what is new, in order.
func (r *reading) read(ctx context.Context) ([]Event, error) {
	began, oldest := time.Now(), time.Time{}
	if r.maxAge > 0 {
		oldest = began.Add(-r.maxAge)
	}
	from := oldest
	if whole := r.whole.IsZero() || began.Sub(r.whole) >= r.Every; whole {
		r.whole = began
	} else if recent := r.last.Add(-r.Settle); recent.After(oldest) {
		from = recent
	}
	found := map[int64]Event{}
	pages, end, err := r.pass(ctx, from, time.Time{}, found)
	for before := 0; err == nil && pages > 1 && len(found) > before; {
		before = len(found)
		_, _, err = r.pass(ctx, from, end, found)
	}
	if err == nil && len(found) > 0 && r.Fresh != nil {
		err = r.Fresh(ctx)
	}
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(r.given, func(_ int64, at time.Time) bool { return at.Before(oldest.Add(-r.Settle)) })
	fresh := slices.SortedFunc(maps.Values(found), func(a, b Event) int { return a.place().compare(b.place()) })
	for _, e := range fresh {
		if e.At.Before(r.last.Add(-r.Settle)) {
			r.Log.Debug("an event became visible late", "event", e.ID, "at", e.At)
		}
		r.given[e.ID] = e.At
	}
	if len(fresh) > 0 && fresh[len(fresh)-1].At.After(r.last) {
		r.last = fresh[len(fresh)-1].At
	}
	return fresh, nil
}

// pass reads from one time to another (zero: to the end, or until much is found),
// adds what is new, and returns the number of pages and the time of the last row.
func (r *reading) pass(ctx context.Context, from, to time.Time, found map[int64]Event) (pages int, end time.Time, err error) {
	at := Place{from, math.MinInt64}
	for ; to.IsZero() && len(found) < readAtOnce || !to.IsZero() && !at.At.After(to); pages++ {
		page, err := r.Reader.Behind(ctx, at)
		if err != nil || len(page) == 0 {
			return pages, at.At, err
		}
		for _, e := range page {
			if at.compare(e.place()) >= 0 {
				return pages, at.At, errors.New("the outbox: a page does not go on behind the last one")
			}
			at = e.place()
			if _, given := r.given[e.ID]; !given && (to.IsZero() || !e.At.After(to)) {
				found[e.ID] = e
			}
		}
	}
	return pages, at.At, nil
}
