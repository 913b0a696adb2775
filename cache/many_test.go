package cache_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// edited is a computed Table of records that does what it is told.
func edited(tb testing.TB, rows int64) (table *cache.Table[int64, record], do func(func(*cache.Editor[int64, record]))) {
	commands, done := make(chan func(*cache.Editor[int64, record])), make(chan struct{})
	table = cache.NewComputed("records", func(ctx context.Context, e *cache.Editor[int64, record]) error {
		for id := range rows {
			e.Put(id, recordOf(id), cache.CauseSnapshot)
		}
		e.Publish(true)
		for {
			select {
			case f := <-commands:
				f(e)
				done <- struct{}{}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = table.Run(ctx) })
	tb.Cleanup(func() { stop(); running.Wait() })
	require.NoError(tb, table.WaitSynced(ctx))
	return table, func(f func(*cache.Editor[int64, record])) { commands <- f; <-done }
}

// BenchmarkApplyBySize changes random rows of a small table and of a large one,
// in batches of ten and of as many as the cache takes at once when it has to keep
// up.
func BenchmarkApplyBySize(b *testing.B) {
	for _, batch := range []int{10, 256} {
		for _, rows := range []int64{1000, benchRows} {
			b.Run(fmt.Sprintf("%d rows, %d at a time", rows, batch), func(b *testing.B) {
				_, do := edited(b, rows)
				r := rand.New(rand.NewPCG(1, 1))
				b.ReportAllocs()
				b.ResetTimer()
				do(func(e *cache.Editor[int64, record]) {
					for i := range b.N {
						row := recordOf(r.Int64N(rows))
						row.Total = int64(i)
						e.Put(row.ID, row, cache.CauseStream)
						if (i+1)%batch == 0 {
							e.Publish(true)
						}
					}
				})
			})
		}
	}
}

// BenchmarkConsumers changes rows of a table that many follow, in batches of
// ten: what a change costs, and what of it each consumer does. The time is until
// the last consumer has the last change. The memory is that of a consumer who
// waits.
func BenchmarkConsumers(b *testing.B) {
	for _, consumers := range []int{0, 1, 100, 1000} {
		b.Run(strconv.Itoa(consumers), func(b *testing.B) {
			table, do := edited(b, 1000)
			before := memory()
			ctx, stop := context.WithCancel(b.Context())
			var following, behind sync.WaitGroup
			behind.Add(consumers)
			for range consumers {
				following.Go(func() {
					attached := false
					for c, err := range table.Changes(ctx, cache.WithInitial()) {
						switch {
						case err != nil:
							return
						case c.InitialEnd, c.Key == -1 && attached: // the last
							attached = true
							behind.Done()
						}
					}
				})
			}
			behind.Wait()
			perConsumer := float64(memory()-before) / float64(max(consumers, 1))
			behind.Add(consumers)
			r := rand.New(rand.NewPCG(1, 1))
			b.ResetTimer()
			do(func(e *cache.Editor[int64, record]) {
				for i := range b.N {
					row := recordOf(r.Int64N(1000))
					row.Total = int64(i)
					e.Put(row.ID, row, cache.CauseStream)
					if i%10 == 9 {
						e.Publish(true)
					}
				}
				e.Put(-1, recordOf(-1), cache.CauseStream)
				e.Publish(true)
			})
			behind.Wait()
			b.StopTimer()
			if consumers > 0 {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*consumers), "ns/change/consumer")
				b.ReportMetric(perConsumer, "B/consumer")
			}
			stop()
			following.Wait()
		})
	}
}

// memory is what heap and stacks take.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// served answers requests for the table records from memory, with rows that are
// all alike but for their id, and leaves all other requests to the server.
type served struct {
	to      http.RoundTripper
	rows    int64
	rest    string // of each row, behind its id
	most    int64  // how many of them the database can read in time; 0: all
	read    atomic.Int64
	refused atomic.Int64
}

func (s *served) page(after, limit int64) []byte {
	var b []byte
	for id := after + 1; id <= min(after+limit, s.rows); id++ {
		b = append(strconv.AppendInt(append(b, `,{"id":`...), id, 10), s.rest...)
	}
	return append(append([]byte("["), bytes.TrimPrefix(b, []byte(","))...), ']')
}

