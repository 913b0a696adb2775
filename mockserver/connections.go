package mockserver

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// Connection is an open socket.
type Connection struct {
	Socket   int             `json:"socket"`  // its number, as Frame.Socket and faults have it
	Version  string          `json:"version"` // of the serializer: 1.0.0 or 2.0.0
	Role     string          `json:"role"`    // of the key that it was opened with
	Opened   time.Time       `json:"opened"`
	Backlog  int             `json:"backlog"`  // bytes that wait for it
	Channels []JoinedChannel `json:"channels"` // in the order in which they were joined
}

// JoinedChannel is a topic that a socket has joined.
type JoinedChannel struct {
	Topic    string            `json:"topic"` // with its prefix
	Private  bool              `json:"private"`
	Bindings []json.RawMessage `json:"bindings"` // those of postgres_changes, as the client sent them
	// Subscriptions is how many there are for the bindings, one for each table
	// that a binding fits; without any, the channel hears of no change.
	Subscriptions int `json:"subscriptions"`
}

// Connections returns the open sockets in the order in which they were opened,
// and what they have joined.
func (s *Server) Connections() []Connection {
	rt := s.realtime
	rt.mu.Lock()
	defer rt.mu.Unlock()
	list := make([]Connection, len(rt.conns))
	channels, subscriptions := rt.channelsBySocket(), rt.subscriptionsByChannel()
	for i, c := range rt.conns {
		list[i] = Connection{
			Socket: c.id, Version: c.version.String(), Role: project.RoleOf(c.who.claims), Opened: c.opened,
			Backlog: c.box.backlog(), Channels: []JoinedChannel{},
		}
		for _, ch := range channels[c] {
			list[i].Channels = append(list[i].Channels, ch.describe(subscriptions))
		}
	}
	return list
}

// channelsBySocket returns the channels of each socket in the order of their
// joins. The caller holds mu.
func (rt *realtime) channelsBySocket() map[*conn][]*channel {
	channels := map[*conn][]*channel{}
	for _, members := range rt.members {
		for _, ch := range members {
			channels[ch.conn] = append(channels[ch.conn], ch)
		}
	}
	for _, of := range channels {
		slices.SortFunc(of, func(a, b *channel) int { return cmp.Compare(a.number, b.number) })
	}
	return channels
}

// subscriptionsByChannel counts subscriptions. The caller holds mu.
func (rt *realtime) subscriptionsByChannel() map[*channel]int {
	counts := map[*channel]int{}
	for _, subs := range rt.subs {
		for _, s := range subs {
			counts[ownerOf(s).ch]++
		}
	}
	return counts
}

// describe describes the channel, given how many subscriptions each has.
func (ch *channel) describe(subscriptions map[*channel]int) JoinedChannel {
	j := JoinedChannel{Topic: ch.topic, Private: ch.config.private, Bindings: []json.RawMessage{}}
	for _, b := range ch.config.bindings {
		j.Bindings = append(j.Bindings, b.object)
	}
	j.Subscriptions = subscriptions[ch]
	return j
}
