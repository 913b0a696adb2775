package push

import (
	"fmt"
	"time"
)

// Event is a row of the outbox: something that a customer is to hear of.
type Event struct {
	ID         int64     `json:"id"`
	CustomerID int64     `json:"customer_id"`
	OrderID    int64     `json:"order_id"`
	Status     string    `json:"status"`
	At         time.Time `json:"at"`
}

// Key names the event, the same when it is delivered again.
func (e Event) Key() string { return fmt.Sprintf("event-%d", e.ID) }

// Customer is a row of the table customers.
type Customer struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// Device is a row of the table devices: where a customer wants to be told.
type Device struct {
	ID         int64  `json:"id"`
	CustomerID int64  `json:"customer_id"`
	Kind       string `json:"kind"`    // which Sender reaches it
	Address    string `json:"address"` // as the Sender needs it: a token, a topic, a subscription. A secret.
}

// Notification is what a device is to show.
type Notification struct {
	// Key is the same when the notification is sent again, for the device to show
	// it once.
	Key   string    `json:"key"`
	Title string    `json:"title"`
	Body  string    `json:"body"`
	At    time.Time `json:"at"` // when it happened
	// Expires is when nobody wants to be told any more.
	Expires time.Time `json:"expires"`
}

func (e Event) title() string { return fmt.Sprintf("Order %d is %s", e.OrderID, e.Status) }

// notification words an event.
func (e Event) notification(to Customer, maxAge time.Duration) Notification {
	return Notification{
		Key:   e.Key(),
		Title: e.title(),
		Body:  fmt.Sprintf("%s, your order %d is %s.", to.Name, e.OrderID, e.Status),
		At:    e.At, Expires: e.At.Add(maxAge),
	}
}
