package enrich_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/mockserver"
)

// org is a row of the table orgs.
type org struct {
	ID    int64  `json:"id"`
	Title string `json:"title"`
}

// member is a user with the title of the org.
type member struct{ Name, Org string }

func orgOf(u user) (int64, bool) { return u.Org, u.Org != 0 }

func memberOf(u user, o *org) member {
	if o == nil {
		return member{u.Name, "-"}
	}
	return member{u.Name, o.Title}
}

func (w *world) orgs() *cache.Table[int64, org] {
	t, err := cache.New(w.client, "orgs", func(o org) int64 { return o.ID })
	require.NoError(w, err)
	w.run(t.Run)
	return t
}

// members is the join of both tables.
func (w *world) members(kind enrich.Kind, users enrich.Table[int64, user], orgs enrich.Table[int64, org]) *cache.Table[int64, member] {
	t, err := enrich.JoinTables(kind, users, orgs, orgOf, memberOf)
	require.NoError(w, err)
	w.run(t.Run)
	return t
}

// content writes a table's rows in the order of their keys.
func content[K int | int64 | string, T any](t *cache.Table[K, T]) string {
	rows := maps.Collect(t.All())
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		parts = append(parts, fmt.Sprintf("%v:%v", k, rows[k]))
	}
	return strings.Join(parts, " ")
}

func (w *world) write(table string, rows ...mockserver.Row) {
	w.Helper()
	require.NoError(w, w.server.Insert(table, rows...))
}

// settle waits until a table's content is as wanted.
func settle[K int | int64 | string, T any](w *world, t *cache.Table[K, T], want string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Minute)
	defer cancel()
	var zero K
	err := t.WaitFor(ctx, zero, func(T, bool) bool { return content(t) == want })
	require.NoError(w, err, "%s, and not %s", content(t), want)
}

// A right that changes changes the results that have it; one that goes takes them
// back: a tombstone retracts.
func TestJoinTablesIsIncrementalWithRetractions(t *testing.T) {
	for kind, orphan := range map[enrich.Kind]string{enrich.Inner: "", enrich.Left: " 2:{ben -}"} {
		t.Run(kind.String(), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.write("users", mockserver.Row{"id": 1, "name": "ann", "org": 7}, mockserver.Row{"id": 2, "name": "ben"},
					mockserver.Row{"id": 3, "name": "cid", "org": 7})
				w.write("orgs", mockserver.Row{"id": 7, "title": "Acme"})
				members := w.members(kind, w.users(), w.orgs())
				w.sync(members)
				require.Equal(t, "1:{ann Acme}"+orphan+" 3:{cid Acme}", content(members))
				changes := collect(w, w.ctx, func(ctx context.Context) seq[cache.Change[int64, member]] { return members.Changes(ctx) })
				synctest.Wait()

				_, err := w.server.Update("orgs", mockserver.Row{"title": "ACME"}, mockserver.Row{"id": 7})
				require.NoError(t, err)
				settle(w, members, "1:{ann ACME}"+orphan+" 3:{cid ACME}")
				for range 2 {
					c := changes.next()
					require.Equal(t, cdc.Update, c.Op)
					require.Equal(t, "Acme", c.Old.Org)
					require.Equal(t, "ACME", c.New.Org)
				}
				_, err = w.server.Delete("orgs", mockserver.Row{"id": 7})
				require.NoError(t, err)
				want := ""
				if kind == enrich.Left {
					want = "1:{ann -} 2:{ben -} 3:{cid -}"
				}
				settle(w, members, want)
				for range 2 {
					c := changes.next()
					require.Equal(t, map[enrich.Kind]cdc.Op{enrich.Inner: cdc.Delete, enrich.Left: cdc.Update}[kind], c.Op)
				}
				w.write("orgs", mockserver.Row{"id": 7, "title": "Back"})
				settle(w, members, "1:{ann Back}"+orphan+" 3:{cid Back}")
			})
		})
	}
}

