package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

type Product struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// Index is one as an earlier run has left it.
type Index struct{ *documents }

type documents struct {
	mu    sync.Mutex
	all   map[int64]string
	least int // how few documents there were at any time
}

func (d *documents) IDs() []int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.all))
}

func (d *documents) Put(id int64, p Product) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all[id] = p.Name
}

func (d *documents) Delete(id int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.all, id)
	d.least = min(d.least, len(d.all))
}

func (d *documents) right() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.all) == 49 && d.all[7] == "" && d.all[99] == "" && d.all[50] == "product 50"
}

// BLOCK

func main() {
	rows := make([]mockserver.Row, 50)
	index := Index{&documents{all: map[int64]string{99: "not in the table"}, least: 51}}
	for i := range rows {
		rows[i] = mockserver.Row{"id": i + 1, "name": fmt.Sprint("product ", i+1)}
		index.all[int64(i+1)] = "old name"
	}
	server, err := mockserver.New(mockserver.Config{Tables: []mockserver.Table{{
		Name: "products", PrimaryKey: []string{"id"}, Rows: rows,
		Columns: []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "name", Type: "text"}},
	}}})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.ServiceKey()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close(context.Background())
	table, err := cache.New(client, "products", func(p Product) int64 { return p.ID })
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	go table.Run(ctx)
	go func() {
		if err := table.WaitSynced(ctx); err != nil {
			log.Fatal(err)
		}
		if _, err := server.Delete("products", mockserver.Row{"id": 7}); err != nil {
			log.Fatal(err)
		}
		for !index.right() && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	if err := follow(ctx, table, index); !errors.Is(err, context.Canceled) {
		log.Fatal(err, index.all)
	}
	if index.least < 49 {
		log.Fatal("the index had ", index.least, " documents at some time")
	}
}
