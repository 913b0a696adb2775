package enrich_test

import (
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gapless-go/gapless/enrich"
)

// BenchmarkJoinBesideMap measures a join and a lookup in a map of Go in turns, by
// the processor's time of their thread, so that other work on the machine does
// not decide: the medians of both, and of the events alone.
func BenchmarkJoinBesideMap(b *testing.B) {
	const rusageThread = 1
	spent := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(rusageThread, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
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
					before := spent()
					kinds[i].run()
					kinds[i].took = append(kinds[i].took, float64(spent()-before)/float64(b.N))
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
