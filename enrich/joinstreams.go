package enrich

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
)

// Streams says which events of two streams belong together. Every field but
// those of gaps, of late events and Counters is required.
type Streams[K comparable, L, R any] struct {
	Kind   Kind
	Window Window
	// Left and Right give an event's key and time. Both times must be of one
	// clock, such as commit times of one database. One event from the far future
	// moves the watermark there, and makes the others late.
	Left  func(L) (K, time.Time)
	Right func(R) (K, time.Time)
	// Null, if set, reports keys that are null: such as 0 for a column that has no
	// number. As in SQL a null matches nothing, not even another null: its event
	// makes no pair, and comes out alone, at once, if Kind asks for such. Keys that
	// are nil, or a driver.Valuer without a value as sql.Null, are null in any case, and
	// so are those that do not equal themselves, such as a NaN.
	Null func(K) bool
	// Grace is how long a window stays open behind its end, by the time of the
	// events: by how much they may be out of order. It may be 0.
	Grace time.Duration
	// Idle is for how long nothing comes from a side, by the wall's clock, before
	// it is taken to have nothing to say, and time to go on without it. Without
	// that a side that is silent would hold up every window.
	Idle time.Duration
	// MaxPending is how many events may be held, an event counting once for each
	// window that it is in. From half of that on, the side that is ahead is not
	// pulled until the other one has come up, or is idle. With more, Full ends the stream with ErrTooMany
	// (cache.Fail), or closes the earliest windows early (cache.Evict), whose
	// outputs are Incomplete then.
	MaxPending int
	Full       cache.Overflow

	// LeftGap and RightGap tell which values are gaps, see GapOf. They are passed
	// on in their places, and make outputs Incomplete.
	LeftGap  func(L) *cdc.Gap
	RightGap func(R) *cdc.Gap
	// LateLeft and LateRight are given the events that came too late, see
	// JoinStreams, and those whose time is infinite or more than 200,000 years
	// away, which are in no window. They must not wait.
	LateLeft  func(L)
	LateRight func(R)
	Counters  *Counters
}

// Pair is two events that belong together, or one without a partner, or a gap.
type Pair[K comparable, L, R any] struct {
	Key   K
	Left  *L // nil: there was none in the window
	Right *R // nil: there was none in the window
	// Start and End are the window's: the end is not in it, but for intervals,
	// where they are the times at which the left's (or, without one, the right's)
	// partners may be.
	Start, End time.Time
	// Incomplete: events of the window may be missing, because of a gap or
	// because it was closed early. For a pair that is what was known when it came
	// out; for an event without a partner, all that there is to know.
	Incomplete bool
	// Gap, if set, makes this value a gap of one of the streams. Left or Right is
	// the value that told of it.
	Gap *cdc.Gap
}

// ErrTooMany ends a join of streams that holds more than MaxPending events.
var ErrTooMany = errors.New("enrich: more events wait for their windows to close than are allowed")

// JoinStreams makes pairs of the events of two streams that have one key and are
// within a window of each other.
//
// Time is that of the events. The watermark is the earlier one of the latest
// times of both sides, a side that is idle going on with the wall's clock. A
// window closes when the watermark is at its end and Grace behind it. Pairs come
// out when their second event comes, those of sessions when the session is
// closed; events without a partner come out once, when their window is closed
// (once for each of its windows, with Sliding).
//
// An event is late if its windows are closed. In sessions and intervals, whose
// windows the events make, it is late if it is more than Grace behind the
// watermark. Late events make no pairs; they are counted and told.
//
// A side that ends holds up no window; when both have ended all of them close,
// and the stream ends. An error of either ends it at once.
//
// A stream that begins with a gap, as every subscription does, makes the
// outputs of the first windows Incomplete: what was before is not known.
func JoinStreams[K comparable, L, R any](l Stream[L], r Stream[R], s Streams[K, L, R]) Stream[Pair[K, L, R]] {
	return func(ctx context.Context) iter.Seq2[Pair[K, L, R], error] {
		return func(yield func(Pair[K, L, R], error) bool) {
			err := s.check()
			if err == nil {
				m := newMatcher(s, func(p Pair[K, L, R]) bool { return yield(p, nil) })
				err = m.run(ctx, l, r)
				m.close()
			}
			if err != nil && err != errLeft {
				yield(Pair[K, L, R]{}, err)
			}
		}
	}
}

func (s *Streams[K, L, R]) check() error {
	bad := func(field, reason string) error {
		return &ConfigError{Operator: "JoinStreams", Field: field, Reason: reason}
	}
	switch {
	case s.Kind < Inner || s.Kind > Outer:
		return bad("Kind", "choose one: Inner, Left or Outer")
	case s.Window.check() != "":
		return bad("Window", s.Window.check())
	case s.Left == nil || s.Right == nil:
		return bad("Left, Right", "is missing")
	case s.Grace < 0:
		return bad("Grace", "it must not be negative")
	case s.Idle <= 0:
		return bad("Idle", "it must be more than 0")
	case s.MaxPending < 1:
		return bad("MaxPending", "it must be more than 0")
	case s.Full != cache.Fail && s.Full != cache.Evict:
		return bad("Full", "it must be Fail or Evict")
	}
	return nil
}

// run reads both streams until they have ended.
func (m *matcher[K, L, R]) run(ctx context.Context, l Stream[L], r Stream[R]) error {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	began := time.Now()
	lefts, rights := listen(ctx, &wg, l, began), listen(ctx, &wg, r, began)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	takeLeft := func(v arrival[L], more bool) error {
		lefts.tell(&m.time.sides[0], v.asked)
		rights.tell(&m.time.sides[1], rights.silence())
		switch {
		case !more:
			lefts.end()
			return m.end(0, time.Since(began))
		case v.err != nil:
			return v.err
		}
		return m.left(v.value, v.came)
	}
	takeRight := func(v arrival[R], more bool) error {
		rights.tell(&m.time.sides[1], v.asked)
		lefts.tell(&m.time.sides[0], lefts.silence())
		switch {
		case !more:
			rights.end()
			return m.end(1, time.Since(began))
		case v.err != nil:
			return v.err
		}
		return m.right(v.value, v.came)
	}
	for !lefts.over || !rights.over {
		timer.Reset(m.sleep(time.Since(began)))
		left, right := lefts.values, rights.values
		if len(left) > 0 && len(right) > 0 || m.held >= max(m.MaxPending/2, 1) {
			// The side that is behind goes first: what is ahead of it would only
			// have to be held.
			if m.time.behind(time.Since(began)) == 0 {
				right = nil
			} else {
				left = nil
			}
		}
		var err error
		select {
		case v, more := <-left:
			err = takeLeft(v, more)
		case v, more := <-right:
			err = takeRight(v, more)
		case <-timer.C:
			lefts.tell(&m.time.sides[0], lefts.silence())
			rights.tell(&m.time.sides[1], rights.silence())
			err = m.tick(time.Since(began))
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
