package enrich_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/mockserver"
)

// The row is that of the moment at which the event is pulled, whatever it was
// when the event was made.
func TestLatestIsTheStateWhenTheEventIsPulled(t *testing.T) {
	inWorld(t, func(w *world) {
		w.insertUser(1, "ann")
		users := w.users()
		w.sync(users)
		clicks := newHand[clickEvent]()
		out := collect(w, w.ctx, enrich.Join(clicks.stream, lookup{Table: users, Key: userOf, Miss: enrich.Drop()}))
		early := clickAt(1, 1, time.Now())
		time.Sleep(time.Minute)
		w.nameUser(1, "Ann")
		w.await(users, 1, "Ann")
		clicks.values <- early
		got := out.next()
		require.Equal(t, "Ann", got.Right.Name)
		require.True(t, got.Found)
		require.False(t, got.Degraded)
		require.Equal(t, cache.Exact, got.Trust)
	})
}

// As of the event's time the row is the one of that time, and a version of the
// very same time counts: rows of one transaction have one commit time.
func TestAsOfIsInclusive(t *testing.T) {
	inWorld(t, func(w *world) {
		w.insertUser(1, "ann")
		users := w.users(cache.WithHistory(time.Hour, 10))
		w.sync(users)
		clicks := w.clicks()
		hold := newHand[struct{}]()
		l := lookup{Table: users, Key: userOf, Miss: enrich.Null(), At: committed, Gap: enrich.GapOf[click]}
		out := collect(w, w.ctx, enrich.Join(behind(clicks, hold), l))
		hold.values <- struct{}{} // the gap of the start
		require.NotNil(t, out.next().Gap)

		time.Sleep(time.Second)
		require.NoError(t, w.server.Tx(func(tx *mockserver.Tx) error {
			if _, err := tx.Update("users", mockserver.Row{"name": "second"}, mockserver.Row{"id": 1}); err != nil {
				return err
			}
			return tx.Insert("clicks", mockserver.Row{"id": 1, "user_id": 1})
		}))
		time.Sleep(time.Second)
		w.insertClick(2, 1)
		time.Sleep(time.Second)
		w.nameUser(1, "third")
		w.await(users, 1, "third")
		for want := range 2 {
			hold.values <- struct{}{}
			got := out.next()
			require.EqualValues(t, want+1, got.Left.New.ID)
			require.Equal(t, "second", got.Right.Name)
			require.Equal(t, cache.Exact, got.Trust)
		}
	})
}

// behind lets a value of a stream through for each of another one.
func behind[T any](in enrich.Stream[T], h *hand[struct{}]) enrich.Stream[T] {
	return func(ctx context.Context) iter.Seq2[T, error] {
		return func(yield func(T, error) bool) {
			for v, err := range in(ctx) {
				select {
				case <-h.values:
				case <-ctx.Done():
					return
				}
				if !yield(v, err) {
					return
				}
			}
		}
	}
}

// Nobody knows since when a row is so that was read and not heard of.
func TestAsOfARowOfTheSnapshotIsTrustedSinceSnapshot(t *testing.T) {
	inWorld(t, func(w *world) {
		w.insertUser(1, "ann")
		made := time.Now()
		time.Sleep(time.Hour)
		users := w.users(cache.WithHistory(time.Hour, 10))
		w.sync(users)
		time.Sleep(time.Minute)
		now := time.Now()
		out := collect(w, w.ctx, enrich.Join(enrich.Of(clickAt(1, 1, made), clickAt(2, 1, now), clickAt(3, 9, made)),
			lookup{Table: users, Key: userOf, Miss: enrich.Null(), At: committed}))
		before, after, never := out.next(), out.next(), out.next()
		require.Equal(t, cache.SinceSnapshot, before.Trust)
		require.Equal(t, cache.Exact, after.Trust)
		require.Equal(t, "ann", before.Right.Name)
		require.False(t, never.Found)
		require.Equal(t, cache.Truncated, never.Trust, "there may have been one that is gone")
		require.NoError(t, out.ended())
	})
}

