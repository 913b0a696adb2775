package enrich

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
)

// Lookup says how a Join finds the row of an event.
type Lookup[L any, K comparable, R any] struct {
	// Table is where rows are. Required.
	Table Table[K, R]
	// Key is the key of an event's row; false if it has none, as has a NaN. Such an
	// event is dropped by Drop, and given without a row otherwise, at once. Required.
	Key func(L) (K, bool)
	// Miss is what to do when there is no such row. Required.
	Miss Miss

	// At, if set, joins with the row as it was at that time: with the last
	// version that was committed then or before. The time must be a commit time
	// of the same database; a clock of someone else's is off by its own error.
	// The table must be a *cache.Table with a history (cache.WithHistory). Joined's
	// Trust says how much is known of the version.
	//
	// Without At the row is the one that the table has when the event is pulled:
	// of a row that changed since the event, its present state.
	At func(L) time.Time
	// Grace holds an event until the table's stream is past its At, so that a
	// change of the row that comes a little later than the event is seen, and at
	// most for so long: a table in which nothing changes does not say how far it
	// is. It needs At.
	Grace time.Duration
	// MaxHeld is how many events Grace may hold: with more, none is pulled.
	// 0: 10,000.
	MaxHeld int

	// Captured, if set, returns the row that an event carries with it, which
	// counts for more than the table; false if it carries none.
	Captured func(L) (R, bool)
	// Reemit, if set, gives an event again when its row changes. Without it a
	// change of the table never makes an output. Not with At.
	Reemit *Reemit

	// Gap, if set, tells which values of the stream are gaps, see GapOf. They
	// are passed on in their places.
	Gap func(L) *cdc.Gap
	// Counters, if set, counts.
	Counters *Counters
}

// Reemit says which events are given again when their row changes: those of the
// last time For, and at most Max of them.
//
// An output whose row is as it was in the last one of its event is not given
// again. A row that is deleted gives the event without a row, but nothing with
// Drop; a row that comes gives it even if it was dropped before.
type Reemit struct {
	For time.Duration
	Max int
}

// Joined is an event with its row.
type Joined[L, R any] struct {
	Left  L
	Right R
	Found bool // there is a row; else Right is zero
	// Trust is how much is known of the row as of the event's time. It is Exact
	// without At.
	Trust cache.Trust
	// Update: the event was given before, or dropped, and its row has changed.
	Update bool
	// Degraded: the table was not Synced, so that the row may be old, or missing
	// though it exists; or the event was let go before its time.
	Degraded bool
	// Gap, if set, makes this value a gap of the stream: events may be missing
	// here. Left is the value that told of it.
	Gap *cdc.Gap
	// Err is why Fetch could not read the row.
	Err error
}

// Join joins each event of a stream with a row of a table. It blocks until the
// table is Synced before it pulls the first event. A table that is Stale later is
// used as it is: Joined.Degraded tells.
//
// The outputs come in the order of the events, but for Park, which keeps the
// order of each key, and Reemit. The stream ends with the input's error, behind
// what was held because of it, or with ctx's error, or with a *ConfigError.
func Join[L any, K comparable, R any](in Stream[L], l Lookup[L, K, R]) Stream[Joined[L, R]] {
	return func(ctx context.Context) iter.Seq2[Joined[L, R], error] {
		return func(yield func(Joined[L, R], error) bool) {
			j, err := newJoiner(l, yield)
			if err == nil {
				err = l.Table.WaitSynced(ctx)
			}
			if err == nil {
				if j.holds() {
					err = newHolder(j).run(ctx, in)
				} else {
					err = j.run(ctx, in)
				}
			}
			if err != nil && err != errLeft {
				yield(Joined[L, R]{}, err)
			}
		}
	}
}

// errLeft says that the consumer has left the loop.
var errLeft = errors.New("enrich: the loop was left")

// joiner looks rows up.
type joiner[L any, K comparable, R any] struct {
	Lookup[L, K, R]
	count *Counters
	full  *cache.Table[K, R] // Lookup.Table, if it is one: Fetch, At and Grace need it
	none  absent[K]
	yield func(Joined[L, R], error) bool
}

func newJoiner[L any, K comparable, R any](l Lookup[L, K, R], yield func(Joined[L, R], error) bool) (*joiner[L, K, R], error) {
	j := &joiner[L, K, R]{Lookup: l, count: l.Counters.orNew(), yield: yield}
	j.Key = func(left L) (K, bool) {
		k, keyed := l.Key(left)
		return k, keyed && matchable(k)
	}
	j.full, _ = l.Table.(*cache.Table[K, R])
	j.none = absent[K]{keep: l.Miss.wait, until: map[K]time.Time{}}
	if j.MaxHeld == 0 {
		j.MaxHeld = 10_000
	}
	bad := func(field, reason string) (*joiner[L, K, R], error) {
		return nil, &ConfigError{Operator: "Join", Field: field, Reason: reason}
	}
	switch {
	case l.Table == nil:
		return bad("Table", "is missing")
	case l.Key == nil:
		return bad("Key", "is missing")
	case l.Miss.check() != "":
		return bad("Miss", l.Miss.check())
	case l.Miss.kind == missFetch && j.full == nil:
		return bad("Miss", "Fetch needs a *cache.Table")
	case l.At != nil && j.full == nil:
		return bad("At", "it needs a *cache.Table")
	case l.Grace < 0 || l.Grace > 0 && l.At == nil:
		return bad("Grace", "it must not be negative, and needs At")
	case l.MaxHeld < 0:
		return bad("MaxHeld", "it must not be negative")
	case l.Reemit != nil && l.At != nil:
		return bad("Reemit", "what a row was at a time does not change: not with At")
	case l.Reemit != nil && (l.Reemit.For <= 0 || l.Reemit.Max < 1):
		return bad("Reemit", "For and Max must be more than 0")
	}
	return j, nil
}

