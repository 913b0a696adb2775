package enrich

import (
	"context"
	"iter"
	"sync"
)

// Parallel calls f for the values of a stream, n at a time, and gives what it
// returns. Values of one key are worked on one after the other, so that the
// outputs of a key come in the order of its inputs; different keys overtake each
// other. A value without a key of its own has whatever key the function gives it.
//
// At most 16·n values are between input and output, so a slow consumer slows the
// input. An error of f ends the stream, and so does one of the input behind what
// came before it. f is called from several goroutines, which have ended when the
// run has.
func Parallel[I, O any, K comparable](in Stream[I], n int, key func(I) K, f func(context.Context, I) (O, error)) Stream[O] {
	return func(ctx context.Context) iter.Seq2[O, error] {
		return func(yield func(O, error) bool) {
			if n < 1 || key == nil || f == nil {
				yield(*new(O), &ConfigError{"Parallel", "n, key, f", "a number of workers and both functions are needed"})
				return
			}
			ctx, stop := context.WithCancel(ctx)
			var wg sync.WaitGroup
			defer wg.Wait()
			defer stop()
			p := newPool(ctx, &wg, n, key, f)
			if err := p.run(ctx, pump(ctx, &wg, in), yield); err != nil && err != errLeft {
				yield(*new(O), err)
			}
		}
	}
}

// pool keeps workers busy. The keys in busy have one value with a worker each;
// what else they have waits.
type pool[I, O any, K comparable] struct {
	key    func(I) K
	work   chan task[I, K]
	done   chan result[O, K]
	busy   map[K][]I
	inside int // values between input and output
	most   int
}

type task[I any, K comparable] struct {
	key   K
	value I
}

type result[O any, K comparable] struct {
	key   K
	value O
	err   error
}

func newPool[I, O any, K comparable](ctx context.Context, wg *sync.WaitGroup, n int, key func(I) K, f func(context.Context, I) (O, error)) *pool[I, O, K] {
	const perWorker = 16
	p := &pool[I, O, K]{key: key, busy: map[K][]I{}, most: perWorker * n,
		work: make(chan task[I, K], perWorker*n), done: make(chan result[O, K], perWorker*n)}
	for range n {
		wg.Go(func() { // until ctx ends
			for {
				select {
				case t := <-p.work:
					v, err := f(ctx, t.value)
					p.done <- result[O, K]{t.key, v, err} // has room for all
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return p
}

func (p *pool[I, O, K]) run(ctx context.Context, in <-chan item[I], yield func(O, error) bool) error {
	var end error
	for in != nil || p.inside > 0 {
		pull := in
		if p.inside >= p.most {
			pull = nil
		}
		select {
		case i, more := <-pull:
			switch {
			case !more:
				in = nil
			case i.err != nil:
				in, end = nil, i.err
			default:
				p.start(i.value)
			}
		case r := <-p.done:
			if r.err != nil {
				return r.err
			}
			p.next(r.key)
			if !yield(r.value, nil) {
				return errLeft
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return end
}

func (p *pool[I, O, K]) start(v I) {
	k := p.key(v)
	p.inside++
	if waiting, busy := p.busy[k]; busy {
		p.busy[k] = append(waiting, v)
		return
	}
	p.busy[k] = nil
	p.work <- task[I, K]{k, v} // has room for all
}

// next goes on with the values of a key that has none with a worker any more.
func (p *pool[I, O, K]) next(k K) {
	p.inside--
	waiting := p.busy[k]
	if len(waiting) == 0 {
		delete(p.busy, k)
		return
	}
	p.busy[k] = waiting[1:]
	p.work <- task[I, K]{k, waiting[0]}
}
