package push

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/enrich"
)

// Outbox is the stream of the events in a table whose rows are only added, and
// numbered.
//
// The rows are read in the order of their numbers, page by page behind the last
// one, whenever the bell rings and every so often without it. But a number is
// given before the commit, so that a row may appear behind one with a greater
// number. So each reading asks for the numbers that were left out, too, and until
// they have been missing for Settle nothing counts as settled behind them. One
// reading sees what was committed at one time: of two transactions of a customer
// that do not overlap, as each locks the customer's row or that of the only
// order, the second is not seen without the first. So one customer's events come
// in their order.
type Outbox struct {
	Reader Reader
	// Bell rings when there may be something new: a change, or a gap in which one
	// may have been lost.
	Bell Bell
	// Fresh, if set, is called between the reading of new events and the giving of
	// them, to have what they are joined with as new as they are.
	Fresh func(ctx context.Context) error
	// Settle is how long a transaction may take from its number to its commit,
	// and how far the REST API may be behind.
	Settle time.Duration
	// Every is how often the table is read though the bell is silent.
	Every time.Duration
	Log   *slog.Logger
}

// Reader reads rows of the outbox; a *Table is one.
type Reader interface {
	// Behind returns the rows with the least numbers of those that are greater than
	// after or in a span, in order, all as they were at one time; none if there is
	// no such row.
	Behind(ctx context.Context, after int64, missing []Span) ([]Event, error)
}

// Span is the numbers from First to Last, both included.
type Span struct{ First, Last int64 }

// Bell is the stream of changes; *channel.Subscription is one.
type Bell interface {
	Changes(ctx context.Context) iter.Seq2[cdc.Change, error]
}

// Events gives all events behind a number, each once in a run, and goes on with
// what comes. It ends with the error with which the bell or the table ends.
func (o *Outbox) Events(after int64) enrich.Stream[Event] {
	return func(ctx context.Context) iter.Seq2[Event, error] {
		return func(yield func(Event, error) bool) {
			if err := o.follow(ctx, after, yield); err != nil && !errors.Is(err, errLeft) {
				yield(Event{}, err)
			}
		}
	}
}

// errLeft is that nobody wants any more events.
var errLeft = errors.New("the loop was left")

func (o *Outbox) follow(ctx context.Context, after int64, yield func(Event, error) bool) error {
	listening, stop := context.WithCancel(ctx)
	bell, broken := make(chan struct{}, 1), make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() { broken <- o.listen(listening, bell) })
	defer running.Wait()
	defer stop()
	r := reading{Outbox: o, last: after}
	every := time.NewTicker(o.Every)
	defer every.Stop()
	for {
		if err := r.read(ctx, yield); err != nil {
			return err
		}
		select {
		case <-bell:
		case <-every.C:
		case err := <-broken:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listen rings until the stream of changes ends.
func (o *Outbox) listen(ctx context.Context, bell chan<- struct{}) error {
	for c, err := range o.Bell.Changes(ctx) {
		if err != nil {
			return err
		}
		if c.Gap != nil {
			o.Log.Debug("the bell may have missed something", "gap", c.Gap)
		}
		select {
		case bell <- struct{}{}:
		default: // it rings already
		}
	}
	return errors.New("the stream of changes ended without a reason")
}

// reading is how far an Outbox has been read.
//
//	settled     missing   last
//	   ▼        ▼     ▼     ▼
//	 ──┬────────┬─────┬─────┬─────▶ numbers
//	   │ given, but for what is missing │ not read
type reading struct {
	*Outbox
	last    int64 // the greatest number that was given
	missing []Span
	since   []time.Time // when each of missing was first seen to be missing
}

// most is how many spans a reading asks for: what fits into an address. With
// more, the later ones wait until the earlier ones are settled.
const most = 64

// read gives what is new.
func (r *reading) read(ctx context.Context, yield func(Event, error) bool) error {
	for {
		began, asked := time.Now(), r.missing[:min(len(r.missing), most)]
		page, err := r.Reader.Behind(ctx, r.last, asked)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			if r.settle(began, len(asked)) == 0 || len(asked) < most {
				return nil
			}
			continue // with those for which there was no room
		}
		if err := r.give(ctx, page, yield); err != nil {
			return err
		}
	}
}

func (r *reading) give(ctx context.Context, fresh []Event, yield func(Event, error) bool) error {
	if r.Fresh != nil {
		if err := r.Fresh(ctx); err != nil {
			return err
		}
	}
	now := time.Now()
	for _, e := range fresh {
		e.Settled = r.settled()
		if r.note(e.ID, now) && !yield(e, nil) {
			return errLeft
		}
	}
	return nil
}

// settled is the number up to which all has been given, or will never be.
func (r *reading) settled() int64 {
	if len(r.missing) > 0 {
		return r.missing[0].First - 1
	}
	return r.last
}

// note notes that a number is given: it is missing no more, or what it has left
// out is. False: it was given before, and nobody has asked for it.
func (r *reading) note(id int64, now time.Time) bool {
	if id > r.last {
		if id > r.last+1 {
			r.missing, r.since = append(r.missing, Span{r.last + 1, id - 1}), append(r.since, now)
		}
		r.last = id
		return true
	}
	i := slices.IndexFunc(r.missing, func(s Span) bool { return s.First <= id && id <= s.Last })
	if i < 0 {
		return false
	}
	var rest []Span
	if s := r.missing[i]; s.First < id {
		rest = append(rest, Span{s.First, id - 1})
	}
	if s := r.missing[i]; id < s.Last {
		rest = append(rest, Span{id + 1, s.Last})
	}
	r.since = slices.Replace(r.since, i, i+1, slices.Repeat(r.since[i:i+1], len(rest))...)
	r.missing = slices.Replace(r.missing, i, i+1, rest...)
	return true
}

// settle drops those of the first n spans that were missing for long enough when
// a reading began that has not found them, and returns how many they were.
func (r *reading) settle(began time.Time, n int) (over int) {
	for over < n && began.Sub(r.since[over]) >= r.Settle {
		over++
	}
	r.missing, r.since = slices.Delete(r.missing, 0, over), slices.Delete(r.since, 0, over)
	return over
}
