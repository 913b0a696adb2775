package cache

import (
	"sync/atomic"
	"time"

	"github.com/gapless-go/gapless/cdc"
)

// core is what the cache holds, and every rule by which that changes. It does
// no I/O, starts nothing and has no clock: it is told what happened and when.
// One goroutine owns it.
//
// What was read from the table and what came by the stream meet in merge: a key
// that had an event since the read was asked for, or in the quarantine before,
// is what the stream says; every other is what the table says.
type core[K comparable, T any] struct {
	key   func(T) K
	equal func(a, b T) bool
	// quarantine is longer than a commit may be in the log, and so in the
	// stream, before a reader of the table sees it.
	quarantine time.Duration

	rows    store[K, *entry[K, T]]
	indexes []indexer[K, T]
	history *history[K, T] // nil: none is kept
	bound   bound[K]
	gone    tombstones[K]      // keys that the stream removed in this epoch
	dirty   map[K]doubt        // keys to read from the table
	reads   map[*read]struct{} // under way
	net     []Change[K, T]     // what has changed and was not told yet
	puts    []put[K, T]        // what was put and removed since latest had them
	pos     Position           // of the last event
	at      int64              // when what is put now was committed, in Unix milliseconds of the database; 0: unknown
	wall    int64              // the time of this machine, in Unix milliseconds
	epochAt moment             // when the epoch began
	load    uint32             // the number of the load under way, or of the last
	loads   uint32             // the number of the last load of the epoch before
	whole   bool               // the cache has been made equal to the table in this epoch
	counts  counts
}

// moment is a time since the cache was made, always positive. It does not go
// back, whatever happens to the clock on the wall.
type moment = time.Duration

// entry is a row. Readers have its value without a lock, so that never changes;
// all else is the core's own.
type entry[K comparable, T any] struct {
	key       K // never changes either
	value     T
	committed int64       // the commit of its last event, in Unix milliseconds; 0: it came by a read; never changes either
	event     moment      // when that event came
	load      uint32      // the last load that confirmed it
	used      atomic.Bool // by a reader, since it was last looked at by evict
}

// counts are the totals that Status shows.
type counts struct {
	events, contradictions, repaired, regressions, evicted uint64
}

// found is how many rows a read has shown to be other than the cache has them.
type found struct {
	missing int // in the table and not in the cache
	ghosts  int // in the cache and not in the table
	wrong   int // in both, with other values
	skipped int // the stream has spoken of them since the read began, so that nothing can be told
}

func (f found) any() bool { return f.missing+f.ghosts+f.wrong > 0 }

func (f *found) add(g found) {
	f.missing, f.ghosts, f.wrong, f.skipped = f.missing+g.missing, f.ghosts+g.ghosts, f.wrong+g.wrong, f.skipped+g.skipped
}

// event is a row change, decoded.
type event[K comparable, T any] struct {
	op        cdc.Op
	key       K // of the new row; of the old one for a Delete
	old       K // of the row before, equal to key but for an Update of the primary key
	row       T
	committed int64 // in Unix milliseconds
	doubtful  bool  // row is not wholly known: read it from the table
	keep      bool  // and until then the row before is better than row, if there is one
	before    *T    // the row before as the event has it, if it has the whole of it
}

// doubt is a key whose row is not wholly known: when the first and the last
// event came that left it so.
type doubt struct{ first, last moment }

// doubt has a key read.
func (c *core[K, T]) doubt(now moment, k K) {
	d, there := c.dirty[k]
	if !there {
		d.first = now
	}
	d.last = now
	c.dirty[k] = d
}

// oldestDoubt is since when a key is in doubt; 0: none is.
func (c *core[K, T]) oldestDoubt() (oldest moment) {
	for _, d := range c.dirty {
		if oldest == 0 || d.first < oldest {
			oldest = d.first
		}
	}
	return oldest
}

// read is a read of the table that is under way.
type read struct {
	epoch uint64
	since moment // from which on an event counts for more than the read
	over  atomic.Bool
}

