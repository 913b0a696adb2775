package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

func TestSyncFollowsChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(3)...)}}, newMemorySink())
		w.run()
		w.settle()
		w.equal()
		w.insert(item{"id": 4, "name": "new", "text": "x", "price": "12345678901234567890.10"})
		w.update(1, item{"name": "other", "price": "2"})
		w.update(2, item{"id": 20}) // another primary key
		w.delete(3)
		w.settle()
		w.equal()
		now := w.sync.Status()
		require.EqualValues(t, 4, now.Events)
		require.Equal(t, []string{"started"}, reasons(now))
		require.NotNil(t, now.Gaps[0].Healed)
		require.False(t, now.Commit.IsZero())
		require.Equal(t, "3", now.Recent[0].ID)
		require.Equal(t, "stream", now.Recent[0].Cause)
		require.Nil(t, now.Recent[0].Document)
		require.Contains(t, string(w.server.Sent()[0].Payload), `"private":true`)
	})
}

func reasons(s Status) []string {
	var all []string
	for _, g := range s.Gaps {
		all = append(all, g.Reason)
	}
	return all
}

// Whatever happens to the connection, and whatever is lost meanwhile, the index
// becomes equal to the table.
func TestSyncSurvivesFaults(t *testing.T) {
	for name, fault := range map[string]struct {
		do     func(s *mockserver.Server)
		reason string
	}{
		"killed socket":     {(*mockserver.Server).KillSockets, "disconnected"},
		"server restart":    {(*mockserver.Server).Drain, "disconnected"},
		"closed socket":     {func(s *mockserver.Server) { s.CloseSockets(1001) }, "disconnected"},
		"closed channel":    {func(s *mockserver.Server) { s.CloseChannels("shutting down") }, "channel closed by the server"},
		"crashed channel":   {(*mockserver.Server).CrashChannels, "channel crashed on the server"},
		"new subscriptions": {(*mockserver.Server).Resubscribe, "resubscribed by the server"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(5)...)}}, newMemorySink())
				w.run()
				w.settle()
				fault.do(w.server)
				w.insert(item{"id": 6, "name": "inserted in the gap", "text": "x"})
				w.update(1, item{"name": "updated in the gap"})
				w.delete(2)
				w.server.DropChanges(3) // nobody hears of them
				w.settle()
				w.equal()
				now := w.sync.Status()
				require.Contains(t, reasons(now), fault.reason)
				require.Equal(t, "synced", now.Phase)
				require.Equal(t, 3, now.Gaps[0].Healed.Changes)
				require.Equal(t, "resync", now.Recent[0].Cause)
				w.update(1, item{"name": "updated later"})
				w.settle()
				w.equal()
			})
		})
	}
}

// An index that stays is not cleared: what differs is written, and what is gone
// removed; what is right stays untouched.
func TestSyncWritesWhatDiffers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		right := row{"name": `"item"`, "text": `"as it was"`, "price": `1.50`}
		wrong := row{"name": `"old"`, "text": `"as it was"`, "price": `1.50`}
		var docs []Document
		for id, r := range map[string]row{"1": right, "2": wrong, "99": right} {
			d, err := newDocument(id, r, []string{"name", "text", "price"})
			require.NoError(t, err)
			docs = append(docs, d)
		}
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(3)...)}}, newMemorySink(docs...))
		w.run()
		w.settle()
		w.equal()
		require.ElementsMatch(t, []string{"2", "3"}, w.sink.written)
		require.Equal(t, []string{"99"}, w.sink.removed)
		now := w.sync.Status()
		require.Equal(t, []int{2, 1}, []int{now.Written, now.Removed})
		require.Nil(t, w.sync.before)
	})
}

// A run that begins with what another has kept serves it at once, and then
// writes what changed in between.
func TestSyncSurvivesARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(300)...)}}, newMemorySink(),
			func(s *settings) { s.dir = t.TempDir() })
		stop := w.run()
		w.settle()
		require.Len(t, w.sink.written, 300)
		stop()
		require.NoError(t, w.table.Status().CheckpointErr)

		w.update(1, item{"name": "changed in between"})
		w.delete(2)
		w.insert(item{"id": 301, "name": "new", "text": "x"})
		w.sink.written, w.sink.removed = nil, nil
		w.server.RefuseUpgrades(503, "away", -1)
		w.follower = w.follow()
		w.run()
		time.Sleep(time.Second)
		require.Equal(t, "stale", w.sync.Status().Phase)
		require.Equal(t, 300, w.table.Len())
		require.Empty(t, w.sink.removed, "nothing is known to be gone")
		w.server.RefuseUpgrades(0, "", 0)
		w.settle()
		w.equal()
		require.Equal(t, "synced", w.sync.Status().Phase)
		require.ElementsMatch(t, []string{"1", "301"}, w.sink.written)
		require.Equal(t, []string{"2"}, w.sink.removed)
	})
}

