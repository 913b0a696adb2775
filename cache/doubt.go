package cache

import (
	"encoding/json"
	"time"

	"github.com/gapless-go/gapless/cdc"
)

// partial is what an event has of a row that it does not have the whole of.
type partial struct {
	columns []cdc.Column
	fields  map[string]json.RawMessage // the columns whose values are certain
	left    []string                   // columns that the event left unchanged and does not carry
	unsaid  []string                   // columns that it may have changed and does not carry as they are
}

// doubt is a row that is not wholly known. Doubt is by column: an event of a busy
// row settles all that it carries. A read settles a column if no event since
// shortly before the read may have changed it, however many events there were.
type doubt struct {
	first     moment // of the events that no read has covered yet
	last      moment // of all events
	committed int64  // by the last one, in Unix milliseconds
	due       moment // when the row is to be read
	reading   *read  // under way; nil: none is

	// all is the last event that may have changed any column, unless it is 0;
	// otherwise open has the columns that are not certain, each with the last
	// event that may have changed it, and fields has the others.
	all      moment
	open     map[string]moment
	fields   map[string]json.RawMessage
	columns  []cdc.Column
	collided bool // see collide
}

// beforeEpoch is an event of the epoch before: each read of the epoch is behind it.
const beforeEpoch moment = 1

// partly notes an event that has a part of the row. left is the doubt that there
// was before, under the key that the row had; nil: there was none, and the last
// event that may have changed a column was at unchanged.
func (d *doubt) partly(now moment, committed int64, p *partial, left *doubt, unchanged moment) {
	open := make(map[string]moment, len(p.left)+len(p.unsaid))
	for _, name := range p.left {
		switch value, certain := left.certain(name); {
		case certain:
			p.fields[name] = value
		case left == nil:
			open[name] = unchanged
		case d != left: // it was under another key
			open[name] = max(left.all, left.open[name], unchanged)
		default:
			open[name] = max(left.all, left.open[name], beforeEpoch)
		}
	}
	for _, name := range p.unsaid {
		open[name] = now
	}
	d.last, d.committed = now, committed
	d.all, d.open, d.fields, d.columns = 0, open, p.fields, p.columns
}

// wholly notes that no column is certain any more.
func (d *doubt) wholly(now moment, committed int64) {
	d.last, d.committed = now, committed
	d.all, d.open, d.fields, d.columns = now, nil, nil, nil
}

func (d *doubt) certain(name string) (value json.RawMessage, certain bool) {
	if d == nil || d.all > 0 {
		return nil, false
	}
	value, certain = d.fields[name]
	return value, certain
}

// settle takes what a read has shown, and reports whether the row is certain. Of
// a commit from before since, the read has shown what it did; events from since
// on may have come behind the read.
func (d *doubt) settle(since moment, row json.RawMessage) bool {
	if d.all > 0 {
		return d.all < since
	}
	var read map[string]json.RawMessage
	if json.Unmarshal(row, &read) != nil {
		return false
	}
	for name, at := range d.open {
		if value, there := read[name]; there && at < since {
			d.fields[name] = value
			delete(d.open, name)
		}
	}
	return len(d.open) == 0
}

// covered notes that a read has shown the row, and did not settle it. It is read
// again when the last event can be seen by a read for certain.
func (d *doubt) covered(r *read, quarantine time.Duration) {
	d.first = max(d.first, r.asked)
	d.due = r.asked + quarantine + 1
}

// doubt notes that a row is not wholly known, and returns the doubt.
func (c *core[K, T]) doubt(now moment, k K) *doubt {
	d, there := c.dirty[k]
	if !there {
		d = &doubt{first: now, due: now}
		c.dirty[k] = d
	}
	return d
}

// unchangedSince is when the last event came that may have changed a column
// which an event of the row now leaves as it was.
func (c *core[K, T]) unchangedSince(now moment, k K) moment {
	switch before, there := c.rows.Peek(k); {
	case there:
		return max(before.event, beforeEpoch)
	case c.bound.evicts():
		return now // nothing is known of a row that was evicted
	}
	return beforeEpoch
}

// collides reports whether an event says too little of which row it is of: it
// brings a row to a key that another one has, which a transaction may do whose
// constraint is deferred, or is of a key at which that has happened. Whether
// the other row was there before or has come in the same transaction, nothing
// tells.
func (c *core[K, T]) collides(e event[K, T], there bool) bool {
	if d := c.dirty[e.key]; d != nil && d.collided {
		return true
	}
	if d := c.dirty[e.old]; d != nil && d.collided {
		return true
	}
	_, aside := c.misfits.Peek(e.key)
	return e.op == cdc.Update && e.old != e.key && (there || aside || c.dirty[e.key] != nil)
}

// collide leaves the rows of an event as they are until they have been read.
func (c *core[K, T]) collide(now moment, e event[K, T]) {
	for _, k := range []K{e.old, e.key} {
		d := c.doubt(now, k)
		d.wholly(now, e.committed)
		d.collided = true
	}
}

// blinded notes an event that does not say which row it is of.
func (c *core[K, T]) blinded(now moment) {
	c.counts.events++
	c.pos.Seq++
	if c.blind.first == 0 {
		c.blind.first = now
	}
	c.blind.last = now
}

// sighted notes that the whole table was read.
func (c *core[K, T]) sighted(r *read) {
	switch {
	case c.blind.first == 0:
	case c.blind.last < r.since:
		c.blind = doubt{}
	default:
		c.blind.covered(r, c.quarantine)
	}
}

// doubts is how many rows are in doubt; the whole table counts as one.
func (c *core[K, T]) doubts() int {
	n := len(c.dirty)
	if c.blind.first > 0 {
		n++
	}
	if c.keepsOld {
		n += c.misfits.Len()
	}
	return n
}

// oldestDoubt is since when something has been in doubt that no read has covered
// since; 0: nothing is.
func (c *core[K, T]) oldestDoubt() (oldest moment) {
	oldest = c.blind.first
	for _, d := range c.dirty {
		if oldest == 0 || d.first < oldest {
			oldest = d.first
		}
	}
	return oldest
}

// due returns the keys in doubt that are to be read by now, at most n, or that the
// whole table is. If nothing is, it returns how long it is until something will
// be, 0 for never.
func (c *core[K, T]) due(now moment, n int) (keys []K, blind bool, wait time.Duration) {
	if b := &c.blind; b.first > 0 {
		if b.due <= now || b.first <= c.wanted {
			return nil, true, 0
		}
		wait = b.due - now
	}
	for k, d := range c.dirty {
		if d.reading != nil && !d.reading.over.Load() && d.reading.epoch == c.pos.Epoch {
			continue
		}
		left := d.due - now
		if d.first <= c.wanted {
			left = 0
		}
		switch {
		case left <= 0 && len(keys) < n:
			keys = append(keys, k)
		case left > 0 && (wait == 0 || left < wait):
			wait = left
		}
	}
	if len(keys) > 0 {
		wait = 0
	}
	return keys, false, wait
}

// ask notes that a read of these keys is under way.
func (c *core[K, T]) ask(keys []K, r *read) {
	for _, k := range keys {
		if d := c.dirty[k]; d != nil {
			d.reading = r
		}
	}
}
