package enrich_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/enrich"
)

// hit is an event of the benchmarks.
type hit struct {
	User int64
	Page string
	At   time.Time
}

// hits are b.N events of random users.
func hits(b *testing.B, users int) enrich.Stream[hit] {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]hit, 1<<16)
	for i := range all {
		all[i] = hit{User: r.Int64N(int64(users)), Page: "/", At: noon}
	}
	return func(context.Context) iter.Seq2[hit, error] {
		return func(yield func(hit, error) bool) {
			for i := range b.N {
				if !yield(all[i%len(all)], nil) {
					return
				}
			}
		}
	}
}

func userTable(b *testing.B, n int) *cache.Table[int64, user] {
	return table(b, func(e *cache.Editor[int64, user]) {
		for id := range int64(n) {
			e.Put(id, user{ID: id, Name: "somebody", Org: id % 10}, cache.CauseSnapshot)
		}
	})
}

// BenchmarkJoin is what a join costs beside the lookups that it cannot do
// without: "stream" is the events alone, "map" is a lookup of each in a map of Go,
// "get" one in the table.
func BenchmarkJoin(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		rows := map[int64]user{}
		for id := range int64(n) {
			rows[id] = user{ID: id, Name: "somebody", Org: id % 10}
		}
		users := userTable(b, n)
		name := fmt.Sprint("rows=", n)
		b.Run(name+"/stream", func(b *testing.B) {
			b.ReportAllocs()
			for h := range hits(b, n)(b.Context()) {
				sum += h.User
			}
		})
		b.Run(name+"/map", func(b *testing.B) {
			b.ReportAllocs()
			for h := range hits(b, n)(b.Context()) {
				sum += rows[h.User].Org
			}
		})
		b.Run(name+"/get", func(b *testing.B) {
			b.ReportAllocs()
			for h := range hits(b, n)(b.Context()) {
				u, _ := users.Get(h.User)
				sum += u.Org
			}
		})
		join := func(name string, l enrich.Lookup[hit, int64, user]) {
			l.Table, l.Key = users, func(h hit) (int64, bool) { return h.User, true }
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				for j, err := range enrich.Join(hits(b, n), l)(b.Context()) {
					if err != nil {
						b.Fatal(err)
					}
					sum += j.Right.Org
				}
			})
		}
		join(name+"/join", enrich.Lookup[hit, int64, user]{Miss: enrich.Drop()})
		join(name+"/join as of", enrich.Lookup[hit, int64, user]{Miss: enrich.Drop(), At: func(h hit) time.Time { return h.At }})
		join(name+"/join park", enrich.Lookup[hit, int64, user]{Miss: enrich.Park(time.Second, 1000)})
	}
}

// sum keeps the compiler from leaving the work out.
var sum int64

// BenchmarkJoinStreams gives one event of each side for each b.N, of a thousand
// keys, all of which have one partner.
func BenchmarkJoinStreams(b *testing.B) {
	for name, window := range map[string]enrich.Window{
		"tumbling": enrich.Tumbling(time.Second),
		"sliding":  enrich.Sliding(time.Second, 500*time.Millisecond),
		"session":  enrich.Session(500*time.Millisecond, time.Minute),
		"interval": enrich.Interval(500*time.Millisecond, 500*time.Millisecond),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			pairs := drain(b, enrich.JoinStreams(plain(b.N, 1000), plain(b.N, 1000), enrich.Streams[int, tick, tick]{Kind: enrich.Outer, Window: window,
				Left: tickTime, Right: tickTime, Grace: time.Second, Idle: time.Hour, MaxPending: 10_000_000}))
			b.ReportMetric(float64(pairs)/b.Elapsed().Seconds(), "pairs/s")
		})
	}
}

// BenchmarkTables is a change of a row on the left, or on the right of ten lefts,
// until it is in the result.
func BenchmarkTables(b *testing.B) {
	for _, side := range []string{"left", "right"} {
		b.Run(side, func(b *testing.B) {
			b.ReportAllocs()
			ctx, cancel := context.WithCancel(b.Context())
			begin, done := make(chan struct{}), make(chan error)
			rows := func(n int, mine bool) *cache.Table[int64, user] {
				return cache.NewComputed("rows", func(ctx context.Context, e *cache.Editor[int64, user]) error {
					for id := range int64(n) {
						e.Put(id, user{ID: id, Org: id % 10_000}, cache.CauseSnapshot)
					}
					e.Publish(true)
					<-begin
					for i := range b.N {
						if !mine {
							break
						}
						id := int64(i % n)
						e.Put(id, user{ID: id, Name: fmt.Sprint(i), Org: id % 10_000}, cache.CauseStream)
						e.Publish(true)
					}
					if mine {
						e.Put(int64(n), user{ID: int64(n), Name: "last", Org: 0}, cache.CauseStream)
						e.Publish(true)
					}
					<-ctx.Done()
					return nil
				})
			}
			lefts, rights := rows(100_000, side == "left"), rows(10_000, side == "right")
			joined, err := enrich.JoinTables(enrich.Left, lefts, rights, func(u user) (int64, bool) { return u.Org, true },
				func(u user, r *user) member { return member{u.Name, r.Name} })
			require.NoError(b, err)
			for _, run := range []func(context.Context) error{lefts.Run, rights.Run, joined.Run} {
				go func() { done <- run(ctx) }()
			}
			require.NoError(b, joined.WaitSynced(ctx))
			b.ResetTimer()
			close(begin)
			if side == "left" {
				err = joined.WaitFor(ctx, 100_000, func(_ member, there bool) bool { return there })
			} else {
				last := int64((b.N - 1) % 10_000)
				err = joined.WaitFor(ctx, last, func(m member, _ bool) bool { return m.Org == fmt.Sprint(b.N-1) })
			}
			require.NoError(b, err)
			b.StopTimer()
			cancel()
			for range 3 {
				<-done
			}
		})
	}
}

func BenchmarkDedup(b *testing.B) {
	b.ReportAllocs()
	drain(b, enrich.Dedup(plain(b.N, 1000), func(e tick) (int, bool) { return e.n, true }, time.Hour, 10_000, nil))
}
