package push

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/gapless-go/gapless/mockserver"
)

// Demo is a Supabase project in this process, in which customers order things.
type Demo struct {
	Server *mockserver.Server
}

// NewDemo fills in the tables of cfg and starts a server. Close it when done.
func NewDemo(cfg mockserver.Config) (*Demo, error) {
	id := mockserver.Column{Name: "id", Type: "bigserial"}
	customer := mockserver.Column{Name: "customer_id", Type: "int8", NotNull: true}
	status := mockserver.Column{Name: "status", Type: "text", NotNull: true}
	cfg.Tables = []mockserver.Table{
		backendOnly("customers", id, mockserver.Column{Name: "name", Type: "text", NotNull: true}),
		backendOnly("devices", id, customer,
			mockserver.Column{Name: "kind", Type: "text", NotNull: true}, mockserver.Column{Name: "address", Type: "text", NotNull: true}),
		backendOnly("orders", id, customer, status),
		backendOnly("order_events", id, customer, mockserver.Column{Name: "order_id", Type: "int8", NotNull: true}, status,
			mockserver.Column{Name: "at", Type: "timestamptz", NotNull: true, Default: func() any { return time.Now() }}),
	}
	cfg.Tables[2].AfterChange = orderChanged
	mockserver.InstallCache(&cfg)
	server, err := mockserver.New(cfg)
	return &Demo{server}, err
}

// backendOnly is a table that only the secret key may read: without policies.
func backendOnly(name string, columns ...mockserver.Column) mockserver.Table {
	return mockserver.Table{Name: name, Columns: columns, PrimaryKey: []string{"id"}, RLS: true}
}

// orderChanged is the trigger of the table orders: in the transaction of the
// change it writes down that the customer is to hear of it.
func orderChanged(tx *mockserver.FuncTx, operation string, after, _ mockserver.Row) error {
	switch {
	case operation == "DELETE":
		return nil
	case after["status"] == statuses[arriving]: // which nobody wants to hear of later
		return tx.BroadcastChanges(liveTopic, "arriving", operation, "orders", after, nil)
	}
	return tx.Insert("order_events", mockserver.Row{
		"customer_id": after["customer_id"], "order_id": after["id"], "status": after["status"],
	})
}

// Project is how a backend reaches the tables.
func (d *Demo) Project() Project {
	return Project{URL: d.Server.URL(), Key: d.Server.ServiceKey(), HTTPClient: d.Server.HTTPClient()}
}

// Close ends the server.
func (d *Demo) Close() { _ = d.Server.Close() }

var (
	names    = []string{"Ann", "Ben", "Cleo", "Dag", "Eva", "Finn"}
	statuses = []string{"placed", "packed", "shipped", "arriving", "delivered"}
)

// arriving is the status that is broadcast.
const arriving = 3

// Shop changes the tables as a shop does. Do and Recent are safe for concurrent
// use, and so is Run; the others are for Do.
type Shop struct {
	server *mockserver.Server
	kind   string

	mu        sync.Mutex
	customers int
	devices   int
	open      []*Order
	orders    int
	locked    map[int]time.Time // until when a customer's row is
	recent    []*Order          // the newest first; some are open
}

// Order is how far an order is.
type Order struct {
	ID       int    `json:"id"`
	Customer int    `json:"customer"`
	Status   string `json:"status"`
	Step     int    `json:"step"` // of the statuses; the first is 0
}

// kept is how many orders a Shop shows.
const kept = 12

// Do makes changes, one after the other.
func (s *Shop) Do(change func(*Shop) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return change(s)
}

// Recent returns the last orders, the newest first, and how many customers there
// are: their IDs count from 1.
func (s *Shop) Recent() ([]Order, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	orders := make([]Order, len(s.recent))
	for i, o := range s.recent {
		orders[i] = *o
	}
	return orders, s.customers
}

// customerName is how a customer is called.
func customerName(id int) string { return names[(id-1)%len(names)] }

// NewShop is a shop whose new customers have devices of a kind.
func (d *Demo) NewShop(kind string) *Shop {
	return &Shop{server: d.Server, kind: kind, locked: map[int]time.Time{}}
}

