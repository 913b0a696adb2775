package deliver_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/enrich/deliver"
)

// value is what the consumers of these tests are given.
type value struct {
	N    int
	Lane string
}

func keyOf(v value) string  { return strconv.Itoa(v.N) }
func laneOf(v value) string { return v.Lane }

// values are numbered from first on, in the lanes given.
func values(first int, lanes ...string) enrich.Stream[value] {
	var all []value
	for i, lane := range lanes {
		all = append(all, value{first + i, lane})
	}
	return enrich.Of(all...)
}

// journal is what effects have done, in their order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(v value) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf("%d %s", v.N, v.Lane))
}

func consumer(store deliver.Store[deliver.None], j *journal) deliver.Consumer[value, deliver.None] {
	return deliver.Consumer[value, deliver.None]{Store: store, Key: keyOf, Lane: laneOf, Position: keyOf, Workers: 2,
		Handle: func(_ context.Context, _ deliver.None, v value) error { j.add(v); return nil }}
}

func TestEffectsHappenOncePerKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		store := deliver.NewMemory(100)
		c := consumer(store, &j)
		c.Workers = 1
		require.NoError(t, c.Run(t.Context(), values(1, "a", "b", "a")))
		require.NoError(t, c.Run(t.Context(), values(2, "b", "a", "a")), "delivered again")
		require.Equal(t, []string{"1 a", "2 b", "3 a", "4 a"}, j.lines)
		at, err := c.Resume(t.Context())
		require.NoError(t, err)
		require.Equal(t, "4", at)
	})
}

// One bad value is tried again and then put aside with its reason; its lane waits
// for that, and no other does.
func TestAPoisonedValueDelaysOnlyItsLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := deliver.NewMemory(100)
		start := time.Now()
		took := map[int]time.Duration{}
		var mu sync.Mutex
		c := deliver.Consumer[value, deliver.None]{Store: store, Key: keyOf, Lane: laneOf, Position: keyOf, Workers: 2,
			Retry: deliver.Retry{Attempts: 4, Min: time.Second, Max: time.Minute},
			Handle: func(_ context.Context, _ deliver.None, v value) error {
				if v.N == 2 {
					return errors.New("cannot be done")
				}
				mu.Lock()
				defer mu.Unlock()
				took[v.N] = time.Since(start)
				return nil
			}}
		var tries []string
		c.Failed = func(v value, attempt int, err error, buried bool) {
			tries = append(tries, fmt.Sprint(v.N, attempt, err, buried))
		}
		require.NoError(t, c.Run(t.Context(), values(1, "a", "bad", "a", "bad", "c")))
		require.Zero(t, took[1]+took[3]+took[5], "nothing else is delayed")
		require.NotZero(t, took[4])
		require.Len(t, tries, 4)
		require.Equal(t, "2 4 cannot be done true", tries[3])
		letters := store.Letters()
		require.Len(t, letters, 1)
		require.Equal(t, "2", letters[0].Key)
		require.Equal(t, "2", letters[0].Position)
		require.Equal(t, "cannot be done", letters[0].Reason)
		require.Equal(t, 4, letters[0].Attempts)
		require.WithinRange(t, letters[0].At, start.Add(time.Nanosecond), time.Now())
		require.JSONEq(t, `{"N":2,"Lane":"bad"}`, string(letters[0].Value))
	})
}

// The position moves past what is handled from the beginning on, and not past
// what is under way.
func TestThePositionOnlyMovesPastWhatWasHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := deliver.NewMemory(100)
		release := make(chan struct{})
		var handled atomic.Int64
		c := deliver.Consumer[value, deliver.None]{Store: store, Key: keyOf, Lane: laneOf, Position: keyOf, Workers: 3,
			Handle: func(_ context.Context, _ deliver.None, v value) error {
				if v.N == 2 {
					<-release
				}
				handled.Add(1)
				return nil
			}}
		done := make(chan error)
		go func() { done <- c.Run(t.Context(), values(1, "a", "b", "c", "d")) }()
		position := func() string {
			synctest.Wait()
			time.Sleep(2 * time.Second)
			at, err := store.Position(t.Context())
			require.NoError(t, err)
			return at
		}
		require.Equal(t, "1", position(), "3 and 4 are handled, and 2 is not")
		require.EqualValues(t, 3, handled.Load())
		close(release)
		require.NoError(t, <-done)
		require.Equal(t, "4", position())
	})
}

