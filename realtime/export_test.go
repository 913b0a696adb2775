package realtime

import "github.com/gapless-go/gapless/internal/link"

// Attach makes h a channel of the client.
func (c *Client) Attach(topic string, h link.Handler) error { return c.router.Attach(topic, h) }

// RequestJoin asks for h.Join to be called.
func (c *Client) RequestJoin(topic string) { c.router.RequestJoin(topic, false) }
