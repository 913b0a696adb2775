package enrich

import (
	"database/sql/driver"
	"reflect"
	"time"

	"github.com/gapless-go/gapless/cache"
)

// matcher is what a join of streams holds, and every rule by which pairs are
// made. It waits for nothing and has no clock: it is told what comes and when.
type matcher[K comparable, L, R any] struct {
	Streams[K, L, R]
	count   *Counters
	time    watermark
	windows windows[K, L, R]
	held    int
	yield   func(Pair[K, L, R]) bool
}

// windows are the events that wait for partners, by one kind of window. Their
// methods report false if the consumer has left.
type windows[K comparable, L, R any] interface {
	// late reports whether an event of that time is too late.
	late(at int64) bool
	// left and right add an event, and give its pairs.
	left(k K, at int64, v *L) bool
	right(k K, at int64, v *R) bool
	// next returns the end of the window that ends first; false: there is none.
	next() (end int64, ok bool)
	// closeNext closes that one, if it ends at its point: gives what comes out
	// of it, and forgets it.
	closeNext() bool
}

func newMatcher[K comparable, L, R any](s Streams[K, L, R], yield func(Pair[K, L, R]) bool) *matcher[K, L, R] {
	m := &matcher[K, L, R]{Streams: s, count: s.Counters.orNew(), yield: yield,
		time: newWatermark(s.Idle, s.Grace, s.Window.reach())}
	switch s.Window.kind {
	case windowAligned:
		m.windows = newAligned(m)
	case windowSession:
		m.windows = newSessions(m)
	default:
		m.windows = newIntervals(m)
	}
	return m
}

func (m *matcher[K, L, R]) left(v L, now moment) error {
	if m.LeftGap != nil {
		if g := m.LeftGap(v); g != nil {
			m.time.gap(&m.time.sides[0])
			return m.alive(m.yield(Pair[K, L, R]{Gap: g, Left: &v}))
		}
	}
	k, t := m.Left(v)
	at, finite := micros(t), inWindow(t)
	if finite {
		if err := m.event(0, at, now); err != nil {
			return err
		}
	}
	if !finite || m.windows.late(at) {
		m.count.Late.Add(1)
		if m.LateLeft != nil {
			m.LateLeft(v)
		}
		return nil
	}
	if m.null(k) {
		return m.alive(m.unpaired(k, at, &v, nil))
	}
	if !m.windows.left(k, at, &v) {
		return errLeft
	}
	return m.bound()
}

func (m *matcher[K, L, R]) right(v R, now moment) error {
	if m.RightGap != nil {
		if g := m.RightGap(v); g != nil {
			m.time.gap(&m.time.sides[1])
			return m.alive(m.yield(Pair[K, L, R]{Gap: g, Right: &v}))
		}
	}
	k, t := m.Right(v)
	at, finite := micros(t), inWindow(t)
	if finite {
		if err := m.event(1, at, now); err != nil {
			return err
		}
	}
	if !finite || m.windows.late(at) {
		m.count.Late.Add(1)
		if m.LateRight != nil {
			m.LateRight(v)
		}
		return nil
	}
	if m.null(k) {
		return m.alive(m.unpaired(k, at, nil, &v))
	}
	if !m.windows.right(k, at, &v) {
		return errLeft
	}
	return m.bound()
}

// event moves the time by an event of a side: by the clock first, as the side may
// have been idle until now. Otherwise what is late would depend on whether
// something else waited for the clock.
func (m *matcher[K, L, R]) event(nth int, at int64, now moment) error {
	m.time.advance(now)
	m.time.event(&m.time.sides[nth], at, now)
	return m.tick(now)
}

// end notes that a side has ended.
func (m *matcher[K, L, R]) end(nth int, now moment) error {
	m.time.advance(now)
	m.time.sides[nth].over = true
	return m.tick(now)
}

// tick moves the time and closes the windows that it is past.
func (m *matcher[K, L, R]) tick(now moment) error {
	m.time.advance(now)
	for {
		end, ok := m.windows.next()
		if !ok || end > less(m.time.now, m.time.grace) {
			break
		}
		if !m.windows.closeNext() {
			return errLeft
		}
	}
	m.time.forget()
	return nil
}

// sleep is how long there is nothing to close if nothing comes.
func (m *matcher[K, L, R]) sleep(now moment) time.Duration {
	end, ok := m.windows.next()
	if !ok {
		return time.Hour
	}
	return m.time.when(end+m.time.grace, now) - now
}

// bound keeps to MaxPending.
func (m *matcher[K, L, R]) bound() error {
	for m.held > m.MaxPending {
		if m.Full == cache.Fail {
			return ErrTooMany
		}
		m.count.Overflowed.Add(1)
		end, _ := m.windows.next()
		m.time.add(span{end - m.time.reach, end})
		if !m.windows.closeNext() {
			return errLeft
		}
	}
	return nil
}

func (m *matcher[K, L, R]) alive(more bool) error {
	if !more {
		return errLeft
	}
	return nil
}

// hold counts events that are held, or not any more.
func (m *matcher[K, L, R]) hold(n int) {
	m.held += n
	m.count.Pending.Add(int64(n))
}

func (m *matcher[K, L, R]) close() { m.count.Pending.Add(int64(-m.held)) }

// give gives an output of a window from start to end.
func (m *matcher[K, L, R]) give(k K, l *L, r *R, start, end int64) bool {
	p := Pair[K, L, R]{Key: k, Left: l, Right: r, Start: fromMicros(start), End: fromMicros(end),
		Incomplete: m.time.incomplete(start, end-m.Window.excluded())}
	if p.Incomplete {
		m.count.Incomplete.Add(1)
	}
	return m.yield(p)
}

// alone gives an event without a partner, if the kind of the join does.
func (m *matcher[K, L, R]) alone(k K, l *L, r *R, start, end int64) bool {
	if l != nil && m.Kind == Inner || r != nil && m.Kind != Outer {
		return true
	}
	return m.give(k, l, r, start, end)
}

// null reports whether a key matches nothing.
func (m *matcher[K, L, R]) null(k K) bool {
	if !matchable(k) || m.Null != nil && m.Null(k) {
		return true
	}
	switch v := any(k).(type) {
	case nil:
		return true
	case int, int32, int64, string, [16]byte: // what most keys are
		return false
	case driver.Valuer:
		if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && p.IsNil() {
			return true
		}
		value, err := v.Value()
		return err == nil && value == nil
	default:
		p := reflect.ValueOf(v)
		return p.Kind() == reflect.Pointer && p.IsNil()
	}
}

// unpaired gives an event that has no partner whatever comes: once for each of its
// windows that are open.
func (m *matcher[K, L, R]) unpaired(k K, at int64, l *L, r *R) bool {
	a, b := m.Window.a.Microseconds(), m.Window.b.Microseconds()
	switch w := m.windows.(type) {
	case *aligned[K, L, R]:
		for start := w.last(at); start > at-w.size && !w.closed(start); start -= w.every {
			if !m.alone(k, l, r, start, start+w.size) {
				return false
			}
		}
		return true
	case *sessions[K, L, R]:
		return m.alone(k, l, r, at, at+a)
	}
	if l == nil {
		a, b = b, a
	}
	return m.alone(k, l, r, at-a, at+b)
}

// kept is an event that waits.
type kept[T any] struct {
	at     int64
	value  *T
	paired bool
}
