package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/backoff"
	"github.com/gapless-go/gapless/internal/rescue"
)

// maxBatch is how many changes are applied before what they made is published, if so
// many wait.
const maxBatch = 256

// queue has room for a large transaction, which is no gap then. Of the bytes it
// has what is usual.
var queue = channel.Queue{Changes: 1 << 17}

// runner is Run at work on one channel. The loop owns the core: it applies the
// stream and does the jobs that others send it. All that waits for the network
// is done by the keepers, one after the other: each belongs to an epoch and
// ends with it.
//
//	pump ──changes──▶ loop ◀──jobs── keeper (load, rows in doubt, verification), marks, callers
type runner[K comparable, T any] struct {
	*Table[K, T]
	markID  string // empty without a Marker
	changes chan cdc.Change
	failed  chan error    // capacity 1: why a keeper gave up
	heard   chan struct{} // capacity 1: an event has come in this epoch
	losses  chan cdc.Gap  // that other Tables of the Marker have found

	streaming context.Context // ends with the channel
	live      bool            // it has been

	// These are the loop's.
	streamed streamedShape
	began    time.Time     // of the epoch
	open     bool          // there is a gap that has not ended
	outage   time.Duration // of the last gap
	endEpoch context.CancelFunc
	keepers  sync.WaitGroup
	previous chan struct{} // closed when the last keeper has ended
}

// Run follows the table until ctx ends, and returns its error, or until the
// table cannot be followed: it or a column does not exist, the role may not
// read it, it is not in the publication, the key function or T does not fit it,
// the token source has failed for good. What passes is tried again for ever,
// with backoff; Status.Trouble tells of it.
//
// A refusal by a server (a right, table or column that is missing, a page in the
// place of an answer) is final at once only if no request of its kind has worked
// before. Otherwise it is tried again, too, as gateways and projects that restart
// answer so, and final when it has persisted: at least 5 times over at least 3
// minutes, without a success in between. See realtime.Options.FailFast.
//
// A panic of what the Table calls (the key function, methods of T, the functions
// of indexes, compute) ends Run with a *realtime.PanicError within its error; one
// of a Checkpoint is Status.CheckpointErr. A Table is run once.
func (t *Table[K, T]) Run(ctx context.Context) error {
	t.mu.Lock()
	first := t.run.CompareAndSwap(false, true)
	t.signal()
	t.mu.Unlock()
	if !first {
		return ErrRunning
	}
	err := rescue.Do("cache.Table.Run of "+t.String(), func() error {
		if t.compute != nil {
			return t.compute(ctx, &Editor[K, T]{t})
		}
		return t.follow(ctx)
	})
	t.finish(err)
	t.events.Drain(context.Background())
	return err
}

// follow prepares and then lives from channel to channel.
func (t *Table[K, T]) follow(ctx context.Context) error {
	saved, err := t.restore(ctx)
	if err != nil {
		return err
	}
	if err := t.again(ctx, ofTable, func() error { return t.source.open(ctx, t.opts.marker != nil) }); err != nil {
		return err
	}
	if _, err := t.source.shape.tell(t.source.columns, t.source.labels, t.source.missing); err != nil {
		return err
	}
	t.core.alike.know(t.source.shape.columns())
	if t.core.rows.Len() > 0 && !slices.Equal(t.savedShape, t.source.shape.columns()) {
		t.reread.Store(true) // versions of another shape count for nothing
	}
	leave, err := t.takeTopic()
	if err != nil {
		return err
	}
	defer leave()
	ctx, stop := context.WithCancel(ctx)
	var saving sync.WaitGroup
	saving.Go(func() { t.saveNowAndThen(ctx, saved) }) // ends with ctx; waited for below
	defer saving.Wait()
	defer stop()
	for refused := 0; ; refused++ {
		live, err := t.stream(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errRejoin):
			refused = -1
			continue
		case live || !channelRefusal(err) || t.judge(ofStream, err): // what has been live was as patient
			return t.source.fail(notPublished(err))
		}
		if err := sleep(ctx, backoff.Full(refused, retryMin, retryMax)); err != nil {
			return err
		}
	}
}

// notPublished says what is most likely behind a subscription that the server
// refuses, as it does not.
func notPublished(err error) error {
	var refused *channel.SubscribeError
	if errors.As(err, &refused) && strings.HasPrefix(refused.Message, "Unable to subscribe") {
		return fmt.Errorf("%w (is the table in the publication supabase_realtime, and may the role read it?)", err)
	}
	return err
}