func newCore[K comparable, T any](key func(T) K, quarantine time.Duration) core[K, T] {
	return core[K, T]{key: key, equal: equalOf[T](), quarantine: quarantine,
		gone: tombstones[K]{at: map[K]moment{}}, dirty: map[K]doubt{}, reads: map[*read]struct{}{}}
}

// begin begins an epoch: from now on every change is delivered, until the next
// gap. What the stream said before may have been overtaken in the gap.
func (c *core[K, T]) begin(now moment) {
	c.pos = Position{Epoch: c.pos.Epoch + 1}
	c.epochAt = now
	c.loads, c.whole = c.load, false
	c.gone.clear()
	clear(c.reads) // whose rows are not taken any more
}

// caughtUp notes that the cache has been made equal to the table.
func (c *core[K, T]) caughtUp() {
	c.whole = true
	if c.history != nil {
		c.history.whole = c.wall
	}
}

// apply takes an event of the stream. settled says that the cache equals the
// table but for what is under way, so that an event which does not fit is worth
// counting; apply reports whether it is such a contradiction.
func (c *core[K, T]) apply(now moment, e event[K, T], settled bool) (contradiction bool) {
	c.pos.Seq++
	c.counts.events++
	c.at = e.committed
	defer func() { c.at = 0 }()
	before, there := c.rows.Peek(e.key)
	if settled && c.contradicts(e, before, there) {
		c.counts.contradictions++
		contradiction = true
	}
	if e.op == cdc.Update && e.old != e.key {
		c.remove(e.old, CauseStream)
		c.bury(now, e.old)
	}
	if e.op == cdc.Delete {
		c.remove(e.key, CauseStream)
		c.bury(now, e.key)
		return contradiction
	}
	c.gone.remove(e.key)
	if e.keep {
		if c.doubt(now, e.key); !there {
			return contradiction // half a row is worse than none
		}
		e.row = before.value
	}
	overtaken := there && e.committed < before.committed-regression
	c.put(e.key, &entry[K, T]{value: e.row, event: now, committed: e.committed, load: c.load}, CauseStream)
	switch {
	case e.doubtful:
		c.doubt(now, e.key)
	case overtaken:
		c.counts.regressions++
		c.doubt(now, e.key)
	default:
		delete(c.dirty, e.key)
	}
	return contradiction
}

// confirmed reports whether a row is known to have been in the table in this
// epoch. One from before the gap may have changed in it, so that an event which
// leaves something out cannot be completed from it.
func (c *core[K, T]) confirmed(e *entry[K, T]) bool {
	return c.whole || e.event >= c.epochAt || e.load > c.loads
}

// regression is how much earlier than its predecessor the commit of an event
// may be for one and the same row. More is an order that cannot be: a change
// that was overtaken, or a clock that was set back. The row is read.
const regression = 1000 // ms

// contradicts reports whether an event does not fit the row that is there. A
// cache that holds a part of the table cannot tell.
func (c *core[K, T]) contradicts(e event[K, T], before *entry[K, T], there bool) bool {
	if c.bound.evicts() {
		return false
	}
	if _, doubted := c.dirty[e.key]; doubted {
		return false
	}
	switch {
	case e.op == cdc.Insert:
		return there && !e.doubtful && !c.equal(before.value, e.row)
	case e.op == cdc.Delete:
		return !there
	case e.old != e.key:
		return false
	}
	return !there || e.before != nil && !c.equal(before.value, *e.before)
}

// startLoad begins a load of the whole table, and the read that finds out in
// the end what is not there.
func (c *core[K, T]) startLoad(now moment) *read {
	c.load++
	return c.request(now)
}

// request begins a read: it must be called before the read is sent. When it has
// been merged or given up, over is to be set.
func (c *core[K, T]) request(now moment) *read {
	for r := range c.reads {
		if r.over.Load() {
			delete(c.reads, r)
		}
	}
	r := &read{epoch: c.pos.Epoch, since: c.since(now)}
	c.reads[r] = struct{}{}
	return r
}

