package mockserver

import (
	"bytes"

	"github.com/gapless-go/gapless/internal/phoenix"
)

// broadcast relays a text message to everybody who has joined the same name
// with the same privacy, word for word. Binary ones are not relayed.
//
// A payload that is no object makes the channel crash when somebody with
// serializer 2.0.0 is to get it, since that serializer cannot write it.
func (ch *channel) broadcast(m phoenix.Message) {
	rt := ch.conn.rt
	if m.Kind != phoenix.Text || ch.config.private && !rt.mayUse(ch.name, ch.who.claims) {
		return
	}
	listeners := rt.listeners(ch)
	if !bytes.HasPrefix(bytes.TrimSpace(m.Payload), []byte("{")) {
		for _, l := range listeners {
			if l.conn.version == phoenix.V2 {
				ch.crash()
				return
			}
		}
	}
	for _, l := range listeners {
		l.conn.push(phoenix.Message{Topic: l.topic, Event: phoenix.EventBroadcast, Payload: m.Payload})
	}
	if ch.config.ack {
		ch.ok(m.Ref)
	}
}

// listeners returns the channels that hear what ch broadcasts.
func (rt *realtime) listeners(ch *channel) []*channel {
	rt.mu.Lock()
	all := rt.members[ch.world()]
	rt.mu.Unlock()
	if ch.config.self {
		return all
	}
	return without(all, ch)
}
