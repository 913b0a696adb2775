package cache

// Overflow is what happens when something bounded is full.
type Overflow uint8

const (
	// Fail ends it with an error.
	Fail Overflow = iota
	// Evict removes rows to make room, those first that nobody has read for
	// longest, more or less.
	Evict
	// Conflate makes one change of several that wait for one row.
	Conflate
)

// bound is how many rows there may be, and which one goes first: a queue in the
// order of their coming, in which one that was read since it was last looked at
// goes to the end again (the clock algorithm). The zero value has no limit.
type bound[K comparable] struct {
	limit  int
	full   Overflow
	queue  []K
	queued map[K]bool // what is in queue; it may be gone from the rows
}

func (b *bound[K]) evicts() bool { return b.limit > 0 && b.full == Evict }

// add notes a key that has come. One that is gone and comes again before its
// turn has its old place.
func (b *bound[K]) add(k K) {
	if !b.evicts() || b.queued[k] {
		return
	}
	if b.queued == nil {
		b.queued = map[K]bool{}
	}
	b.queued[k] = true
	b.queue = append(b.queue, k)
}

// victim takes out the key whose row is to go. look tells of a key whether its
// row is there, and whether it was read since look was asked last. But for
// keep, which has just come.
func (b *bound[K]) victim(keep K, look func(K) (there, read bool)) (k K, ok bool) {
	for range 2 * len(b.queue) {
		k, b.queue = b.queue[0], b.queue[1:]
		there, read := look(k)
		switch {
		case !there:
			delete(b.queued, k)
		case read || k == keep:
			b.queue = append(b.queue, k)
		default:
			delete(b.queued, k)
			return k, true
		}
	}
	return k, false
}

// compact drops keys that are gone, when they may be most.
func (b *bound[K]) compact(there func(K) bool) {
	if len(b.queue) <= 2*b.limit+64 {
		return
	}
	kept := make([]K, 0, b.limit+1)
	for _, k := range b.queue {
		if there(k) {
			kept = append(kept, k)
		} else {
			delete(b.queued, k)
		}
	}
	b.queue = kept
}
