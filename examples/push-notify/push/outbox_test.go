package push

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// rows is an outbox in memory, in pages of two.
type rows struct {
	mu  sync.Mutex
	all []int64 // in order
	err error
}

func (r *rows) set(err error, all ...int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all, r.err = all, err
}

func (r *rows) Behind(_ context.Context, after int64) (page []Event, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.all {
		if id > after && len(page) < 2 {
			page = append(page, Event{ID: id})
		}
	}
	return page, r.err
}

// bell rings when it is sent to, and ends with an error.
type bell chan error

func (b bell) Changes(ctx context.Context) iter.Seq2[cdc.Change, error] {
	return func(yield func(cdc.Change, error) bool) {
		for {
			select {
			case err := <-b:
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

// following is an Outbox under way.
type following struct {
	rows  *rows
	bell  bell
	mu    sync.Mutex
	given []Event
	ended error
	stop  func()
}

func (f *following) ids() (ids []int64) {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.given {
		ids = append(ids, e.ID)
	}
	return ids
}

func follow(t *testing.T, after int64, ids ...int64) *following {
	f := &following{rows: &rows{all: ids}, bell: make(bell)}
	o := Outbox{Reader: f.rows, Bell: f.bell, Settle: 10 * time.Second, Every: time.Minute, Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range o.Events(after)(ctx) {
			f.mu.Lock()
			if f.ended = err; err == nil {
				f.given = append(f.given, e)
			}
			f.mu.Unlock()
		}
	}()
	f.stop = func() { cancel(); <-done }
	t.Cleanup(f.stop)
	return f
}

func TestOutboxGivesWhatIsThereAndWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, 1, 1, 2, 3, 4, 5, 6)
		require.Equal(t, []int64{2, 3, 4, 5, 6}, f.ids())
		f.rows.set(nil, 1, 2, 3, 4, 5, 6, 9)
		f.bell <- nil
		require.Equal(t, []int64{2, 3, 4, 5, 6, 9}, f.ids(), "numbers may be missing")
		f.rows.set(nil, 1, 2, 3, 4, 5, 6, 9, 10)
		require.Len(t, f.ids(), 6, "nobody has rung")
		time.Sleep(time.Minute)
		require.Len(t, f.ids(), 7, "the bell is not needed, only faster")
	})
}

// A transaction that took its number early and commits late is not lost, and only
// what has settled moves the position.
func TestOutboxFindsWhatAppearsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, 0, 1, 3)
		require.Equal(t, []int64{1, 3}, f.ids())
		time.Sleep(9 * time.Second)
		f.rows.set(nil, 1, 2, 3, 4)
		f.bell <- nil
		require.Equal(t, []int64{1, 3, 2, 4}, f.ids())
		require.Zero(t, f.given[3].Settled, "2 might still have been to come")
		time.Sleep(11 * time.Second)
		f.bell <- nil
		synctest.Wait()
		f.rows.set(nil, 1, 2, 3, 4, 5)
		f.bell <- nil
		require.Equal(t, []int64{1, 3, 2, 4, 5}, f.ids())
		require.EqualValues(t, 4, f.given[4].Settled)
	})
}

func TestOutboxEndsWithItsSources(t *testing.T) {
	broken := errors.New("broken")
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, 0)
		f.bell <- broken
		synctest.Wait()
		f.stop()
		require.ErrorIs(t, f.ended, broken)
		f = follow(t, 0)
		synctest.Wait()
		f.rows.set(broken)
		f.bell <- nil
		synctest.Wait()
		f.stop()
		require.ErrorIs(t, f.ended, broken)
		f = follow(t, 0)
		f.stop()
		require.ErrorIs(t, f.ended, context.Canceled)
	})
}
