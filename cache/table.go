package cache

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/events"
	"github.com/gapless-go/gapless/realtime"
)

var timeType = reflect.TypeFor[time.Time]()

// Table is a copy of a table, or of some of its rows and columns, that keeps
// itself equal to it. New makes one; Run does all of its work. Every method is
// safe for concurrent use.
//
// Reads never wait: they are answered from the last published view, also while
// the connection is down; Status tells how fresh that is. Each read is of one
// view. Rows are values; what they point to is shared and must not be changed.
type Table[K comparable, T any] struct {
	name    string
	opts    options
	client  *realtime.Client
	source  source[K, T]
	version versions[T]
	born    time.Time
	compute func(context.Context, *Editor[K, T]) error // of a computed Table; else nil
	run     atomic.Bool
	events  *events.Queue

	inputs    []*Input // of a computed Table; under mu
	computing bool     // a computed Table has published something; under mu

	wasSynced   atomic.Bool       // once at least
	jobs        chan task         // for the loop
	doubt       chan struct{}     // capacity 1: something may be in doubt that is to be read
	suspect     chan struct{}     // capacity 1: something does not fit
	loading     chan struct{}     // capacity 1: held by who reads the whole table
	reshaped    chan struct{}     // capacity 1: a read has shown other columns
	identity    realtime.Identity // as whom a checkpoint is written and read
	savedShape  []cdc.Column      // of the checkpoint
	reread      atomic.Bool       // the whole table is to be read, whatever versions say
	unversioned atomic.Bool       // versions have been seen to come again: they tell nothing
	over        chan struct{}     // closed when Run has returned

	// These are the loop's own.
	core                  core[K, T]
	passage               passage[K, T]
	lastEvent, lastCommit time.Time
	eventsAtVerify        uint64
	rejoining             *cdc.Gap // why the channel is being replaced; else nil

	view   atomic.Pointer[View[K, T]]
	latest latest[K, T] // the rows of that view

	mu      sync.Mutex
	feeds   map[*feed[K, T]]struct{}
	flights map[K]*flight[T]
	status  Status
	doubted moment // since when a row is in doubt; 0: none is
	past    [kinds]requests
	awaited moment // since when a mark has been awaited; 0: none is
	ended   bool
	err     error         // what Run returned, once ended
	changed chan struct{} // closed and replaced when a phase or a view does; nil if nobody waits
}

// New makes the cache of a table: of its rows as T (see cdc.As), by the key
// that the function finds in a row. The key must be made of the columns of the
// primary key and of nothing else, each of which T must have. A field of T whose
// tag names a column that the table lacks ends Run with an error that names it,
// unless the tag says optional.
//
// K is, for a key of one column, a string, an integer or a bool, or a type with
// MarshalText or String, such as a UUID; for a key of several, a struct with such a
// field for each, by the tag db or json or by name. Pointers, floats and time.Time
// are refused, as what is equal to them in the database is not equal in Go: a key
// of such a column is a string in T.
//
// New starts nothing and connects to nothing. The error is a *cdc.TypeError for a T,
// and a *KeyError for a K, that no columns fit into, wraps realtime.ErrTopicInUse
// if a Table of the same topic is running, or says which option is wrong.
func New[K comparable, T any](client *realtime.Client, table string, key func(T) K, opts ...Option) (*Table[K, T], error) {
	o := defaults()
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(notEmpty("table", table), cdc.CheckType[T]()); err != nil {
		return nil, err
	}
	o.topic = cmp.Or(o.topic, "cache:"+table+":"+strings.ToLower(rand.Text()[:8]))
	t := newTable[K, T](table, o)
	t.client = client
	if _, used := topics.Load(topicOf{client, o.topic}); used {
		return nil, errTopic(o.topic)
	}
	for i := range t.past {
		t.past[i].Strict = client.FailFast()
	}
	t.core = newCore[K, T](key, o.settle)
	t.core.bound.limit, t.core.bound.full = o.maxRows.limit, o.maxRows.full
	if o.keep > 0 {
		t.core.history = &history[K, T]{keep: o.keep.Milliseconds(), perKey: o.perKey}
	}
	t.passage.marked, t.passage.settle = o.marker != nil, o.settle
	t.passage.wanted, t.passage.publish = make(chan struct{}, 1), t.publish
	t.view.Store(&View[K, T]{})
	t.core.keepsOld = o.misfits == KeepOld
	t.core.row = func(columns []cdc.Column, fields map[string]json.RawMessage) (row T, err error) {
		record, err := json.Marshal(fields)
		if err != nil {
			return row, err
		}
		return t.source.row(columns, record)
	}
	var err error
	if t.source, err = newSource[K, T](client, table, o, key); err == nil {
		t.version, err = newVersions[T](o.version)
	}
	if len(o.version) > 0 {
		t.core.version, t.core.removed = &t.version, map[K]T{}
	}
	if t.opts.verifyBy == checkUnset {
		t.opts.verifyBy = t.bestCheck()
	}
	return t, err
}