// stream lives as long as one channel, and reports whether that was ever live. Its
// error is errRejoin if another one is needed.
func (t *Table[K, T]) stream(ctx context.Context) (live bool, err error) {
	r := &runner[K, T]{Table: t, changes: make(chan cdc.Change, maxBatch), failed: make(chan error, 1),
		heard: make(chan struct{}, 1), open: true, endEpoch: func() {}, previous: closed()}
	if t.opts.marker != nil {
		var leave func()
		r.losses, leave = t.opts.marker.join()
		defer leave()
		err := t.again(ctx, ofMarks, func() (err error) { r.markID, err = t.opts.marker.row(ctx); return err })
		if err != nil {
			return false, err
		}
	}
	ch, err := t.client.Channel(t.opts.topic, append([]channel.Option{channel.WithQueue(queue)}, t.opts.channel...)...)
	if err != nil {
		return false, err
	}
	sub, err := ch.Subscribe(r.bindings()...)
	if err != nil {
		return false, err
	}
	inner, stop := context.WithCancel(ctx)
	r.streaming = inner
	streamed := make(chan error, 1)
	go func() { streamed <- rescue.Do("the stream of "+t.String(), func() error { return r.pump(inner, sub) }) }() // until inner ends, or the stream; waited for below
	err = rescue.Do("the loop of "+t.String(), func() error { return r.loop(inner, streamed) })
	stop()
	r.endEpoch()
	r.keepers.Wait()
	<-streamed
	r.passage.begin()
	r.step(gapOpened)
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = ch.Leave(leaving) // it is over in any case
	return r.live, err
}

