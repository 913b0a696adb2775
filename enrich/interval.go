package enrich

//lint:file-ignore U1000 staticcheck 0.7 does not see what is used behind a generic interface

import (
	"slices"

	"github.com/gapless-go/gapless/internal/heap"
)

// intervals are the windows around each event. A left waits for rights up to
// after behind it, a right for lefts up to before behind it.
type intervals[K comparable, L, R any] struct {
	*matcher[K, L, R]
	before, after int64
	lanes         map[K]*lane[L, R]
	// ends has the end of each event's wait. Those of one side of a lane end in
	// the order of their times.
	ends heap.Heap[ending[K]]
}

type ending[K comparable] struct {
	key  K
	left bool
}

// lane is the events of one key, each side by its times.
type lane[L, R any] struct {
	lefts  []kept[L]
	rights []kept[R]
}

func newIntervals[K comparable, L, R any](m *matcher[K, L, R]) *intervals[K, L, R] {
	return &intervals[K, L, R]{matcher: m, before: m.Window.a.Microseconds(), after: m.Window.b.Microseconds(), lanes: map[K]*lane[L, R]{}}
}

func (n *intervals[K, L, R]) late(at int64) bool { return at < less(n.time.now, n.time.grace) }

func (n *intervals[K, L, R]) lane(k K) *lane[L, R] {
	l, there := n.lanes[k]
	if !there {
		l = &lane[L, R]{}
		n.lanes[k] = l
	}
	return l
}

func (n *intervals[K, L, R]) left(k K, at int64, v *L) bool {
	lane := n.lane(k)
	event := kept[L]{at: at, value: v}
	for i := from(lane.rights, at-n.before); i < len(lane.rights) && lane.rights[i].at <= at+n.after; i++ {
		r := &lane.rights[i]
		event.paired, r.paired = true, true
		if !n.give(k, v, r.value, at-n.before, at+n.after) {
			return false
		}
	}
	lane.lefts = slices.Insert(lane.lefts, from(lane.lefts, at+1), event)
	n.ends.Push(at+n.after, ending[K]{k, true})
	n.hold(1)
	return true
}

func (n *intervals[K, L, R]) right(k K, at int64, v *R) bool {
	lane := n.lane(k)
	event := kept[R]{at: at, value: v}
	for i := from(lane.lefts, at-n.after); i < len(lane.lefts) && lane.lefts[i].at <= at+n.before; i++ {
		l := &lane.lefts[i]
		event.paired, l.paired = true, true
		if !n.give(k, l.value, v, l.at-n.before, l.at+n.after) {
			return false
		}
	}
	lane.rights = slices.Insert(lane.rights, from(lane.rights, at+1), event)
	n.ends.Push(at+n.before, ending[K]{k, false})
	n.hold(1)
	return true
}

// from returns the index of the first event that is not before a time.
func from[T any](events []kept[T], at int64) int {
	if n := len(events); n == 0 || events[n-1].at < at {
		return n // as it is with events in order
	}
	i, _ := slices.BinarySearchFunc(events, at, func(e kept[T], at int64) int {
		if e.at < at {
			return -1
		}
		return 1
	})
	return i
}

// next returns the end of the first wait. It has to be over: a partner may have
// the very time of the end.
func (n *intervals[K, L, R]) next() (end int64, ok bool) {
	if len(n.ends) == 0 {
		return 0, false
	}
	return n.ends[0].At + 1, true
}

func (n *intervals[K, L, R]) closeNext() bool {
	e := n.ends.Pop()
	lane := n.lanes[e.Value.key]
	n.hold(-1)
	more := true
	if e.Value.left {
		var l kept[L]
		if l, lane.lefts = shift(lane.lefts); !l.paired {
			more = n.alone(e.Value.key, l.value, nil, l.at-n.before, l.at+n.after)
		}
	} else {
		var r kept[R]
		if r, lane.rights = shift(lane.rights); !r.paired {
			more = n.alone(e.Value.key, nil, r.value, r.at-n.after, r.at+n.before)
		}
	}
	if len(lane.lefts)+len(lane.rights) == 0 {
		delete(n.lanes, e.Value.key)
	}
	return more
}

// shift takes the first event out.
func shift[T any](events []kept[T]) (kept[T], []kept[T]) {
	first := events[0]
	events[0] = kept[T]{}
	return first, events[1:]
}
