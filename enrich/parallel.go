package enrich

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/gapless-go/gapless/internal/rescue"
)

// Parallel calls f for the values of a stream, n at a time, and gives what it
// returns. Values of one key are worked on one after the other, so that the
// outputs of a key come in the order of its inputs; different keys overtake each
// other. A value without a key of its own has whatever key the function gives it.
//
// At most 16·n values are between input and output, so a slow consumer slows the
// input. An error of f, or a panic, ends the stream, and so does one of the input behind what
// came before it. f is called from several goroutines, and key from one of its
// own; all have ended when the run has.
func Parallel[I, O any, K comparable](in Stream[I], n int, key func(I) K, f func(context.Context, I) (O, error)) Stream[O] {
	return func(ctx context.Context) iter.Seq2[O, error] {
		return func(yield func(O, error) bool) {
			if n < 1 || key == nil || f == nil {
				yield(*new(O), &ConfigError{"Parallel", "n, key, f", "a number of workers and both functions are needed"})
				return
			}
			p := newPool(n, key, f)
			inner, stop := context.WithCancel(ctx)
			var wg sync.WaitGroup
			defer wg.Wait()
			defer stop()
			defer p.stop()
			defer context.AfterFunc(ctx, p.stop)()
			wg.Go(func() { p.read(inner, in) })
			for range n {
				wg.Go(func() { p.work(inner) })
			}
			for {
				r, more := p.result(ctx)
				if !more && r.err == nil || !yield(r.value, r.err) || r.err != nil {
					return
				}
			}
		}
	}
}

// pool is what the reader, the workers and the consumer of a Parallel share. It
// has a lock and not channels, as those cost more than a little work in f: with
// six or seven steps for each value, and a goroutine woken for most of them. The
// reader is woken for several values at once, the consumer when it is waiting.
type pool[I, O any, K comparable] struct {
	key  func(I) K
	f    func(context.Context, I) (O, error)
	most int // values between input and output

	mu     sync.Mutex
	room   sync.Cond // the reader waits for it
	given  sync.Cond // workers
	came   sync.Cond // the consumer
	ready  []task[I, K]
	busy   map[K][]I // the keys with a value that is ready or with a worker, and what else they have
	done   []item[O]
	inside int
	ended  bool // the input, with err
	err    error
	over   bool // nobody wants anything any more
}

type task[I any, K comparable] struct {
	key   K
	value I
}

func newPool[I, O any, K comparable](n int, key func(I) K, f func(context.Context, I) (O, error)) *pool[I, O, K] {
	const perWorker = 16
	p := &pool[I, O, K]{key: key, f: f, most: perWorker * n, busy: map[K][]I{}}
	p.room.L, p.given.L, p.came.L = &p.mu, &p.mu, &p.mu
	return p
}

// stop has everybody end who waits.
func (p *pool[I, O, K]) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.room.Broadcast()
	p.given.Broadcast()
	p.came.Broadcast()
}

// read reads the input to its end.
func (p *pool[I, O, K]) read(ctx context.Context, in Stream[I]) {
	end := rescue.Do("the input or the key of a Parallel", func() error {
		for v, err := range in(ctx) {
			if err != nil || !p.take(p.key(v), v) {
				return err
			}
		}
		return nil
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended, p.err = true, end
	p.came.Signal()
}

// take waits for room for a value. False: it is over.
func (p *pool[I, O, K]) take(k K, v I) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.inside >= p.most && !p.over {
		p.room.Wait()
	}
	p.inside++
	if waiting, busy := p.busy[k]; busy {
		p.busy[k] = append(waiting, v)
	} else {
		if matchable(k) {
			p.busy[k] = nil
		}
		p.ready = append(p.ready, task[I, K]{k, v})
		p.given.Signal()
	}
	return !p.over
}

// work works until it is over.
func (p *pool[I, O, K]) work(ctx context.Context) {
	for {
		t, more := p.next()
		if !more {
			return
		}
		p.call(ctx, t)
	}
}

// errExited is a function that ended its goroutine.
var errExited = errors.New("enrich: Parallel: the function called runtime.Goexit")

// call calls f. A panic of it, and its end of the goroutine, are its error.
func (p *pool[I, O, K]) call(ctx context.Context, t task[I, K]) {
	r := item[O]{err: errExited}
	defer func() { p.finish(t.key, r) }()
	err := rescue.Do("the function of a Parallel", func() (err error) { r.value, err = p.f(ctx, t.value); return err })
	r.err = err
}

func (p *pool[I, O, K]) next() (t task[I, K], more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.ready) == 0 && !p.over {
		p.given.Wait()
	}
	if p.over {
		return t, false
	}
	return pop(&p.ready), true
}

// finish takes a result, and makes the next value of its key ready, for which no
// other worker need be woken: this one looks for work now.
func (p *pool[I, O, K]) finish(k K, r item[O]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = append(p.done, r)
	p.came.Signal()
	if waiting := p.busy[k]; len(waiting) > 0 {
		p.ready = append(p.ready, task[I, K]{k, pop(&waiting)})
		p.busy[k] = waiting
	} else {
		delete(p.busy, k)
	}
}

// result waits for a result. False: there is none any more, with the reason if
// that is not the end of the input.
func (p *pool[I, O, K]) result(ctx context.Context) (r item[O], more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.done) == 0 && !p.over && !(p.ended && p.inside == 0) {
		p.came.Wait()
	}
	switch {
	case p.over:
		return item[O]{err: ctx.Err()}, false
	case len(p.done) == 0:
		return item[O]{err: p.err}, false
	}
	r = pop(&p.done)
	p.inside--
	if len(p.done) == 0 || p.inside <= p.most/2 {
		p.room.Signal()
	}
	return r, true
}

// pop takes the first value out.
func pop[T any](queue *[]T) T {
	q := *queue
	first := q[0]
	q[0] = *new(T)
	*queue = q[1:]
	return first
}
