package cache

import (
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/gapless-go/gapless/cache/internal/hamt"
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
	equal func(a, b T) bool // of equality
	alike *equality[T]
	row   func([]cdc.Column, map[string]json.RawMessage) (T, error) // makes a row of its columns
	// quarantine is longer than a commit may be in the log, and so in the
	// stream, before a reader of the table sees it.
	quarantine time.Duration

	rows        hamt.Map[K, *entry[K, T]]
	indexes     []indexer[K, T]
	history     *history[K, T] // nil: none is kept
	bound       bound[K]
	gone        tombstones[K]        // keys that the stream removed in this epoch
	misfits     hamt.Map[K, *misfit] // rows of the table that do not fit into T
	keepsOld    bool                 // KeepOld
	lastMisfit  error
	version     *versions[T]       // nil: there are none
	removed     map[K]T            // some of the rows that the stream removed, if there are versions
	unversioned bool               // a version has come again, see reused
	dirty       map[K]*doubt       // rows that are not wholly known
	blind       doubt              // of the whole table: events that do not say which row they are of
	wanted      moment             // somebody waits for the doubts from before this moment
	reads       map[*read]struct{} // under way
	net         []Change[K, T]     // what has changed and was not told yet
	puts        []put[K, T]        // what was put and removed since latest had them
	pos         Position           // of the last event
	at          int64              // when what is put now was committed, in Unix milliseconds of the database; 0: unknown
	wall        int64              // the time of this machine, in Unix milliseconds
	epochAt     moment             // when the epoch began
	load        uint32             // the number of the load under way, or of the last
	loads       uint32             // the number of the last load of the epoch before
	whole       bool               // the cache has been made equal to the table in this epoch
	ahead       bool               // rows were merged in this epoch before the stream had come to where they were read
	counts      counts
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
	key       K        // of the new row; of the old one for a Delete
	old       K        // of the row before, equal to key but for an Update of the primary key
	row       T        // the new row, unless the event is partial
	committed int64    // in Unix milliseconds
	partial   *partial // what the event has of the row, where that is not all
	before    *T       // the row before as the event has it, if it has the whole of it
	misfit    error    // why the new row does not fit into T; then row is not known
}

// read is a read of the table that is under way.
type read struct {
	epoch uint64
	asked moment // when it was sent
	since moment // from which on an event counts for more than the read
	over  atomic.Bool
}

func newCore[K comparable, T any](key func(T) K, quarantine time.Duration) core[K, T] {
	alike := newEquality[T]()
	return core[K, T]{key: key, equal: alike.equal, alike: alike, quarantine: quarantine,
		gone: tombstones[K]{at: map[K]grave{}}, dirty: map[K]*doubt{}, reads: map[*read]struct{}{}}
}

// begin begins an epoch: from now on every change is delivered, until the next
// gap. What the stream said before may have been overtaken in the gap.
func (c *core[K, T]) begin(now moment) {
	c.pos = Position{Epoch: c.pos.Epoch + 1}
	c.epochAt = now
	c.loads, c.whole, c.ahead = c.load, false, false
	c.gone.clear()
	clear(c.reads)              // whose rows are not taken any more
	for _, d := range c.dirty { // what was certain may have changed in the gap
		*d = doubt{first: d.first, last: beforeEpoch, all: beforeEpoch, due: now}
	}
	if c.blind.first > 0 {
		c.blind.last = beforeEpoch
	}
}

