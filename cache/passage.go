package cache

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gapless-go/gapless/cdc"
)

// passage is what the loop knows of how far the stream has come, and what waits for
// it to pass a place. A place is a mark, or, without a Marker, a time by which
// the stream must have passed it.
type passage[K comparable, T any] struct {
	marked  bool
	settle  time.Duration // without marks: how late the stream may be
	publish func()        // makes visible what a job did
	held    []*held
	cuts    []*cutting[K, T]
	late    lateness

	seen   int64 // the number of the last mark that came in this epoch; 0: none has
	sent   []sentMark
	latest moment        // when a mark was written or came last: of one Marker, all tables get all marks
	moved  moment        // when the stream last moved on, as far as marks show
	futile int           // how many times the channel was joined anew since a mark came
	rtt    time.Duration // how long the last mark took
	at     time.Time     // when it came
	wanted chan struct{} // capacity 1: something waits for a mark that is not written yet
}

// sentMark is a mark that was written and has not come.
type sentMark struct {
	mark
	sent moment
}

// held is a job that waits for the stream to pass a place: what the table was when
// it was read is merged when the stream has come there.
type held struct {
	seq   int64  // of the mark; 0: it is to be written yet
	at    moment // without marks
	job   func()
	state atomic.Uint32 // waiting, taken or dropped
	done  chan struct{} // closed when the job has run, or will not
	ended bool          // done is closed
	err   error         // errEpochOver if it will not
}

const (
	waiting uint32 = iota
	taken
	dropped
)

// run does the job, unless nobody waits for it any more, and publishes all that
// came before.
func (m *passage[K, T]) run(h *held) {
	defer h.end(nil) // whatever the job does
	if h.state.CompareAndSwap(waiting, taken) {
		h.job()
		m.publish()
	}
}

// isDropped reports whether nobody waits for the job any more.
func (h *held) isDropped() bool { return h.state.Load() == dropped }

// drop gives the job up, unless it has ended: one that panicked is among the held
// still.
func (h *held) drop() { h.end(errEpochOver) }

func (h *held) end(err error) {
	if !h.ended {
		h.ended, h.err = true, err
		close(h.done)
	}
}

// hold takes a job, and does it at once if there is nothing to wait for.
func (m *passage[K, T]) hold(h *held, now moment) {
	h.at = now
	if m.passed(h, now) {
		m.run(h)
		return
	}
	if len(m.held) == cap(m.held) { // now and then, those that nobody waits for any more go
		m.held = slices.DeleteFunc(m.held, (*held).isDropped)
	}
	m.held = append(m.held, h)
	if m.marked && h.seq == 0 {
		signal(m.wanted)
	}
}

// passed reports whether the stream has passed the place of a job.
func (m *passage[K, T]) passed(h *held, now moment) bool {
	if m.marked {
		return h.seq > 0 && h.seq <= m.seen
	}
	return now >= h.at+m.settle+m.late.by
}

// next returns when the time of the first job will have come, without marks.
func (m *passage[K, T]) next(now moment) (wait time.Duration, any bool) {
	if m.marked || len(m.held) == 0 {
		return 0, false
	}
	return max(m.held[0].at+m.settle+m.late.by-now, 0), true
}

// unwritten returns the jobs for which a mark is to be written.
func (m *passage[K, T]) unwritten() (list []*held) {
	for _, h := range m.held {
		if h.seq == 0 {
			list = append(list, h)
		}
	}
	return list
}

// wrote notes that a mark was written behind what the jobs have read.
func (m *passage[K, T]) wrote(k mark, sent, now moment, for_ []*held) {
	for _, h := range for_ {
		h.seq = k.seq
	}
	m.latest = max(m.latest, sent)
	if k.seq > m.seen {
		if len(m.sent) == 0 {
			m.moved = max(m.moved, sent)
		}
		m.sent = append(m.sent, sentMark{k, sent})
	}
	m.release(now)
}

// came takes a mark. It reports false if one before it did not come, so that
// other changes may not have come either.
func (m *passage[K, T]) came(seq int64, now moment) bool {
	m.at, m.latest, m.moved, m.futile = time.Now(), now, now, 0
	if seq <= m.seen {
		return true // again
	}
	whole := m.seen == 0 || seq == m.seen+1
	kept := m.sent[:0]
	for _, s := range m.sent {
		switch {
		case s.seq > seq:
			kept = append(kept, s)
		case s.seq == seq:
			m.rtt = now - s.sent
		case m.seen == 0:
			whole = false
		}
	}
	m.sent, m.seen = kept, seq
	return whole
}

// event notes that an event has come. If it is from before the oldest mark that
// has not come, the stream is late, and not dead.
func (m *passage[K, T]) event(now moment, committed int64) {
	m.late.event(now, committed)
	if len(m.sent) > 0 && committed > 0 && committed <= m.sent[0].at.UnixMilli() {
		m.moved = now
	}
}

// release does the jobs whose place the stream has passed.
func (m *passage[K, T]) release(now moment) {
	if len(m.held) == 0 {
		return
	}
	kept := m.held[:0]
	for _, h := range m.held {
		if m.passed(h, now) {
			m.run(h)
		} else {
			kept = append(kept, h)
		}
	}
	clear(m.held[len(kept):])
	m.held = kept
}

