package enrich_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gapless-go/gapless/enrich"
)

// spent is the processors' time that a thread or the process has had.
func spent(b *testing.B, who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkJoinBesideMap measures a join and a lookup in a map of Go in turns, by
// the processor's time of their thread, so that other work on the machine does
// not decide: the medians of both, and of the events alone.
func BenchmarkJoinBesideMap(b *testing.B) {
	const rusageThread = 1
	for _, n := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint("rows=", n), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			rows := map[int64]user{}
			for id := range int64(n) {
				rows[id] = user{ID: id, Name: "somebody", Org: id % 10}
			}
			users := userTable(b, n)
			in := hits(b, n)
			joined := enrich.Join(in, enrich.Lookup[hit, int64, user]{Table: users, Miss: enrich.Drop(),
				Key: func(h hit) (int64, bool) { return h.User, true }})
			kinds := []struct {
				name string
				run  func()
				took []float64
			}{
				{name: "stream", run: func() {
					for h := range in(b.Context()) {
						sum += h.User
					}
				}},
				{name: "map", run: func() {
					for h := range in(b.Context()) {
						sum += rows[h.User].Org
					}
				}},
				{name: "get", run: func() {
					for h := range in(b.Context()) {
						u, _ := users.Get(h.User)
						sum += u.Org
					}
				}},
				{name: "join", run: func() {
					for j := range joined(b.Context()) {
						sum += j.Right.Org
					}
				}},
			}
			for range 15 {
				for i := range kinds {
					before := spent(b, rusageThread)
					kinds[i].run()
					kinds[i].took = append(kinds[i].took, float64(spent(b, rusageThread)-before)/float64(b.N))
				}
			}
			for _, k := range kinds {
				slices.Sort(k.took)
				b.ReportMetric(k.took[len(k.took)/2], k.name+"-ns/op")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkParallel has work for the processor alone, for each value: the digest
// of so many KiB, which takes 0.8 µs for each. Beside the time it reports the
// processors' time of the process, which other work on the machine does not add to.
func BenchmarkParallel(b *testing.B) {
	for _, size := range []int{1, 6, 36} {
		data := make([]byte, size<<10)
		work := func(_ context.Context, e tick) (byte, error) { return sha256.Sum256(data)[e.n%32], nil }
		name := fmt.Sprint("KiB=", size)
		b.Run(name+"/loop", func(b *testing.B) {
			before := spent(b, syscall.RUSAGE_SELF)
			for e := range plain(b.N, 1000)(b.Context()) {
				v, _ := work(b.Context(), e)
				sum += int64(v)
			}
			b.ReportMetric(float64(spent(b, syscall.RUSAGE_SELF)-before)/float64(b.N), "cpu-ns/op")
		})
		for _, n := range []int{1, 2} {
			b.Run(fmt.Sprint(name, "/workers=", n), func(b *testing.B) {
				b.ReportAllocs()
				before := spent(b, syscall.RUSAGE_SELF)
				drain(b, enrich.Parallel(plain(b.N, 1000), n, func(e tick) int { return e.key }, work))
				b.ReportMetric(float64(spent(b, syscall.RUSAGE_SELF)-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}
