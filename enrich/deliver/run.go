package deliver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/internal/backoff"
	"github.com/gapless-go/gapless/internal/heap"
	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/internal/text"
)

// attempt is how a try ended.
type attempt[T any] struct {
	job  *job[T]
	done bool // the effect has happened, apart from the store
	err  error
}

// run is a Run at work. The loop owns everything; the workers are given one try
// at a time.
//
//	input ──▶ pending, lanes ──▶ work ──▶ workers ──▶ done ──▶ over: the position moves
//	                  ▲                                 │
//	                  └──────── waiting ◀── failed ─────┘
type run[T, Tx any] struct {
	Consumer[T, Tx]
	apart    bool // effects are no part of the store's transactions
	began    time.Time
	wg       sync.WaitGroup
	pending  pending[T]           // all that is under way, as it came
	lanes    map[string][]*job[T] // those of each lane, the first of which has its turn
	waiting  heap.Heap[*job[T]]   // for another try, by the nanoseconds since began
	work     chan *job[T]
	done     chan attempt[T]
	handed   int         // tries that are in work, with a worker, or in done
	unmarked int         // jobs whose effect has happened and is not marked
	stopping atomic.Bool // no further attempt begins
	saved    string      // the position that the store has
	broken   error       // a panic of Failed, which is not called any more
}

func newRun[T, Tx any](c Consumer[T, Tx]) *run[T, Tx] {
	c = c.filled()
	_, apart := any(*new(Tx)).(None)
	return &run[T, Tx]{Consumer: c, apart: apart, began: time.Now(), lanes: map[string][]*job[T]{},
		work: make(chan *job[T], c.MaxPending), done: make(chan attempt[T], c.MaxPending)}
}

