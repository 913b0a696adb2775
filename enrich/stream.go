package enrich

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/rescue"
)

// Stream is a source of values, or what an operator makes of one. Nothing
// happens until it is called and the result iterated: that is its run, which
// ends with the first error, at the end of the values, or when the loop is left.
// Every run begins anew. Backpressure is not to ask for the next value.
//
// A Stream must end with ctx's error soon after ctx ends: operators end their
// inputs by it. channel.Subscription.Changes is one as it is. The operators'
// own are safe for concurrent runs if their inputs and functions are.
type Stream[T any] func(ctx context.Context) iter.Seq2[T, error]

// Of is a Stream of some values: for tests and examples, and for values that a
// deliver.Store has given back.
func Of[T any](values ...T) Stream[T] {
	return func(ctx context.Context) iter.Seq2[T, error] {
		return func(yield func(T, error) bool) {
			for _, v := range values {
				if err := ctx.Err(); err != nil {
					yield(*new(T), err)
					return
				}
				if !yield(v, nil) {
					return
				}
			}
		}
	}
}

// Events decodes the changes of a stream (see cdc.As). Gaps stay in their
// places: events whose Gap is set, see GapOf.
//
// A change that cannot be decoded, or does not carry its row, is given to bad
// with its error. If bad returns nil the change is left out, and the stream ends
// with what it returns otherwise; a nil bad ends it with the error.
func Events[T any](in Stream[cdc.Change], bad func(cdc.Change, error) error) Stream[cdc.Event[T]] {
	return func(ctx context.Context) iter.Seq2[cdc.Event[T], error] {
		return func(yield func(cdc.Event[T], error) bool) {
			for c, err := range in(ctx) {
				if err != nil {
					yield(cdc.Event[T]{}, err)
					return
				}
				e, err := cdc.As[T](c)
				if err != nil && !errors.Is(err, cdc.ErrGap) {
					if bad != nil {
						err = bad(c, err)
					}
					if err != nil {
						yield(cdc.Event[T]{}, err)
						return
					}
					continue
				}
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// GapOf returns the gap that an event stands for, or nil. It is what operators
// over events take as their function Gap.
func GapOf[T any](e cdc.Event[T]) *cdc.Gap { return e.Gap }

// ConfigError says what is wrong with the settings of an operator. It is the
// first value of its Stream, before anything is asked of its inputs.
type ConfigError struct {
	Operator string // such as "Join"
	Field    string
	Reason   string
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("enrich: %s: %s: %s", e.Operator, e.Field, e.Reason)
}

// item is a value of a stream, or its last error.
type item[T any] struct {
	value T
	err   error
}

// ahead is how many values an operator that has to wait for several things at
// once reads before it needs them. It spares two goroutines to wake each other
// for each of them.
const ahead = 64

// pump reads a stream in a goroutine that wg waits for, and ends with ctx. The
// channel is closed behind the last value; nothing comes behind an error, and a panic
// is one.
func pump[T any](ctx context.Context, wg *sync.WaitGroup, in Stream[T]) <-chan item[T] {
	out := make(chan item[T], ahead)
	give := func(i item[T]) bool {
		select {
		case out <- i:
			return i.err == nil
		case <-ctx.Done():
			return false
		}
	}
	wg.Go(func() {
		defer close(out)
		err := rescue.Do("a Stream", func() error {
			for v, err := range in(ctx) {
				if !give(item[T]{v, err}) {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			give(item[T]{err: err})
		}
	})
	return out
}