// A foreign key that changes together with the rows on both of its ends leaves
// nothing behind in the index.
func TestAForeignKeyMovesInOneStep(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("users", mockserver.Row{"id": 1, "name": "ann", "org": 7})
		w.write("orgs", mockserver.Row{"id": 7, "title": "seven"}, mockserver.Row{"id": 8, "title": "eight"})
		members := w.members(enrich.Inner, w.users(), w.orgs())
		w.sync(members)
		require.NoError(t, w.server.Tx(func(tx *mockserver.Tx) error {
			_, err1 := tx.Update("users", mockserver.Row{"org": 8}, mockserver.Row{"id": 1})
			_, err2 := tx.Update("orgs", mockserver.Row{"title": "SEVEN"}, mockserver.Row{"id": 7})
			_, err3 := tx.Update("orgs", mockserver.Row{"title": "EIGHT"}, mockserver.Row{"id": 8})
			return errors.Join(err1, err2, err3)
		}))
		settle(w, members, "1:{ann EIGHT}")
		_, err := w.server.Delete("orgs", mockserver.Row{"id": 7})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.Equal(t, "1:{ann EIGHT}", content(members))
	})
}

// A result is Stale while one of its tables is, and heals with it. It is not
// Synced before what was read behind the gap is in it.
func TestATableOfTablesHealsAfterAGap(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("users", mockserver.Row{"id": 1, "name": "ann", "org": 7}, mockserver.Row{"id": 2, "name": "ben", "org": 7})
		w.write("orgs", mockserver.Row{"id": 7, "title": "Acme"})
		members := w.members(enrich.Left, w.users(), w.orgs())
		sizes, err := enrich.GroupBy(members, func(m member) string { return m.Org },
			func(n int, _ member) int { return n + 1 }, func(n int, _ member) int { return n - 1 })
		require.NoError(t, err)
		w.run(sizes.Run)
		w.sync(sizes)
		require.Equal(t, "Acme:2", content(sizes))

		w.server.KillSockets()
		w.server.DropChanges(2)
		_, err = w.server.Delete("users", mockserver.Row{"id": 2})
		require.NoError(t, err)
		w.write("users", mockserver.Row{"id": 3, "name": "cid", "org": 0})
		require.NoError(t, sizes.WaitFor(w.ctx, "", func(int, bool) bool { return sizes.Phase() == cache.Stale }))
		w.sync(sizes)
		require.Equal(t, "-:1 Acme:1", content(sizes))
		require.Equal(t, "1:{ann Acme} 3:{cid -}", content(members))
	})
}

// A row that moves from one group to another is in exactly one of them at any
// time, and a group without rows is gone.
func TestGroupByMovesRowsBetweenGroups(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("users", mockserver.Row{"id": 1, "name": "ann", "org": 1}, mockserver.Row{"id": 2, "name": "ben", "org": 1},
			mockserver.Row{"id": 3, "name": "cid", "org": 2})
		letters, err := enrich.GroupBy(w.users(), func(u user) int64 { return u.Org },
			func(n int, u user) int { return n + len(u.Name) }, func(n int, u user) int { return n - len(u.Name) })
		require.NoError(t, err)
		w.run(letters.Run)
		w.sync(letters)
		require.Equal(t, "1:6 2:3", content(letters))
		sums := make(chan int, 100)
		w.run(func(ctx context.Context) error {
			return letters.WaitFor(ctx, 0, func(int, bool) bool {
				sum := 0
				for _, n := range letters.All() {
					sum += n
				}
				sums <- sum
				return false
			})
		})
		synctest.Wait()
		for _, to := range []int{2, 3, 1} {
			_, err := w.server.Update("users", mockserver.Row{"org": to}, mockserver.Row{"id": 1})
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		settle(w, letters, "1:6 2:3")
		for len(sums) > 0 {
			require.Equal(t, 9, <-sums)
		}
		w.nameUser(2, "benjamin")
		settle(w, letters, "1:11 2:3")
		_, err = w.server.Delete("users", mockserver.Row{"id": 3})
		require.NoError(t, err)
		settle(w, letters, "1:11")
	})
}

