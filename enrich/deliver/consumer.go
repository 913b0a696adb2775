package deliver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/internal/backoff"
)

// Consumer has an effect for each value of a stream, at least once each. Store,
// Key and Handle are required.
type Consumer[T, Tx any] struct {
	Store Store[Tx]
	// Key is what an effect is remembered by: the same when the value is delivered
	// again, and different for others. See ChangeKey. Empty: it is not remembered.
	Key func(T) string
	// Handle is the effect. It is called from several goroutines, and again with
	// the same value if it fails; its context ends with Run's.
	Handle func(ctx context.Context, tx Tx, v T) error
	// Lane is what is kept in order: the values of a lane are handled one after
	// the other, and one that fails holds up those behind it until it is handled
	// or buried. Others go on. Nil: all are one lane.
	Lane func(T) string
	// Workers is how many values are handled at once. 0: 1.
	Workers int
	// Position is where the source goes on behind a value after a restart, such as
	// the number of a row of an outbox; empty if there is no such thing. What is
	// saved is the position up to which all values are handled or buried. Nil:
	// nothing is saved.
	Position func(T) string
	// SaveEvery is how often that is saved, if it has changed. 0: 1 s.
	SaveEvery time.Duration
	Retry     Retry
	// MaxPending is how many values are under way, those that wait for another try
	// included; with more, none is pulled. 0: 1000.
	MaxPending int
	// Encode writes the value for a dead letter. Nil: as JSON.
	Encode func(T) ([]byte, error)
	// Failed, if set, is told of each attempt that failed, and whether the value
	// is given up. It must not wait, and is called by one goroutine at a time.
	Failed func(v T, attempt int, err error, buried bool)
}

// Run handles the values of the stream until it ends. A value whose key is
// remembered is not handled again. One that fails is tried again, and buried in
// the store with its last error in the end; a store that fails is asked again for
// ever.
//
// It returns nil when the stream has ended and all is handled or buried; the
// stream's error, after the same; or ctx's error, when what is under way has
// ended. The last position is saved before it returns; if that fails, its error
// is joined.
func (c Consumer[T, Tx]) Run(ctx context.Context, in enrich.Stream[T]) error {
	if c.Store == nil || c.Key == nil || c.Handle == nil {
		return &enrich.ConfigError{Operator: "Consumer", Field: "Store, Key, Handle", Reason: "is missing"}
	}
	if c.Workers < 0 || c.MaxPending < 0 || c.SaveEvery < 0 || c.Retry.Attempts < 0 {
		return &enrich.ConfigError{Operator: "Consumer", Field: "Workers, MaxPending, SaveEvery, Retry", Reason: "must not be negative"}
	}
	return newRun(c).run(ctx, in)
}

// Resume returns the position that was saved last, to begin the source behind;
// empty if none was.
func (c Consumer[T, Tx]) Resume(ctx context.Context) (string, error) { return c.Store.Position(ctx) }

// job is a value under way.
type job[T any] struct {
	value    T
	key      string
	lane     string
	attempts int // that counted
	tries    int
	due      time.Time // of the next one
	dead     error     // why it is given up: what is left is to bury it
	over     bool
}

// attempt is how a try ended.
type attempt[T any] struct {
	job *job[T]
	err error
}

// run is a Run at work. The loop owns everything; the workers are given one try
// at a time.
//
//	input ──▶ order, lanes ──▶ work ──▶ workers ──▶ done ──▶ over: the position moves
//	                 ▲                                │
//	                 └──────── waiting ◀── failed ────┘
type run[T, Tx any] struct {
	Consumer[T, Tx]
	order   []*job[T]            // all that is under way, as it came
	lanes   map[string][]*job[T] // those of each lane, the first of which has its turn
	waiting []*job[T]            // for another try
	work    chan *job[T]
	done    chan attempt[T]
	reached string // the position up to which all is over
	saved   string
}

func newRun[T, Tx any](c Consumer[T, Tx]) *run[T, Tx] {
	c.Workers = max(c.Workers, 1)
	c.Retry = c.Retry.filled()
	if c.MaxPending == 0 {
		c.MaxPending = 1000
	}
	if c.SaveEvery == 0 {
		c.SaveEvery = time.Second
	}
	if c.Encode == nil {
		c.Encode = func(v T) ([]byte, error) { return json.Marshal(v) }
	}
	return &run[T, Tx]{Consumer: c, lanes: map[string][]*job[T]{},
		work: make(chan *job[T], c.MaxPending), done: make(chan attempt[T], c.MaxPending)}
}

func (r *run[T, Tx]) run(ctx context.Context, in enrich.Stream[T]) error {
	inner, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	values := make(chan T)
	var end error // of the input, once values is closed
	wg.Go(func() {
		defer close(values)
		for v, err := range in(inner) {
			if err != nil {
				end = err
				return
			}
			select {
			case values <- v:
			case <-inner.Done():
				return
			}
		}
	})
	for range r.Workers {
		wg.Go(func() { r.worker(inner) })
	}
	err := r.loop(inner, values)
	stop()
	wg.Wait()
	for len(r.done) > 0 { // what ended meanwhile counts for the position
		r.finish(<-r.done)
	}
	if err == nil {
		err = end
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, r.save(last))
}