// holds reports whether events may be held while others are pulled.
func (j *joiner[L, K, R]) holds() bool {
	return j.Miss.kind == missPark || j.Grace > 0 || j.Reemit != nil
}

// run joins one event after the other.
func (j *joiner[L, K, R]) run(ctx context.Context, in Stream[L]) error {
	for left, err := range in(ctx) {
		if err != nil {
			return err
		}
		var out Joined[L, R]
		k, missed := j.look(left, &out)
		if missed {
			if out, err = j.miss(ctx, out, k); err != nil {
				return err
			}
		}
		if err := j.give(&out); err != nil {
			return err
		}
	}
	return nil
}

// look looks the row of an event up for an output, and reports whether a row that should be
// there is missing. The phase is asked before the row: a row that is newer than
// a good phase is good.
func (j *joiner[L, K, R]) look(left L, out *Joined[L, R]) (k K, missed bool) {
	out.Left = left
	if j.Gap != nil {
		if out.Gap = j.Gap(left); out.Gap != nil {
			return k, false
		}
	}
	if j.Captured != nil {
		if out.Right, out.Found = j.Captured(left); out.Found {
			return k, false
		}
	}
	k, keyed := j.Key(left)
	if !keyed {
		return k, false
	}
	j.read(out, k)
	return k, !out.Found
}

func (j *joiner[L, K, R]) read(out *Joined[L, R], k K) {
	out.Degraded = j.Table.Phase() != cache.Synced
	if j.At == nil {
		out.Right, out.Found = j.Table.Get(k)
		return
	}
	v := j.full.AsOf(k, j.At(out.Left))
	out.Found, out.Trust = v.Found, v.Trust
	if v.Found { // a version in which there is none may still have a row, the one before
		out.Right = v.Row
	}
}

// miss does what the policy says, but for Park. The error is ctx's. It takes the
// output by value, which keeps those of events with a row off the heap.
func (j *joiner[L, K, R]) miss(ctx context.Context, out Joined[L, R], k K) (Joined[L, R], error) {
	j.count.Missed.Add(1)
	switch j.Miss.kind {
	case missFetch:
		return j.readThrough(ctx, out, k)
	case missWait:
		return j.await(ctx, out, k)
	}
	return out, nil
}

func (j *joiner[L, K, R]) readThrough(ctx context.Context, out Joined[L, R], k K) (Joined[L, R], error) {
	if j.none.has(k, time.Now()) {
		return out, nil
	}
	limited, cancel := context.WithTimeout(ctx, j.Miss.wait)
	defer cancel()
	row, found, err := j.full.Fetch(limited, k)
	switch {
	case ctx.Err() != nil:
		return out, ctx.Err()
	case err != nil:
		out.Err, out.Degraded = err, true
	case !found:
		j.none.add(k, time.Now())
	default:
		out.Right, out.Found = row, true
		if j.At != nil {
			out.Trust = cache.SinceSnapshot
		}
	}
	return out, nil
}

func (j *joiner[L, K, R]) await(ctx context.Context, out Joined[L, R], k K) (Joined[L, R], error) {
	limited, cancel := context.WithTimeout(ctx, j.Miss.wait)
	defer cancel()
	err := j.Table.WaitFor(limited, k, func(_ R, there bool) bool {
		if j.At == nil {
			return there
		}
		return j.full.AsOf(k, j.At(out.Left)).Found
	})
	if ctx.Err() != nil {
		return out, ctx.Err()
	}
	if err != nil {
		j.count.Expired.Add(1)
	}
	j.read(&out, k)
	return out, nil
}

// give gives an output to the consumer, unless the policy drops it.
func (j *joiner[L, K, R]) give(out *Joined[L, R]) error {
	if !out.Found && out.Gap == nil && j.Miss.kind == missDrop {
		return nil
	}
	if out.Degraded {
		j.count.Degraded.Add(1)
	}
	if !j.yield(*out, nil) {
		return errLeft
	}
	return nil
}

// absent remembers for a while which keys were not in the database.
type absent[K comparable] struct {
	keep  time.Duration
	until map[K]time.Time
}

const maxAbsent = 10_000

func (a *absent[K]) has(k K, now time.Time) bool {
	until, there := a.until[k]
	return there && now.Before(until)
}

// add adds a key. A full memory is emptied: it spares requests and is not to be
// exact.
func (a *absent[K]) add(k K, now time.Time) {
	if len(a.until) >= maxAbsent {
		clear(a.until)
	}
	a.until[k] = now.Add(a.keep)
}