// Nobody heard when a row came to be as it was read behind a gap: of times before
// that it is not trusted.
func TestAsOfARowReadBehindAGapIsNotTrustedBeforeThat(t *testing.T) {
	inWorld(t, func(w *world) {
		w.insertUser(1, "ann")
		users := w.users(cache.WithHistory(time.Hour, 10))
		w.sync(users)
		time.Sleep(time.Minute)
		heard := time.Now()
		time.Sleep(time.Minute)
		w.server.KillSockets()
		w.server.DropChanges(1)
		w.nameUser(1, "Ann")
		within := time.Now()
		w.await(users, 1, "Ann")
		w.sync(users)
		time.Sleep(time.Minute)
		out := collect(w, w.ctx, enrich.Join(enrich.Of(clickAt(1, 1, heard), clickAt(2, 1, within), clickAt(3, 1, time.Now())),
			lookup{Table: users, Key: userOf, Miss: enrich.Null(), At: committed}))
		before, during, after := out.next(), out.next(), out.next()
		require.Equal(t, cache.SinceSnapshot, before.Trust)
		require.Equal(t, cache.SinceSnapshot, during.Trust)
		require.Equal(t, "Ann", after.Right.Name)
		require.Equal(t, cache.Exact, after.Trust)
	})
}

// A change of the table is no event: it makes no output.
func TestATableChangeNeverTriggersAJoin(t *testing.T) {
	inWorld(t, func(w *world) {
		w.insertUser(1, "ann")
		users := w.users()
		w.sync(users)
		for _, miss := range []enrich.Miss{enrich.Null(), enrich.Park(time.Second, 1)} {
			clicks := newHand[clickEvent]()
			out := collect(w, w.ctx, enrich.Join(clicks.stream, lookup{Table: users, Key: userOf, Miss: miss}))
			clicks.values <- clickAt(1, 1, time.Now())
			require.True(t, out.next().Found)
			w.nameUser(1, "Ann")
			_, err := w.server.Delete("users", mockserver.Row{"id": 1})
			require.NoError(t, err)
			out.none(time.Minute)
			w.insertUser(1, "ann")
			w.await(users, 1, "ann")
			w.server.KillSockets() // nor does one that was read behind a gap
			w.server.DropChanges(1)
			w.nameUser(1, "Ann")
			w.await(users, 1, "Ann")
			out.none(time.Minute)
			w.nameUser(1, "ann")
			w.await(users, 1, "ann")
		}
	})
}

// With Reemit an event comes again when its row is another one, as long as it is
// kept, and no more of them than are allowed.
func TestReemitGivesAnEventAgainWhenItsRowChanges(t *testing.T) {
	inWorld(t, func(w *world) {
		w.insertUser(1, "ann")
		users := w.users()
		w.sync(users)
		clicks := newHand[clickEvent]()
		var count enrich.Counters
		out := collect(w, w.ctx, enrich.Join(clicks.stream, lookup{Table: users, Key: userOf, Miss: enrich.Null(),
			Reemit: &enrich.Reemit{For: time.Minute, Max: 2}, Counters: &count}))
		for id := int64(1); id <= 3; id++ {
			clicks.values <- clickAt(id, 1, time.Now())
			require.False(t, out.next().Update)
		}
		require.EqualValues(t, 1, count.Overflowed.Load(), "the first is not kept any more")
		w.nameUser(1, "Ann")
		for id := int64(2); id <= 3; id++ {
			got := out.next()
			require.Equal(t, id, got.Left.New.ID)
			require.Equal(t, "Ann", got.Right.Name)
			require.True(t, got.Update)
		}
		w.nameUser(1, "ann") // as it was in the first place
		for range 2 {
			require.Equal(t, "ann", out.next().Right.Name)
		}
		_, err := w.server.Delete("users", mockserver.Row{"id": 1})
		require.NoError(t, err)
		for id := int64(2); id <= 3; id++ {
			require.False(t, out.next().Found)
		}
		w.server.KillSockets()
		w.server.DropChanges(1)
		w.insertUser(1, "read behind a gap")
		for id := int64(2); id <= 3; id++ {
			require.Equal(t, "read behind a gap", out.next().Right.Name)
		}
		time.Sleep(2 * time.Minute)
		w.nameUser(1, "late")
		out.none(time.Minute)
	})
}

