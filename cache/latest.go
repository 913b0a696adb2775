package cache

import (
	"math/bits"
	"sync/atomic"

	"github.com/gapless-go/gapless/cache/internal/hamt"
)

// latest finds the rows of the last view faster than the view does. A view is a
// tree, and whoever looks for a key in it waits for memory at each of its levels;
// latest is a hash table with one place to look at and the row itself. It has the
// same entries, and is changed together with the view, by one goroutine. Readers
// take no lock: what they find counts if no change began or ended meanwhile, and
// if one did they look in the view.
type latest[K comparable, T any] struct {
	changes atomic.Uint64 // begun and ended: odd while there is one
	table   atomic.Pointer[[]group[K, T]]

	// Of the goroutine that changes it:
	rows  int
	taken int // slots that are not empty: those of the rows, and of removed ones
}

// group is eight slots; a table has a power of two of them. A tag tells of its slot
// that it is empty, or that its row was removed, or else a part of the hash of its
// key.
type group[K comparable, T any] struct {
	tags  atomic.Uint64 // a byte for each slot
	slots [8]atomic.Pointer[entry[K, T]]
}

// put is an entry that a key has now, or that it has none.
type put[K comparable, T any] struct {
	key   K
	entry *entry[K, T]
}

const (
	emptyTag   = 0x00
	removedTag = 0x01
	fullTag    = 0x80 // and seven bits of the hash
)

// get returns the row of a key as it is in the last view. It is not known while
// there is a change.
func (l *latest[K, T]) get(k K) (e *entry[K, T], known bool) {
	began := l.changes.Load()
	if table := l.table.Load(); table != nil {
		if g, i := findIn(*table, k, hamt.Hash(k)); g != nil {
			e = g.slots[i].Load()
		}
	}
	return e, began%2 == 0 && l.changes.Load() == began
}

// findIn returns where a key is. The group is nil if it is nowhere.
func findIn[K comparable, T any](table []group[K, T], k K, h uint64) (*group[K, T], int) {
	tag := uint8(h>>57) | fullTag
	for at := h; ; at++ {
		g := &table[at&uint64(len(table)-1)]
		tags := g.tags.Load()
		for m := hamt.EqualBytes(tags, tag); m != 0; m &= m - 1 {
			i := bits.TrailingZeros64(m) / 8
			if e := g.slots[i].Load(); e != nil && e.key == k {
				return g, i
			}
		}
		if hamt.EqualBytes(tags, emptyTag) != 0 { // there is always one: see add
			return nil, 0
		}
	}
}

// change makes puts visible, together with what do makes so.
func (l *latest[K, T]) change(puts []put[K, T], do func()) {
	l.changes.Add(1)
	defer l.changes.Add(1)
	for _, p := range puts {
		l.set(p.key, p.entry)
	}
	do()
}

func (l *latest[K, T]) set(k K, e *entry[K, T]) {
	h := hamt.Hash(k)
	if table := l.table.Load(); table != nil {
		if g, i := findIn(*table, k, h); g != nil {
			if g.slots[i].Store(e); e == nil {
				l.removed(g, i)
			}
			return
		}
	}
	if e != nil {
		l.grow()
		l.add(*l.table.Load(), h, e)
	}
}

// removed gives back a slot. A search may have to go on behind it, but not if it
// would end in this group anyway.
func (l *latest[K, T]) removed(g *group[K, T], i int) {
	l.rows--
	if hamt.EqualBytes(g.tags.Load(), emptyTag) == 0 {
		g.tag(i, removedTag)
		return
	}
	g.tag(i, emptyTag)
	l.taken--
}

// grow has room for one more. An eighth of the slots stay empty, at the least,
// so that a search comes to an end.
func (l *latest[K, T]) grow() {
	var old []group[K, T]
	if table := l.table.Load(); table != nil {
		old = *table
	}
	if l.taken < len(old)*7 {
		return
	}
	size := 1
	for l.rows > size*4 { // so that half of the slots are taken, at most
		size *= 2
	}
	table := make([]group[K, T], size)
	l.rows, l.taken = 0, 0
	for i := range old {
		for j := range old[i].slots {
			if e := old[i].slots[j].Load(); e != nil {
				l.add(table, hamt.Hash(e.key), e)
			}
		}
	}
	l.table.Store(&table)
}

// add puts in a key that is not there.
func (l *latest[K, T]) add(table []group[K, T], h uint64, e *entry[K, T]) {
	for at := h; ; at++ {
		g := &table[at&uint64(len(table)-1)]
		free := ^g.tags.Load() & (0x80 * 0x0101010101010101)
		if free == 0 {
			continue
		}
		i := bits.TrailingZeros64(free) / 8
		if uint8(g.tags.Load()>>(8*i)) == emptyTag {
			l.taken++
		}
		l.rows++
		g.slots[i].Store(e) // first, for those who see the tag
		g.tag(i, uint8(h>>57)|fullTag)
		return
	}
}

func (g *group[K, T]) tag(i int, tag uint8) {
	g.tags.Store(g.tags.Load()&^(0xff<<(8*i)) | uint64(tag)<<(8*i))
}
