package enrich

import (
	"sync/atomic"
	"time"
)

// lanes are values in the order of their coming, over all and within each key.
// Each has a time, and those do not decrease either.
type lanes[K comparable, V any] struct {
	first, last *waiting[K, V]
	byKey       map[K][]*waiting[K, V]
	len         int
	pending     *atomic.Int64 // counts along
}

type waiting[K comparable, V any] struct {
	key        K
	value      V
	until      time.Time
	prev, next *waiting[K, V]
}

func newLanes[K comparable, V any](pending *atomic.Int64) lanes[K, V] {
	return lanes[K, V]{byKey: map[K][]*waiting[K, V]{}, pending: pending}
}

func (l *lanes[K, V]) add(k K, v V, until time.Time) {
	w := &waiting[K, V]{key: k, value: v, until: until, prev: l.last}
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
	l.byKey[k] = append(l.byKey[k], w)
	l.len++
	l.pending.Add(1)
}

// of returns the values of a key.
func (l *lanes[K, V]) of(k K) []*waiting[K, V] { return l.byKey[k] }

// due reports whether the first of all has its time behind it.
func (l *lanes[K, V]) due(now time.Time) bool { return l.first != nil && !now.Before(l.first.until) }

// drop takes the first value of a key out, which is the first of all if the key
// is that one's.
func (l *lanes[K, V]) drop(k K) {
	lane := l.byKey[k]
	w := lane[0]
	if lane[0] = nil; len(lane) == 1 {
		delete(l.byKey, k)
	} else {
		l.byKey[k] = lane[1:]
	}
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	l.len--
	l.pending.Add(-1)
}

// close takes what is left off the count.
func (l *lanes[K, V]) close() { l.pending.Add(int64(-l.len)) }
