package realtime

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/gapless-go/gapless/mockserver/internal/inspect"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// Connections returns the open sockets in the order in which they were opened,
// and what they have joined.
func (rt *Server) Connections() []inspect.Connection {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	list := make([]inspect.Connection, len(rt.conns))
	channels, subscriptions := rt.channelsBySocket(), rt.subscriptionsByChannel()
	for i, c := range rt.conns {
		list[i] = inspect.Connection{
			Socket: c.id, Version: c.version.String(), Role: project.RoleOf(c.who.claims), Opened: c.opened,
			Backlog: c.box.backlog(), Channels: []inspect.JoinedChannel{},
		}
		for _, ch := range channels[c] {
			list[i].Channels = append(list[i].Channels, ch.describe(subscriptions))
		}
	}
	return list
}

// channelsBySocket returns the channels of each socket in the order of their
// joins. The caller holds mu.
func (rt *Server) channelsBySocket() map[*conn][]*channel {
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
func (rt *Server) subscriptionsByChannel() map[*channel]int {
	counts := map[*channel]int{}
	for _, subs := range rt.subs {
		for _, s := range subs {
			counts[ownerOf(s).ch]++
		}
	}
	return counts
}

// describe describes the channel, given how many subscriptions each has.
func (ch *channel) describe(subscriptions map[*channel]int) inspect.JoinedChannel {
	j := inspect.JoinedChannel{Topic: ch.topic, Private: ch.config.private, Bindings: []json.RawMessage{}}
	for _, b := range ch.config.bindings {
		j.Bindings = append(j.Bindings, b.object)
	}
	j.Subscriptions = subscriptions[ch]
	return j
}
