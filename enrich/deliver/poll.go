package deliver

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/internal/rescue"
)

// Poll is the Stream of what read returns. It reads again at once as long as that is
// something, and otherwise when the bell emits a change or a gap, and every so
// often without it. A nil bell never rings; channel.Subscription.Changes is one as
// it is.
//
// An error of read or of the bell ends the stream, and so does ctx.
func Poll[T any](read func(ctx context.Context) ([]T, error), bell enrich.Stream[cdc.Change], every time.Duration) enrich.Stream[T] {
	return func(ctx context.Context) iter.Seq2[T, error] {
		return func(yield func(T, error) bool) {
			if err := poll(ctx, read, bell, every, func(v T) bool { return yield(v, nil) }); err != nil {
				yield(*new(T), err)
			}
		}
	}
}

// poll returns nil when the loop was left.
func poll[T any](ctx context.Context, read func(context.Context) ([]T, error), bell enrich.Stream[cdc.Change], every time.Duration, yield func(T) bool) error {
	rung, broken := make(chan struct{}, 1), make(chan error, 1)
	if bell != nil {
		listening, stop := context.WithCancel(ctx)
		var running sync.WaitGroup
		running.Go(func() {
			broken <- rescue.Do("the bell of a Poll", func() error { return listen(listening, bell, rung) })
		})
		defer running.Wait()
		defer stop()
	}
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		values, err := read(ctx)
		if err != nil {
			return err
		}
		for _, v := range values {
			if !yield(v) {
				return nil
			}
		}
		if len(values) > 0 && ctx.Err() == nil {
			continue
		}
		timer.Reset(every)
		select {
		case <-rung:
		case <-timer.C:
		case err := <-broken:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listen rings until the bell ends.
func listen(ctx context.Context, bell enrich.Stream[cdc.Change], rung chan<- struct{}) error {
	for _, err := range bell(ctx) {
		if err != nil {
			return err
		}
		select {
		case rung <- struct{}{}:
		default: // it rings already
		}
	}
	return errors.New("deliver: the bell has ended without a reason")
}