// loop works until the input has ended and everything is over.
func (r *run[T, Tx]) loop(ctx context.Context, values <-chan T) error {
	save := time.NewTicker(r.SaveEvery)
	defer save.Stop()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for values != nil || len(r.order) > 0 {
		retry.Reset(r.sleep(time.Now()))
		pull := values
		if len(r.order) >= r.MaxPending {
			pull = nil
		}
		select {
		case v, more := <-pull:
			if !more {
				values = nil
				continue
			}
			r.start(v)
		case a := <-r.done:
			r.finish(a)
		case <-retry.C:
			r.retry(time.Now())
		case <-save.C:
			_ = r.save(ctx) // it is tried again
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// start takes a value.
func (r *run[T, Tx]) start(v T) {
	j := &job[T]{value: v, key: r.Key(v)}
	if r.Lane != nil {
		j.lane = r.Lane(v)
	}
	r.order = append(r.order, j)
	if r.lanes[j.lane] = append(r.lanes[j.lane], j); len(r.lanes[j.lane]) == 1 {
		r.work <- j // it has room for all
	}
}

// finish takes the end of a try.
func (r *run[T, Tx]) finish(a attempt[T]) {
	j := a.job
	if a.err == nil {
		r.end(j)
		return
	}
	if errors.Is(a.err, errStopped) {
		return
	}
	what := waiting
	if j.dead == nil { // else it was the burying that failed
		what = r.Retry.judge(a.err, j.attempts+1)
	}
	if what != waiting {
		j.attempts++
	}
	if what == giveUp {
		j.dead = a.err
	}
	if r.Failed != nil {
		r.Failed(j.value, j.attempts, a.err, what == giveUp)
	}
	if what == giveUp {
		r.work <- j // to be buried
		return
	}
	j.due = time.Now().Add(max(backoff.Full(j.tries, r.Retry.Min, r.Retry.Max), least(a.err)))
	j.tries++
	r.waiting = append(r.waiting, j)
}

// end takes a value out that is handled or buried, and moves the position past
// what is over from the beginning on.
func (r *run[T, Tx]) end(j *job[T]) {
	j.over = true
	lane := r.lanes[j.lane][1:]
	if r.lanes[j.lane] = lane; len(lane) == 0 {
		delete(r.lanes, j.lane)
	} else {
		r.work <- lane[0]
	}
	n := 0
	for ; n < len(r.order) && r.order[n].over; n++ {
		if r.Position != nil {
			if p := r.Position(r.order[n].value); p != "" {
				r.reached = p
			}
		}
		r.order[n] = nil
	}
	r.order = r.order[n:]
}

// retry hands out what has waited for long enough.
func (r *run[T, Tx]) retry(now time.Time) {
	kept := r.waiting[:0]
	for _, j := range r.waiting {
		if now.Before(j.due) {
			kept = append(kept, j)
		} else {
			r.work <- j
		}
	}
	clear(r.waiting[len(kept):])
	r.waiting = kept
}

func (r *run[T, Tx]) sleep(now time.Time) time.Duration {
	d := time.Hour
	for _, j := range r.waiting {
		d = min(d, j.due.Sub(now))
	}
	return max(d, 0)
}

func (r *run[T, Tx]) save(ctx context.Context) error {
	if r.reached == r.saved {
		return nil
	}
	err := r.Store.SavePosition(ctx, r.reached)
	if err == nil {
		r.saved = r.reached
	}
	return err
}

// errStopped is the end of a try that the end of Run has interrupted: it says
// nothing of the value.
var errStopped = errors.New("deliver: stopped")

// worker tries until ctx ends.
func (r *run[T, Tx]) worker(ctx context.Context) {
	for {
		select {
		case j := <-r.work:
			err := r.try(ctx, j)
			if err != nil && ctx.Err() != nil {
				err = errStopped
			}
			r.done <- attempt[T]{j, err} // it has room for all
		case <-ctx.Done():
			return
		}
	}
}

func (r *run[T, Tx]) try(ctx context.Context, j *job[T]) error {
	if j.dead != nil {
		return r.bury(ctx, j)
	}
	_, err := r.Store.Once(ctx, j.key, func(ctx context.Context, tx Tx) (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = &PanicError{v, debug.Stack()}
			}
		}()
		return r.Handle(ctx, tx, j.value)
	})
	return err
}

func (r *run[T, Tx]) bury(ctx context.Context, j *job[T]) error {
	l := Letter{Key: j.key, Reason: j.dead.Error(), Attempts: j.attempts, At: time.Now().UTC()}
	if r.Position != nil {
		l.Position = r.Position(j.value)
	}
	if l.Key == "" {
		l.Key = fmt.Sprintf("unnamed at %s %s", l.Position, l.At.Format(time.RFC3339Nano))
	}
	var err error
	if l.Value, err = r.Encode(j.value); err != nil {
		l.Value, l.Reason = nil, fmt.Sprintf("%s (and it has no form to be kept in: %v)", l.Reason, err)
	}
	return r.Store.Bury(ctx, l)
}
