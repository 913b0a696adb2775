package enrich_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/enrich"
)

func itself(n int) (int, bool) { return n, n >= 0 }

// A value whose handling failed is not remembered, and comes again.
func TestDedupRemembersOnlyAfterSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var count enrich.Counters
		broken := errors.New("broken")
		tries := 0
		// The input gives 1 again after its handling has failed, as a queue does:
		// the loop goes on within one run only if it says that all is well.
		handle := func(in enrich.Stream[int]) (got []int, err error) {
			for n, err := range enrich.Dedup(in, itself, time.Minute, 10, &count)(t.Context()) {
				if err != nil {
					return got, err
				}
				if tries++; n == 2 && tries < 3 {
					return got, broken
				}
				got = append(got, n)
			}
			return got, nil
		}
		got, err := handle(enrich.Of(1, 1, 2, 2))
		require.ErrorIs(t, err, broken)
		require.Equal(t, []int{1}, got)
		got, err = handle(enrich.Of(2, 2, 3))
		require.NoError(t, err)
		require.Equal(t, []int{2, 3}, got)
		require.EqualValues(t, 2, count.Repeated.Load())
		require.Zero(t, count.Pending.Load())
	})
}

// While a value is dealt with it is not remembered, and its time begins behind that.
func TestDedupRemembersWhenTheLoopComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var count enrich.Counters
		in := newHandOf(1, 1, 2, 1)
		broken := errors.New("broken")
		var got []int
		var end error
		for n, err := range enrich.Dedup(in.stream, itself, time.Minute, 10, &count)(t.Context()) {
			if end = err; err != nil {
				break
			}
			require.EqualValues(t, len(got), count.Pending.Load())
			got = append(got, n)
			time.Sleep(40 * time.Second)
			if n == 2 {
				time.AfterFunc(time.Hour, func() { in.end <- broken })
			}
		}
		require.ErrorIs(t, end, broken)
		require.Equal(t, []int{1, 2}, got, "80 s behind its coming, 40 behind its end, 1 is known")
	})
}

// A value without an id has nothing to do with one whose id is zero.
func TestDedupOfValuesWithoutAnID(t *testing.T) {
	id := func(n int) (int, bool) { return max(n, 0), n >= 0 }
	var got []int
	for n, err := range enrich.Dedup(enrich.Of(0, -1, 0, -1), id, time.Minute, 10, nil)(t.Context()) {
		require.NoError(t, err)
		got = append(got, n)
	}
	require.Equal(t, []int{0, -1, -1}, got)
}

func TestDedupForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var count enrich.Counters
		in := newHand[int]()
		out := collect(t, t.Context(), enrich.Dedup(in.stream, itself, time.Minute, 3, &count))
		give := func(values ...int) string { return given(in, out, values) }
		require.Equal(t, "1 2 3 -1 -1 ", give(1, 2, 3, 1, 2, 3, -1, -1), "values without an id pass")
		require.Equal(t, "4 1 ", give(4, 1, 3), "1 had to make room for 4")
		require.EqualValues(t, 2, count.Overflowed.Load())
		require.EqualValues(t, 3, count.Pending.Load())
		time.Sleep(59 * time.Second)
		require.Equal(t, "", give(4, 1, 3))
		time.Sleep(time.Second)
		require.Equal(t, "4 1 3 ", give(4, 1, 3))
		require.Equal(t, "", give(4, 1, 3))
		require.Equal(t, "5 6 7 ", give(5, 6, 7))
		require.EqualValues(t, 5, count.Overflowed.Load())
		time.Sleep(time.Minute)
		require.Equal(t, "8 ", give(8))
		require.EqualValues(t, 5, count.Overflowed.Load(), "5 had had its time")
	})
}

// An id that comes again when its time is over is the newest one: it does not have to
// make room before its time while fewer than max are remembered.
func TestDedup_IDThatComesAgainIsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var count enrich.Counters
		in := newHand[int]()
		out := collect(t, t.Context(), enrich.Dedup(in.stream, itself, time.Minute, 3, &count))
		give := func(values ...int) string { return given(in, out, values) }
		for range 3 {
			require.Equal(t, "1 2 3 ", give(1, 2, 3))
			time.Sleep(time.Hour)
			require.Equal(t, "2 1 4 ", give(2, 1, 4))
			require.Equal(t, "", give(1, 2, 4))
			require.Equal(t, "5 ", give(1, 4, 5, 1, 4))
			require.Equal(t, "2 ", give(2), "which was the oldest")
			require.EqualValues(t, 3, count.Pending.Load())
			time.Sleep(time.Hour)
		}
		require.EqualValues(t, 6, count.Overflowed.Load())
	})
}

