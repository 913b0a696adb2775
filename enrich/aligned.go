package enrich

//lint:file-ignore U1000 staticcheck 0.7 does not see what is used behind a generic interface

import "slices"

// aligned are tumbling and sliding windows: buckets that begin at multiples of
// every.
type aligned[K comparable, L, R any] struct {
	*matcher[K, L, R]
	size, every int64
	open        []*bucket[K, L, R] // by their start
}

// bucket is what one window has, of all keys.
type bucket[K comparable, L, R any] struct {
	start int64
	byKey map[K]*cell[K, L, R]
	cells []*cell[K, L, R] // in the order of their coming
}

type cell[K comparable, L, R any] struct {
	key    K
	lefts  []kept[L]
	rights []kept[R]
}

func newAligned[K comparable, L, R any](m *matcher[K, L, R]) *aligned[K, L, R] {
	return &aligned[K, L, R]{matcher: m, size: m.Window.a.Microseconds(), every: m.Window.b.Microseconds()}
}

// last is the start of the last window that a time is in. Days before 1970 have
// negative times, which division rounds up.
func (a *aligned[K, L, R]) last(at int64) int64 {
	rest := at % a.every
	if rest < 0 {
		rest += a.every
	}
	return at - rest
}

func (a *aligned[K, L, R]) closed(start int64) bool {
	return start+a.size <= less(a.time.now, a.time.grace)
}

func (a *aligned[K, L, R]) late(at int64) bool { return a.closed(a.last(at)) }

func (a *aligned[K, L, R]) left(k K, at int64, v *L) bool {
	for start := a.last(at); start > at-a.size && !a.closed(start); start -= a.every {
		c := a.cell(start, k)
		for i := range c.rights {
			c.rights[i].paired = true
			if !a.give(k, v, c.rights[i].value, start, start+a.size) {
				return false
			}
		}
		c.lefts = append(c.lefts, kept[L]{at, v, len(c.rights) > 0})
		a.hold(1)
	}
	return true
}

func (a *aligned[K, L, R]) right(k K, at int64, v *R) bool {
	for start := a.last(at); start > at-a.size && !a.closed(start); start -= a.every {
		c := a.cell(start, k)
		for i := range c.lefts {
			c.lefts[i].paired = true
			if !a.give(k, c.lefts[i].value, v, start, start+a.size) {
				return false
			}
		}
		c.rights = append(c.rights, kept[R]{at, v, len(c.lefts) > 0})
		a.hold(1)
	}
	return true
}

// cell returns where the events of a key are in a window.
func (a *aligned[K, L, R]) cell(start int64, k K) *cell[K, L, R] {
	b := a.bucket(start)
	c, there := b.byKey[k]
	if !there {
		c = &cell[K, L, R]{key: k}
		b.byKey[k] = c
		b.cells = append(b.cells, c)
	}
	return c
}

func (a *aligned[K, L, R]) bucket(start int64) *bucket[K, L, R] {
	n, there := slices.BinarySearchFunc(a.open, start, func(b *bucket[K, L, R], start int64) int {
		switch {
		case b.start < start:
			return -1
		case b.start > start:
			return 1
		}
		return 0
	})
	if !there {
		a.open = slices.Insert(a.open, n, &bucket[K, L, R]{start: start, byKey: map[K]*cell[K, L, R]{}})
	}
	return a.open[n]
}

func (a *aligned[K, L, R]) next() (end int64, ok bool) {
	if len(a.open) == 0 {
		return 0, false
	}
	return a.open[0].start + a.size, true
}

// closeNext closes the first window.
func (a *aligned[K, L, R]) closeNext() bool {
	b := a.open[0]
	for _, c := range b.cells {
		a.hold(-len(c.lefts) - len(c.rights))
		for _, l := range c.lefts {
			if !l.paired && !a.alone(c.key, l.value, nil, b.start, b.start+a.size) {
				return false
			}
		}
		for _, r := range c.rights {
			if !r.paired && !a.alone(c.key, nil, r.value, b.start, b.start+a.size) {
				return false
			}
		}
	}
	a.open[0] = nil
	a.open = a.open[1:]
	return true
}