// A change that does not say all, or not exactly, is read from the table.
func TestSyncReadsRowsOfIncompleteChanges(t *testing.T) {
	long := strings.Repeat("a text that is stored out of line ", 200)
	for name, c := range map[string]struct {
		fields []string
		row    item // besides the key
		set    item
	}{
		"value stored out of line that was left alone": {[]string{"name", "text"}, item{"name": "a", "text": long}, item{"name": "b"}},
		"row that is too large":                        {[]string{"name", "text"}, item{"name": "a", "text": "b"}, item{"text": strings.Repeat("large ", 300_000)}},
		"char(n), which is cut":                        {[]string{"name", "code"}, item{"name": "a", "code": "abc"}, item{"code": "xyz"}},
		"NaN, which comes as null":                     {[]string{"name", "price"}, item{"name": "a", "price": "1"}, item{"price": "NaN"}},
		"null, which may be a NaN":                     {[]string{"name", "price"}, item{"name": "a", "price": "1"}, item{"price": nil}},
		"bytea, which comes without its prefix":        {[]string{"name", "raw"}, item{"name": "a", "raw": []byte{1}}, item{"raw": []byte{2, 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c.row["id"] = 1
				w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(c.row)}}, newMemorySink(),
					func(s *settings) { s.project.Fields = c.fields })
				w.run()
				w.settle()
				w.update(1, c.set)
				w.settle()
				before := w.sink.docs["1"]
				found, err := w.table.Verify(t.Context(), true) // reads the row
				require.NoError(t, err)
				require.Zero(t, found.Differences())
				for column, want := range c.set {
					if want != nil {
						require.NotEmpty(t, before.Fields[column])
					}
				}
				w.settle()
				require.Equal(t, before, w.sink.docs["1"])
				require.Equal(t, []string{"started"}, reasons(w.sync.Status()), "the row is read, not the table")
				w.update(1, c.set)
				w.delete(1) // before it is read
				w.settle()
				require.Empty(t, w.sink.docs)
				require.Zero(t, w.sync.Status().Doubtful)
			})
		})
	}
}

// Many incomplete changes make few requests.
func TestSyncReadsRowsInBatches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var asked *requests
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(300)...)}}, newMemorySink(), func(s *settings) {
			asked = &requests{RoundTripper: s.project.HTTPClient.Transport}
			s.project.HTTPClient = &http.Client{Transport: asked}
		})
		w.run()
		w.settle()
		before := asked.n.Load()
		for id := range 300 {
			w.update(id+1, item{"price": nil})
			time.Sleep(time.Millisecond)
		}
		w.settle()
		w.equal()
		require.LessOrEqual(t, asked.n.Load()-before, int64(10))
	})
}

// Changes of a moment are written together, but no more of them than go into one
// request.
func TestSyncWritesInBatches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sink := newMemorySink()
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable()}}, sink)
		var sizes []int
		sink.onUpsert = func(docs []Document) error {
			if len(docs) > 0 {
				sizes = append(sizes, len(docs))
			}
			return nil
		}
		w.run()
		w.settle()
		w.insert(someItems(2*maxBatch + 7)...)
		w.settle()
		require.Equal(t, []int{maxBatch, maxBatch, 7}, sizes)
		w.equal()
	})
}

func TestSyncRefusesATableWithoutAPrimaryKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		table := itemsTable(someItems(1)...)
		table.PrimaryKey, table.ReplicaIdentity = nil, mockserver.IdentityFull
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{table}}, newMemorySink())
		w.run()
		w.settle()
		w.insert(item{"id": 2, "name": "x"})
		require.ErrorContains(t, <-w.ended, "primary key")
	})
}