// A run that ends in the middle is gone on with behind the last position, and what
// it had handled behind that is not handled again.
func TestARunGoesOnWhereTheLastOneEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		store := deliver.NewMemory(100)
		c := consumer(store, &j)
		slow := c
		slow.Retry.Attempts = 1
		slow.Failed = func(v value, _ int, err error, _ bool) {
			t.Error("an attempt that was interrupted did not fail", v, err)
		}
		slow.Handle = func(ctx context.Context, tx deliver.None, v value) error {
			if v.N == 2 {
				<-ctx.Done()
				return ctx.Err()
			}
			return c.Handle(ctx, tx, v)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, slow.Run(ctx, values(1, "a", "b", "c", "b")), context.DeadlineExceeded)
		require.Empty(t, store.Letters(), "that it was interrupted says nothing against a value")
		at, err := c.Resume(t.Context())
		require.NoError(t, err)
		require.Equal(t, "1", at)
		require.NoError(t, c.Run(t.Context(), values(2, "b", "c", "b")))
		require.ElementsMatch(t, []string{"1 a", "3 c", "2 b", "4 b"}, j.lines)
	})
}

func TestErrorsAreJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := deliver.NewMemory(100)
		down := errors.New("the service is down")
		tries := map[int]int{}
		start := time.Now()
		c := deliver.Consumer[value, deliver.None]{Store: store, Key: keyOf, Lane: laneOf,
			Retry: deliver.Retry{Attempts: 2, Temporary: func(err error) bool { return errors.Is(err, down) }},
			Handle: func(_ context.Context, _ deliver.None, v value) error {
				tries[v.N]++
				switch {
				case v.N == 1:
					return fmt.Errorf("it is no use: %w", deliver.Permanent(errors.New("not a mail address")))
				case v.N == 2 && time.Since(start) < time.Hour:
					return down
				case v.N == 3:
					panic("oops")
				case v.N == 5:
					return deliver.Permanent(down)
				}
				return nil
			}}
		require.NoError(t, c.Run(t.Context(), values(1, "a", "b", "c", "d", "e")))
		require.Equal(t, 1, tries[1])
		require.Greater(t, tries[2], 50)
		require.Equal(t, 2, tries[3])
		require.Equal(t, 1, tries[5], "that it is permanent counts for more")
		reasons := map[string]string{}
		for _, l := range store.Letters() {
			reasons[l.Key] = l.Reason
		}
		require.Equal(t, map[string]string{"1": "it is no use: not a mail address", "3": "panic in a handler: oops", "5": down.Error()}, reasons)
	})
}

// A service that says when to come again is not asked before.
func TestAnErrorSaysWhenToTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var tries []time.Duration
		busy := errors.New("busy")
		c := deliver.Consumer[value, deliver.None]{Store: deliver.NewMemory(100), Key: keyOf, Retry: deliver.Retry{Max: time.Second},
			Handle: func(context.Context, deliver.None, value) error {
				tries = append(tries, time.Since(start))
				switch len(tries) {
				case 1:
					return fmt.Errorf("two devices: %w", errors.Join(deliver.Later(busy, time.Minute), deliver.Later(busy, time.Hour), busy))
				case 2:
					return deliver.Later(busy, 0)
				}
				return nil
			}}
		c.Failed = func(_ value, _ int, err error, _ bool) { require.ErrorIs(t, err, busy) }
		require.NoError(t, c.Run(t.Context(), values(1, "a")))
		require.Len(t, tries, 3)
		require.Equal(t, time.Hour, tries[1], "the longest of those that are joined")
		require.Greater(t, tries[2], tries[1], "the pause of Retry is the least")
		require.Less(t, tries[2], tries[1]+time.Second)
	})
}

// frail is a store that fails for a while.
type frail struct {
	*deliver.Memory
	until time.Time
}

var errFrail = &deliver.StoreError{Op: "mark", Err: errors.New("no connection")}

func (f *frail) Once(ctx context.Context, key string, effect func(context.Context, deliver.None) error) (bool, error) {
	if time.Now().Before(f.until) {
		return false, errFrail
	}
	return f.Memory.Once(ctx, key, effect)
}

func (f *frail) Bury(ctx context.Context, l deliver.Letter) error {
	if time.Now().Before(f.until) {
		return errFrail
	}
	return f.Memory.Bury(ctx, l)
}

// A store that is away is waited for: no value is given up because of it.
func TestAStoreThatFailsIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &frail{deliver.NewMemory(100), time.Now().Add(time.Hour)}
		var j journal
		c := consumer(store, &j)
		c.Retry.Attempts = 1
		require.NoError(t, c.Run(t.Context(), values(1, "a", "b")))
		require.Empty(t, store.Letters())
		require.Len(t, j.lines, 2)

		c.Handle = func(context.Context, deliver.None, value) error {
			store.until = time.Now().Add(time.Hour)
			return errors.New("bad")
		}
		c.Workers = 1
		require.NoError(t, c.Run(t.Context(), values(3, "a")))
		require.Len(t, store.Letters(), 1, "also to bury something")
		require.Equal(t, "bad", store.Letters()[0].Reason)
	})
}

