package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
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
		require.Equal(t, 4, now.Applied)
		require.Equal(t, 1, now.Readings)
		require.Equal(t, []string{"started"}, reasons(now))
		require.False(t, now.Commit.IsZero())
		require.Equal(t, "3", now.Recent[0].ID)
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
				require.Contains(t, reasons(w.sync.Status()), fault.reason)
				w.update(1, item{"name": "updated later"})
				w.settle()
				w.equal()
			})
		})
	}
}

// The table changes while its pages are read: ahead of and behind the reading,
// and so that a row goes to a page that has been read.
func TestSyncMergesChangesWithTheReading(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sink := newMemorySink()
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(40)...)}}, sink)
		w.sync.Table.PageSize = 10
		pages := 0
		sink.onUpsert = func(docs []Document) error {
			if pages++; pages > 4 { // of the reading; then there are changes
				return nil
			}
			base := 10*(pages-1) + 1
			w.update(base, item{"name": "changed behind the reading"})
			w.delete(base + 1)
			w.update(base+2, item{"id": -base}) // before the first page
			if pages < 4 {
				w.update(base+15, item{"name": "changed ahead of the reading"})
				w.delete(base + 16)
				w.update(base+17, item{"id": 1000 + base}) // behind the last page
			}
			w.insert(item{"id": 2000 + base, "name": "inserted"})
			time.Sleep(5 * time.Second) // the changes are in the queue before the next page is read
			return nil
		}
		w.run()
		w.settle()
		w.settle()
		require.Greater(t, pages, 4)
		w.equal()
		require.Equal(t, 1, w.sync.Status().Readings)
	})
}

func TestSyncReadsAgainIfAGapOccursWhileItReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sink := newMemorySink()
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(20)...)}}, sink)
		w.sync.Table.PageSize = 10
		pages := 0
		sink.onUpsert = func([]Document) error {
			if pages++; pages == 1 {
				w.server.KillSockets()
				w.update(1, item{"name": "lost"}) // in a page that has been read
				w.delete(2)
				time.Sleep(time.Minute)
			}
			return nil
		}
		w.run()
		w.settle()
		w.settle()
		w.settle()
		w.equal()
		require.Equal(t, 2, w.sync.Status().Readings)
	})
}

// A reading writes what differs and removes what is gone; what is right stays
// untouched, and is in the index all the time.
func TestSyncRepairsByDifference(t *testing.T) {
	bubble(t, func(t *testing.T) {
		right := row{"name": []byte(`"item"`), "text": []byte(`"as it was"`), "price": []byte(`1.50`)}
		wrong := row{"name": []byte(`"old"`), "text": []byte(`"as it was"`), "price": []byte(`1.50`)}
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
		read := w.sync.Status().Read
		require.Equal(t, Reading{Rows: 3, Written: 2, Removed: 1, Seconds: read.Seconds}, read)
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
				w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(c.row)}}, newMemorySink())
				w.sync.Table.Fields = c.fields
				w.run()
				w.settle()
				w.update(1, c.set)
				w.settle()
				want, err := w.sync.Table.Read(t.Context(), []string{"1"})
				require.NoError(t, err)
				require.Equal(t, want[0], w.sink.docs["1"])
				require.Equal(t, 1, w.sync.Status().Readings, "the row is read, not the table")
				w.update(1, c.set)
				w.delete(1) // before it is read
				w.settle()
				require.Empty(t, w.sink.docs)
				require.Zero(t, w.sync.Status().Pending)
			})
		})
	}
}

// Many incomplete changes make few requests.
func TestSyncReadsRowsInBatches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(300)...)}}, newMemorySink())
		m := w.meddle(func(int, *http.Request) *http.Response { return nil })
		w.run()
		w.settle()
		before := m.requests()
		for id := range 300 {
			w.update(id+1, item{"price": nil})
			time.Sleep(time.Millisecond)
		}
		w.settle()
		w.equal()
		require.LessOrEqual(t, m.requests()-before, 10)
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

// What was delivered may not be visible to readers yet: nothing is read sooner
// than that takes.
func TestSyncLetsTransactionsSettle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(2)...)}}, newMemorySink())
		stream := make(script)
		w.sync.Stream = stream
		w.sync.Settle = 10 * time.Second
		var asked []time.Duration
		var start time.Time
		w.meddle(func(int, *http.Request) *http.Response {
			asked = append(asked, time.Since(start))
			return nil
		})
		w.run()
		start = time.Now()
		stream <- cdc.Change{Gap: &cdc.Gap{Reason: cdc.Started, Until: start}}
		w.settle()
		require.Len(t, asked, 2, "a page with rows, and the last")
		require.GreaterOrEqual(t, asked[0], 10*time.Second)
		require.Less(t, asked[0], 11*time.Second)

		start, asked = time.Now(), nil
		for id := range 2 { // the second one 5 s after the first
			c := itemChange("x")
			c.Missing, c.Record = []string{"text"}, fmt.Appendf(nil, `{"id":%d,"name":"x"}`, id+1)
			stream <- c
			time.Sleep(5 * time.Second)
		}
		w.settle()
		require.Len(t, asked, 2)
		require.Equal(t, []time.Duration{10*time.Second + flushDelay, 15*time.Second + flushDelay}, asked)
		w.equal()
	})
}

