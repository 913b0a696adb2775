package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/gapless-go/gapless/examples/search-sync/catalogue"
	"github.com/gapless-go/gapless/mockserver"
)

const (
	demoTable = "symbols"
	demoTopic = "search-sync"
	demoEmail = "reader@example.com"
	// demoCanary is how often a mark is written: what is lost for longer is a gap.
	demoCanary = 5 * time.Second
)

// demo is a Supabase project in this process, with one table: the exported
// symbols of Go's standard library.
type demo struct {
	server   *mockserver.Server
	password string
	symbols  []catalogue.Symbol
}

// newDemo fills in the table, the user and the policies of cfg and starts a
// server. maxRows bounds the table, if it is not 0.
func newDemo(cfg mockserver.Config, maxRows int) (*demo, error) {
	symbols, err := catalogue.Symbols()
	if err != nil {
		return nil, err
	}
	if maxRows > 0 {
		symbols = symbols[:maxRows]
	}
	d := &demo{password: rand.Text(), symbols: symbols}
	cfg.Users = []mockserver.User{{Email: demoEmail, Password: d.password}}
	cfg.Channels = func(topic string, claims mockserver.Claims) bool {
		return topic == demoTopic && signedIn(claims, nil)
	}
	cfg.Tables = []mockserver.Table{{
		Name: demoTable,
		Columns: []mockserver.Column{
			{Name: "id", Type: "int8"},
			{Name: "package", Type: "text", NotNull: true},
			{Name: "name", Type: "text", NotNull: true},
			{Name: "kind", Type: "text", NotNull: true},
			{Name: "signature", Type: "text", NotNull: true},
			{Name: "synopsis", Type: "text"},
			{Name: "views", Type: "int8", NotNull: true},
			{Name: "rating", Type: "numeric(3,2)"},
			{Name: "updated_at", Type: "timestamptz", NotNull: true, Default: func() any { return time.Now() }},
		},
		PrimaryKey: []string{"id"},
		RLS:        true,
		Select:     signedIn, // nobody but the service role may write
	}}
	for i, s := range symbols {
		cfg.Tables[0].Rows = append(cfg.Tables[0].Rows, symbolRow(int64(i+1), s))
	}
	mockserver.InstallCache(&cfg) // what package cache/sql installs in a project
	d.server, err = mockserver.New(cfg)
	return d, err
}

// signedIn is the policy of the table and of the channel.
func signedIn(claims mockserver.Claims, _ mockserver.Row) bool {
	return claims["role"] == "authenticated"
}

func symbolRow(id int64, s catalogue.Symbol) mockserver.Row {
	r := mockserver.Row{
		"id": id, "package": s.Package, "name": s.Name, "kind": s.Kind, "signature": s.Signature, "synopsis": nil,
		"views": 0, "rating": someRating(),
	}
	if s.Synopsis != "" {
		r["synopsis"] = s.Synopsis
	}
	return r
}

func someRating() string { return fmt.Sprintf("%.2f", 5*mathrand.Float64()) }

// project is how a client reaches the table.
func (d *demo) project() Project {
	return Project{
		URL: d.server.URL(), Key: d.server.AnonKey(), Email: demoEmail, Password: d.password,
		Schema: "public", Table: demoTable, ID: "id",
		Fields:  []string{"package", "name", "kind", "signature", "synopsis", "views", "rating", "updated_at"},
		Search:  []string{"name", "package", "synopsis"},
		Topic:   demoTopic,
		Private: true, Marker: true, Canary: demoCanary, HTTPClient: d.server.HTTPClient(),
	}
}

// breakFor is how long the server is away when somebody breaks the connection:
// long enough to see that.
const breakFor = 4 * time.Second

// breakConnection ends all connections, and refuses others for a while.
func (d *demo) breakConnection() { d.server.Restart(breakFor) }

// loseChanges has the next changes of the table lost, and nobody told. Marks
// are spared, so that nothing but a verification finds them.
func (d *demo) loseChanges() error {
	params, err := json.Marshal(map[string]any{"table": demoTable, "times": loseAtOnce})
	if err != nil {
		return err
	}
	return d.server.Inject(mockserver.Fault{Name: "drop-changes", Params: params})
}

const loseAtOnce = 5

// writer changes the table, in the place of a backend.
type writer struct {
	server  *mockserver.Server
	symbols []catalogue.Symbol

	rows   []written // those in the table
	gone   []int     // symbols that are not in it
	nextID int64
	Done   int // statements
}

// written is a row in the table.
type written struct {
	id     int64
	symbol int
	views  int
}

// busy are the packages that half of all views are of, so that somebody who
// looks for one of their symbols sees changes.
var busy = []string{"context", "errors", "strings"}

func (d *demo) newWriter() *writer {
	w := &writer{server: d.server, symbols: d.symbols, nextID: int64(len(d.symbols) + 1)}
	for i := range d.symbols {
		w.rows = append(w.rows, written{id: int64(i + 1), symbol: i})
	}
	return w
}

// Run makes changes, rate of them a second, until ctx ends.
func (w *writer) Run(ctx context.Context, rate int) error {
	if rate <= 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := w.step(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// step makes one change: mostly an update, sometimes each of the others.
func (w *writer) step() error {
	w.Done++
	i := mathrand.IntN(len(w.rows))
	switch dice := mathrand.IntN(100); {
	case dice < 8:
		return w.delete(i)
	case dice < 16 && len(w.gone) > 0:
		return w.insert()
	case dice < 18: // another primary key
		id := w.rows[i].id
		w.rows[i].id = w.newID()
		return w.update(mockserver.Row{"id": w.rows[i].id}, mockserver.Row{"id": id})
	case dice < 19: // many rows in one transaction
		return w.update(mockserver.Row{"updated_at": time.Now()}, mockserver.Row{"package": w.symbols[w.rows[i].symbol].Package})
	case dice < 60:
		i = w.busyRow(i)
	}
	w.rows[i].views += 1 + mathrand.IntN(20)
	return w.update(mockserver.Row{"views": w.rows[i].views, "rating": someRating(), "updated_at": time.Now()}, mockserver.Row{"id": w.rows[i].id})
}

// busyRow returns the first row of a busy package behind row i.
func (w *writer) busyRow(i int) int {
	for range w.rows {
		if i = (i + 1 + mathrand.IntN(7)) % len(w.rows); slices.Contains(busy, w.symbols[w.rows[i].symbol].Package) {
			break
		}
	}
	return i
}

func (w *writer) newID() int64 {
	w.nextID++
	return w.nextID - 1
}

func (w *writer) update(set, where mockserver.Row) error {
	_, err := w.server.Update(demoTable, set, where)
	return err
}

func (w *writer) delete(i int) error {
	r := w.rows[i]
	w.gone = append(w.gone, r.symbol)
	w.rows = slices.Delete(w.rows, i, i+1)
	_, err := w.server.Delete(demoTable, mockserver.Row{"id": r.id})
	return err
}

func (w *writer) insert() error {
	i := mathrand.IntN(len(w.gone))
	r := written{id: w.newID(), symbol: w.gone[i]}
	w.gone = slices.Delete(w.gone, i, i+1)
	w.rows = append(w.rows, r)
	values := symbolRow(r.id, w.symbols[r.symbol])
	delete(values, "rating") // nobody has rated it yet
	return w.server.Insert(demoTable, values)
}