// begin begins an epoch, of which nothing has come.
func (m *passage[K, T]) begin() {
	for _, h := range m.held {
		h.drop()
	}
	m.held, m.sent, m.seen, m.late, m.latest = nil, nil, 0, lateness{}, 0
}

// silent is for how long marks have been awaited and nothing has come that was
// committed before them.
func (m *passage[K, T]) silent(now moment) time.Duration {
	if len(m.sent) == 0 {
		return 0
	}
	return now - max(m.sent[0].sent, m.moved)
}

// awaited is when the oldest mark was written that has not come; 0: all have.
func (m *passage[K, T]) awaited() moment {
	if len(m.sent) == 0 {
		return 0
	}
	return m.sent[0].sent
}

// lateness is how late events come, as far as nobody knows the database's clock:
// compared with the one that came the soonest behind its commit in this epoch.
type lateness struct {
	any   bool
	least int64 // ms
	by    time.Duration
}

// maxLateness bounds what a step of the database's clock does.
const maxLateness = time.Minute

func (l *lateness) event(now moment, committed int64) {
	if committed == 0 {
		return
	}
	took := now.Milliseconds() - committed
	if !l.any || took < l.least {
		l.any, l.least = true, took
	}
	l.by = min(time.Duration(took-l.least)*time.Millisecond, maxLateness)
}

// passing has the loop do a job when the stream has passed what the table is now,
// or the mark of that number. It returns errEpochOver if there was a gap first.
func (t *Table[K, T]) passing(ctx context.Context, seq int64, job func()) error {
	h, err := t.holdJob(ctx, seq, job)
	if err != nil {
		return err
	}
	return t.await(ctx, h)
}

// holdJob is passing without the waiting, which await does.
func (t *Table[K, T]) holdJob(ctx context.Context, seq int64, job func()) (*held, error) {
	h := &held{seq: seq, job: job, done: make(chan struct{})}
	return h, t.do(ctx, func() { t.passage.hold(h, t.now()) })
}

func (t *Table[K, T]) await(ctx context.Context, h *held) error {
	select {
	case <-h.done:
		return h.err
	case <-ctx.Done():
	case <-t.over:
	}
	if h.state.CompareAndSwap(waiting, dropped) {
		return errors.Join(ctx.Err(), t.endError())
	}
	<-h.done // it is being done
	return h.err
}

// writeMarks writes a mark whenever something waits for one, and every so often
// as a canary. It ends with the epoch. Its error is one that does not pass, or
// errRejoin if marks do not come though they are written.
func (r *runner[K, T]) writeMarks(ctx context.Context, id string) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.passage.wanted:
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		var next nextMark
		if err := r.do(ctx, func() { next = r.passage.nextMark(r.now(), r.opts.canary, r.opts.markTimeout) }); err != nil {
			return err
		}
		switch {
		case next.dead:
			return errRejoin
		case next.write:
			if err := r.writeMark(ctx, id); err != nil {
				return err
			}
			timer.Reset(0)
		default:
			timer.Reset(next.wait)
		}
	}
}

// nextMark is what is to be done about marks.
type nextMark struct {
	write bool
	dead  bool // the channel is to be joined anew
	wait  time.Duration
}

// probeEvery is how often a mark is written until the first one of an epoch has
// come: a server that was idle confirms a subscription before it reads the log.
const probeEvery = 2 * time.Second

// nextMark decides about marks. The limit for a stream that is silent grows while
// joining the channel anew does not help.
func (m *passage[K, T]) nextMark(now moment, canary, timeout time.Duration) nextMark {
	limit := timeout << min(m.futile, 4)
	every := canary
	if m.seen == 0 {
		every = min(every, probeEvery)
	}
	silent := m.silent(now)
	switch {
	case len(m.sent) > 0 && silent >= limit:
		return nextMark{dead: true}
	case len(m.unwritten()) > 0, m.latest == 0, now-m.latest >= every:
		return nextMark{write: true}
	}
	n := nextMark{wait: every - (now - m.latest)}
	if len(m.sent) > 0 {
		n.wait = min(n.wait, limit-silent)
	}
	return n
}

// writeMark writes a mark for what waits for one, trying until it succeeds. If
// the database was away meanwhile, so was what it keeps for Realtime, a
// temporary replication slot: changes may be lost, though no mark was.
func (r *runner[K, T]) writeMark(ctx context.Context, id string) error {
	var away error
	err := r.again(ctx, ofMarks, func() error {
		var list []*held
		var start moment
		if err := r.do(ctx, func() { list, start = r.passage.unwritten(), r.now() }); err != nil {
			return err
		}
		k, err := r.opts.marker.write(ctx, id)
		switch {
		case errors.Is(err, errMarkGone):
			return errRejoin // with another row
		case err != nil:
			if isAway(err) {
				away = err
			}
			return err
		}
		return r.do(ctx, func() { r.passage.wrote(k, start, r.now(), list) })
	})
	if err != nil || away == nil {
		return err
	}
	return r.do(ctx, func() {
		if ctx.Err() == nil { // else there is another epoch already
			g := cdc.Gap{Since: r.lastHeard(), Until: time.Now(), Reason: cdc.Silent, Err: away}
			r.opts.marker.lost(r.losses, g)
			r.gap(r.streaming, g)
		}
	})
}