// A DELETE under an identity without the key, with row level security, says
// nothing of the row.
func TestSyncReadsTheTableIfNobodyKnowsTheRow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		table := itemsTable(someItems(3)...)
		table.Columns[1].NotNull = true
		table.ReplicaIdentity, table.IdentityColumns = mockserver.IdentityIndex, []string{"name"}
		for i, r := range table.Rows {
			r["name"] = string(rune('a' + i))
		}
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{table}}, newMemorySink())
		w.run()
		w.settle()
		w.delete(2)
		w.delete(3)
		w.settle()
		w.equal()
		require.Equal(t, 2, w.sync.Status().Readings, "one for both")
		w.update(1, item{"price": 2})
		w.settle()
		require.Equal(t, 2, w.sync.Status().Readings, "and none for others")
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
		require.ErrorContains(t, <-w.ended, "the table cannot be followed")
	})
}

// What makes no change is found by reading the table from time to time.
func TestSyncReadsPeriodically(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(3)...)}}, newMemorySink())
		w.sync.Every = time.Hour
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
		require.Greater(t, w.sync.Status().Readings, 15)
	})
}

// While the index is slow the subscription's queue runs over, which is a gap.
func TestSyncOfASlowIndex(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sink := newMemorySink()
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(10)...)}}, sink)
		w.run()
		w.settle()
		slow := true
		sink.onUpsert = func([]Document) error {
			if slow {
				slow = false
				for range 900 { // of which the queue holds 8192 changes
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
		require.Contains(t, reasons(w.sync.Status()), "queue overflow")
	})
}

func TestSyncAtRandom(t *testing.T) {
	for seed := range uint64(8) {
		bubble(t, func(t *testing.T) {
			sink := newMemorySink()
			ours, theirs := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
			w := newWorld(t, mockserver.Config{
				Tables: []mockserver.Table{itemsTable(someItems(200)...)}, MaxRows: 17, Seed: seed,
			}, sink)
			w.sync.Table.PageSize = 50
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
			faults[random.IntN(len(faults))](w.server)
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

// script is a stream of which the test says every value.
type script chan cdc.Change

func (s script) Changes(ctx context.Context) iter.Seq2[cdc.Change, error] {
	return func(yield func(cdc.Change, error) bool) {
		for {
			select {
			case c, ok := <-s:
				if !ok {
					yield(cdc.Change{}, errors.New("refused for good"))
					return
				}
				if !yield(c, nil) {
					return
				}
			case <-ctx.Done():
				yield(cdc.Change{}, ctx.Err())
				return
			}
		}
	}
}

// A change that was delivered before a gap, and is older than what the table
// has behind it, must not be written behind the reading.
func TestSyncWritesBeforeItReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(1)...)}}, newMemorySink())
		stream := make(script)
		w.sync.Stream = stream
		w.run()
		closed := time.Now()
		stream <- cdc.Change{Gap: &cdc.Gap{Reason: cdc.Started, Until: closed}}
		stream <- itemChange("an older name")
		stream <- cdc.Change{Gap: &cdc.Gap{Reason: cdc.Disconnected, Since: closed}} // opens: nothing to read yet
		w.update(1, item{"name": "the name in the gap"})
		w.settle()
		require.Equal(t, "an older name", w.sink.value("1", "name"))
		require.True(t, w.sync.Status().Gaps[0].Open)
		stream <- itemChange("another older name")
		stream <- cdc.Change{Gap: &cdc.Gap{Reason: cdc.Disconnected, Since: closed, Until: time.Now()}}
		w.settle()
		w.equal()
		now := w.sync.Status()
		require.Equal(t, 2, now.GapCount, "the two values of one gap count once")
		require.False(t, now.Gaps[0].Open)
		require.Equal(t, 1, now.Gaps[0].Read.Written)
	})
}

func itemChange(name string) cdc.Change {
	c := cdc.Change{Op: cdc.Update, Schema: "public", Table: "items", Committed: time.Now()}
	for _, column := range []string{"id int8", "name text", "text text", "price numeric"} {
		name, typ, _ := strings.Cut(column, " ")
		c.Columns = append(c.Columns, cdc.Column{Name: name, Type: typ})
	}
	c.Record = []byte(`{"id":1,"name":"` + name + `","text":"as it was","price":1.50}`)
	c.OldRecord = []byte(`{"id":1}`)
	return c
}

// What came before the end of the stream is written, and the reason returned.
func TestSyncEndsWithItsStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(1)...)}}, newMemorySink())
		stream := make(script)
		w.sync.Stream = stream
		w.run()
		stream <- itemChange("the last name")
		close(stream)
		require.EqualError(t, <-w.ended, "refused for good")
		require.Equal(t, "the last name", w.sink.value("1", "name"))
	})
}

func TestSyncEndsWithAnIndexThatRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sink := newMemorySink()
		sink.onUpsert = func([]Document) error { return errors.New("document 1: no such field") }
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(1)...)}}, sink)
		w.run()
		require.EqualError(t, <-w.ended, "document 1: no such field")
	})
}

func TestSyncEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(context.Background())
		s := &Sync{Stream: make(script), Sink: newMemorySink(), Log: slog.New(slog.DiscardHandler)}
		time.AfterFunc(time.Second, stop)
		require.ErrorIs(t, s.Run(ctx), context.Canceled)
	})
}