// bindings are the table, and the row of marks: in one subscription, as the
// order of its changes is what marks are about.
func (r *runner[K, T]) bindings() []channel.Binding {
	b := []channel.Binding{{Schema: r.opts.schema, Table: r.name, Filter: r.source.filter, Columns: r.opts.columns}}
	if r.markID != "" {
		b = append(b, channel.Binding{Schema: "public", Table: markTable, Filter: cdc.Eq("id", r.markID), Columns: []string{"seq"}})
	}
	return b
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// pump hands the stream to the loop.
func (r *runner[K, T]) pump(ctx context.Context, sub *channel.Subscription) error {
	for c, err := range sub.Changes(ctx) {
		if err != nil {
			return err
		}
		select {
		case r.changes <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// loop applies what comes until something ends it.
func (r *runner[K, T]) loop(ctx context.Context, streamed chan error) error {
	ticker := time.NewTicker(clockEvery)
	defer ticker.Stop()
	clock := newClock(time.Now())
	passing := time.NewTimer(time.Hour)
	defer passing.Stop()
	for {
		if wait, any := r.passage.next(r.now()); any {
			passing.Reset(wait)
		}
		select {
		case <-passing.C:
			r.core.wall = time.Now().UnixMilli()
			r.passage.release(r.now())
			r.publish()
		case c := <-r.changes:
			if err := r.takeBatch(ctx, c); err != nil {
				return err
			}
		case <-r.reshaped:
			r.reshape(ctx)
		case g := <-r.losses:
			if !r.open && g.Until.After(r.began) {
				r.gap(ctx, g)
			}
		case job := <-r.jobs:
			r.doJob(job)
		case <-ticker.C:
			if since := clock.before; clock.jumped(time.Now()) {
				return r.rejoin(cdc.Gap{Since: since, Reason: cdc.Suspended})
			}
		case err := <-r.failed:
			if reshapedBy(err) {
				r.reshape(ctx)
				continue
			}
			if errors.Is(err, errRejoin) {
				r.passage.futile++
				return r.rejoin(cdc.Gap{Since: r.lastHeard(), Reason: cdc.Silent})
			}
			return err
		case err := <-streamed:
			streamed <- err // stream waits for it, too
			for len(r.changes) > 0 {
				if err := r.takeBatch(ctx, <-r.changes); err != nil {
					return err
				}
			}
			return err
		}
	}
}

// rejoin begins a gap that ends when another channel has been joined.
func (r *runner[K, T]) rejoin(g cdc.Gap) error {
	r.lost(g)
	r.rejoining = &g
	return errRejoin
}

// lastHeard is when something came last.
func (r *runner[K, T]) lastHeard() time.Time {
	if r.passage.at.After(r.lastEvent) {
		return r.passage.at
	}
	return r.lastEvent
}

// takeBatch takes a value of the stream, and those that are there already, and
// publishes what they change at once.
func (r *runner[K, T]) takeBatch(ctx context.Context, c cdc.Change) error {
	r.core.wall = time.Now().UnixMilli()
	defer r.publish()
	for n := 0; ; n++ {
		if err := r.take(ctx, c); err != nil || n == maxBatch {
			return err
		}
		select {
		case c = <-r.changes:
		default:
			return nil
		}
	}
}

func (r *runner[K, T]) take(ctx context.Context, c cdc.Change) error {
	switch {
	case c.Gap != nil:
		r.gap(ctx, *c.Gap)
		return nil
	case c.Binding == 1:
		return r.takeMark(ctx, c)
	}
	r.checkShape(ctx, c)
	now := r.now()
	e, err := r.decode(c)
	switch {
	case errors.Is(err, errUnknownRow):
		r.core.blinded(now)
		r.passage.event(now, e.committed)
		signal(r.doubt)
		return nil
	case err != nil:
		return err
	}
	if r.core.apply(now, e, r.status.Phase == Synced) {
		signal(r.suspect)
	}
	if r.core.unversioned && !r.unversioned.Swap(true) {
		r.reread.Store(true)
		r.note(func(s *Status) { s.VersionErr = r.source.fail(errVersion) })
		signal(r.suspect)
	}
	if r.opts.maxRows.full == Fail && r.opts.maxRows.limit > 0 && r.core.rows.Len() > r.opts.maxRows.limit {
		return r.source.fail(ErrTooManyRows)
	}
	if d := r.core.dirty[e.key]; d != nil && d.first == now {
		signal(r.doubt)
	}
	r.passage.event(now, e.committed)
	r.lastEvent, r.lastCommit = time.Now(), c.Committed
	signal(r.heard)
	return nil
}

// takeMark takes a mark: what waits for it is done now, at its place in the
// stream.
func (r *runner[K, T]) takeMark(ctx context.Context, c cdc.Change) error {
	if c.Op != cdc.Update {
		return nil // the row is gone, which its next update will show
	}
	k, err := readMark(c.Record)
	if err != nil {
		return r.source.fail(err)
	}
	before := r.passage.at
	if !r.passage.came(k.seq, r.now()) {
		g := cdc.Gap{Since: before, Until: time.Now(), Reason: cdc.MarkLost}
		r.opts.marker.lost(r.losses, g)
		r.gap(ctx, g)
		r.passage.seen = k.seq
		return nil
	}
	r.passage.release(r.now())
	if len(r.passage.cuts) > 0 {
		r.publish()
		r.passage.cut(k.seq, r.View())
	}
	return nil
}

// gap ends the epoch, and begins another one if the stream is whole again.
func (r *runner[K, T]) gap(ctx context.Context, g cdc.Gap) {
	if r.rejoining != nil { // the start of this channel is the end of that gap
		g.Since, g.Reason = r.rejoining.Since, r.rejoining.Reason
		if !g.Open() {
			r.rejoining = nil
		}
	}
	r.lost(g)
	if !g.Open() {
		r.live = true
		r.judge(ofStream, nil)
		r.step(gapClosed)
		r.beginEpoch(ctx)
	}
}

// lost notes a gap. Open ones are counted when they close.
func (r *runner[K, T]) lost(g cdc.Gap) {
	r.endEpoch()
	r.step(gapOpened)
	if r.open = g.Open(); !r.open {
		r.outage = g.Until.Sub(g.Since)
	}
	r.tellGap(g)
	r.note(func(s *Status) {
		if s.LastGap = g; !g.Open() {
			s.Gaps++
		}
	})
}

// beginEpoch starts a keeper, which begins when the one before has ended.
func (r *runner[K, T]) beginEpoch(ctx context.Context) {
	r.core.begin(r.now())
	r.passage.begin()
	r.began = time.Now()
	select {
	case <-r.heard:
	default:
	}
	cold := r.core.pos.Epoch == 1 || r.outage >= coldAfter
	ctx, r.endEpoch = context.WithCancel(ctx)
	before, done := r.previous, make(chan struct{})
	r.previous = done
	opened := r.core.pos.Epoch == 1 // follow has asked what the table is
	first := opened && r.core.rows.Len() == 0
	var both sync.WaitGroup
	both.Go(func() { r.report(ctx, func() error { return r.keep(ctx, first, opened, cold) }, before) })
	if r.markID != "" {
		both.Go(func() { r.report(ctx, func() error { return r.writeMarks(ctx, r.markID) }, before) })
	}
	r.keepers.Go(func() { both.Wait(); close(done) })
}

// report does a keeper's work and tells the loop how it failed.
func (r *runner[K, T]) report(ctx context.Context, work func() error, before chan struct{}) {
	<-before
	if err := rescue.Do("a reader of "+r.String(), work); err != nil && ctx.Err() == nil {
		select {
		case r.failed <- err:
		default: // the first counts
		}
	}
}

// doJob does a job. Whoever waits for it goes on even if it panics.
func (r *runner[K, T]) doJob(job task) {
	defer close(job.done)
	r.core.wall = time.Now().UnixMilli()
	job.do()
	r.publish()
}

// task is a job for the loop. done is closed when what it did has been published.
type task struct {
	do   func()
	done chan struct{}
}

// do has the loop do a job, and waits for it. While there is no loop, as
// before Run and between channels, it waits for that, too.
func (t *Table[K, T]) do(ctx context.Context, job func()) error {
	if t.compute != nil {
		return errComputed
	}
	j := task{job, make(chan struct{})}
	select {
	case t.jobs <- j:
		<-j.done // the loop finishes what it has taken
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	case <-t.over:
		return t.endError()
	}
}
