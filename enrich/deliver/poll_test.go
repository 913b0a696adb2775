package deliver_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/enrich/deliver"
	"github.com/gapless-go/gapless/internal/rescue"
)

// bell rings for each value that is sent to it, and ends with an error.
func bell(rings <-chan error) func(context.Context) iter.Seq2[cdc.Change, error] {
	return func(ctx context.Context) iter.Seq2[cdc.Change, error] {
		return func(yield func(cdc.Change, error) bool) {
			for {
				select {
				case err := <-rings:
					if !yield(cdc.Change{}, err) {
						return
					}
				case <-ctx.Done():
					yield(cdc.Change{}, ctx.Err())
					return
				}
			}
		}
	}
}

func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, rings, broken := time.Now(), make(chan error), errors.New("broken")
		var reads []time.Duration
		read := func(context.Context) ([]int, error) {
			reads = append(reads, time.Since(began))
			if len(reads)%2 == 1 { // every second reading finds nothing
				return []int{len(reads), len(reads) + 1}, nil
			}
			return nil, nil
		}
		go func() {
			time.Sleep(12 * time.Second)
			rings <- nil
			rings <- nil
			time.Sleep(time.Second)
			rings <- broken
		}()
		var got []int
		var end error
		for v, err := range deliver.Poll(read, bell(rings), 10*time.Second)(t.Context()) {
			if end = err; err == nil {
				got = append(got, v)
			}
		}
		require.ErrorIs(t, end, broken)
		require.Equal(t, []int{1, 2, 3, 4, 5, 6}, got[:6])
		second := time.Second
		require.Equal(t, []time.Duration{0, 0, 10 * second, 10 * second, 12 * second, 12 * second}, reads[:6])
		require.LessOrEqual(t, len(reads), 8, "two rings may be one")
	})
}

func TestPoll_Ends(t *testing.T) {
	nothing := func(context.Context) ([]int, error) { return nil, nil }
	some := func(context.Context) ([]int, error) { return []int{1}, nil }
	ended := func(context.Context) iter.Seq2[cdc.Change, error] {
		return func(func(cdc.Change, error) bool) {}
	}
	panics := func(context.Context) iter.Seq2[cdc.Change, error] {
		return func(func(cdc.Change, error) bool) { panic("a bell") }
	}
	var panicked *rescue.Error
	synctest.Test(t, func(t *testing.T) {
		for _, err := range deliver.Poll(nothing, panics, time.Hour)(t.Context()) {
			require.ErrorAs(t, err, &panicked)
		}
		for _, err := range deliver.Poll(nothing, ended, time.Hour)(t.Context()) {
			require.ErrorContains(t, err, "without a reason")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, err := range deliver.Poll(nothing, nil, time.Second)(ctx) {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		for range deliver.Poll(some, bell(nil), time.Second)(t.Context()) {
			break // and nothing is left
		}
	})
}
