package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/enrich/deliver"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
	"github.com/gapless-go/gapless/realtime"
)

type Paid struct {
	Bill   int64
	Amount json.Number
}

func book(ctx context.Context, db *sql.DB, inserts *channel.Subscription) error {
	// BLOCK
}

func main() {
	ctx := context.Background()
	server, err := postgres.New(ctx, postgres.Options{Schema: deliver.OutboxSchema + `;
		create table booking (bill bigint primary key, amount numeric check (amount > 0));
		grant all on outbox to service_role; alter publication supabase_realtime add table outbox`})
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
	client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.ServiceKey()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close(ctx)
	topic, err := client.Channel("outbox")
	if err != nil {
		log.Fatal(err)
	}
	inserts, err := topic.Subscribe(channel.Binding{Table: "outbox", Columns: []string{"id"}})
	if err != nil {
		log.Fatal(err)
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- book(running, db, inserts) }()
	if _, err := db.ExecContext(ctx, `insert into outbox (lane, body) values ('Ann', '{"bill": 1, "amount": 0.30}'), ('Ann', '{"bill": "?"}'), ('Ann', '{"bill": 2, "amount": 0.40}')`); err != nil {
		log.Fatal(err)
	}
	for open := 1; open > 0; time.Sleep(10 * time.Millisecond) {
		if err := db.QueryRowContext(ctx, `select count(*) from outbox where done_at is null`).Scan(&open); err != nil {
			log.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
	var sum string
	var buried int
	if err := db.QueryRowContext(ctx, `select sum(amount)::text, (select count(*) from outbox where buried is not null) from booking`).Scan(&sum, &buried); err != nil {
		log.Fatal(err)
	}
	if sum != "0.70" || buried != 1 {
		log.Fatal(sum, " ", buried)
	}
}
