package enrich_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/enrich"
)

// An event is joined with a row. What has none waits for it, for half a minute.
func ExampleJoin() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// In a program: cache.New(client, "customers", …).
	customers := cache.NewComputed("customers", func(ctx context.Context, e *cache.Editor[int, string]) error {
		e.Put(1, "Ann", cache.CauseSnapshot)
		e.Publish(true)
		<-ctx.Done()
		return ctx.Err()
	})
	go customers.Run(ctx)

	type order struct{ ID, Customer int }
	orders := enrich.Of(order{100, 1}, order{101, 1}) // in a program: enrich.Events[order](subscription.Changes, nil)
	for j, err := range enrich.Join(orders, enrich.Lookup[order, int, string]{
		Table: customers,
		Key:   func(o order) (int, bool) { return o.Customer, true },
		Miss:  enrich.Park(30*time.Second, 10_000),
	})(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(j.Left.ID, j.Right, j.Found, j.Degraded)
	}
	// Output:
	// 100 Ann true false
	// 101 Ann true false
}

// Payments within five minutes of their order; an order that was not paid comes
// out without one.
func ExampleJoinStreams() {
	type order struct {
		ID int
		At time.Time
	}
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 12, minute, 0, 0, time.UTC) }
	orders := enrich.Of(order{1, at(0)}, order{2, at(1)})
	payments := enrich.Of(order{1, at(4)}, order{2, at(9)})
	key := func(o order) (int, time.Time) { return o.ID, o.At }
	for p, err := range enrich.JoinStreams(orders, payments, enrich.Streams[int, order, order]{
		Kind: enrich.Left, Window: enrich.Interval(0, 5*time.Minute), Left: key, Right: key,
		Grace: 10 * time.Second, Idle: time.Minute, MaxPending: 100_000,
	})(context.Background()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(p.Key, p.Right != nil, p.Incomplete)
	}
	// Output:
	// 1 true false
	// 2 false false
}