// A result is a table: events are joined with it, and it ends with its tables.
func TestAResultIsATable(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("users", mockserver.Row{"id": 1, "name": "ann", "org": 7})
		w.write("orgs", mockserver.Row{"id": 7, "title": "Acme"})
		members := w.members(enrich.Inner, w.users(), w.orgs())
		out := collect(w, w.ctx, enrich.Join(enrich.Of(clickAt(1, 1, time.Now())),
			enrich.Lookup[clickEvent, int64, member]{Table: members, Key: userOf, Miss: enrich.Drop()}))
		require.Equal(t, "Acme", out.next().Right.Org)
	})
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		ends := cache.NewComputed("ends", func(context.Context, *cache.Editor[int, int]) error { return broken })
		result, err := enrich.GroupBy(ends, func(n int) int { return n }, func(a, _ int) int { return a }, func(a, _ int) int { return a })
		require.NoError(t, err)
		require.ErrorIs(t, ends.Run(t.Context()), broken)
		require.ErrorIs(t, result.Run(t.Context()), broken)
	})
}

// Whatever happens to both tables, the results are what they would be if they
// were made anew, and their changes make them out of nothing.
func TestTablesOfTablesAgreeWithBruteForce(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			kind := enrich.Kind(1 + r.IntN(2))
			users, orgs := newRig[int64, user](t, r), newRig[int64, org](t, r)
			members, err := enrich.JoinTables(kind, users.table, orgs.table, orgOf, memberOf)
			require.NoError(t, err)
			sizes, err := enrich.GroupBy(members, func(m member) string { return m.Org },
				func(n int, m member) int { return n + len(m.Name) }, func(n int, m member) int { return n - len(m.Name) })
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 2)
			go func() { done <- members.Run(ctx) }()
			go func() { done <- sizes.Run(ctx) }()
			replayed := map[string]int{}
			fed := make(chan struct{})
			go func() {
				defer close(fed)
				for c, err := range sizes.Changes(ctx, cache.WithInitial()) {
					switch {
					case err != nil:
						return
					case c.Op == cdc.Delete:
						delete(replayed, c.Key)
					case c.Op != 0:
						replayed[c.Key] = c.New
					}
				}
			}()
			for range 30 {
				for range 1 + r.IntN(4) {
					id := int64(r.IntN(6))
					if r.IntN(2) == 0 {
						users.change(id, user{ID: id, Name: strings.Repeat("x", r.IntN(5)), Org: int64(r.IntN(4))})
					} else {
						orgs.change(id, org{ID: id, Title: string(rune('a' + r.IntN(3)))})
					}
				}
				if r.IntN(3) == 0 {
					synctest.Wait()
				}
			}
			synctest.Wait()
			require.Equal(t, cache.Synced, sizes.Phase())
			want, sums := map[int64]member{}, map[string]int{}
			for id, u := range users.rows {
				fk, has := orgOf(u)
				o, there := orgs.rows[fk]
				switch {
				case has && there:
					want[id] = memberOf(u, &o)
				case kind == enrich.Left:
					want[id] = memberOf(u, nil)
				}
			}
			for _, m := range want {
				sums[m.Org] += len(m.Name)
			}
			require.Equal(t, want, maps.Collect(members.All()), "seed %d", seed)
			require.Equal(t, sums, maps.Collect(sizes.All()))
			cancel()
			<-fed
			require.Equal(t, sums, replayed)
			<-done
			<-done
		})
	}
}

// A row that changes and changes back may be in a result as it was in between,
// when a change of the other table came just then.
func TestAJoinOfTablesHearsOfChangesThatCameToNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users, orgs := newRig[int64, user](t, nil), newRig[int64, org](t, nil)
		put := func(id int64, name string) {
			users.steps <- func(e *cache.Editor[int64, user]) { e.Put(id, user{id, name, 7}, cache.CauseStream) }
		}
		title := func(title string) {
			orgs.steps <- func(e *cache.Editor[int64, org]) { e.Put(7, org{7, title}, cache.CauseStream) }
		}
		held := map[string]chan struct{}{"held": make(chan struct{}), "in between": make(chan struct{})}
		members, err := enrich.JoinTables(enrich.Inner, users.table, orgs.table, orgOf, func(u user, o *org) member {
			if hold, there := held[u.Name]; there {
				<-hold
			}
			return memberOf(u, o)
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- members.Run(ctx) }()
		defer func() { cancel(); <-done }()
		put(1, "before")
		title("old")
		synctest.Wait()
		put(2, "held")
		synctest.Wait()
		for id := range int64(200) { // so that the join does not hear of 1 before it does of 7
			put(100+id, "other")
		}
		put(1, "in between")
		title("new")
		synctest.Wait()
		close(held["held"])
		synctest.Wait()
		put(1, "before")
		synctest.Wait()
		close(held["in between"])
		synctest.Wait()
		m, _ := members.Get(1)
		require.Equal(t, member{"before", "new"}, m)
	})
}