func newTable[K comparable, T any](name string, o options) *Table[K, T] {
	return &Table[K, T]{name: name, opts: o, born: time.Now(), events: newEvents(o.schema+"."+name, o),
		jobs: make(chan task), doubt: make(chan struct{}, 1), suspect: make(chan struct{}, 1), loading: make(chan struct{}, 1), over: make(chan struct{}), reshaped: make(chan struct{}, 1),
		feeds: map[*feed[K, T]]struct{}{}, flights: map[K]*flight[T]{}}
}

// now is the moment on the core's clock, which does not go back.
func (t *Table[K, T]) now() moment { return time.Since(t.born) + 1 }

// View returns the present content.
func (t *Table[K, T]) View() View[K, T] { return *t.view.Load() }

// Get returns a row of the present view. It takes no lock.
func (t *Table[K, T]) Get(k K) (row T, ok bool) {
	e, known := t.latest.get(k)
	switch {
	case !known || t.core.bound.evicts(): // then the view notes who was read
		return t.view.Load().get(k)
	case e == nil:
		return row, false
	}
	return e.value, true
}

// All returns the rows of the present view, in no particular order. It goes on
// to be of that view while the Table changes.
func (t *Table[K, T]) All() iter.Seq2[K, T] { return t.View().All() }

// Len returns how many rows the present view has.
func (t *Table[K, T]) Len() int { return t.view.Load().Len() }

// Phase returns the present phase. It takes no lock.
func (t *Table[K, T]) Phase() Phase { return t.view.Load().phase }

// Status returns the present one.
func (t *Table[K, T]) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, now := t.status, t.now()
	if t.doubted > 0 {
		s.OldestDoubt = max(now-t.doubted, 1)
	}
	if t.awaited > 0 {
		s.Behind = max(s.Behind, now-t.awaited)
	}
	if t.source.received != nil {
		s.Received = t.source.received.bytes.Load()
	}
	return s
}

// WaitSynced blocks until the Table is Synced, which it may no longer be when
// the caller looks. It returns ctx's error, joined with the reason for which
// the table cannot be read at the moment, or the error that Run ended with, or
// ErrNotRunning if Run has not been called 5 s after WaitSynced.
func (t *Table[K, T]) WaitSynced(ctx context.Context) error {
	return t.wait(ctx, func() bool { return t.Phase() == Synced })
}

// WaitFor blocks until the row of a key is as wanted: ok is given the row, and
// whether there is one, of each view in turn, though not of views that were
// followed by another at once. It is called by the caller's goroutine, and may
// ask the Table anything. WaitFor returns ctx's error, or the one that Run
// ended with.
func (t *Table[K, T]) WaitFor(ctx context.Context, k K, ok func(row T, there bool) bool) error {
	return t.wait(ctx, func() bool { return ok(t.Get(k)) })
}

// runWithin is how long those who wait for a Table wait for its Run.
const runWithin = 5 * time.Second

// wait blocks until so, which is asked after every change.
func (t *Table[K, T]) wait(ctx context.Context, so func() bool) error {
	timer := time.NewTimer(runWithin)
	defer timer.Stop()
	for {
		t.mu.Lock()
		ended, err, trouble := t.ended, t.err, t.status.Trouble
		if !t.run.Load() {
			trouble = ErrNotRunning
		}
		if t.changed == nil {
			t.changed = make(chan struct{})
		}
		changed := t.changed // of what comes from now on
		t.mu.Unlock()
		switch {
		case so():
			return nil
		case ended:
			return endOf(err) // what is waited for does not come any more
		}
		select {
		case <-changed:
		case <-timer.C:
			if !t.run.Load() {
				return ErrNotRunning
			}
		case <-ctx.Done():
			return errors.Join(ctx.Err(), trouble)
		}
	}
}

// publish makes what the core has visible, all at once, and tells the feeds.
func (t *Table[K, T]) publish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.publishIn(t.status.Phase)
}

// step moves the phase, together with what has changed: no view has the rows of
// one phase and the name of another.
func (t *Table[K, T]) step(s step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.publishIn(t.status.Phase.next(s))
}

// publishIn is publish in a phase. It is called under mu.
func (t *Table[K, T]) publishIn(p Phase) {
	net := t.core.net
	moved := p != t.status.Phase
	if moved {
		t.tellPhase(t.status.Phase, p)
	}
	t.status.Phase = p
	shown := t.view.Load()
	fresh := moved || len(net) > 0 || t.core.pos.Epoch != shown.pos.Epoch || t.core.misfits.Len() != shown.misfits.Len()
	t.latest.change(t.core.puts, func() {
		if fresh { // else all that was put is equal to what was there
			t.view.Store(t.core.publish(p))
		}
	})
	t.core.puts = emptied(t.core.puts)
	s := &t.status
	t.tellRows(s.Doubtful, s.Repaired, net)
	if fresh {
		t.tell(net, moved)
		t.core.net = emptied(net)
	}
	s.Rows, s.Doubtful, s.Epoch = t.core.rows.Len(), t.core.doubts(), t.core.pos.Epoch
	s.Events, s.Contradictions, s.Repaired, s.Evicted = t.core.counts.events, t.core.counts.contradictions, t.core.counts.repaired, t.core.counts.evicted
	s.SetAside, s.Misfit = t.core.misfits.Len(), t.core.lastMisfit
	s.LastEvent, s.LastCommit, s.LastMark, s.MarkRTT = t.lastEvent, t.lastCommit, t.passage.at, t.passage.rtt
	t.doubted, t.awaited, s.Behind = t.core.oldestDoubt(), t.passage.awaited(), t.passage.late.by
	t.signal()
}

// tell gives changes to the feeds, and the phase behind them if it has moved. It
// is called under mu.
func (t *Table[K, T]) tell(net []Change[K, T], moved bool) {
	if len(t.feeds) == 0 {
		return
	}
	shared := make([]*Change[K, T], len(net)) // each by itself: one that waits for long holds no other
	signs := 0
	for i := range net {
		c := net[i]
		if shared[i] = &c; c.Err != nil {
			signs++
		}
	}
	changes := shared // without the signs of rows that are set aside
	if signs > 0 {
		changes = slices.DeleteFunc(slices.Clone(shared), func(c *Change[K, T]) bool { return c.Err != nil })
	}
	for f := range t.feeds {
		to := changes
		if f.aside {
			to = shared
		}
		if !f.add(to) {
			delete(t.feeds, f)
		} else if moved || f.input != nil {
			f.move(t.status.Phase, t.core.pos)
		}
	}
}

// publish returns the present content.
func (c *core[K, T]) publish(p Phase) *View[K, T] {
	v := &View[K, T]{rows: c.rows.Publish(), misfits: c.misfits.Publish(), pos: c.pos, phase: p, marks: c.bound.evicts()}
	for _, x := range c.indexes {
		v.indexes = append(v.indexes, x.publish())
	}
	if c.history != nil {
		v.past, v.since = c.history.past.Publish(), c.history.since()
	} else {
		v.since = math.MaxInt64
	}
	return v
}

// attach adds a feed and returns the view behind which it begins.
func (t *Table[K, T]) attach(f *feed[K, T]) View[K, T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	view := t.View()
	f.move(view.phase, view.pos)
	if f.input != nil {
		f.input.from = t
	}
	if t.ended {
		f.end(endOf(t.err))
	} else {
		t.feeds[f] = struct{}{}
	}
	return view
}

// detach ends a feed that is not iterated any more.
func (t *Table[K, T]) detach(f *feed[K, T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.feeds, f)
	f.end(errStopped)
}

// endOf is what a feed ends with when Run has returned.
func endOf(err error) error {
	if err == nil {
		return errComplete
	}
	return err
}

// note changes the status.
func (t *Table[K, T]) note(change func(*Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.status)
	t.signal()
}

// signal wakes those who wait. It is called under mu.
func (t *Table[K, T]) signal() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// finish ends the feeds and those who wait.
func (t *Table[K, T]) finish(err error) {
	if err != nil {
		t.step(gapOpened)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended, t.err = true, err
	for f := range t.feeds {
		f.end(endOf(err))
	}
	clear(t.feeds)
	close(t.over)
	t.signal()
}

// endError is what Run returned.
func (t *Table[K, T]) endError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// String names the table.
func (t *Table[K, T]) String() string { return fmt.Sprintf("%s.%s", t.opts.schema, t.name) }
