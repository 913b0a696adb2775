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
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// record is a row of about 100 bytes in memory.
type record struct {
	ID     int64  `json:"id"`
	Status string `json:"status"`
	Name   string `json:"name"`
	Note   string `json:"note"`
	Total  int64  `json:"total"`
	Rank   int64  `json:"rank"`
	Ver    int64  `json:"ver"`
	Open   bool   `json:"open"`
}

func recordOf(id int64) record {
	return record{ID: id, Status: "open", Name: "n", Note: "-", Total: id * 7, Rank: id % 100, Ver: 1, Open: true}
}

var benchRows = int64(envInt("GAPLESS_BENCH_ROWS", 1_000_000))

// writing is a table of records and a writer of it at 10,000 changes a second.
func writing(b *testing.B) *cache.Table[int64, record] {
	commands := make(chan func(*cache.Editor[int64, record]))
	table := cache.NewComputed("records", func(ctx context.Context, e *cache.Editor[int64, record]) error {
		for id := range benchRows {
			e.Put(id, recordOf(id), cache.CauseSnapshot)
		}
		e.Publish(true)
		for {
			select {
			case do := <-commands:
				do(e)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	ctx, stop := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = table.Run(ctx) })
	require.NoError(b, table.WaitSynced(ctx))
	running.Go(func() {
		r := rand.New(rand.NewPCG(1, 1))
		every(ctx, func() {
			select {
			case commands <- func(e *cache.Editor[int64, record]) {
				for range 10 {
					row := recordOf(r.Int64N(benchRows))
					row.Total = r.Int64()
					e.Put(row.ID, row, cache.CauseStream)
				}
				e.Publish(true)
			}:
			case <-ctx.Done():
			}
		})
	})
	b.Cleanup(func() { stop(); running.Wait() })
	return table
}

// every does something a thousand times a second.
func every(ctx context.Context, do func()) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			do()
		case <-ctx.Done():
			return
		}
	}
}

// BenchmarkGet reads random rows of a million from two goroutines while a
// writer makes 10,000 changes a second, from a Table and from a map in 64 parts
// with a lock each.
func BenchmarkGet(b *testing.B) {
	b.Run("table", func(b *testing.B) {
		table := writing(b)
		reading(b, func(id int64) bool { _, ok := table.Get(id); return ok })
	})
	b.Run("64 maps", func(b *testing.B) {
		var parts [64]struct {
			sync.RWMutex
			rows map[int64]*record
		}
		for i := range parts {
			parts[i].rows = make(map[int64]*record, int(benchRows)/64)
		}
		for id := range benchRows {
			row := recordOf(id)
			parts[id%64].rows[id] = &row
		}
		ctx, stop := context.WithCancel(b.Context())
		var running sync.WaitGroup
		running.Go(func() {
			r := rand.New(rand.NewPCG(1, 1))
			every(ctx, func() {
				for range 10 {
					row := recordOf(r.Int64N(benchRows))
					part := &parts[row.ID%64]
					part.Lock()
					part.rows[row.ID] = &row
					part.Unlock()
				}
			})
		})
		reading(b, func(id int64) bool {
			part := &parts[id%64]
			part.RLock()
			row, ok := part.rows[id]
			var _ record
			if ok {
				_ = *row
			}
			part.RUnlock()
			return ok
		})
		stop()
		running.Wait()
	})
}

func reading(b *testing.B, get func(int64) bool) {
	b.ReportAllocs()
	b.SetParallelism(2)
	var seed atomic.Uint64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		r := rand.New(rand.NewPCG(seed.Add(1), 0))
		for pb.Next() {
			if !get(r.Int64N(benchRows)) {
				b.Error("a row is missing")
				return
			}
		}
	})
}

// BenchmarkView takes a view while the writer goes on.
func BenchmarkView(b *testing.B) {
	table := writing(b)
	b.ReportAllocs()
	for b.Loop() {
		if v := table.View(); v.Len() != int(benchRows) {
			b.Fatal(v.Len())
		}
	}
}

