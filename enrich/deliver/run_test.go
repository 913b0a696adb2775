package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/enrich/deliver"
)

// forgetful is a store that has the effect and cannot mark it for a while.
type forgetful struct {
	*deliver.Memory
	until time.Time
}

func (f *forgetful) Once(ctx context.Context, key string, effect func(context.Context, deliver.None) error) (bool, error) {
	if err := effect(ctx, deliver.None{}); err != nil {
		return false, err
	}
	if time.Now().Before(f.until) {
		return false, &deliver.StoreError{Op: "mark", Err: errors.New("the disk is full")}
	}
	return f.Memory.Once(ctx, key, func(context.Context, deliver.None) error { return nil })
}

// TestConsumer_AMarkThatFailsIsTriedAlone: the effect has happened, and does not
// happen again because a store cannot say so.
func TestConsumer_AMarkThatFailsIsTriedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &forgetful{deliver.NewMemory(10), time.Now().Add(time.Hour)}
		var j journal
		c := consumer(store, &j)
		failures := 0
		c.Retry.Attempts = 3
		c.Failed = func(_ value, attempts int, err error, buried bool) {
			failures++
			require.Zero(t, attempts)
			require.False(t, buried)
		}
		require.NoError(t, c.Run(t.Context(), values(1, "a", "b", "a")))
		require.ElementsMatch(t, []string{"1 a", "2 b", "3 a"}, j.lines)
		require.Greater(t, failures, 50)
		require.Empty(t, store.Letters())
	})
}

// TestFile_AMarkThatFailsIsTriedAlone: also by another delivery of the key.
func TestFile_AMarkThatFailsIsTriedAlone(t *testing.T) {
	f, err := deliver.OpenFile(filepath.Join(t.TempDir(), "store"), 10)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	effects := 0
	for range 3 {
		_, err = f.Once(t.Context(), "k", func(context.Context, deliver.None) error { effects++; return nil })
		var store *deliver.StoreError
		require.ErrorAs(t, err, &store)
	}
	require.Equal(t, 1, effects)
}

// TestConsumer_NoLaneWaitsForAnother: what is handled behind a value that waits
// does not count as pending, and the position follows when that is over.
func TestConsumer_NoLaneWaitsForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20_000
		var handled atomic.Int64
		down := errors.New("down")
		store := deliver.NewMemory(10)
		up := make(chan struct{})
		lanes := make([]string, n)
		for i := range lanes {
			lanes[i] = fmt.Sprint("good ", i%50)
		}
		lanes[0], lanes[500], lanes[9000] = "bad", "bad", "worse"
		c := deliver.Consumer[value, deliver.None]{Store: store, Key: keyOf, Lane: laneOf, Position: keyOf, Workers: 8, MaxPending: 100,
			Retry: deliver.Retry{Temporary: func(err error) bool { return errors.Is(err, down) }},
			Handle: func(_ context.Context, _ deliver.None, v value) error {
				if v.Lane == "bad" || v.Lane == "worse" {
					select {
					case <-up:
					default:
						return down
					}
				}
				handled.Add(1)
				return nil
			}}
		done := make(chan error)
		go func() { done <- c.Run(t.Context(), values(0, lanes...)) }()
		time.Sleep(time.Minute)
		require.EqualValues(t, n-3, handled.Load())
		at, err := store.Position(t.Context())
		require.NoError(t, err)
		require.Empty(t, at, "the first value is not over")
		close(up)
		require.NoError(t, <-done)
		at, _ = store.Position(t.Context())
		require.Equal(t, fmt.Sprint(n-1), at)
	})
}

// forever gives values until ctx ends.
func forever(ctx context.Context) iter.Seq2[value, error] {
	return func(yield func(value, error) bool) {
		for i := 0; yield(value{i, fmt.Sprint(i)}, nil); i++ {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				yield(value{}, ctx.Err())
				return
			}
		}
	}
}

