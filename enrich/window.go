package enrich

import (
	"fmt"
	"time"
)

// Kind is which rows without a partner a join gives.
type Kind uint8

const (
	// Inner gives pairs only.
	Inner Kind = iota + 1
	// Left gives lefts without a right, too.
	Left
	// Outer gives both without the other, too.
	Outer
)

// String returns the kind in a word.
func (k Kind) String() string {
	switch k {
	case Inner:
		return "inner"
	case Left:
		return "left"
	case Outer:
		return "outer"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Window says which events of two streams are near enough to each other. There
// is no default, and none without a bound: the zero Window is refused. Times are
// those of the events, to the microsecond.
type Window struct {
	kind windowKind
	// size and every are those of tumbling and sliding windows, gap and max of
	// sessions, before and after of intervals.
	a, b time.Duration
}

type windowKind uint8

const (
	windowUnset windowKind = iota
	windowAligned
	windowSession
	windowInterval
)

// Tumbling is windows of one size that follow each other, from the beginning of
// 1970 in UTC on: each event is in one. Two events of one window are a pair,
// two that are close to each other and in different windows are not.
func Tumbling(size time.Duration) Window { return Window{windowAligned, size, size} }

// Sliding is windows of one size of which one begins every so often: each event
// is in size/every of them, and two events are a pair in each window that both
// are in. Such windows are also called hopping.
func Sliding(size, every time.Duration) Window { return Window{windowAligned, size, every} }

// Session is windows that the events make: those of one key, of both streams,
// each of which comes less than gap after the one before, and less than max
// after the first. Its pairs come out when it is closed, as its bounds are not
// known before.
func Session(gap, max time.Duration) Window { return Window{windowSession, gap, max} }

// Interval makes pairs of each left and the rights from before to after it, both
// inclusive: with before 0 and after 5 minutes, "within five minutes of". Either
// may be 0, and not negative.
func Interval(before, after time.Duration) Window { return Window{windowInterval, before, after} }

// check returns what is wrong with the window; empty if nothing is.
func (w Window) check() string {
	const least = time.Microsecond
	switch {
	case w.kind == windowUnset:
		return "choose one: Tumbling, Sliding, Session or Interval"
	case w.kind == windowInterval && (w.a < 0 || w.b < 0):
		return "an interval's ends must not be negative"
	case w.kind == windowInterval:
		return ""
	case w.a < least || w.b < least:
		return "a window must have a size of at least a microsecond"
	case w.kind == windowAligned && w.b > w.a:
		return "windows that begin more than their size apart leave events out"
	case w.kind == windowSession && w.b < w.a:
		return "a session's max must not be less than its gap"
	}
	return ""
}

// reach is the length of the longest window.
func (w Window) reach() int64 {
	switch w.kind {
	case windowAligned:
		return w.a.Microseconds()
	case windowSession:
		return w.b.Microseconds()
	}
	return (w.a + w.b).Microseconds()
}

// excluded is how much of the end is not in the window.
func (w Window) excluded() int64 {
	if w.kind == windowInterval {
		return 0
	}
	return 1
}

// Times of events are microseconds since 1970. The years -200,000 to 200,000 are
// far from overflowing; cdc.Infinity and what else is beyond them is in no
// window.

// micros returns the time of an event that inWindow holds for.
func micros(t time.Time) int64 { return t.UnixMicro() }

// inWindow reports whether a time can be in a window: infinity cannot.
func inWindow(t time.Time) bool {
	const most = 200_000 * 366 * 86400
	return -most < t.Unix() && t.Unix() < most
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }
