package enrich

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gapless-go/gapless/internal/rescue"
)

// arrival is a value of a stream that came at some moment, and for which the
// stream was asked at another.
type arrival[T any] struct {
	value       T
	err         error
	asked, came moment
}

// listener reads a stream and takes the time for which it is silent: that is how
// long it was asked for a value and gave none. That values wait here, or are not
// asked for because the consumer is slow, is no silence of the stream's.
type listener[T any] struct {
	values <-chan arrival[T]
	over   bool
	asked  atomic.Int64 // the moment at which it was asked for the next value
}

// listen starts a goroutine that wg waits for, and that ends with ctx.
func listen[T any](ctx context.Context, wg *sync.WaitGroup, in Stream[T], began time.Time) *listener[T] {
	out := make(chan arrival[T], ahead)
	l := &listener[T]{values: out}
	l.asked.Store(int64(time.Since(began)))
	give := func(v T, err error) bool {
		came := time.Since(began)
		a := arrival[T]{v, err, moment(l.asked.Load()), came}
		select {
		case out <- a:
		default:
			select {
			case out <- a:
				came = time.Since(began)
			case <-ctx.Done():
				return false
			}
		}
		l.asked.Store(int64(came))
		return err == nil
	}
	wg.Go(func() {
		defer close(out)
		err := rescue.Do("a Stream", func() error {
			for v, err := range in(ctx) {
				if !give(v, err) {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			give(*new(T), err)
		}
	})
	return l
}

// silence returns since when the stream was asked for a value that has not come.
func (l *listener[T]) silence() moment { return moment(l.asked.Load()) }

// tell tells the watermark since when a side is silent, and whether there are
// values of it that have not been taken.
func (l *listener[T]) tell(s *side, silent moment) {
	s.came = max(s.came, silent)
	s.busy = len(l.values) > 0
}

// end notes that there are no more values.
func (l *listener[T]) end() { l.values, l.over = nil, true }