// With Drop an event without a row comes when its row does, and a deletion says
// nothing: a tombstone retracts in joins of tables only.
func TestReemitWithDrop(t *testing.T) {
	inWorld(t, func(w *world) {
		users := w.users()
		w.sync(users)
		out := collect(w, w.ctx, enrich.Join(newHandOf(clickAt(1, 1, time.Now())).stream, lookup{Table: users, Key: userOf,
			Miss: enrich.Drop(), Reemit: &enrich.Reemit{For: time.Hour, Max: 10}}))
		out.none(time.Minute)
		w.insertUser(1, "ann")
		got := out.next()
		require.True(t, got.Found && got.Update)
		_, err := w.server.Delete("users", mockserver.Row{"id": 1})
		require.NoError(t, err)
		out.none(time.Minute)
	})
}

// newHandOf gives some values and then waits.
func newHandOf[T any](values ...T) *hand[T] {
	h := newHand[T]()
	h.values = make(chan T, len(values))
	for _, v := range values {
		h.values <- v
	}
	return h
}

// Nothing is pulled while the table loads, so that nothing has to be held.
func TestJoinDoesNotPullBeforeTheTableIsSynced(t *testing.T) {
	for name, miss := range map[string]enrich.Miss{"in line": enrich.Drop(), "holding": enrich.Park(time.Second, 1)} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.insertUser(1, "ann")
				w.server.FaultREST(mockserver.RESTFault{Path: "users", Status: http.StatusServiceUnavailable})
				users := w.users()
				clicks := newHandOf(clickAt(1, 1, time.Now()))
				out := collect(w, w.ctx, enrich.Join(clicks.stream, lookup{Table: users, Key: userOf, Miss: miss}))
				time.Sleep(10 * time.Minute)
				require.Zero(t, clicks.pulled.Load())
				w.server.FaultREST()
				require.True(t, out.next().Found)
			})
		})
	}
}

func TestMissingRows(t *testing.T) {
	for name, c := range map[string]struct {
		miss enrich.Miss
		want string
	}{
		"drop": {enrich.Drop(), "1 ann"},
		"null": {enrich.Null(), "1 ann, 2 -, 3 -"},
		"wait": {enrich.Wait(5 * time.Second), "1 ann, 2 ben, 3 -"},
		"park": {enrich.Park(5*time.Second, 10), "1 ann, 3 -, 2 ben"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.insertUser(1, "ann")
				users := w.users()
				w.sync(users)
				time.AfterFunc(2*time.Second, func() { w.insertUser(2, "ben") })
				noUser := clickEvent{New: click{ID: 3}}
				out := collect(w, w.ctx, enrich.Join(enrich.Of(clickAt(1, 1, time.Now()), clickAt(2, 2, time.Now()), noUser),
					lookup{Table: users, Key: userOf, Miss: c.miss}))
				require.Equal(t, c.want, written(out))
				time.Sleep(time.Minute)
			})
		})
	}
}

// written is all outputs until the end.
func written(out *outputs[joined]) (s string) {
	for j := range out.values {
		if s != "" {
			s += ", "
		}
		name := "-"
		if j.Found {
			name = j.Right.Name
		}
		s += fmt.Sprintf("%d %s", j.Left.New.ID, name)
	}
	if out.err != nil {
		s += ": " + out.err.Error()
	}
	return s
}

// Fetch finds a row that the cache has no room for. A read that fails says so,
// and a key that is not there is not asked for again at once.
func TestFetchReadsThrough(t *testing.T) {
	inWorld(t, func(w *world) {
		for id := range int64(5) {
			w.insertUser(id, fmt.Sprint("user ", id))
		}
		users := w.users(cache.WithMaxRows(2, cache.Evict))
		w.sync(users)
		clicks := newHand[clickEvent]()
		out := collect(w, w.ctx, enrich.Join(clicks.stream, lookup{Table: users, Key: userOf, Miss: enrich.Fetch(time.Second)}))
		for id := range int64(5) {
			clicks.values <- clickAt(id, id, time.Now())
			require.Equal(t, fmt.Sprint("user ", id), out.next().Right.Name)
		}
		for range 3 {
			clicks.values <- clickAt(7, 77, time.Now())
			got := out.next()
			require.False(t, got.Found)
			require.NoError(t, got.Err)
		}
		w.insertUser(77, "too late") // which the memory of absent keys hides, for a second
		clicks.values <- clickAt(7, 77, time.Now())
		require.False(t, out.next().Found)

		w.server.FaultREST(mockserver.RESTFault{Path: "users", Status: http.StatusServiceUnavailable})
		clicks.values <- clickAt(8, 78, time.Now())
		failed := out.next()
		require.ErrorIs(t, failed.Err, context.DeadlineExceeded)
		require.True(t, failed.Degraded)
		w.server.FaultREST()
	})
}