// Values of one key are worked on in order, other keys meanwhile.
func TestParallelKeepsTheOrderOfEachKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		inside := make([]int, 10)
		seen := make([]int, 10)
		start := time.Now()
		out := collect(t, t.Context(), enrich.Parallel(counted(n), 5, func(v int) int { return v % 10 },
			func(_ context.Context, v int) (int, error) {
				inside[v%10]++ // the race detector sees it if two work on one key
				require.Equal(t, 1, inside[v%10])
				time.Sleep(time.Duration(1+v%7) * time.Millisecond)
				inside[v%10]--
				return v, nil
			}))
		count := 0
		for v := range out.values {
			count++
			require.GreaterOrEqual(t, v, seen[v%10])
			seen[v%10] = v
		}
		require.NoError(t, out.err)
		require.Equal(t, n, count)
		require.Less(t, time.Since(start), 1500*time.Millisecond, "four seconds of work for five")
	})
}

// One slow key holds up nobody else, and no more than so many values wait for it.
func TestParallelIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := make(chan struct{})
		in := newHand[int]()
		out := collect(t, t.Context(), enrich.Parallel(in.stream, 2, func(v int) int { return v % 2 },
			func(_ context.Context, v int) (int, error) {
				if v%2 == 0 {
					<-slow
				}
				return v, nil
			}))
		for v := range 11 {
			in.values <- v
		}
		synctest.Wait()
		require.Len(t, out.values, 5)
		sent := 0
		for ; sent < 1000; sent++ {
			select {
			case in.values <- 2 * sent:
				synctest.Wait()
				continue
			default:
			}
			break
		}
		require.Less(t, sent, 200)
		close(slow)
		for range 5 + 6 + sent {
			out.next()
		}
	})
}

func TestParallelEndsWithTheFirstError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		fail := func(_ context.Context, v int) (int, error) {
			if v == 3 {
				return 0, broken
			}
			return v, nil
		}
		all := func(int) int { return 0 }
		out := collect(t, t.Context(), enrich.Parallel(enrich.Of(1, 2, 3, 4), 3, all, fail))
		require.Equal(t, 1, out.next())
		require.Equal(t, 2, out.next())
		require.ErrorIs(t, out.ended(), broken)

		in := newHandOf(1, 2)
		out = collect(t, t.Context(), enrich.Parallel(in.stream, 3, all, fail))
		require.Equal(t, 1, out.next())
		require.Equal(t, 2, out.next())
		in.end <- broken
		require.ErrorIs(t, out.ended(), broken)

		var bad *enrich.ConfigError
		require.ErrorAs(t, collect(t, t.Context(), enrich.Parallel(enrich.Of(1), 0, all, fail)).ended(), &bad)
		require.ErrorAs(t, collect(t, t.Context(), enrich.Dedup(enrich.Of(1), itself, 0, 1, nil)).ended(), &bad)
	})
}

// Leaving the loop, and the end of ctx, end the workers.
func TestParallelEndsItsWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		work := func(ctx context.Context, v int) (int, error) {
			if v > 1 {
				<-ctx.Done()
			}
			return v, ctx.Err()
		}
		self := func(v int) int { return v }
		for range enrich.Parallel(newHandOf(1, 2, 3).stream, 2, self, work)(t.Context()) {
			break
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		out := collect(t, ctx, enrich.Parallel(newHandOf(1, 2, 3).stream, 2, self, work))
		require.Equal(t, 1, out.next())
		require.ErrorIs(t, out.ended(), context.DeadlineExceeded)
	})
}

// counted gives the numbers up to n.
func counted(n int) enrich.Stream[int] {
	return func(context.Context) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for i := range n {
				if !yield(i, nil) {
					return
				}
			}
		}
	}
}

// given gives values, and returns what came out of them.
func given(in *hand[int], out *outputs[int], values []int) (s string) {
	for _, v := range values {
		in.values <- v
	}
	synctest.Wait()
	for len(out.values) > 0 {
		s += fmt.Sprint(out.next(), " ")
	}
	return s
}