// TestConsumer_StopsWithoutACut: an attempt that is under way when ctx ends has its
// grace, no other begins, and the error is ctx's.
func TestConsumer_StopsWithoutACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, take := range []time.Duration{5 * time.Second, time.Hour} {
			store := &ledger{Memory: deliver.NewMemory(100)}
			begun, ended, cut := 0, 0, 0
			c := deliver.Consumer[value, deliver.None]{Store: store, Key: keyOf, Position: keyOf, Grace: 8 * time.Second,
				Handle: func(ctx context.Context, _ deliver.None, v value) error {
					begun++
					select {
					case <-time.After(take):
						ended++
						return nil
					case <-ctx.Done():
						cut++
						return ctx.Err()
					}
				}}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			start := time.Now()
			require.Equal(t, context.Canceled, c.Run(ctx, forever))
			require.Equal(t, 1, begun)
			if take == time.Hour {
				require.Equal(t, 9*time.Second, time.Since(start))
				require.Equal(t, 1, cut)
				require.Empty(t, store.taken(nil))
			} else {
				require.Equal(t, take, time.Since(start))
				require.Equal(t, 1, ended)
				require.Equal(t, "0", last(store.taken(nil)))
			}
		}
	})
}

// TestConsumer_StopsWithManyWaiting: values that are queued for a worker, or wait
// for another try, do not hold up the end.
func TestConsumer_StopsWithManyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, grace := range []time.Duration{-1, time.Second} {
			ctx, cancel := context.WithCancel(t.Context())
			c := consumer(deliver.NewMemory(100), &journal{})
			c.Grace, c.Lane = grace, keyOf
			c.Handle = func(ctx context.Context, _ deliver.None, v value) error {
				if v.N%2 == 0 {
					return errors.New("bad")
				}
				<-ctx.Done()
				return nil
			}
			time.AfterFunc(time.Minute, cancel)
			start := time.Now()
			require.Equal(t, context.Canceled, c.Run(ctx, values(0, make([]string, 100)...)))
			require.Equal(t, time.Minute+max(grace, 0), time.Since(start))
		}
	})
}

func last(s []string) string { return s[len(s)-1] }

// TestConsumer_MarksWithinTheGrace: an effect that has happened is marked before
// Run returns, if the store comes back in time.
func TestConsumer_MarksWithinTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &forgetful{deliver.NewMemory(100), time.Now().Add(5 * time.Second)}
		var j journal
		c := consumer(store, &j)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		require.ErrorIs(t, c.Run(ctx, values(1, "a")), context.Canceled)
		require.Equal(t, []string{"1 a"}, j.lines)
		_, before := once(t, store.Memory, "1", nil)
		require.True(t, before)
	})
}

// TestConsumer_SaysInOneLineThatThePositionIsNotSaved, and wraps both errors.
func TestConsumer_SaysInOneLineThatThePositionIsNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &ledger{Memory: deliver.NewMemory(100), refuse: errFrail}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		err := consumer(store, &journal{}).Run(ctx, forever)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, errFrail)
		require.NotContains(t, err.Error(), "\n")
	})
}

// TestConsumer_ABuriedKeyIsRemembered until somebody asks.
func TestConsumer_ABuriedKeyIsRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	file, err := deliver.OpenFile(path, 100)
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	type store interface {
		deliver.Store[deliver.None]
		Retry(context.Context, string) (deliver.Letter, bool, error)
	}
	for name, s := range map[string]func() store{
		"memory": func() store { return nil },
		"file": func() store { // each time as another process
			require.NoError(t, file.Close())
			file, err = deliver.OpenFile(path, 100)
			require.NoError(t, err)
			return file
		},
	} {
		t.Run(name, func(t *testing.T) {
			memory := deliver.NewMemory(100)
			open := func() store {
				if s := s(); s != nil {
					return s
				}
				return memory
			}
			tries := 0
			run := func() {
				c := consumer(open(), &journal{})
				c.Handle = func(context.Context, deliver.None, value) error { tries++; return deliver.Permanent(errors.New("bad")) }
				require.NoError(t, c.Run(t.Context(), values(1, "a")))
			}
			for range 3 {
				run()
			}
			require.Equal(t, 1, tries)
			l, there, err := open().Retry(t.Context(), "1")
			require.NoError(t, err)
			require.True(t, there)
			require.Equal(t, "bad", l.Reason)
			require.JSONEq(t, `{"N":1,"Lane":"a"}`, string(l.Value))
			_, there, err = open().Retry(t.Context(), "1")
			require.NoError(t, err)
			require.False(t, there)
			run()
			run()
			require.Equal(t, 2, tries)
		})
	}
}