func (r *run[T, Tx]) run(ctx context.Context, in enrich.Stream[T]) error {
	pulling, stopPulling := context.WithCancel(ctx)
	handling, stopHandling := context.WithCancel(context.WithoutCancel(ctx))
	values := make(chan T)
	var end error // of the input, once values is closed
	r.wg.Go(func() {
		defer close(values)
		end = rescue.Do("the stream of a Consumer", func() error { return pass(pulling, in, values) })
	})
	for range r.Workers {
		r.wg.Go(func() { r.worker(handling) })
	}
	err := r.loop(ctx, values)
	stopPulling()
	if err != nil {
		r.stopping.Store(true)
		r.drain(stopHandling)
	}
	stopHandling()
	close(r.work)
	r.wg.Wait()
	if err == nil {
		err = end
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	switch unsaved := r.save(last); {
	case unsaved != nil && err != nil:
		return fmt.Errorf("%w (and the position was not saved: %w)", err, unsaved)
	case unsaved != nil:
		return unsaved
	}
	return err
}

// pass gives a stream's values on until it or ctx ends.
func pass[T any](ctx context.Context, in enrich.Stream[T], to chan<- T) error {
	for v, err := range in(ctx) {
		if err != nil {
			return err
		}
		select {
		case to <- v:
		case <-ctx.Done():
			return nil // the loop has its error
		}
	}
	return nil
}

// loop works until the input has ended and everything is over.
func (r *run[T, Tx]) loop(ctx context.Context, values <-chan T) error {
	save := time.NewTicker(r.SaveEvery)
	defer save.Stop()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for values != nil || r.pending.len > 0 {
		retry.Reset(r.sleep())
		pull := values
		if r.pending.len >= r.MaxPending {
			pull = nil
		}
		if err := cmp.Or(r.broken, ctx.Err()); err != nil {
			return err
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
			r.retry()
		case <-save.C:
			_ = r.save(ctx) // it is tried again
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// drain waits until the attempts under way have ended and the effects are marked,
// until the grace is over; and then only until the attempts have ended.
func (r *run[T, Tx]) drain(stopHandling func()) {
	grace := time.NewTimer(max(r.Grace, 0))
	defer grace.Stop()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	over := false
	for r.handed > 0 || r.unmarked > 0 && !over {
		retry.Reset(r.sleep())
		select {
		case a := <-r.done:
			r.finish(a)
		case <-retry.C:
			r.retry()
		case <-grace.C:
			over = true
			stopHandling()
		}
	}
}

// start takes a value.
func (r *run[T, Tx]) start(v T) {
	j := &job[T]{value: v}
	j.dead = rescue.Do("a Consumer's Key, Lane or Position", func() error {
		if r.Position != nil {
			j.position = r.Position(v)
		}
		j.key = r.Key(v)
		if r.Lane != nil {
			j.lane = r.Lane(v)
		}
		return nil
	})
	r.pending.add(j)
	if r.lanes[j.lane] = append(r.lanes[j.lane], j); len(r.lanes[j.lane]) == 1 {
		r.hand(j)
	}
}

// hand gives a job to the workers. There is room for all.
func (r *run[T, Tx]) hand(j *job[T]) {
	r.handed++
	r.work <- j
}

// finish takes the end of a try.
func (r *run[T, Tx]) finish(a attempt[T]) {
	r.handed--
	j := a.job
	if a.done && !j.done {
		j.done = true
		r.unmarked++
	}
	if a.err == nil {
		r.end(j)
		return
	}
	if errors.Is(a.err, errStopped) {
		return
	}
	what := waiting
	if j.dead == nil && !j.done { // else it was the burying or the mark that failed
		what = r.Retry.judge(a.err, j.attempts+1, j.tries)
	}
	if what != waiting {
		j.attempts++
	}
	if what == giveUp {
		j.dead = a.err
	}
	pause := max(backoff.Full(j.tries, r.Retry.Min, r.Retry.Max), least(a.err))
	j.tries++
	if what == giveUp {
		r.hand(j) // to be buried
	} else {
		r.waiting.Push(int64(time.Since(r.began)+pause), j)
	}
	if r.Failed != nil && r.broken == nil {
		r.broken = rescue.Do("a Consumer's Failed", func() error { r.Failed(j.value, j.attempts, a.err, what == giveUp); return nil })
	}
}

// end takes a value out that is handled or buried.
func (r *run[T, Tx]) end(j *job[T]) {
	if j.done {
		r.unmarked--
	}
	lane := r.lanes[j.lane]
	lane[0] = nil
	if lane = lane[1:]; len(lane) == 0 {
		delete(r.lanes, j.lane)
	} else {
		r.lanes[j.lane] = lane
		r.hand(lane[0])
	}
	r.pending.end(j)
}

// retry hands out what has waited for long enough.
func (r *run[T, Tx]) retry() {
	now := int64(time.Since(r.began))
	for len(r.waiting) > 0 && r.waiting[0].At <= now {
		r.hand(r.waiting.Pop().Value)
	}
}

func (r *run[T, Tx]) sleep() time.Duration {
	if len(r.waiting) == 0 {
		return time.Hour
	}
	return max(time.Duration(r.waiting[0].At)-time.Since(r.began), 0)
}

func (r *run[T, Tx]) save(ctx context.Context) error {
	if r.pending.reached == r.saved {
		return nil
	}
	err := rescue.Do("a Store's SavePosition", func() error { return r.Store.SavePosition(ctx, r.pending.reached) })
	if err == nil {
		r.saved = r.pending.reached
	}
	return err
}

var (
	// errStopped is the end of a try that did not begin, or that the end of Run has
	// interrupted: it says nothing of the value.
	errStopped = errors.New("deliver: stopped")
	// errExited is a handler that ended its goroutine.
	errExited = errors.New("deliver: the handler called runtime.Goexit")
)

// worker tries what is handed to it until there is no more. A handler that ends the goroutine ends one attempt:
// another worker takes its place.
func (r *run[T, Tx]) worker(ctx context.Context) {
	var busy *job[T]
	defer func() {
		if busy != nil {
			r.done <- attempt[T]{job: busy, err: errExited}
			r.wg.Go(func() { r.worker(ctx) })
		}
	}()
	for j := range r.work {
		busy = j
		a := attempt[T]{job: j, err: errStopped}
		if !r.stopping.Load() || j.done && ctx.Err() == nil {
			a.done, a.err = r.try(ctx, j)
			if a.err != nil && ctx.Err() != nil {
				a.err = errStopped
			}
		}
		busy = nil
		r.done <- a // it has room for all
	}
}

// try has the effect of a value, marks one that has happened, or buries the value.
func (r *run[T, Tx]) try(ctx context.Context, j *job[T]) (done bool, err error) {
	err = rescue.Do("a Store", func() error {
		if j.dead != nil {
			return r.bury(ctx, j)
		}
		_, err := r.Store.Once(ctx, j.key, func(ctx context.Context, tx Tx) error {
			if j.done {
				return nil
			}
			err := rescue.Do("a handler", func() error { return r.Handle(ctx, tx, j.value) })
			done = err == nil && r.apart
			return err
		})
		return err
	})
	return done, err
}

// maxReason bounds the text of an error in a letter.
const maxReason = 4096

func (r *run[T, Tx]) bury(ctx context.Context, j *job[T]) error {
	l := Letter{Key: j.key, Position: j.position, Reason: text.Clean(j.dead.Error(), maxReason), Attempts: j.attempts, At: time.Now().UTC()}
	if l.Key == "" {
		l.Key = fmt.Sprintf("unnamed at %s %s", l.Position, l.At.Format(time.RFC3339Nano))
	}
	err := rescue.Do("a Consumer's Encode", func() (err error) { l.Value, err = r.Encode(j.value); return err })
	if err != nil {
		l.Value, l.Reason = nil, fmt.Sprintf("%s (and it has no form to be kept in: %s)", l.Reason, text.Clean(err.Error(), maxReason))
	}
	return r.Store.Bury(ctx, l)
}