func (s *served) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/rest/v1/records") {
		return s.to.RoundTrip(r)
	}
	q := r.URL.Query()
	after, _ := strconv.ParseInt(strings.TrimPrefix(q.Get("id"), "gt."), 10, 64)
	limit, _ := strconv.ParseInt(q.Get("limit"), 10, 64)
	if s.most > 0 && limit > s.most {
		s.refused.Add(1)
		return &http.Response{StatusCode: 500, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(`{"code":"57014","message":"canceling statement due to statement timeout"}`)), Request: r}, nil
	}
	body := s.page(after, limit)
	s.read.Add(int64(len(body)))
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
}

// Large rows: a page that cannot be read is asked for again in smaller ones, and
// so are not all that come behind it.
func TestPagesThatAreTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := mockserver.Start(t, mockserver.Config{InMemory: true, Tables: []mockserver.Table{recordTable()}})
		s := &served{to: server.HTTPClient().Transport, rows: 200, rest: "}", most: 10}
		client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.AnonKey(), HTTPClient: &http.Client{Transport: s}})
		require.NoError(t, err)
		table, err := cache.New(client, "records", func(r *struct{ ID int64 }) int64 { return r.ID })
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = table.Run(ctx) }()
		require.NoError(t, table.WaitSynced(ctx))
		require.Equal(t, 200, table.Len())
		stop()
		<-ended
		require.NoError(t, client.Close(context.Background()))
		require.Positive(t, s.refused.Load())
		require.Less(t, s.refused.Load(), int64(40))
	})
}

// A transaction of more changes than a channel has room for by itself is no gap,
// though the loop is busy for as long as it comes.
func TestALargeTransactionIsNoGap(t *testing.T) {
	inWorld(t, itemsConfig(), func(w *world) {
		var busy atomic.Bool
		items, err := cache.New(w.client, "items", func(i item) int64 {
			if busy.CompareAndSwap(true, false) {
				time.Sleep(time.Hour)
			}
			return i.ID
		})
		require.NoError(t, err)
		w.run(items.Run)
		w.sync(items)
		busy.Store(true)
		const rows = 10_000
		all := make([]mockserver.Row, rows)
		for i := range all {
			all[i] = row(int64(i), "a")
		}
		w.insert(all...)
		time.Sleep(2 * time.Hour)
		require.Equal(t, rows, items.Len())
		require.EqualValues(t, 1, items.Status().Epoch, "no gap but the first")
	})
}

// A consumer that takes nothing hinders neither the table nor the others, and no
// more waits for it than one change of each row.
func TestASlowConsumerHindersNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, do := edited(t, 10)
		ctx, stop := context.WithCancel(t.Context())
		var following sync.WaitGroup
		following.Add(100)
		var told atomic.Int64
		awake := make(chan struct{})
		slow := 0
		for i := range 100 {
			go func() {
				defer following.Done()
				for c, err := range table.Changes(ctx, cache.WithInitial()) {
					switch {
					case err != nil:
						return
					case c.InitialEnd && i == 0:
						<-awake
					case c.InitialEnd:
					case i == 0 && c.Cause == cache.CauseStream:
						slow++
					case c.Cause == cache.CauseStream:
						told.Add(1)
					}
				}
			}()
		}
		synctest.Wait()
		for n := range 1000 {
			do(func(e *cache.Editor[int64, record]) {
				r := recordOf(int64(n % 10))
				r.Ver = int64(n + 2)
				e.Put(r.ID, r, cache.CauseStream)
				e.Publish(true)
			})
			synctest.Wait()
			require.EqualValues(t, 99*(n+1), told.Load())
		}
		close(awake)
		synctest.Wait()
		require.Equal(t, 10, slow)
		stop()
		following.Wait()
	})
}

// load loads a table once, and returns how long it took.
func load[T any](b *testing.B, s *served, columns []mockserver.Column, key func(T) int64) time.Duration {
	server := mockserver.Start(b, mockserver.Config{InMemory: true, Timing: mockserver.Fast(), Tables: []mockserver.Table{
		{Name: "records", PrimaryKey: []string{"id"}, Columns: columns}}})
	s.to = server.HTTPClient().Transport
	client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.AnonKey(), HTTPClient: &http.Client{Transport: s}})
	require.NoError(b, err)
	table, err := cache.New(client, "records", key, cache.WithSettle(0))
	require.NoError(b, err)
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan struct{})
	start := time.Now()
	go func() { defer close(ended); _ = table.Run(ctx) }()
	for table.Len() < int(s.rows) {
		time.Sleep(time.Millisecond)
	}
	took := time.Since(start)
	stop()
	<-ended
	require.NoError(b, client.Close(context.Background()))
	return took
}