// The input's error comes behind all that came before it.
func TestTheInputsErrorEndsARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		in := func(ctx context.Context) iter.Seq2[value, error] {
			return func(yield func(value, error) bool) {
				if yield(value{1, "a"}, nil) && yield(value{2, "b"}, nil) {
					yield(value{}, broken)
				}
			}
		}
		var j journal
		store := deliver.NewMemory(100)
		require.ErrorIs(t, consumer(store, &j).Run(t.Context(), in), broken)
		require.Len(t, j.lines, 2)
		at, _ := store.Position(t.Context())
		require.Equal(t, "2", at)
	})
}

// No more than so many values are under way.
func TestAConsumerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pulled := 0
		in := func(ctx context.Context) iter.Seq2[value, error] {
			return func(yield func(value, error) bool) {
				for pulled = 0; yield(value{pulled, "a"}, nil); pulled++ {
				}
			}
		}
		var j journal
		c := consumer(deliver.NewMemory(100), &j)
		c.MaxPending = 10
		c.Handle = func(ctx context.Context, _ deliver.None, v value) error { <-ctx.Done(); return ctx.Err() }
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, c.Run(ctx, in), context.DeadlineExceeded)
		require.Equal(t, 10, pulled)
	})
}

func TestAConsumerRefusesBadSettings(t *testing.T) {
	for field, spoil := range map[string]func(*deliver.Consumer[value, deliver.None]){
		"Store":          func(c *deliver.Consumer[value, deliver.None]) { c.Store = nil },
		"Key":            func(c *deliver.Consumer[value, deliver.None]) { c.Key = nil },
		"Handle":         func(c *deliver.Consumer[value, deliver.None]) { c.Handle = nil },
		"Workers":        func(c *deliver.Consumer[value, deliver.None]) { c.Workers = -1 },
		"MaxPending":     func(c *deliver.Consumer[value, deliver.None]) { c.MaxPending = -1 },
		"SaveEvery":      func(c *deliver.Consumer[value, deliver.None]) { c.SaveEvery = -1 },
		"Retry.Attempts": func(c *deliver.Consumer[value, deliver.None]) { c.Retry.Attempts = -1 },
	} {
		c := consumer(deliver.NewMemory(1), &journal{})
		spoil(&c)
		var bad *enrich.ConfigError
		require.ErrorAs(t, c.Run(t.Context(), values(1)), &bad, field)
	}
}

// ledger is a store whose positions are watched, and can be refused.
type ledger struct {
	*deliver.Memory
	mu     sync.Mutex
	saved  []string
	refuse error
}

func (l *ledger) SavePosition(ctx context.Context, at string) error {
	l.mu.Lock()
	l.saved = append(l.saved, at)
	err := l.refuse
	l.mu.Unlock()
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return err
	}
	return l.Memory.SavePosition(ctx, at)
}

// taken returns what was saved since the last call. From now on err is the answer.
func (l *ledger) taken(err error) (saved []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	saved, l.saved, l.refuse = l.saved, nil, err
	return saved
}

// What ends well though Run is to end is behind the position, which is saved
// though ctx is over.
func TestThePositionIsSavedInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &ledger{Memory: deliver.NewMemory(100)}
		c := consumer(store, &journal{})
		c.Handle = func(ctx context.Context, _ deliver.None, v value) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, c.Run(ctx, values(1, "a")), context.DeadlineExceeded)
		require.Equal(t, []string{"1"}, store.taken(errFrail))
		at, err := c.Resume(t.Context())
		require.NoError(t, err)
		require.Equal(t, "1", at)

		c = consumer(store, &journal{})
		require.ErrorIs(t, c.Run(t.Context(), values(2, "a")), errFrail)
	})
}

// The position is saved when it has moved, and again if that failed. A value
// without one does not move it.
func TestThePositionIsSavedWhenItHasMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &ledger{Memory: deliver.NewMemory(100), refuse: errFrail}
		in := make(chan value)
		c := consumer(store, &journal{})
		c.Position = func(v value) string {
			if v.Lane == "nowhere" {
				return ""
			}
			return keyOf(v)
		}
		done := make(chan error)
		go func() {
			done <- c.Run(t.Context(), func(context.Context) iter.Seq2[value, error] {
				return func(yield func(value, error) bool) {
					for v := range in {
						if !yield(v, nil) {
							return
						}
					}
				}
			})
		}()
		saved := func() []string {
			time.Sleep(1500 * time.Millisecond)
			return store.taken(nil)
		}
		in <- value{1, "a"}
		require.NotEmpty(t, saved())
		require.Equal(t, []string{"1"}, saved(), "it was refused")
		require.Empty(t, saved())
		in <- value{2, "nowhere"}
		require.Empty(t, saved())
		in <- value{3, "a"}
		require.Equal(t, []string{"3"}, saved())
		close(in)
		require.NoError(t, <-done)
		require.Empty(t, store.taken(nil))
	})
}

