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
	orders, err := client.Channel("orders", channel.WithQueue(channel.Queue{Full: channel.Block}))
	if err != nil {
		return err
	}
	subscription, err := orders.Subscribe(channel.Binding{Table: "orders"})
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
		e, err := cdc.As[Order](change)
		if err != nil {
			return err
		}
		if err := m.event(&e.New); err != nil {
			return err
		}
		if m.done() {
			break
		}
	}
	return nil
}
