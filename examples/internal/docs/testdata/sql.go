package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

func main() {
	var before, block string
	// BLOCK
	ctx := context.Background()
	server, err := postgres.New(ctx, postgres.Options{Schema: before})
	if errors.Is(err, postgres.ErrNoBinaries) {
		fmt.Println("skipped:", err)
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	if err := server.Apply(ctx, block); err != nil {
		log.Fatal(err)
	}
}