// Later events of a key queue behind one that is aside; other keys go on.
func TestParkKeepsTheOrderOfEachKey(t *testing.T) {
	inWorld(t, func(w *world) {
		w.insertUser(1, "ann")
		users := w.users()
		w.sync(users)
		clicks := newHand[clickEvent]()
		var count enrich.Counters
		out := collect(w, w.ctx, enrich.Join(clicks.stream, lookup{Table: users, Key: userOf, Miss: enrich.Park(10*time.Second, 10),
			Counters: &count, Captured: func(c clickEvent) (user, bool) { return user{Name: c.New.Page}, c.New.Page != "" }}))
		now := time.Now()
		clicks.values <- clickAt(1, 2, now)
		clicks.values <- clickAt(2, 3, now)
		carries := clickAt(3, 2, now)
		carries.New.Page = "carried"
		clicks.values <- carries // has a row, and yet goes behind the first of its key
		clicks.values <- clickAt(4, 1, now)
		require.EqualValues(t, 4, out.next().Left.New.ID)
		out.none(time.Second)
		require.EqualValues(t, 3, count.Pending.Load())
		w.insertUser(2, "ben")
		first, second := out.next(), out.next()
		require.EqualValues(t, 1, first.Left.New.ID)
		require.Equal(t, "ben", first.Right.Name)
		require.EqualValues(t, 3, second.Left.New.ID)
		require.Equal(t, "carried", second.Right.Name)
		expired := out.next()
		require.EqualValues(t, 2, expired.Left.New.ID)
		require.False(t, expired.Found)
		require.False(t, expired.Degraded)
		require.Equal(t, 10*time.Second, time.Since(now).Round(time.Second))
		require.EqualValues(t, 1, count.Expired.Load())
		require.Zero(t, count.Pending.Load())
	})
}

// When the first event of a key has had its time, those behind it do not wait for
// theirs if they have a row.
func TestParkLetsGoBehindAnExpiredEvent(t *testing.T) {
	inWorld(t, func(w *world) {
		users := w.users()
		w.sync(users)
		clicks := newHand[clickEvent]()
		out := collect(w, w.ctx, enrich.Join(clicks.stream, lookup{Table: users, Key: userOf, Miss: enrich.Park(10*time.Second, 10),
			Captured: func(c clickEvent) (user, bool) { return user{Name: c.New.Page}, c.New.Page != "" }}))
		start := time.Now()
		clicks.values <- clickAt(1, 2, start)
		time.Sleep(5 * time.Second)
		carries := clickAt(2, 2, start)
		carries.New.Page = "carried"
		clicks.values <- carries
		require.False(t, out.next().Found)
		require.True(t, out.next().Found)
		require.Equal(t, 10*time.Second, time.Since(start).Round(time.Second))
	})
}

// One event too many and the oldest comes out without its row, counted, and
// marked as one that was not given its time.
func TestParkOverflowGivesTheOldest(t *testing.T) {
	inWorld(t, func(w *world) {
		users := w.users()
		w.sync(users)
		clicks := newHand[clickEvent]()
		var count enrich.Counters
		out := collect(w, w.ctx, enrich.Join(clicks.stream, lookup{Table: users, Key: userOf, Miss: enrich.Park(time.Hour, 2), Counters: &count}))
		for id := int64(1); id <= 4; id++ {
			clicks.values <- clickAt(id, id, time.Now())
		}
		for id := int64(1); id <= 2; id++ {
			got := out.next()
			require.Equal(t, id, got.Left.New.ID)
			require.False(t, got.Found)
			require.True(t, got.Degraded)
		}
		out.none(time.Minute)
		require.EqualValues(t, 2, count.Overflowed.Load())
		require.EqualValues(t, 4, count.Missed.Load())
	})
}

// What is aside comes out before the error that the input ends with.
func TestParkLosesNothingWhenTheInputFails(t *testing.T) {
	inWorld(t, func(w *world) {
		users := w.users()
		w.sync(users)
		clicks := newHandOf(clickAt(1, 1, time.Now()))
		out := collect(w, w.ctx, enrich.Join(clicks.stream, lookup{Table: users, Key: userOf, Miss: enrich.Park(time.Hour, 2)}))
		out.none(time.Second)
		clicks.end <- errors.New("broken")
		got := out.next()
		require.True(t, got.Degraded)
		require.EqualError(t, out.ended(), "broken")
	})
}

// A row that comes while the connection is down, and is read afterwards, ends the
// waiting like one that the stream brings.
func TestARowReadBehindAGapIsWaitedFor(t *testing.T) {
	for name, miss := range map[string]enrich.Miss{"park": enrich.Park(time.Hour, 2), "wait": enrich.Wait(time.Hour)} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				users := w.users()
				w.sync(users)
				clicks := newHandOf(clickAt(1, 1, time.Now()))
				out := collect(w, w.ctx, enrich.Join(clicks.stream, lookup{Table: users, Key: userOf, Miss: miss}))
				out.none(time.Second)
				w.server.KillSockets()
				w.server.DropChanges(1)
				w.insertUser(1, "ann")
				require.Equal(t, "ann", out.next().Right.Name)
			})
		})
	}
}

// A snapshot in the payload counts for more than the table.
func TestCapturedComesFirst(t *testing.T) {
	inWorld(t, func(w *world) {
		w.insertUser(1, "ann")
		users := w.users()
		w.sync(users)
		carries := clickAt(1, 1, time.Now())
		carries.New.Page = "carried"
		out := collect(w, w.ctx, enrich.Join(enrich.Of(carries, clickAt(2, 1, time.Now())), lookup{Table: users, Key: userOf, Miss: enrich.Drop(),
			Captured: func(c clickEvent) (user, bool) { return user{Name: c.New.Page}, c.New.Page != "" }}))
		require.Equal(t, "1 carried, 2 ann", written(out))
	})
}

// Grace waits for the change of the row that the table's stream has not brought
// yet, and no longer than it was told to.
func TestGraceWaitsForTheTable(t *testing.T) {
	inWorld(t, func(w *world) {
		w.insertUser(1, "ann")
		users := w.users(cache.WithHistory(time.Hour, 10))
		w.sync(users)
		time.Sleep(time.Second)
		clicks := newHand[clickEvent]()
		out := collect(w, w.ctx, enrich.Join(clicks.stream, lookup{Table: users, Key: userOf, Miss: enrich.Drop(), At: committed, Grace: time.Minute}))
		w.server.DelayChanges(5 * time.Second)
		w.nameUser(1, "Ann")
		at := time.Now()
		time.Sleep(10 * time.Millisecond)
		w.insertUser(2, "ben") // behind which the stream is past the click
		clicks.values <- clickAt(1, 1, at)
		got := out.next()
		require.Equal(t, "Ann", got.Right.Name)
		require.Less(t, time.Since(at), 10*time.Second)

		w.server.DelayChanges(0)
		at = time.Now()
		clicks.values <- clickAt(2, 1, at)
		require.Equal(t, "Ann", out.next().Right.Name)
		require.Equal(t, time.Minute, time.Since(at).Round(time.Second), "a quiet table does not say how far it is")
	})
}

// What rests on a table behind a gap says so, and a gap of the stream comes out
// in its place.
func TestDegradedAndGaps(t *testing.T) {
	inWorld(t, func(w *world) {
		w.insertUser(1, "ann")
		users := w.users()
		w.sync(users)
		var count enrich.Counters
		hands := newHand[clickEvent]()
		byHand := collect(w, w.ctx, enrich.Join(hands.stream, lookup{Table: users, Key: userOf, Miss: enrich.Null(), Counters: &count}))
		out := collect(w, w.ctx, enrich.Join(w.clicks(), lookup{Table: users, Key: userOf, Miss: enrich.Null(), Gap: enrich.GapOf[click]}))
		require.Equal(t, "started", out.next().Gap.Reason.String())
		w.insertClick(1, 1)
		require.False(t, out.next().Degraded)

		w.server.RefuseUpgrades(http.StatusServiceUnavailable, "", -1)
		w.server.KillSockets()
		require.True(t, out.next().Gap.Open())
		time.Sleep(time.Second)
		hands.values <- clickAt(5, 1, time.Now())
		stale := byHand.next()
		require.True(t, stale.Degraded)
		require.Equal(t, "ann", stale.Right.Name)
		require.EqualValues(t, 1, count.Degraded.Load())

		w.server.RefuseUpgrades(0, "", 0)
		require.False(t, out.next().Gap.Open())
		w.sync(users)
		hands.values <- clickAt(6, 1, time.Now())
		require.False(t, byHand.next().Degraded)
	})
}

// A table whose Run has failed is Stale, and joins go on and say so. A computed
// table that is complete stays as it is: there is nothing more to come.
func TestATableThatHasEnded(t *testing.T) {
	for _, failure := range []error{nil, errors.New("over")} {
		synctest.Test(t, func(t *testing.T) {
			end := make(chan struct{})
			users := cache.NewComputed("users", func(_ context.Context, e *cache.Editor[int64, user]) error {
				e.Put(1, user{ID: 1, Name: "ann"}, cache.CauseSnapshot)
				e.Publish(true)
				<-end
				return failure
			})
			go users.Run(t.Context())
			clicks := newHand[clickEvent]()
			out := collect(t, t.Context(), enrich.Join(clicks.stream, lookup{Table: users, Key: userOf, Miss: enrich.Park(time.Second, 1)}))
			clicks.values <- clickAt(1, 1, time.Now())
			require.False(t, out.next().Degraded)
			close(end)
			synctest.Wait()
			clicks.values <- clickAt(2, 1, time.Now())
			require.Equal(t, failure != nil, out.next().Degraded)
			clicks.values <- clickAt(3, 2, time.Now())
			require.Equal(t, failure != nil, out.next().Degraded)
			clicks.end <- nil
			require.NoError(t, out.ended())
		})
	}
}

func TestJoinRefusesBadSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := cache.NewComputed("users", func(context.Context, *cache.Editor[int64, user]) error { return nil })
		plain := struct{ enrich.Table[int64, user] }{users} // which is no *cache.Table
		good := lookup{Table: users, Key: userOf, Miss: enrich.Drop()}
		for field, spoil := range map[string]func(l *lookup){
			"Table":   func(l *lookup) { l.Table = nil },
			"Key":     func(l *lookup) { l.Key = nil },
			"Miss":    func(l *lookup) { l.Miss = enrich.Miss{} },
			"Miss ":   func(l *lookup) { l.Miss = enrich.Park(0, 1) },
			"Miss  ":  func(l *lookup) { l.Miss = enrich.Park(time.Second, 0) },
			"Miss   ": func(l *lookup) { l.Table, l.Miss = plain, enrich.Fetch(time.Second) },
			"At":      func(l *lookup) { l.Table, l.At = plain, committed },
			"Grace":   func(l *lookup) { l.Grace = time.Second },
			"MaxHeld": func(l *lookup) { l.MaxHeld = -1 },
			"Reemit":  func(l *lookup) { l.At, l.Reemit = committed, &enrich.Reemit{For: 1, Max: 1} },
			"Reemit ": func(l *lookup) { l.Reemit = &enrich.Reemit{} },
		} {
			l := good
			spoil(&l)
			clicks := newHand[clickEvent]()
			err := collect(t, t.Context(), enrich.Join(clicks.stream, l)).ended()
			var bad *enrich.ConfigError
			require.ErrorAs(t, err, &bad, field)
			require.Contains(t, field, bad.Field)
			require.Zero(t, clicks.pulled.Load())
		}
	})
}

// Leaving the loop ends what an operator has started, though its input waits.
func TestLeavingTheLoopEndsTheInputs(t *testing.T) {
	inWorld(t, func(w *world) {
		w.insertUser(1, "ann")
		users := w.users()
		w.sync(users)
		for _, miss := range []enrich.Miss{enrich.Drop(), enrich.Park(time.Second, 1)} {
			clicks := newHandOf(clickAt(1, 1, time.Now()))
			for range enrich.Join(clicks.stream, lookup{Table: users, Key: userOf, Miss: miss})(w.ctx) {
				break
			}
		}
	})
}