func (c *core[K, T]) since(now moment) moment { return max(now-c.quarantine, c.epochAt) }

// how is what is done with what a read has shown.
type how struct {
	cause Cause
	look  bool // count, and change nothing
}

// merge takes rows that a read returned, and says what was not so. It does
// nothing if the read is of an epoch that is over: changes may have been lost
// since.
func (c *core[K, T]) merge(r *read, keys []K, rows []T, do how) (f found) {
	if r.epoch != c.pos.Epoch {
		return f
	}
	for i := range rows {
		before, there := c.rows.Peek(keys[i])
		d := c.compare(r, keys[i], &rows[i], before, there)
		f.add(d)
		if there {
			before.load = c.load
		}
		if d.skipped > 0 || do.look {
			continue
		}
		delete(c.dirty, keys[i])
		if d.any() {
			c.repaired(do.cause)
			c.put(keys[i], &entry[K, T]{value: rows[i], load: c.load}, do.cause)
		}
	}
	return f
}

// compare says whether a read has shown a key to be other than the cache has
// it; row is nil if the read asked for it and did not find it.
func (c *core[K, T]) compare(r *read, k K, row *T, before *entry[K, T], there bool) found {
	switch {
	case c.touched(r, k, before, there):
		return found{skipped: 1}
	case !there && row != nil:
		return found{missing: 1}
	case there && row == nil:
		return found{ghosts: 1}
	case there && !c.equal(before.value, *row):
		return found{wrong: 1}
	}
	return found{}
}

func (c *core[K, T]) repaired(cause Cause) {
	if cause == CauseRepair {
		c.counts.repaired++
	}
}

// touched reports whether an event says more of a key than the read does.
func (c *core[K, T]) touched(r *read, k K, e *entry[K, T], there bool) bool {
	if d, doubted := c.dirty[k]; doubted && d.last >= r.since {
		return true
	}
	if there {
		return e.event >= r.since
	}
	at, buried := c.gone.at[k]
	return buried && at >= r.since
}

// absent takes keys that a read asked for and did not find.
func (c *core[K, T]) absent(r *read, keys []K, do how) (f found) {
	if r.epoch != c.pos.Epoch {
		return f
	}
	for _, k := range keys {
		before, there := c.rows.Peek(k)
		d := c.compare(r, k, nil, before, there)
		f.add(d)
		if d.skipped > 0 || do.look {
			continue
		}
		delete(c.dirty, k)
		if d.ghosts > 0 {
			c.repaired(do.cause)
			c.remove(k, do.cause)
		}
	}
	return f
}

// endLoad removes what no page of the load has shown, unless the stream has
// spoken of it since the load began. It does so at the end of the load and not
// page by page, because which cached rows a page should have shown depends on
// the order of its keys, and that on the database's collation.
func (c *core[K, T]) endLoad(r *read, do how) found {
	if r.epoch != c.pos.Epoch {
		return found{}
	}
	return c.absent(r, c.unseen(), do)
}

// see notes keys that the load has shown.
func (c *core[K, T]) see(keys []K) {
	for _, k := range keys {
		if e, there := c.rows.Peek(k); there {
			e.load = c.load
		}
	}
}

// unseen returns the keys that the load has not shown.
func (c *core[K, T]) unseen() (keys []K) {
	for k, e := range c.rows.All() {
		if e.load != c.load {
			keys = append(keys, k)
		}
	}
	return keys
}

func (c *core[K, T]) put(k K, e *entry[K, T], cause Cause) {
	e.key = k
	before, had := c.rows.Set(k, e)
	c.forLatest(k, e)
	switch {
	case had && c.equal(before.value, e.value):
	case had:
		c.note(Change[K, T]{Op: cdc.Update, Key: k, Old: before.value, New: e.value, Cause: cause, Pos: c.pos}, before.committed)
	default:
		c.bound.add(k)
		c.note(Change[K, T]{Op: cdc.Insert, Key: k, New: e.value, Cause: cause, Pos: c.pos}, 0)
		c.evict(k)
	}
}

