package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"strconv"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/enrich/deliver"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

type Event struct {
	ID       int64
	Customer string
	Amount   int
}

func book(ctx context.Context, db *sql.DB, events enrich.Stream[Event]) error {
	// BLOCK
	return err
}

func main() {
	ctx := context.Background()
	server, err := postgres.New(ctx, postgres.Options{Schema: deliver.Schema + `;
		create table booking (event bigint primary key, amount int check (amount > 0))`})
	if errors.Is(err, postgres.ErrNoBinaries) {
		fmt.Println("skipped:", err)
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	db, err := sql.Open("pgx", server.DatabaseURL())
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	for range 2 { // the source delivers everything twice
		if err := book(ctx, db, enrich.Of(Event{1, "Ann", 10}, Event{2, "Ann", -1}, Event{3, "Ben", 10})); err != nil {
			log.Fatal(err)
		}
	}
	var sum, letters int
	if err := db.QueryRow(`select sum(amount), (select count(*) from deliver_letter where key = '2') from booking`).Scan(&sum, &letters); err != nil {
		log.Fatal(err)
	}
	if sum != 20 || letters != 1 {
		log.Fatal("booked ", strconv.Itoa(sum), ", letters ", letters)
	}
}