// BenchmarkChange applies changes to a million rows, without an index and with
// one, in batches of ten; beside it, writing to a map.
func BenchmarkChange(b *testing.B) {
	for _, indexes := range []int{0, 1} {
		b.Run(fmt.Sprintf("%d indexes", indexes), func(b *testing.B) {
			start, over := make(chan int), make(chan struct{})
			table := cache.NewComputed("records", func(ctx context.Context, e *cache.Editor[int64, record]) error {
				for id := range benchRows {
					e.Put(id, recordOf(id), cache.CauseSnapshot)
				}
				e.Publish(true)
				r := rand.New(rand.NewPCG(1, 1))
				for n := range start {
					for i := range n {
						row := recordOf(r.Int64N(benchRows))
						row.Rank, row.Total = r.Int64N(100), int64(i)
						e.Put(row.ID, row, cache.CauseStream)
						if i%10 == 9 {
							e.Publish(true)
						}
					}
					over <- struct{}{}
				}
				return nil
			})
			if indexes > 0 {
				_, err := cache.NewIndex(table, func(r record) []int64 { return []int64{r.Rank} })
				require.NoError(b, err)
			}
			ended := make(chan struct{})
			go func() { defer close(ended); _ = table.Run(b.Context()) }()
			require.NoError(b, table.WaitSynced(b.Context()))
			b.ReportAllocs()
			b.ResetTimer()
			start <- b.N
			<-over
			b.StopTimer()
			close(start)
			<-ended
		})
	}
	b.Run("map", func(b *testing.B) {
		rows := make(map[int64]*record, int(benchRows))
		for id := range benchRows {
			row := recordOf(id)
			rows[id] = &row
		}
		r := rand.New(rand.NewPCG(1, 1))
		b.ReportAllocs()
		for b.Loop() {
			row := recordOf(r.Int64N(benchRows))
			rows[row.ID] = &row
		}
	})
}

// BenchmarkIndexLookup finds the 100 rows that have a value.
func BenchmarkIndexLookup(b *testing.B) {
	table := cache.NewComputed("records", func(ctx context.Context, e *cache.Editor[int64, record]) error {
		for id := range int64(100_000) {
			row := recordOf(id)
			row.Rank = id / 100
			e.Put(id, row, cache.CauseSnapshot)
		}
		e.Publish(true)
		<-ctx.Done()
		return ctx.Err()
	})
	byRank, err := cache.NewIndex(table, func(r record) []int64 { return []int64{r.Rank} })
	require.NoError(b, err)
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = table.Run(ctx) }()
	require.NoError(b, table.WaitSynced(ctx))
	b.ReportAllocs()
	var rank int64
	for b.Loop() {
		n := 0
		for range byRank.Lookup(rank % 1000) {
			n++
		}
		if rank++; n != 100 {
			b.Fatal(n)
		}
	}
	stop()
	<-ended
}

// pages answers requests for the table records from memory, without a network,
// and leaves all others to the server.
type pages struct {
	to   http.RoundTripper
	rows int64
	read atomic.Int64 // bytes
}

func (p *pages) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/rest/v1/records") {
		return p.to.RoundTrip(r)
	}
	q := r.URL.Query()
	after, _ := strconv.ParseInt(strings.TrimPrefix(q.Get("id"), "gt."), 10, 64)
	limit, _ := strconv.ParseInt(q.Get("limit"), 10, 64)
	body := pageOf(after, limit, p.rows)
	p.read.Add(int64(len(body)))
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
}

// pageOf is a page of records, which begin with 1.
func pageOf(after, limit, rows int64) []byte {
	b := make([]byte, 0, limit*120+2)
	b = append(b, '[')
	for id := after + 1; id <= min(after+limit, rows); id++ {
		if id > after+1 {
			b = append(b, ",\n "...)
		}
		b = append(b, `{"id":`...)
		b = strconv.AppendInt(b, id, 10)
		b = append(b, `,"status":"open","name":"n","note":"-","total":`...)
		b = strconv.AppendInt(b, id*7, 10)
		b = append(b, `,"rank":`...)
		b = strconv.AppendInt(b, id%100, 10)
		b = append(b, `,"ver":1,"open":true}`...)
	}
	return append(b, ']')
}