func (c *core[K, T]) remove(k K, cause Cause) {
	if before, had := c.rows.Delete(k); had {
		c.forLatest(k, nil)
		c.note(Change[K, T]{Op: cdc.Delete, Key: k, Old: before.value, Cause: cause, Pos: c.pos}, before.committed)
	}
}

// forLatest notes what latest has to be told. It is not asked for the rows of a
// cache that evicts.
func (c *core[K, T]) forLatest(k K, e *entry[K, T]) {
	if !c.bound.evicts() {
		c.puts = append(c.puts, put[K, T]{k, e})
	}
}

// note tells of a change all that follow from the rows. The row before was
// committed at base, if that is known.
func (c *core[K, T]) note(change Change[K, T], base int64) {
	for _, x := range c.indexes {
		x.update(change)
	}
	if c.history != nil && change.Cause != CauseEvicted {
		c.history.note(change, c.at, base, c.wall)
	}
	c.net = append(c.net, change)
}

// evict removes rows until there are no more than the bound lets be, but not
// the one that has just come.
func (c *core[K, T]) evict(keep K) {
	if !c.bound.evicts() {
		return
	}
	for c.rows.Len() > c.bound.limit {
		k, ok := c.bound.victim(keep, c.look)
		if !ok {
			return
		}
		delete(c.dirty, k)
		c.counts.evicted++
		c.remove(k, CauseEvicted)
	}
	c.bound.compact(func(k K) bool { _, there := c.rows.Peek(k); return there })
}

// look is what bound asks of a row.
func (c *core[K, T]) look(k K) (there, read bool) {
	e, there := c.rows.Peek(k)
	return there, there && e.used.Swap(false)
}

func (c *core[K, T]) bury(now moment, k K) {
	delete(c.dirty, k)
	c.gone.add(k, now)
	oldest := c.since(now)
	for r := range c.reads {
		if !r.over.Load() {
			oldest = min(oldest, r.since)
		}
	}
	c.gone.forget(oldest)
}

// tombstones are removed keys with the time of their removal, forgotten when no
// read can bring the row back any more.
type tombstones[K comparable] struct {
	at    map[K]moment
	queue []buried[K] // in the order of time; a key may be in it several times
}

type buried[K comparable] struct {
	key K
	at  moment
}

func (t *tombstones[K]) add(k K, now moment) {
	t.at[k] = now
	t.queue = append(t.queue, buried[K]{k, now})
}

func (t *tombstones[K]) remove(k K) { delete(t.at, k) }

func (t *tombstones[K]) clear() {
	clear(t.at)
	t.queue = nil
}

// forget drops what was removed before oldest.
func (t *tombstones[K]) forget(oldest moment) {
	n := 0
	for ; n < len(t.queue) && t.queue[n].at < oldest; n++ {
		if b := t.queue[n]; t.at[b.key] == b.at {
			delete(t.at, b.key)
		}
	}
	if t.queue = t.queue[n:]; len(t.queue) == 0 {
		t.queue = nil
	}
}

// emptied forgets what is in a slice, but not its memory if that is usual: a page
// of a load is about a thousand.
func emptied[E any](s []E) []E {
	if cap(s) > 2048 {
		return nil
	}
	clear(s)
	return s[:0]
}

// due returns keys in doubt that can be read by now, at most n. If there is
// none, it returns how long it is until there will be one, 0 for never.
func (c *core[K, T]) due(now moment, n int) (keys []K, wait time.Duration) {
	for k, d := range c.dirty {
		left := d.last + c.quarantine - now
		switch {
		case left < 0 && len(keys) < n:
			keys = append(keys, k)
		case left >= 0 && (wait == 0 || left < wait):
			wait = left + 1
		}
	}
	if len(keys) > 0 {
		wait = 0
	}
	return keys, wait
}
