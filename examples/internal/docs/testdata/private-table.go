package main

import (
	"context"
	"log"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
	"github.com/gapless-go/gapless/realtime/signin"
)

type Order struct {
	ID int64 `json:"id"`
}

func follow(ctx context.Context, client *realtime.Client) error {
	// BLOCK
	if err != nil {
		return err
	}
	go orders.Run(ctx)
	return orders.WaitSynced(ctx)
}

func main() {
	server, err := mockserver.New(mockserver.Demo())
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	source, err := signin.New(signin.Options{URL: server.URL(), Key: server.AnonKey(), Email: "ann@example.com", Password: "password"})
	if err != nil {
		log.Fatal(err)
	}
	client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.AnonKey(), Token: source.Token})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close(context.Background())
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	if err := follow(ctx, client); err != nil {
		log.Fatal(err)
	}
}