// BenchmarkInitialLoad loads a million rows, in pages of 1,000 that come from
// memory; beside it, a loop that only decodes the same pages into a map. The
// memory is what the rows take when all is over.
//
//	go test ./cache -run '^$' -bench InitialLoad -benchtime 3x
func BenchmarkInitialLoad(b *testing.B) {
	b.Run("table", func(b *testing.B) {
		for range b.N {
			before := heap()
			server := mockserver.Start(b, mockserver.Config{InMemory: true, Timing: mockserver.Fast(), Tables: []mockserver.Table{recordTable()}})
			rest := &pages{to: server.HTTPClient().Transport, rows: benchRows}
			client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.AnonKey(), HTTPClient: &http.Client{Transport: rest}})
			require.NoError(b, err)
			table, err := cache.New(client, "records", func(r record) int64 { return r.ID }, cache.WithSettle(0))
			require.NoError(b, err)
			ctx, stop := context.WithCancel(b.Context())
			ended := make(chan struct{})
			start := time.Now()
			go func() { defer close(ended); _ = table.Run(ctx) }()
			require.NoError(b, table.WaitFor(ctx, benchRows, func(_ record, there bool) bool { return there })) // the last
			b.ReportMetric(float64(benchRows)/time.Since(start).Seconds(), "rows/s")
			b.ReportMetric(float64(heap()-before)/float64(benchRows), "B/row")
			stop()
			<-ended
			require.NoError(b, client.Close(context.Background()))
			runtime.KeepAlive(table)
		}
	})
	b.Run("decode into a map", func(b *testing.B) {
		for range b.N {
			before := heap()
			rows := map[int64]record{}
			start := time.Now()
			for after := int64(0); after < benchRows; after += 1000 {
				var some []record
				if err := json.Unmarshal(pageOf(after, 1000, benchRows), &some); err != nil {
					b.Fatal(err)
				}
				for _, r := range some {
					rows[r.ID] = r
				}
			}
			b.ReportMetric(float64(benchRows)/time.Since(start).Seconds(), "rows/s")
			b.ReportMetric(float64(heap()-before)/float64(benchRows), "B/row")
			runtime.KeepAlive(rows)
		}
	})
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func recordTable() mockserver.Table {
	return mockserver.Table{Name: "records", PrimaryKey: []string{"id"}, Columns: []mockserver.Column{
		{Name: "id", Type: "int8"}, {Name: "status", Type: "text"}, {Name: "name", Type: "text"}, {Name: "note", Type: "text"},
		{Name: "total", Type: "int8"}, {Name: "rank", Type: "int8"}, {Name: "ver", Type: "int8"}, {Name: "open", Type: "bool"},
	}}
}

// BenchmarkResync heals a cache after a gap in which 100 rows of a million
// changed:
// by reading all pages, and, with what package sql installs, by digests. It
// reports the bytes of the answers and the time from the end of the gap until the
// cache is Synced.
//
//	go test ./cache -run '^$' -bench Resync -benchtime 3x
func BenchmarkResync(b *testing.B) {
	rows := benchRows
	for _, level := range []int{0, 3} {
		b.Run(fmt.Sprintf("level %d", level), func(b *testing.B) {
			cfg := mockserver.Config{InMemory: true, Timing: mockserver.Fast(), Tables: []mockserver.Table{recordTable()}}
			mockserver.InstallCache(&cfg)
			server := mockserver.Start(b, cfg)
			for from := int64(0); from < rows; from += 1000 {
				var some []mockserver.Row
				for id := from; id < from+1000; id++ {
					some = append(some, mockserver.Row{"id": id, "status": "open", "name": "n", "note": "-", "total": id, "rank": 1, "ver": 1, "open": true})
				}
				require.NoError(b, server.Insert("records", some...))
			}
			client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.AnonKey(), HTTPClient: server.HTTPClient(),
				Token: func(context.Context) (string, time.Time, error) {
					return server.UserToken(user, time.Hour), time.Time{}, nil
				}})
			require.NoError(b, err)
			opts := []cache.Option{cache.WithSettle(10 * time.Millisecond)}
			if level == 3 {
				opts = append(opts, cache.WithMarker(cache.NewMarker(client)), cache.WithVersion("ver"))
			}
			table, err := cache.New(client, "records", func(r record) int64 { return r.ID }, opts...)
			require.NoError(b, err)
			ctx, stop := context.WithCancel(b.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); _ = table.Run(ctx) }()
			require.NoError(b, table.WaitSynced(ctx))
			b.ResetTimer()
			for n := range b.N {
				server.DropChanges(100)
				epoch := table.Status().Epoch
				for i := range 100 {
					_, err := server.Update("records", mockserver.Row{"ver": 2 + n}, mockserver.Row{"id": (i*997 + n) % int(rows)})
					require.NoError(b, err)
				}
				read, start := table.Status().Received, time.Now()
				server.KillSockets() // what the server has not looked at by now is lost with them
				server.DropChanges(0)
				require.NoError(b, table.WaitFor(ctx, 0, func(record, bool) bool {
					s := table.Status()
					return s.Epoch != epoch && s.Phase == cache.Synced
				}))
				b.ReportMetric(float64(table.Status().Received-read), "bytes")
				b.ReportMetric(time.Since(start).Seconds(), "s/heal")
			}
			b.StopTimer()
			got, _ := table.Get(int64((99*997 + b.N - 1) % int(rows)))
			require.EqualValues(b, 1+b.N, got.Ver)
			stop()
			<-ended
			require.NoError(b, client.Close(context.Background()))
		})
	}
}
