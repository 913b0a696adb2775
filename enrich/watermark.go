package enrich

import (
	"math"
	"time"
)

const (
	never   = math.MinInt64
	forever = math.MaxInt64
)

// moment is a time on this machine's clock, since the run began.
type moment = time.Duration

// side is what is known of one of two streams.
type side struct {
	seen bool
	max  int64  // the latest time of its events
	came moment // since when nothing comes from it
	over bool   // it has ended, and had all its events
	busy bool   // there are more of its events that nobody has taken yet
	lost bool   // there was a gap, and no event since
	from int64  // the latest time before that gap
}

// watermark is up to when two streams have told of their events: the earlier one
// of the latest times of both. A side from which nothing comes for idle is taken
// to go on with the clock on the wall, from its last event on. So the clocks of
// events and of this machine are never compared, only the time that passes.
type watermark struct {
	idle  time.Duration
	grace int64
	reach int64
	sides [2]side
	// first is the time of the first event of all, and when it came: where a side
	// is taken to be that never had one.
	any       bool
	first     int64
	firstCame moment
	now       int64 // the watermark, which does not go back
	holes     []span
}

// span is a stretch of the events' time in which some may be missing.
type span struct{ from, to int64 }

func newWatermark(idle, grace time.Duration, reach int64) watermark {
	return watermark{idle: idle, grace: grace.Microseconds(), reach: reach, now: never}
}

// event notes the time of an event.
func (w *watermark) event(s *side, at int64, now moment) {
	if !w.any {
		w.any, w.first, w.firstCame = true, at, now
	}
	if s.max = max(s.max, at); !s.seen {
		s.max = at
	}
	s.seen, s.came = true, now
	if s.lost {
		s.lost = false
		w.hole(s.from, max(at, s.from))
	}
}

// gap notes that events of a side may be missing from here on.
func (w *watermark) gap(s *side) {
	if s.lost {
		return
	}
	s.lost, s.from = true, never
	if s.seen {
		s.from = s.max
	}
}

// hole notes a stretch in which events may be missing, wider by the grace: that
// is by how much events are expected to be out of order.
func (w *watermark) hole(from, to int64) { w.add(span{less(from, w.grace), to + w.grace}) }

// add adds a hole, or makes the last one larger: holes that touch are one, and
// so are the last ones of too many.
func (w *watermark) add(s span) {
	const most = 1000
	if n := len(w.holes); n > 0 && (s.from <= w.holes[n-1].to || n == most) {
		last := &w.holes[n-1]
		last.from, last.to = min(last.from, s.from), max(last.to, s.to)
		return
	}
	w.holes = append(w.holes, s)
}

// less subtracts from a time that may be never.
func less(at, d int64) int64 {
	if at == never {
		return never
	}
	return at - d
}

// incomplete reports whether events between two times may be missing.
func (w *watermark) incomplete(from, to int64) bool {
	for i := range w.sides {
		if s := &w.sides[i]; s.lost && less(s.from, w.grace) <= to {
			return true
		}
	}
	for _, h := range w.holes {
		if h.from <= to && from <= h.to {
			return true
		}
	}
	return false
}

// advance moves the watermark.
func (w *watermark) advance(now moment) {
	w.now = max(w.now, min(w.of(&w.sides[0], now), w.of(&w.sides[1], now)))
}

// forget drops the holes that are before all windows that are still to close.
func (w *watermark) forget() {
	if w.now == never || len(w.holes) == 0 {
		return
	}
	n := 0
	for n < len(w.holes) && w.holes[n].to < w.now-w.grace-w.reach {
		n++
	}
	w.holes = w.holes[n:]
}

// of is how far a side is.
func (w *watermark) of(s *side, now moment) int64 {
	at, came, seen := w.place(s)
	passed := now - came
	switch {
	case s.over:
		return forever
	case !w.any:
		return never
	case passed >= w.idle && !s.busy:
		return at + passed.Microseconds()
	case !seen:
		return never
	}
	return at
}

// behind is the side that holds up the watermark.
func (w *watermark) behind(now moment) int {
	if w.of(&w.sides[1], now) < w.of(&w.sides[0], now) {
		return 1
	}
	return 0
}

// place is where a side was last.
func (w *watermark) place(s *side) (at int64, came moment, seen bool) {
	if !s.seen {
		return w.first, w.firstCame, false
	}
	return s.max, s.came, true
}

// when returns at what time the watermark comes to a point if nothing comes
// before.
func (w *watermark) when(point int64, now moment) moment {
	latest := now
	for i := range w.sides {
		s := &w.sides[i]
		at, came, seen := w.place(s)
		if s.over || seen && at >= point {
			continue
		}
		left := max(w.idle, time.Duration(point-at)*time.Microsecond)
		latest = max(latest, came+left)
	}
	return latest
}
