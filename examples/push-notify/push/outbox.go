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
// number: what was read within the last Settle is read once more, again and
// again, and only what is older counts as settled. For one customer's events to
// come in the order of their numbers their transactions must not overlap, as is
// so when each locks the customer's row, or that of the only order.
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
	// Behind returns the rows with the least numbers that are greater than after,
	// in order; none if there is no such row.
	Behind(ctx context.Context, after int64) ([]Event, error)
}

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
	r := reading{Outbox: o, last: after, settled: after, given: map[int64]struct{}{}}
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
//	settled            last
//	   ▼                 ▼
//	 ──┬─────────────────┬─────────▶ numbers
//	   │ given, or to come│ not read
type reading struct {
	*Outbox
	last    int64              // the greatest number that was given
	settled int64              // all up to here has been given
	given   map[int64]struct{} // those greater than settled
	tops    []top              // at the beginnings of earlier rereadings, the earliest first
	reread  time.Time          // when the last rereading began
}

// top is the greatest number that was given at a time.
type top struct {
	at time.Time
	id int64
}

// read gives what is new. Now and then it begins at what is settled, to find
// what appeared late.
func (r *reading) read(ctx context.Context, yield func(Event, error) bool) error {
	began := time.Now()
	if again := began.Sub(r.reread) >= r.Settle/2; !again {
		return r.pages(ctx, r.last, yield)
	}
	r.reread = began
	if err := r.pages(ctx, r.settled, yield); err != nil {
		return err
	}
	r.settle(began)
	return nil
}

func (r *reading) pages(ctx context.Context, from int64, yield func(Event, error) bool) error {
	for {
		page, err := r.Reader.Behind(ctx, from)
		if err != nil || len(page) == 0 {
			return err
		}
		from = page[len(page)-1].ID
		page = slices.DeleteFunc(page, func(e Event) bool { _, before := r.given[e.ID]; return before })
		if err := r.give(ctx, page, yield); err != nil {
			return err
		}
	}
}

func (r *reading) give(ctx context.Context, fresh []Event, yield func(Event, error) bool) error {
	if len(fresh) > 0 && r.Fresh != nil {
		if err := r.Fresh(ctx); err != nil {
			return err
		}
	}
	for _, e := range fresh {
		r.given[e.ID] = struct{}{}
		r.last = max(r.last, e.ID)
		if e.Settled = r.settled; !yield(e, nil) {
			return errLeft
		}
	}
	return nil
}

// settle notes that a rereading that began at a time has found everything: what
// had a lesser number than one that was known a Settle before that.
func (r *reading) settle(began time.Time) {
	for len(r.tops) > 0 && began.Sub(r.tops[0].at) >= r.Settle {
		r.settled = r.tops[0].id
		r.tops = r.tops[1:]
	}
	for id := range r.given {
		if id <= r.settled {
			delete(r.given, id)
		}
	}
	r.tops = append(r.tops, top{time.Now(), r.last})
}
