package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

type Order struct {
	ID int64 `json:"id"`
}

// String is called when the block prints a row that it was given.
func (o Order) String() string {
	switch o.ID {
	case 1: // the table has been read
		insert()
	case 1000:
		done()
	}
	return fmt.Sprint(o.ID)
}

var insert, done func()

func follow(ctx context.Context, client *realtime.Client) error {
	// BLOCK
	return nil
}

func main() {
	server, err := mockserver.New(mockserver.Demo())
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.AnonKey()})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	done = cancel
	insert = sync.OnceFunc(func() {
		if err := server.Insert("orders", mockserver.Row{"id": 1000, "customer_id": 1, "total": "1"}); err != nil {
			log.Fatal(err)
		}
	})
	if err := follow(ctx, client); !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}