// Each value waits for its own time, and the pauses grow up to Max.
func TestThePausesBetweenTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		tries := map[int][]time.Duration{}
		c := deliver.Consumer[value, deliver.None]{Store: deliver.NewMemory(100), Key: keyOf, Lane: keyOf, SaveEvery: 24 * time.Hour,
			Retry: deliver.Retry{Attempts: 12, Min: time.Second, Max: 100 * time.Second},
			Handle: func(_ context.Context, _ deliver.None, v value) error {
				at := time.Since(start)
				tries[v.N] = append(tries[v.N], at)
				switch first := len(tries[v.N]) == 1; {
				case v.N == 1 && first:
					return deliver.Later(errors.New("busy"), 24*time.Minute)
				case v.N == 2 && first:
					return deliver.Later(errors.New("busy"), 17*time.Hour)
				case v.N > 2:
					return errors.New("bad")
				}
				return nil
			}}
		lanes := make([]string, 52)
		require.NoError(t, c.Run(t.Context(), values(1, lanes...)))
		require.Equal(t, []time.Duration{0, 24 * time.Minute}, tries[1])
		require.Equal(t, []time.Duration{0, 17 * time.Hour}, tries[2])
		var early, late time.Duration
		for n := 3; n <= 52; n++ {
			require.Len(t, tries[n], 12)
			early += tries[n][1]
			late += tries[n][11] - tries[n][10]
			require.LessOrEqual(t, tries[n][1], time.Second)
			require.LessOrEqual(t, tries[n][11]-tries[n][10], 100*time.Second)
		}
		require.Greater(t, early, 10*time.Second, "of 50 that are random up to a second")
		require.Greater(t, late, 1000*time.Second, "of 50 that are random up to 100")
	})
}

// A letter has a name though its value has none, and the reason is told though the
// value cannot be written.
func TestALetterOfAValueWithoutAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := deliver.NewMemory(100)
		c := consumer(store, &journal{})
		c.Key = func(value) string { return "" }
		c.Handle = func(context.Context, deliver.None, value) error { return deliver.Permanent(errors.New("bad")) }
		c.Encode = func(v value) ([]byte, error) {
			if v.N == 2 {
				return []byte("half"), errors.New("no form")
			}
			return []byte(v.Lane), nil
		}
		require.NoError(t, c.Run(t.Context(), values(1, "a", "b")))
		letters := map[string]deliver.Letter{}
		for _, l := range store.Letters() {
			require.Contains(t, l.Key, "unnamed at "+l.Position+" 2000-01-01T")
			letters[l.Position] = l
		}
		require.Len(t, letters, 2)
		require.Equal(t, "a", string(letters["1"].Value))
		require.Equal(t, "bad", letters["1"].Reason)
		require.Nil(t, letters["2"].Value)
		require.Equal(t, "bad (and it has no form to be kept in: no form)", letters["2"].Reason)
	})
}

func TestAChangeHasOneKey(t *testing.T) {
	c := cdc.Change{Op: cdc.Update, Schema: "public", Table: "orders", Committed: time.UnixMilli(1).UTC(),
		Record: json.RawMessage(`{"id":1}`), OldRecord: json.RawMessage(`{"id":1}`)}
	require.Equal(t, deliver.ChangeKey(c), deliver.ChangeKey(c))
	seen := map[string]bool{deliver.ChangeKey(c): true}
	for _, spoil := range []func(c *cdc.Change){
		func(c *cdc.Change) { c.Op = cdc.Insert },
		func(c *cdc.Change) { c.Schema = "private" },
		func(c *cdc.Change) { c.Table = "users" },
		func(c *cdc.Change) { c.Committed = c.Committed.Add(time.Millisecond) },
		func(c *cdc.Change) { c.Record = json.RawMessage(`{"id":2}`) },
		func(c *cdc.Change) { c.OldRecord = nil },
		func(c *cdc.Change) { c.Record, c.OldRecord = nil, c.Record },
	} {
		other := c
		spoil(&other)
		require.False(t, seen[deliver.ChangeKey(other)])
		seen[deliver.ChangeKey(other)] = true
	}
	require.Empty(t, deliver.ChangeKey(cdc.Change{Gap: &cdc.Gap{}}))
}
