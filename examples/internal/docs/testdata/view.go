package main

import (
	"context"
	"log"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

type Order struct {
	ID         int64 `json:"id"`
	CustomerID int64 `json:"customer_id"`
}

type Customer struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
	City string `json:"city"`
}

type Doc struct {
	Order
	Customer, City string
}

func follow(ctx context.Context, orders *cache.Table[int64, Order], customers *cache.Table[int64, Customer], server *mockserver.Server) error {
	// BLOCK
	if err := perCity.WaitFor(ctx, "Ulm", func(n int, _ bool) bool { return n == 2 }); err != nil {
		return err
	}
	if err := view.WaitFor(ctx, 3, func(d Doc, there bool) bool { return there && d.City == "" }); err != nil {
		return err
	}
	if _, err := server.Update("customers", mockserver.Row{"city": "Bonn"}, mockserver.Row{"id": 1}); err != nil {
		return err
	}
	return perCity.WaitFor(ctx, "Bonn", func(n int, _ bool) bool { return n == 2 })
}

func main() {
	id := mockserver.Column{Name: "id", Type: "int8"}
	text := func(name string) mockserver.Column { return mockserver.Column{Name: name, Type: "text"} }
	server, err := mockserver.New(mockserver.Config{Tables: []mockserver.Table{
		{Name: "orders", PrimaryKey: []string{"id"}, Columns: []mockserver.Column{id, {Name: "customer_id", Type: "int8"}},
			Rows: []mockserver.Row{{"id": 1, "customer_id": 1}, {"id": 2, "customer_id": 1}, {"id": 3, "customer_id": 9}}},
		{Name: "customers", PrimaryKey: []string{"id"}, Columns: []mockserver.Column{id, text("name"), text("city")},
			Rows: []mockserver.Row{{"id": 1, "name": "Ann", "city": "Ulm"}}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.ServiceKey()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close(context.Background())
	orders, err := cache.New(client, "orders", func(o Order) int64 { return o.ID })
	if err != nil {
		log.Fatal(err)
	}
	customers, err := cache.New(client, "customers", func(c Customer) int64 { return c.ID })
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	if err := follow(ctx, orders, customers, server); err != nil {
		log.Fatal(err)
	}
}