// BenchmarkWideRows loads 20,000 rows of 200 columns, of which T has all; beside
// it, a loop that only decodes the pages into a map.
func BenchmarkWideRows(b *testing.B) {
	const rows = 20_000
	s := &served{rows: rows}
	columns := []mockserver.Column{{Name: "id", Type: "int8"}}
	for i := range 199 {
		typ, value := "int8", strconv.Itoa(i*1_000_003)
		if i%2 == 0 {
			typ, value = "text", fmt.Sprintf(`"value %d"`, i)
		}
		columns = append(columns, mockserver.Column{Name: fmt.Sprintf("c%d", i), Type: typ})
		s.rest += fmt.Sprintf(`,"c%d":%s`, i, value)
	}
	s.rest += "}"
	b.Run("table", func(b *testing.B) {
		for range b.N {
			b.ReportMetric(rows/load(b, s, columns, func(w wide) int64 { return w.ID }).Seconds(), "rows/s")
		}
	})
	b.Run("decode into a map", func(b *testing.B) {
		for range b.N {
			all, start := map[int64]wide{}, time.Now()
			for after := int64(0); after < rows; after += 1000 {
				var some []wide
				require.NoError(b, json.Unmarshal(s.page(after, 1000), &some))
				for _, r := range some {
					all[r.ID] = r
				}
			}
			b.ReportMetric(rows/time.Since(start).Seconds(), "rows/s")
		}
	})
}

// wide is a row of 200 columns.
type wide struct {
	ID int64 `json:"id"`
	ten0
	ten1
	C2, C4, C6, C8, C10, C12, C14, C16, C18, C20 string
}

type (
	ten0 struct{ C1, C3, C5, C7, C9, C11, C13, C15, C17, C19 int64 }
	ten1 struct {
		C0, C50, C100, C150, C198 string
		C51, C101, C151, C197     int64
	}
)

// BenchmarkLargeRows loads 200 rows of a mebibyte each. read is how much was
// asked for in relation to what there is; an answer over 64 MiB is asked for
// again, in smaller pages.
func BenchmarkLargeRows(b *testing.B) {
	type large struct {
		ID   int64
		Text string
	}
	s := &served{rows: 200, rest: `,"text":"` + strings.Repeat("x", 1<<20) + `"}`}
	for range b.N {
		s.read.Store(0)
		took := load(b, s, []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "text", Type: "text"}}, func(l large) int64 { return l.ID })
		b.ReportMetric(float64(s.rows)/took.Seconds(), "MiB/s")
		b.ReportMetric(float64(s.read.Load())/float64(s.rows<<20), "read")
	}
}

// BenchmarkLargeTransaction has the mock server commit 100,000 rows at once,
// which come by the stream; beside it, the same in 1,000 transactions.
func BenchmarkLargeTransaction(b *testing.B) {
	for _, size := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("%d rows", size), func(b *testing.B) {
			const rows = 100_000
			for range b.N {
				server := mockserver.Start(b, mockserver.Config{InMemory: true, Timing: mockserver.Fast(), Tables: []mockserver.Table{recordTable()}})
				client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.AnonKey(), HTTPClient: server.HTTPClient()})
				require.NoError(b, err)
				table, err := cache.New(client, "records", func(r record) int64 { return r.ID }, cache.WithSettle(0))
				require.NoError(b, err)
				ctx, stop := context.WithCancel(b.Context())
				ended := make(chan struct{})
				go func() { defer close(ended); _ = table.Run(ctx) }()
				require.NoError(b, table.WaitSynced(ctx))
				start := time.Now()
				for from := 0; from < rows; from += size {
					some := make([]mockserver.Row, 0, size)
					for id := from; id < from+size; id++ {
						some = append(some, mockserver.Row{"id": id, "status": "open", "name": "n", "note": "-", "total": id, "rank": 1, "ver": 1, "open": true})
					}
					require.NoError(b, server.Insert("records", some...))
				}
				for table.Len() < rows || table.Phase() != cache.Synced {
					time.Sleep(time.Millisecond)
				}
				b.ReportMetric(rows/time.Since(start).Seconds(), "rows/s")
				b.ReportMetric(float64(table.Status().Gaps-1), "gaps")
				stop()
				<-ended
				require.NoError(b, client.Close(context.Background()))
			}
		})
	}
}
