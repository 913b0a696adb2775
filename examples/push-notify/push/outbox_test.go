package push

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// rows is an outbox in memory, in pages of two.
type rows struct {
	mu    sync.Mutex
	all   []int64 // in order
	err   error
	asked [][]Span
}

func (r *rows) set(err error, all ...int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all, r.err = all, err
}

func (r *rows) Behind(_ context.Context, after int64, missing []Span) (page []Event, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, slices.Clone(missing))
	for _, id := range r.all {
		wanted := id > after || slices.ContainsFunc(missing, func(s Span) bool { return s.First <= id && id <= s.Last })
		if wanted && len(page) < 2 {
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
		require.EqualValues(t, 1, f.given[2].Settled, "2 was still to come")
		require.EqualValues(t, 3, f.given[3].Settled)
	})
}

// Of two transactions of which the second began behind the first, that is not the
// first one to be given, though one of another customer was given in between.
func TestOutboxKeepsTheOrderOfWhatDoesNotOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, 0, 1, 5, 6)
		require.Equal(t, []int64{1, 5, 6}, f.ids())
		time.Sleep(time.Second)
		f.rows.set(nil, 1, 3, 5, 6, 7, 8)
		f.bell <- nil
		require.Equal(t, []int64{1, 5, 6, 3, 7, 8}, f.ids(), "3 may be of the customer of 7, who waited for it")
		f.rows.set(nil, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		f.bell <- nil
		require.Equal(t, []int64{1, 5, 6, 3, 7, 8, 2, 4, 9}, f.ids())
		settled := []int64{0, 1, 1, 1, 1, 1, 1, 3, 8} // all up to there was given before
		for i, e := range f.given {
			require.Equal(t, settled[i], e.Settled, "%d", e.ID)
		}
	})
}

// A number that is missing for as long as a transaction may take was never
// committed. It does not hold up the position any more, and is not asked for.
func TestOutboxGivesUpNumbersThatNeverCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, 0, 2)
		time.Sleep(9 * time.Second)
		f.bell <- nil
		f.rows.set(nil, 2, 3)
		f.bell <- nil
		f.ids()
		require.Zero(t, f.given[1].Settled)
		time.Sleep(time.Second)
		f.bell <- nil
		synctest.Wait()
		f.rows.set(nil, 1, 2, 3, 4)
		f.bell <- nil
		require.Equal(t, []int64{2, 3, 4}, f.ids(), "what takes longer than Settle is lost")
		require.EqualValues(t, 3, f.given[2].Settled)
		require.Empty(t, f.rows.asked[len(f.rows.asked)-1])
	})
}

// Nothing is lost, given twice or asked for at once without bound when most of
// many numbers come late, or never.
func TestOutboxWithManyMissingNumbers(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			f := follow(t, 0)
			appears := map[int64]int{} // the second in which a number does
			for id := int64(1); id <= 1000; id++ {
				if r.IntN(4) > 0 {
					appears[id] = int(id)/20 + r.IntN(8)
				}
			}
			for second := range 80 {
				var there []int64
				for id := int64(1); id <= 1000; id++ {
					if at, ever := appears[id]; ever && at <= second {
						there = append(there, id)
					}
				}
				f.rows.set(nil, there...)
				f.bell <- nil
				synctest.Wait()
				time.Sleep(time.Second)
			}
			ids := f.ids()
			slices.Sort(ids)
			require.Equal(t, slices.Sorted(maps.Keys(appears)), ids)
			widest := 0
			for _, a := range f.rows.asked {
				widest = max(widest, len(a))
			}
			require.LessOrEqual(t, widest, 64)
			require.Greater(t, widest, 20)
			before := map[int64]bool{}
			for _, e := range f.given {
				for id := int64(1); id <= e.Settled; id++ {
					_, ever := appears[id]
					require.True(t, before[id] || !ever, "%d is settled without %d", e.ID, id)
				}
				before[e.ID] = true
			}
		})
	}
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
