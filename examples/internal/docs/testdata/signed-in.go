package main

import (
	"context"
	"log"
	"time"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
	"github.com/gapless-go/gapless/realtime/signin"
)

func join(ctx context.Context, url, key, email, password string) error {
	// BLOCK
	defer client.Close(context.Background())
	return room.WaitLive(ctx)
}

func main() {
	server, err := mockserver.New(mockserver.Demo())
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	if err := join(ctx, server.URL(), server.AnonKey(), "ann@example.com", "password"); err != nil {
		log.Fatal(err)
	}
}