// Welcome adds a customer with so many devices, who orders at once, all in one
// transaction.
func (s *Shop) Welcome(devices int) error {
	s.customers++
	name := customerName(s.customers)
	return s.server.Tx(func(tx *mockserver.Tx) error {
		if err := tx.Insert("customers", mockserver.Row{"id": s.customers, "name": name}); err != nil {
			return err
		}
		for i := range devices {
			s.devices++
			address := fmt.Sprintf("%s's %s", name, []string{"phone", "laptop"}[i%2])
			if err := tx.Insert("devices", mockserver.Row{"id": s.devices, "customer_id": s.customers, "kind": s.kind, "address": address}); err != nil {
				return err
			}
		}
		return s.order(tx, s.customers)
	})
}

func (s *Shop) order(tx *mockserver.Tx, customer int) error {
	s.orders++
	o := &Order{s.orders, customer, statuses[0], 0}
	s.open = append(s.open, o)
	s.recent = slices.Insert(s.recent, 0, o)
	s.recent = s.recent[:min(len(s.recent), kept)]
	return tx.Insert("orders", mockserver.Row{"id": o.ID, "customer_id": customer, "status": o.Status})
}

// Step brings one order forward, or takes another one, of a customer whose row is
// not locked.
func (s *Shop) Step() error {
	_, err := s.step()
	return err
}

// step is Step. It returns the customer; 0 if it met one whose row is locked.
func (s *Shop) step() (customer int, err error) {
	if len(s.open) < s.customers {
		customer = 1 + rand.IntN(s.customers)
		if s.isLocked(customer) {
			return 0, nil
		}
		return customer, s.server.Tx(func(tx *mockserver.Tx) error { return s.order(tx, customer) })
	}
	i := rand.IntN(len(s.open))
	if customer = s.open[i].Customer; s.isLocked(customer) {
		return 0, nil
	}
	return customer, s.forward(i)
}

// Advance brings a customer's oldest open order forward, or has them order.
func (s *Shop) Advance(customer int) error {
	if customer < 1 || customer > s.customers {
		return errNoCustomer
	}
	if i := slices.IndexFunc(s.open, func(o *Order) bool { return o.Customer == customer }); i >= 0 {
		return s.forward(i)
	}
	return s.server.Tx(func(tx *mockserver.Tx) error { return s.order(tx, customer) })
}

// forward brings an open order to its next status.
func (s *Shop) forward(i int) error {
	o := s.open[i]
	o.Step++
	o.Status = statuses[o.Step]
	if o.Step == len(statuses)-1 {
		s.open = slices.Delete(s.open, i, i+1)
	}
	_, err := s.server.Update("orders", mockserver.Row{"status": o.Status}, mockserver.Row{"id": o.ID})
	return err
}

// maxBrowsers is how many browsers a customer may have.
const maxBrowsers = 10

var (
	errNoCustomer = errors.New("there is no such customer")
	errFull       = errors.New("the customer has too many browsers")
)

// Subscribe makes a browser a device of a customer, and of nobody else.
func (s *Shop) Subscribe(customer int, address string) error {
	if customer < 1 || customer > s.customers {
		return errNoCustomer
	}
	devices, err := s.server.Rows("devices")
	if err != nil {
		return err
	}
	browsers := 0
	for _, d := range devices {
		if d["kind"] == "webpush" && d["customer_id"] == int64(customer) && d["address"] != address {
			browsers++
		}
	}
	if browsers >= maxBrowsers {
		return errFull
	}
	s.devices++
	return s.server.Tx(func(tx *mockserver.Tx) error {
		if _, err := tx.Delete("devices", mockserver.Row{"kind": "webpush", "address": address}); err != nil {
			return err
		}
		return tx.Insert("devices", mockserver.Row{"id": s.devices, "customer_id": customer, "kind": "webpush", "address": address})
	})
}

// Unsubscribe has a browser be nobody's device.
func (s *Shop) Unsubscribe(address string) error {
	_, err := s.server.Delete("devices", mockserver.Row{"kind": "webpush", "address": address})
	return err
}

func (s *Shop) isLocked(customer int) bool { return time.Now().Before(s.locked[customer]) }

// Run makes changes, so many a second, until ctx ends.
func (s *Shop) Run(ctx context.Context, rate float64, change func(*Shop) error) error {
	tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.Do(change); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Trade makes any change: a new customer, as long as there are few, or one to an
// order.
func (s *Shop) Trade() error {
	if s.customers < len(names) && rand.IntN(2) == 0 || s.customers == 0 {
		return s.Welcome(1 + rand.IntN(2))
	}
	return s.Step()
}
