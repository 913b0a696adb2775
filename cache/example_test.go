package cache_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// A copy of the table orders, which tells of what changes in it.
func Example() {
	cfg := mockserver.Demo()
	cfg.Timing = mockserver.Fast()
	server, err := mockserver.New(cfg) // stands in for a project
	check(err)
	defer server.Close()
	client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.AnonKey()})
	check(err)
	defer client.Close(context.Background())

	type order struct {
		ID     int64
		Status string
	}
	orders, err := cache.New(client, "orders", func(o order) int64 { return o.ID }, cache.WithSettle(50*time.Millisecond))
	check(err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = orders.Run(ctx) // ctx's error, or why the table cannot be followed
	}()
	check(orders.WaitSynced(ctx))

	for change, err := range orders.Changes(ctx, cache.WithInitial()) {
		check(err)
		if change.InitialEnd { // all that was there has been told
			_, err := server.Update("orders", mockserver.Row{"status": "sent"}, mockserver.Row{"id": 1})
			check(err)
			continue
		}
		fmt.Println(change.Op, change.Key, change.New.Status, "by", change.Cause)
		if change.New.Status == "sent" {
			break
		}
	}
	o, ok := orders.Get(1)
	fmt.Println(o.Status, ok, orders.Phase())
	stop()
	<-ended
	// Output:
	// INSERT 1 open by snapshot
	// UPDATE 1 sent by stream
	// sent true synced
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