// caughtUp notes that the cache has been made equal to the table.
func (c *core[K, T]) caughtUp() {
	c.whole = true
	if c.history != nil {
		c.history.whole = max(c.wall, c.history.now) // by the clock that is ahead: nobody knows what was before
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
	if c.overtaken(now, e, before) {
		return false
	}
	if settled && c.contradicts(e, before, there) {
		c.counts.contradictions++
		contradiction = true
	}
	if c.collides(e, there) {
		c.collide(now, e)
		return contradiction
	}
	left, unchanged := c.dirty[e.old], c.unchangedSince(now, e.old)
	if e.op == cdc.Update && e.old != e.key {
		unchanged = now // a read from before has shown another row, if any, by this key
		c.remove(e.old, CauseStream)
		c.bury(now, e.old, e.committed)
	}
	if e.op == cdc.Delete {
		if c.version != nil && there {
			c.noteRemoved(e.key, before.value)
		}
		c.remove(e.key, CauseStream)
		c.bury(now, e.key, e.committed)
		return contradiction
	}
	c.gone.remove(e.key)
	if e.misfit != nil { // the stream may have garbled it: a read decides
		c.doubt(now, e.key).wholly(now, e.committed)
		return contradiction
	}
	if e.partial != nil { // the row stays as it was until the rest of it is known
		c.doubt(now, e.key).partly(now, e.committed, e.partial, left, unchanged)
		return contradiction
	}
	if c.version != nil && !there && c.reused(e.key, e.row) {
		c.unversioned = true
	}
	c.put(e.key, &entry[K, T]{value: e.row, event: now, committed: e.committed, load: c.load}, CauseStream)
	delete(c.dirty, e.key)
	return contradiction
}

// confirmed reports whether a row is known to have been in the table in this
// epoch. One from before the gap may have changed in it, so that an event which
// leaves something out cannot be completed from it. Nor can it from one that was
// read ahead of the stream: behind the event another row may have come to its key.
func (c *core[K, T]) confirmed(e *entry[K, T]) bool {
	return c.whole || e.event >= c.epochAt || !c.ahead && e.load > c.loads
}

// clockStep is how much earlier than the event before it one must have been
// committed to be taken for a sign that the database's clock was set back.
const clockStep = 60_000 // ms

// overtaken reports whether an event was committed before another one of its row
// that has come: whoever changes a row waits for the commit of who did it before,
// so that their times have the order of the commits. The rows are left as they
// are, and are read. Changes of one row within a millisecond have one time.
func (c *core[K, T]) overtaken(now moment, e event[K, T], before *entry[K, T]) bool {
	last := c.lastCommit(e.key, before)
	if e.old != e.key {
		moved, _ := c.rows.Peek(e.old)
		last = max(last, c.lastCommit(e.old, moved))
	}
	if e.committed == 0 || e.committed >= last {
		return false
	}
	c.counts.regressions++
	if last-e.committed > clockStep {
		last = e.committed
	}
	for _, k := range []K{e.old, e.key} {
		c.gone.remove(k)
		c.doubt(now, k).wholly(now, last)
	}
	return true
}

// lastCommit is when the last event of a key, of which the cache has that row or
// nil, was committed; 0 if that is not known.
func (c *core[K, T]) lastCommit(k K, row *entry[K, T]) (last int64) {
	if row != nil {
		last = row.committed
	}
	if d := c.dirty[k]; d != nil {
		last = max(last, d.committed)
	}
	return max(last, c.gone.at[k].committed)
}

// contradicts reports whether an event does not fit the row that is there. A
// cache that holds a part of the table cannot tell.
func (c *core[K, T]) contradicts(e event[K, T], before *entry[K, T], there bool) bool {
	if c.bound.evicts() {
		return false
	}
	if _, doubted := c.dirty[e.key]; doubted {
		return false
	}
	if _, aside := c.misfits.Peek(e.key); aside {
		return false
	}
	switch {
	case e.op == cdc.Insert:
		return there && e.partial == nil && !c.equal(before.value, e.row)
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
	r := &read{epoch: c.pos.Epoch, asked: now, since: c.since(now)}
	c.reads[r] = struct{}{}
	return r
}

func (c *core[K, T]) since(now moment) moment { return max(now-c.quarantine, c.epochAt) }

// how is what is done with what a read has shown.
type how struct {
	cause Cause
	look  bool // count, and change nothing
	early bool // the stream may not have come to where the table was read: leave rows in doubt alone
}

// shown is a row as a read has shown it.
type shown[K comparable, T any] struct {
	key K
	row T
	raw json.RawMessage
	err *RowError // the row does not fit; then row is zero
}

// merge takes rows that a read returned, and says what was not so. It does
// nothing if the read is of an epoch that is over: changes may have been lost
// since.
func (c *core[K, T]) merge(r *read, rows []shown[K, T], do how) (f found) {
	if r.epoch != c.pos.Epoch {
		return f
	}
	c.ahead = c.ahead || do.early
	for i := range rows {
		row := &rows[i]
		before, there := c.rows.Peek(row.key)
		if there {
			before.load = c.load
		}
		if m, aside := c.misfits.Peek(row.key); aside {
			m.load = c.load
		}
		if d, doubted := c.dirty[row.key]; doubted {
			f.skipped++
			if !do.look && !do.early {
				c.mergeDoubtful(r, d, row, do.cause)
			}
			continue
		}
		d := c.compare(r, row.key, row, before, there)
		if f.add(d); !d.any() || do.look {
			continue
		}
		if c.repaired(do.cause); row.err != nil {
			c.setAside(row.key, misfit{err: row.err, load: c.load}, do.cause)
		} else {
			c.put(row.key, &entry[K, T]{value: row.row, load: c.load}, do.cause)
		}
	}
	return f
}

// mergeDoubtful completes a row in doubt from a read. What the read does not make
// certain is as it was then.
func (c *core[K, T]) mergeDoubtful(r *read, d *doubt, row *shown[K, T], cause Cause) {
	e, fits := &entry[K, T]{value: row.row, load: c.load}, row.err == nil
	if d.settle(r.since, row.raw) {
		if d.all == 0 {
			if value, err := c.row(d.columns, d.fields); err == nil {
				e.value, fits = value, true
			}
		}
		e.event, e.committed = d.last, d.committed
		delete(c.dirty, row.key)
	} else {
		d.covered(r, c.quarantine)
	}
	if !fits {
		c.setAside(row.key, misfit{row.err, e.event, c.load}, cause)
		return
	}
	if before, there := c.rows.Peek(row.key); !there || !c.equal(before.value, e.value) {
		c.repaired(cause)
	}
	c.put(row.key, e, cause)
}

// compare says whether a read has shown a key to be other than the cache has
// it; row is nil if the read asked for it and did not find it.
func (c *core[K, T]) compare(r *read, k K, row *shown[K, T], before *entry[K, T], there bool) found {
	_, aside := c.misfits.Peek(k)
	switch {
	case c.touched(r, k, before, there):
		return found{skipped: 1}
	case row == nil && (there || aside):
		return found{ghosts: 1}
	case row == nil, row.err != nil && aside:
		return found{}
	case !there && !aside:
		return found{missing: 1}
	case aside, row.err != nil, !c.equal(before.value, row.row):
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
	if d, doubted := c.dirty[k]; doubted {
		return d.last >= r.since
	}
	if m, aside := c.misfits.Peek(k); aside {
		return m.event >= r.since
	}
	if there {
		return e.event >= r.since
	}
	g, buried := c.gone.at[k]
	return buried && g.at >= r.since
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
		if do.look {
			continue
		}
		if doubted := c.dirty[k]; doubted != nil && d.skipped > 0 {
			if !do.early {
				doubted.covered(r, c.quarantine)
			}
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
func (c *core[K, T]) see(rows []shown[K, T]) {
	for i := range rows {
		if e, there := c.rows.Peek(rows[i].key); there {
			e.load = c.load
		}
		if m, aside := c.misfits.Peek(rows[i].key); aside {
			m.load = c.load
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
	for k, m := range c.misfits.All() {
		if _, there := c.rows.Peek(k); !there && m.load != c.load {
			keys = append(keys, k)
		}
	}
	return keys
}

func (c *core[K, T]) put(k K, e *entry[K, T], cause Cause) {
	e.key = k
	c.misfits.Delete(k)
	before, had := c.rows.Peek(k)
	same := had && c.equal(before.value, e.value)
	if same {
		e.value = before.value // an equal row is the row, in the form that it has
	}
	c.rows.Set(k, e)
	c.forLatest(k, e)
	switch {
	case same:
	case had:
		c.note(Change[K, T]{Op: cdc.Update, Key: k, Old: before.value, New: e.value, Cause: cause, Pos: c.pos}, before.committed)
	default:
		c.bound.add(k)
		c.note(Change[K, T]{Op: cdc.Insert, Key: k, New: e.value, Cause: cause, Pos: c.pos}, 0)
		c.evict(k)
	}
}

func (c *core[K, T]) remove(k K, cause Cause) {
	m, aside := c.misfits.Delete(k)
	if before, had := c.rows.Delete(k); had {
		c.forLatest(k, nil)
		c.note(Change[K, T]{Op: cdc.Delete, Key: k, Old: before.value, Cause: cause, Pos: c.pos}, before.committed)
	} else if aside {
		c.net = append(c.net, Change[K, T]{Op: cdc.Delete, Key: k, Err: m.err, Cause: cause, Pos: c.pos})
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

func (c *core[K, T]) bury(now moment, k K, committed int64) {
	delete(c.dirty, k)
	c.gone.add(k, grave{now, committed})
	oldest := c.since(now)
	for r := range c.reads {
		if !r.over.Load() {
			oldest = min(oldest, r.since)
		}
	}
	c.gone.forget(oldest)
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