// A result can be relied on when both of its tables can.
func TestATableOfTablesIsSyncedWhenBothAre(t *testing.T) {
	for side := range 2 {
		synctest.Test(t, func(t *testing.T) {
			var phases [2]chan bool
			var tables [2]*cache.Table[int64, user]
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			for i := range tables {
				phases[i] = make(chan bool)
				tables[i] = cache.NewComputed("side", func(ctx context.Context, e *cache.Editor[int64, user]) error {
					for {
						select {
						case synced := <-phases[i]:
							e.Publish(synced)
						case <-ctx.Done():
							return nil
						}
					}
				})
				go func() { done <- tables[i].Run(ctx) }()
			}
			both, err := enrich.JoinTables(enrich.Left, tables[0], tables[1], orgOf, func(u user, _ *user) user { return u })
			require.NoError(t, err)
			go func() { done <- both.Run(ctx) }()
			synced := func(side int, is bool) bool {
				phases[side] <- is
				synctest.Wait()
				return both.Phase() == cache.Synced
			}
			require.False(t, synced(side, true))
			require.True(t, synced(1-side, true))
			require.False(t, synced(side, false))
			require.True(t, synced(side, true))
			cancel()
			for range 3 {
				<-done
			}
		})
	}
}

// rig is a table that a test writes.
type rig[K comparable, T any] struct {
	r     *rand.Rand
	table *cache.Table[K, T]
	rows  map[K]T
	steps chan func(*cache.Editor[K, T])
}

func newRig[K comparable, T any](t testing.TB, r *rand.Rand) *rig[K, T] {
	g := &rig[K, T]{r: r, rows: map[K]T{}, steps: make(chan func(*cache.Editor[K, T]))}
	g.table = cache.NewComputed("rig", func(ctx context.Context, e *cache.Editor[K, T]) error {
		e.Publish(true)
		for step := range g.steps {
			step(e)
			e.Publish(true)
		}
		return nil
	})
	done := make(chan struct{})
	go func() { defer close(done); _ = g.table.Run(context.Background()) }()
	t.Cleanup(func() { close(g.steps); <-done })
	return g
}

// change puts a row, or removes it.
func (g *rig[K, T]) change(k K, row T) {
	if g.r.IntN(3) == 0 {
		delete(g.rows, k)
		g.steps <- func(e *cache.Editor[K, T]) { e.Delete(k, cache.CauseStream) }
		return
	}
	g.rows[k] = row
	g.steps <- func(e *cache.Editor[K, T]) { e.Put(k, row, cache.CauseStream) }
}

func TestTablesOfTablesRefuseBadSettings(t *testing.T) {
	users := cache.NewComputed("users", func(context.Context, *cache.Editor[int64, user]) error { return nil })
	orgs := cache.NewComputed("orgs", func(context.Context, *cache.Editor[int64, org]) error { return nil })
	var bad *enrich.ConfigError
	_, err := enrich.JoinTables(enrich.Outer, users, orgs, orgOf, memberOf)
	require.ErrorAs(t, err, &bad)
	_, err = enrich.JoinTables(enrich.Left, users, nil, orgOf, memberOf)
	require.ErrorAs(t, err, &bad)
	_, err = enrich.JoinTables[int64, int64, user, org, member](enrich.Left, users, orgs, nil, memberOf)
	require.ErrorAs(t, err, &bad)
	_, err = enrich.GroupBy[int64, int64, user, int](users, nil, nil, nil)
	require.ErrorAs(t, err, &bad)
	require.ErrorContains(t, err, "GroupBy")
}
