package cache

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/postgrest"
)

// marks is what the loop knows of marks, and what waits for them. Without a
// Marker nothing waits.
type marks[K comparable, T any] struct {
	on      bool
	publish func() // makes visible what a job did
	seen    int64  // the number of the last mark that came in this epoch; 0: none has
	sent    []sentMark
	held    []*held
	cuts    []*cutting[K, T]
	rtt     time.Duration // how long the last mark took
	at      time.Time     // when it came
	wanted  chan struct{} // capacity 1: something waits for a mark that is not written yet
}

// sentMark is a mark that was written and has not come.
type sentMark struct {
	seq int64
	at  moment
}

// held is a job that waits for a mark: what the table was when it was read is
// merged when the stream has come there.
type held struct {
	seq   int64 // of the mark; 0: it is to be written yet
	job   func()
	state atomic.Uint32 // waiting, taken or dropped
	done  chan struct{} // closed when the job has run, or will not
	err   error         // errEpochOver if it will not
}

const (
	waiting uint32 = iota
	taken
	dropped
)

// run does the job, unless nobody waits for it any more, and publishes all that
// came before.
func (m *marks[K, T]) run(h *held) {
	if h.state.CompareAndSwap(waiting, taken) {
		h.job()
		m.publish()
	}
	close(h.done)
}

// drop gives the job up.
func (h *held) drop() {
	h.err = errEpochOver
	close(h.done)
}

// hold takes a job, and does it at once if there is nothing to wait for.
func (m *marks[K, T]) hold(h *held) {
	if !m.on || h.seq > 0 && h.seq <= m.seen {
		m.run(h)
		return
	}
	m.held = append(m.held, h)
	if h.seq == 0 {
		signal(m.wanted)
	}
}

// unwritten returns the jobs for which a mark is to be written.
func (m *marks[K, T]) unwritten() (list []*held) {
	for _, h := range m.held {
		if h.seq == 0 {
			list = append(list, h)
		}
	}
	return list
}

// wrote notes that a mark was written behind what the jobs have read.
func (m *marks[K, T]) wrote(seq int64, at moment, for_ []*held) {
	for _, h := range for_ {
		h.seq = seq
	}
	if seq > m.seen {
		m.sent = append(m.sent, sentMark{seq, at})
	}
	m.release()
}

// came takes a mark. It reports false if one before it did not come, so that
// other changes may not have come either.
func (m *marks[K, T]) came(seq int64, now moment) bool {
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
			m.rtt = now - s.at
		case m.seen == 0:
			whole = false
		}
	}
	m.sent, m.seen, m.at = kept, seq, time.Now()
	return whole
}

// release does the jobs whose mark has come.
func (m *marks[K, T]) release() {
	kept := m.held[:0]
	for _, h := range m.held {
		if h.seq > 0 && h.seq <= m.seen {
			m.run(h)
		} else {
			kept = append(kept, h)
		}
	}
	clear(m.held[len(kept):])
	m.held = kept
}

// begin begins an epoch, of which no mark has come.
func (m *marks[K, T]) begin() {
	for _, h := range m.held {
		h.drop()
	}
	m.held, m.sent, m.seen = nil, nil, 0
}

// overdue is for how long the oldest mark has been awaited.
func (m *marks[K, T]) overdue(now moment) time.Duration {
	if len(m.sent) == 0 {
		return 0
	}
	return now - m.sent[0].at
}

// atMark has the loop do a job when the stream has come to where the table is
// now, or to the mark of that number. It returns errEpochOver if there was a
// gap first. Without a Marker the job is done at once.
func (t *Table[K, T]) atMark(ctx context.Context, seq int64, job func()) error {
	h, err := t.holdJob(ctx, seq, job)
	if err != nil {
		return err
	}
	return t.await(ctx, h)
}

// holdJob is atMark without the waiting, which await does.
func (t *Table[K, T]) holdJob(ctx context.Context, seq int64, job func()) (*held, error) {
	h := &held{seq: seq, job: job, done: make(chan struct{})}
	return h, t.do(ctx, func() { t.marks.hold(h) })
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
	canary := time.NewTicker(r.opts.canary)
	defer canary.Stop()
	look := time.NewTicker(r.opts.markTimeout / 2)
	defer look.Stop()
	for {
		select {
		case <-r.marks.wanted:
		case <-canary.C:
		case <-look.C:
			var late time.Duration
			if err := r.do(ctx, func() { late = r.marks.overdue(r.now()) }); err != nil {
				return err
			}
			switch {
			case late > maxLate*r.opts.markTimeout:
				return errRejoin
			case late <= r.opts.markTimeout:
				continue
			} // else another one shows whether it alone was lost
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := r.writeMark(ctx, id); err != nil {
			return err
		}
	}
}

// maxLate is how many times the time of a mark it may take before the channel
// is taken to be deaf.
const maxLate = 3

// writeMark writes a mark for what waits for one, trying until it succeeds. If
// the database was away meanwhile, so was what it keeps for Realtime, a
// temporary replication slot: changes may be lost, though no mark was.
func (r *runner[K, T]) writeMark(ctx context.Context, id string) error {
	var away error
	err := r.again(ctx, func() error {
		var list []*held
		var start moment
		if err := r.do(ctx, func() { list, start = r.marks.unwritten(), r.now() }); err != nil {
			return err
		}
		seq, err := r.opts.marker.write(ctx, id)
		switch {
		case errors.Is(err, errMarkGone):
			return errRejoin // with another row
		case err != nil:
			if isAway(err) {
				away = err
			}
			return err
		}
		return r.do(ctx, func() { r.marks.wrote(seq, start, list) })
	})
	if err != nil || away == nil {
		return err
	}
	return r.do(ctx, func() {
		if ctx.Err() == nil { // else there is another epoch already
			r.gap(r.streaming, cdc.Gap{Since: r.lastHeard(), Until: time.Now(), Reason: cdc.Silent, Err: away})
		}
	})
}

// isAway reports whether an error is that the database cannot be reached, or is
// about to stop or start.
func isAway(err error) bool {
	var e *postgrest.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case "PGRST000", "PGRST001", "PGRST002", "57P01", "57P02", "57P03":
		return true
	}
	return false
}
