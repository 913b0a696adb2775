package push

import (
	"context"
	"errors"
	"iter"
	"log/slog"
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
	mu     sync.Mutex
	all    []Event
	err    error
	read   int    // pages
	paging func() // called between pages
}

func (r *rows) Behind(_ context.Context, p Place) (page []Event, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read++
	slices.SortFunc(r.all, func(a, b Event) int { return a.place().compare(b.place()) })
	for _, e := range r.all {
		if e.place().compare(p) > 0 && len(page) < 2 {
			page = append(page, e)
		}
	}
	if r.paging != nil {
		r.paging()
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
	*rows
	began time.Time
	bell  bell
	given []Event
	ended error
	stop  func()
}

func follow(t *testing.T, maxAge time.Duration, ids ...int64) *following {
	f := &following{rows: &rows{}, began: time.Now(), bell: make(bell)}
	f.add(0, ids...)
	o := Outbox{Reader: f.rows, Bell: f.bell, Settle: 10 * time.Second, Every: time.Minute, Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range o.Events(maxAge)(ctx) {
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

// add inserts rows whose times are so far behind now.
func (f *following) add(age time.Duration, ids ...int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		f.all = append(f.all, Event{ID: id, At: time.Now().Add(-age)})
	}
}

func (f *following) ring() { f.bell <- nil }

func (f *following) ids() (ids []int64) {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.given {
		ids = append(ids, e.ID)
	}
	return ids
}

func TestOutbox_WhatIsThereAndWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, time.Hour, 2, 3, 4, 5, 6)
		f.add(2*time.Hour, 1)
		require.Equal(t, []int64{2, 3, 4, 5, 6}, f.ids(), "and not what is too old")
		time.Sleep(time.Second)
		f.add(0, 9)
		f.ring()
		require.Equal(t, []int64{2, 3, 4, 5, 6, 9}, f.ids(), "numbers may be missing")
		f.add(0, 10)
		require.Len(t, f.ids(), 6, "nobody has rung")
		time.Sleep(time.Minute)
		require.Len(t, f.ids(), 7, "the bell is not needed, only faster")
	})
}

// A lower number may come at any time: from a sequence with CACHE, or from a
// transaction that lasted for longer than Settle.
func TestOutbox_NumbersThatComeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, time.Hour, 1, 21)
		require.Equal(t, []int64{1, 21}, f.ids())
		time.Sleep(40 * time.Second)
		f.add(0, 2)
		f.add(9*time.Second, 22) // committed late, but not very
		f.ring()
		require.Equal(t, []int64{1, 21, 22, 2}, f.ids(), "in the order of their times")
		f.add(11*time.Second, 23)
		f.add(30*time.Minute, 3)
		f.ring()
		require.Len(t, f.ids(), 4)
		time.Sleep(time.Minute)
		require.ElementsMatch(t, []int64{1, 21, 22, 2, 23, 3}, f.ids())
	})
}

// Rows of lanes whose writers wait for each other are given once each and in the
// order of the lane, though each becomes visible a while after its time and pages
// are read while others are committed.
func TestOutbox_OrderOfLanes(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			f := follow(t, time.Hour)
			var last int64
			numbers := r.Perm(1000)
			pending := map[int64][]Event{} // of each lane, the first being in a transaction
			visible := map[int64]time.Time{}
			commit := func() { // f.mu is locked
				for lane, queue := range pending {
					if len(queue) > 0 && !time.Now().Before(visible[lane]) {
						f.all = append(f.all, queue[0])
						if pending[lane] = queue[1:]; len(queue) > 1 {
							pending[lane][0].At, visible[lane] = time.Now(), time.Now().Add(time.Duration(r.IntN(3000))*time.Millisecond)
						}
					}
				}
			}
			f.mu.Lock()
			f.paging = commit
			f.mu.Unlock()
			for range 100 {
				f.mu.Lock()
				for range r.IntN(4) {
					lane := r.Int64N(3)
					e := Event{ID: int64(numbers[last]), CustomerID: lane, OrderID: last, At: time.Now()}
					last++
					if pending[lane] = append(pending[lane], e); len(pending[lane]) == 1 {
						visible[lane] = time.Now().Add(time.Duration(r.IntN(3000)) * time.Millisecond)
					}
				}
				commit()
				pause := time.Duration(r.IntN(2000)) * time.Millisecond // r is of those who hold mu
				f.mu.Unlock()
				f.ring()
				time.Sleep(pause)
			}
			for range 300 {
				time.Sleep(time.Second)
				f.mu.Lock()
				commit()
				f.mu.Unlock()
			}
			time.Sleep(time.Minute)
			require.Len(t, f.ids(), int(last))
			behind := map[int64]int64{0: -1, 1: -1, 2: -1}
			for _, e := range f.given {
				require.Greater(t, e.OrderID, behind[e.CustomerID])
				behind[e.CustomerID] = e.OrderID
			}
		})
	}
}

func TestOutbox_EndsWithItsSources(t *testing.T) {
	broken := errors.New("broken")
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, 0)
		f.bell <- broken
		synctest.Wait()
		f.stop()
		require.ErrorIs(t, f.ended, broken)
		f = follow(t, 0)
		synctest.Wait()
		f.mu.Lock()
		f.err = broken
		f.mu.Unlock()
		f.ring()
		synctest.Wait()
		f.stop()
		require.ErrorIs(t, f.ended, broken)
		f = follow(t, 0)
		f.stop()
		require.ErrorIs(t, f.ended, context.Canceled)
	})
}

// repeating is a server that always answers with the same page.
type repeating struct{ Event }

func (r repeating) Behind(context.Context, Place) ([]Event, error) { return []Event{r.Event}, nil }

func TestOutbox_APageThatIsRepeated(t *testing.T) {
	o := Outbox{Reader: repeating{Event{ID: 1, At: time.Now()}}, Bell: make(bell), Every: time.Minute}
	for _, err := range o.Events(0)(t.Context()) {
		require.ErrorContains(t, err, "does not go on")
	}
}
