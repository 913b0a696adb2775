package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"strconv"

	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/enrich/deliver"
)

type Event struct{ ID int64 }

var (
	broken  = true
	handled []int64
)

func retry(ctx context.Context, store *deliver.Memory, consumer deliver.Consumer[Event, deliver.None]) error {
	// BLOCK
}

func main() {
	ctx, store := context.Background(), deliver.NewMemory(10)
	consumer := deliver.Consumer[Event, deliver.None]{
		Store: store,
		Key:   func(e Event) string { return strconv.FormatInt(e.ID, 10) },
		Handle: func(_ context.Context, _ deliver.None, e Event) error {
			if broken {
				return deliver.Permanent(errors.New("broken"))
			}
			handled = append(handled, e.ID)
			return nil
		},
	}
	if err := consumer.Run(ctx, enrich.Of(Event{42})); err != nil {
		log.Fatal(err)
	}
	broken = false
	if err := consumer.Run(ctx, enrich.Of(Event{42})); err != nil || len(handled) > 0 {
		log.Fatal("what was buried was handled again: ", err)
	}
	if err := retry(ctx, store, consumer); err != nil || len(handled) != 1 || len(store.Letters()) > 0 {
		log.Fatal(handled, store.Letters(), err)
	}
}