// TestConsumer_APanicIsAnError at every door: of the value where it is of a value,
// and of Run otherwise. None ends the process, and no lane stands still.
func TestConsumer_APanicIsAnError(t *testing.T) {
	type settings = deliver.Consumer[value, deliver.None]
	bad := func(v value) bool { return v.N == 2 }
	for door, spoil := range map[string]func(c *settings){
		"Key": func(c *settings) {
			c.Key = func(v value) string {
				if bad(v) {
					panic("oops")
				}
				return keyOf(v)
			}
		},
		"Lane": func(c *settings) {
			c.Lane = func(v value) string {
				if bad(v) {
					panic("oops")
				}
				return "a"
			}
		},
		"Position": func(c *settings) {
			c.Position = func(v value) string {
				if bad(v) {
					panic("oops")
				}
				return keyOf(v)
			}
		},
		"Handle": func(*settings) {},
		"Encode": func(c *settings) { c.Encode = func(value) ([]byte, error) { panic("oops") } },
		"Temporary": func(c *settings) {
			c.Retry.Temporary = func(error) bool { panic("oops") }
		},
	} {
		t.Run(door, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := deliver.NewMemory(10)
				var j journal
				c := consumer(store, &j)
				c.Retry.Attempts = 2
				inner := c.Handle
				c.Handle = func(ctx context.Context, tx deliver.None, v value) error {
					if bad(v) {
						panic("oops")
					}
					return inner(ctx, tx, v)
				}
				spoil(&c)
				require.NoError(t, c.Run(t.Context(), values(1, "a", "a", "a")))
				require.Equal(t, []string{"1 a", "3 a"}, j.lines)
				require.Len(t, store.Letters(), 1)
				require.Contains(t, store.Letters()[0].Reason, "oops")
				at, _ := store.Position(t.Context())
				require.Equal(t, "3", at)
			})
		})
	}
	for door, spoil := range map[string]func(c *settings) enrich.Stream[value]{
		"Failed": func(c *settings) enrich.Stream[value] {
			c.Handle = func(context.Context, deliver.None, value) error { return errors.New("bad") }
			c.Failed = func(value, int, error, bool) { panic("oops") }
			return forever
		},
		"stream": func(*settings) enrich.Stream[value] {
			return func(context.Context) iter.Seq2[value, error] {
				return func(yield func(value, error) bool) { yield(value{1, "a"}, nil); panic("oops") }
			}
		},
	} {
		t.Run(door, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := consumer(deliver.NewMemory(10), &journal{})
				in := spoil(&c)
				var p *deliver.PanicError
				require.ErrorAs(t, c.Run(t.Context(), in), &p)
				require.Equal(t, "oops", p.Value)
			})
		})
	}
}

// TestConsumer_AHandlerMayExitItsGoroutine, as FailNow of a test does: it is a
// failed attempt, and the workers do not become fewer.
func TestConsumer_AHandlerMayExitItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := deliver.NewMemory(10)
		var j journal
		c := consumer(store, &j)
		c.Workers, c.Retry.Attempts = 1, 3
		inner := c.Handle
		c.Handle = func(ctx context.Context, tx deliver.None, v value) error {
			if v.N == 1 {
				runtime.Goexit()
			}
			return inner(ctx, tx, v)
		}
		require.NoError(t, c.Run(t.Context(), values(1, "a", "a")))
		require.Equal(t, []string{"2 a"}, j.lines)
		require.Contains(t, store.Letters()[0].Reason, "Goexit")
	})
}

// conflict is an error as drivers give it.
type conflict string

func (c conflict) Error() string    { return "could not serialize access" }
func (c conflict) SQLState() string { return string(c) }

// TestConsumer_AConflictDoesNotCount: that transactions were in each other's way
// says nothing against the value, unless it is so each time.
func TestConsumer_AConflictDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			state     string
			conflicts int
			tries     int
			buried    bool
		}{
			{"40001", 20, 21, false},
			{"40P01", 20, 21, false},
			{"23505", 20, 3, true},
			{"40001", 1 << 30, 103, true},
		} {
			store := deliver.NewMemory(10)
			tries := 0
			err := deliver.Consumer[value, deliver.None]{Store: store, Key: keyOf, Retry: deliver.Retry{Attempts: 3},
				Handle: func(context.Context, deliver.None, value) error {
					if tries++; tries <= c.conflicts {
						return fmt.Errorf("book: %w", conflict(c.state))
					}
					return nil
				}}.Run(t.Context(), values(1, "a"))
			require.NoError(t, err)
			require.Equal(t, c.tries, tries, c.state)
			require.Equal(t, c.buried, len(store.Letters()) == 1, c.state)
		}
	})
}