// What makes no change is found by a verification.
func TestSyncVerifies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(3)...)}}, newMemorySink(),
			func(s *settings) { s.every = time.Hour })
		w.run()
		w.settle()
		require.NoError(t, w.server.Truncate("items"))
		w.settle()
		require.Equal(t, "item", w.sink.value("1", "name"))
		time.Sleep(time.Hour)
		w.settle()
		w.equal()
	})
}

// Tokens expire again and again, and a gap then needs a fresh one for the table.
func TestSyncOutlivesItsTokens(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{
			Tables: []mockserver.Table{itemsTable(someItems(3)...)}, TokenLifetime: time.Minute,
		}, newMemorySink())
		w.run()
		for i := range 20 {
			time.Sleep(47 * time.Second)
			w.server.KillSockets()
			w.update(1+i%3, item{"name": "changed"})
		}
		w.settle()
		w.equal()
		require.Greater(t, w.sync.Status().GapCount, uint64(15))
	})
}

// While the index is slow, what waits for it is one change for each row.
func TestSyncOfASlowIndex(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sink := newMemorySink()
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(10)...)}}, sink)
		w.run()
		w.settle()
		sink.written = nil
		slow := true
		sink.onUpsert = func([]Document) error {
			if slow {
				slow = false
				for range 900 {
					_, err := w.server.Update("items", item{"name": "again"}, nil)
					require.NoError(t, err)
				}
				time.Sleep(time.Minute)
			}
			return nil
		}
		w.update(1, item{"name": "the first"})
		w.settle()
		w.settle()
		w.settle()
		w.equal()
		require.LessOrEqual(t, len(sink.written), 1+2*10)
		require.Equal(t, []string{"started"}, reasons(w.sync.Status()))
	})
}

// Whatever happens to the table, the connection and the index's speed, with
// marks or without: the index becomes equal to the table.
func TestSyncAtRandom(t *testing.T) {
	for seed := range uint64(8) {
		bubble(t, func(t *testing.T) {
			sink := newMemorySink()
			ours, theirs := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
			cfg := mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(200)...)}, MaxRows: 17, Seed: seed}
			mockserver.InstallCache(&cfg)
			w := newWorld(t, cfg, sink, func(s *settings) { s.project.Marker = seed%2 == 0 })
			sink.onUpsert = func([]Document) error {
				time.Sleep(time.Duration(theirs.IntN(200)) * time.Millisecond) // on the sync's goroutine
				return nil
			}
			w.run()
			time.Sleep(time.Duration(ours.IntN(1500)) * time.Millisecond)
			for range 400 {
				w.something(ours)
			}
			w.settle()
			w.settle()
			w.equal()
		})
	}
}

// something changes the table in some way, and sometimes breaks something.
func (w *world) something(random *rand.Rand) {
	id := 1 + random.IntN(200)
	where := item{"id": id}
	var err error
	switch random.IntN(12) {
	case 0, 1:
		_, err = w.server.Delete("items", where)
	case 2, 3:
		if err = w.server.Insert("items", item{"id": id, "name": "again", "text": "x"}); isDuplicate(err) {
			err = nil
		}
	case 4:
		if _, err = w.server.Update("items", item{"id": 1 + random.IntN(200)}, where); isDuplicate(err) {
			err = nil
		}
	case 5:
		if random.IntN(8) == 0 {
			faults := []string{"kill-sockets", "close-channels", "resubscribe", "crash-channels", "drain"}
			err = w.server.Inject(mockserver.Fault{Name: faults[random.IntN(len(faults))]})
		}
	default:
		_, err = w.server.Update("items", item{"name": "changed", "price": random.IntN(1000)}, where)
	}
	require.NoError(w.t, err)
	time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond)
}

func isDuplicate(err error) bool {
	var e *mockserver.Error
	return errors.As(err, &e) && e.Code == "23505"
}

func TestSyncEndsWithAnIndexThatRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sink := newMemorySink()
		sink.onUpsert = func(docs []Document) error {
			if len(docs) == 0 {
				return nil
			}
			return errors.New("document 1: no such field")
		}
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(1)...)}}, sink)
		w.run()
		require.EqualError(t, <-w.ended, "document 1: no such field")
	})
}

func TestSyncEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable()}}, newMemorySink())
		stop := w.run()
		time.Sleep(time.Second)
		stop()
		require.ErrorIs(t, <-w.ended, context.Canceled)
	})
}
