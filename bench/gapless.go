package main

import (
	"context"
	"strings"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/realtime"
)

// gaplessLoop is a user's loop over typed events.
func gaplessLoop(url string, m *meter) error {
	m.decodes = true
	server, _, _ := strings.Cut(url, "/websocket")
	client, err := realtime.New(realtime.Options{URL: server, Key: "anon"})
	if err != nil {
		return err
	}
	defer client.Close(context.Background())
	shop, err := client.Channel("shop", channel.WithQueue(channel.Queue{Full: channel.Block}))
	if err != nil {
		return err
	}
	subscription, err := shop.Subscribe(
		channel.Binding{Table: "payments"}, channel.Binding{Table: "orders"}, channel.Binding{Table: "products"})
	if err != nil {
		return err
	}
	for change, err := range subscription.Changes(context.Background()) {
		if err != nil {
			return err
		}
		if change.Gap != nil {
			continue
		}
		if err := m.change(change); err != nil {
			return err
		}
		if m.done() {
			break
		}
	}
	return nil
}

// change decodes a change into the struct of its table.
func (m *meter) change(c cdc.Change) error {
	switch c.Table {
	case "payments":
		e, err := cdc.As[Payment](c)
		if err != nil {
			return err
		}
		r := row(e)
		return m.event(r.ID, r.SentAt, r.Total)
	case "orders":
		e, err := cdc.As[Order](c)
		if err != nil {
			return err
		}
		r := row(e)
		return m.event(r.ID, r.SentAt, r.Total)
	default:
		e, err := cdc.As[Product](c)
		if err != nil {
			return err
		}
		r := row(e)
		return m.event(r.ID, r.SentAt, r.Total)
	}
}

func row[T any](e cdc.Event[T]) T {
	if e.Op == cdc.Delete {
		return e.Old
	}
	return e.New
}
