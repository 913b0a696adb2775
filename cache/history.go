package cache

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/gapless-go/gapless/cache/internal/hamt"
	"github.com/gapless-go/gapless/cdc"
)

// Trust is how much is known of the time from which a version was so.
type Trust uint8

const (
	// Exact: the version was in force at the time that was asked for.
	Exact Trust = iota
	// SinceSnapshot: the row was read and not heard of, so that nobody knows
	// since when it is so: at the time that was asked for it may have been
	// another one.
	SinceSnapshot
	// Truncated: the time is before the history that is kept. The version is the
	// oldest that is known.
	Truncated
)

// String returns the trust in words.
func (t Trust) String() string {
	switch t {
	case Exact:
		return "exact"
	case SinceSnapshot:
		return "since snapshot"
	case Truncated:
		return "truncated"
	}
	return fmt.Sprintf("Trust(%d)", uint8(t))
}

// Version is a row as it was at some time.
type Version[T any] struct {
	Row   T
	Found bool      // there was such a row
	From  time.Time // since when, by the database's clock, to the millisecond; zero: unknown
	Trust Trust
}

// history is what rows were before. The versions of a key are in the order of
// their coming, which is that of their commits: where a clock was set back, a
// version begins when the one before it did.
type history[K comparable, T any] struct {
	keep   int64 // ms
	perKey int

	past hamt.Map[K, *past[T]]
	ages []aged[K] // a key for each version that came, in that order
	live int       // how many of these are kept still: all of a key but its first
	// now is the latest time that was heard of, and from when on the history is
	// whole, in Unix milliseconds.
	now, whole int64
}

// past is the versions of a key, the present one last. It never changes.
type past[T any] struct {
	versions []version[T]
	cut      bool // there were earlier ones
}

// version is a row. It came into force between from and sure, which are the
// same if an event told of it.
type version[T any] struct {
	from, sure int64 // Unix milliseconds; 0: before all that is known
	came       int64 // history.now at that time
	row        T
	found      bool
}

type aged[K comparable] struct {
	key  K
	came int64
}

// note adds the version that a change makes. It was committed at that time; 0:
// it was read, and nobody knows when it was committed. The row before was
// committed at base. Before the table has been read once there is no history.
func (h *history[K, T]) note(c Change[K, T], committed, base, wall int64) {
	if h.now = max(h.now, committed); h.whole == 0 {
		return
	}
	came := h.now
	if committed == 0 {
		came = max(came, wall)
	}
	p, there := h.past.Peek(c.Key)
	next := &past[T]{}
	if there {
		next.cut = p.cut
		next.versions = append(make([]version[T], 0, len(p.versions)+1), p.versions...)
	} else {
		next.versions = append(next.versions, version[T]{from: base, sure: max(base, h.whole), row: c.Old, found: c.Op != cdc.Insert})
	}
	v := version[T]{from: committed, sure: committed, came: came, row: c.New, found: c.Op != cdc.Delete}
	last := next.versions[len(next.versions)-1].from
	if v.from = max(v.from, last); committed == 0 {
		v.sure = max(came, last)
	}
	v.sure = max(v.sure, v.from)
	next.versions = append(next.versions, v)
	if n := len(next.versions) - h.perKey; n > 0 {
		next.versions, next.cut = next.versions[n:], true
	}
	h.live += len(next.versions) - 1
	if there {
		h.live -= len(p.versions) - 1
	}
	h.past.Set(c.Key, next)
	h.ages = append(h.ages, aged[K]{c.Key, came})
	h.trim()
}

// trim drops versions that were replaced too long ago.
func (h *history[K, T]) trim() {
	n := 0
	for ; n < len(h.ages) && h.ages[n].came < h.now-h.keep; n++ {
		h.age(h.ages[n].key)
	}
	if h.ages = h.ages[n:]; len(h.ages) == 0 {
		h.ages = nil
	}
	if len(h.ages) > 64 && len(h.ages) > 2*h.live {
		h.compact()
	}
}

// compact drops the places of versions that are not kept any more, when they are
// most: those of a row that changes often.
func (h *history[K, T]) compact() {
	h.ages = h.ages[:0]
	for k, p := range h.past.All() {
		for _, v := range p.versions[1:] {
			h.ages = append(h.ages, aged[K]{k, v.came})
		}
	}
	slices.SortFunc(h.ages, func(a, b aged[K]) int { return cmp.Compare(a.came, b.came) })
	h.ages = slices.Clip(h.ages)
	h.live = len(h.ages)
}

// age drops the versions of a key that were replaced too long ago. If the
// present one alone is left there is no history of it.
func (h *history[K, T]) age(k K) {
	p, there := h.past.Peek(k)
	if !there {
		return
	}
	n := 0
	for n+1 < len(p.versions) && p.versions[n+1].came < h.now-h.keep {
		n++
	}
	h.live -= n
	switch {
	case n+1 == len(p.versions):
		h.past.Delete(k)
	case n > 0:
		h.past.Set(k, &past[T]{versions: p.versions[n:], cut: true})
	}
}

// since is from when on the absence of a row from the history tells something.
func (h *history[K, T]) since() int64 {
	if h.whole == 0 {
		return math.MaxInt64
	}
	return max(h.whole, h.now-h.keep)
}

// at returns the version of a key at a time.
func (p *past[T]) at(ms int64) Version[T] {
	n := sort.Search(len(p.versions), func(i int) bool { return p.versions[i].from > ms })
	if n == 0 {
		return p.versions[0].as(Truncated)
	}
	v := p.versions[n-1]
	switch {
	case v.sure <= ms:
		return v.as(Exact)
	case n == 1 && p.cut:
		return v.as(Truncated)
	}
	return v.as(SinceSnapshot)
}

func (v version[T]) as(t Trust) Version[T] {
	out := Version[T]{Row: v.row, Found: v.found, Trust: t}
	if v.from != 0 && v.from == v.sure {
		out.From = time.UnixMilli(v.from).UTC()
	}
	return out
}

// AsOf returns the row of a key as it was at a time of the database's clock:
// the last version that was committed at that time or before, to the
// millisecond. Rows of one transaction have one commit time, and of two
// versions with one time the later one counts.
//
// Of a row that has not changed for as long as the history goes back it is the
// present version. Without WithHistory there is none but that.
func (t *Table[K, T]) AsOf(k K, at time.Time) Version[T] { return t.View().AsOf(k, at) }

// AsOf is as Table's, as known in this view.
func (v View[K, T]) AsOf(k K, at time.Time) Version[T] {
	ms := at.UnixMilli()
	if p, ok := v.past.Get(k); ok {
		return p.at(ms)
	}
	e, ok := v.rows.Get(k)
	switch {
	case !ok && ms < v.since:
		return Version[T]{Trust: Truncated}
	case !ok:
		return Version[T]{Trust: Exact}
	case e.committed == 0 && ms < v.since:
		return Version[T]{Row: e.value, Found: true, Trust: SinceSnapshot}
	case e.committed == 0:
		return Version[T]{Row: e.value, Found: true, Trust: Exact}
	}
	out := version[T]{from: e.committed, sure: e.committed, row: e.value, found: true}.as(Exact)
	if e.committed > ms {
		out.Trust = Truncated
	}
	return out
}
