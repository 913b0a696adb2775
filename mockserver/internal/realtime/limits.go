package realtime

import (
	"fmt"
	"net/http"
	"time"
)

// Limits are the limits of the project, each of which a zero lifts. See
// RealisticLimits. Those that every server has always hold: 5,000,000 bytes of
// a message from a client, and 1 MiB of a change.
//
// Rates are counted as the real server does it: in samples of 5 s
// (Timing.RateTick), of which the mean of the last twelve, or as many as there
// are, must be below the limit. So a burst passes, and it takes up to a minute until the rate is
// below the limit again.
type Limits struct {
	// ConcurrentUsers is how many sockets may have, or have had, a channel. With
	// so many of them there is no upgrade (429) and no join any more.
	ConcurrentUsers int
	// JoinsPerSecond bounds joins, also those that are refused. At the limit
	// upgrades are refused (429), and joins, which closes their socket (1001).
	JoinsPerSecond int
	// ChannelsPerClient is how many channels one socket may have.
	ChannelsPerClient int
	// EventsPerSecond bounds the broadcasts that are sent and delivered. At the
	// limit a channel is closed at the next broadcast that it gets, those over
	// HTTP are refused (429), and those from the database are not delivered. Row
	// changes, each counted once for each subscription that it matches, have a
	// count of their own, and are lost at the limit without a word.
	EventsPerSecond int
	// PresenceEventsPerSecond bounds the calls of track that change something,
	// and the presence states sent. At the limit the channel is closed.
	PresenceEventsPerSecond int
	// ClientPresenceCalls is how many presence messages a channel may send in
	// ClientPresenceWindow (0: 30 s), which begins with the first of them. One
	// more closes the channel.
	ClientPresenceCalls  int
	ClientPresenceWindow time.Duration
	// PayloadKB bounds the payload of a broadcast or a track, in units of 1000
	// bytes and with 500 bytes on top, measured as Erlang's external term format
	// writes it, which is about its JSON. What is larger is not delivered.
	PayloadKB int
}

// RealisticLimits returns the limits of a self-hosted server as it comes. The
// free plan of the hosted one has ClientPresenceCalls and EventsPerSecond as
// they are, and lowers PresenceEventsPerSecond to 20 and PayloadKB to 256.
func RealisticLimits() Limits {
	return Limits{
		ConcurrentUsers: 200, JoinsPerSecond: 100, ChannelsPerClient: 100,
		EventsPerSecond: 100, PresenceEventsPerSecond: 1000,
		ClientPresenceCalls: 5, ClientPresenceWindow: 30 * time.Second,
		PayloadKB: 3000,
	}
}

// Check refuses limits that could not be meant.
func (l Limits) Check() error {
	for name, n := range map[string]int{
		"ConcurrentUsers": l.ConcurrentUsers, "JoinsPerSecond": l.JoinsPerSecond, "ChannelsPerClient": l.ChannelsPerClient,
		"EventsPerSecond": l.EventsPerSecond, "PresenceEventsPerSecond": l.PresenceEventsPerSecond,
		"ClientPresenceCalls": l.ClientPresenceCalls, "ClientPresenceWindow": int(l.ClientPresenceWindow), "PayloadKB": l.PayloadKB,
	} {
		if n < 0 {
			return fmt.Errorf("mockserver: Config.Limits.%s is negative", name)
		}
	}
	return nil
}

// withDefaults fills in what goes with a limit.
func (l Limits) withDefaults() Limits {
	if l.ClientPresenceWindow == 0 {
		l.ClientPresenceWindow = 30 * time.Second
	}
	return l
}

// tooLarge reports whether a payload is over the limit. Its size is only asked
// for if there is one.
func (l Limits) tooLarge(size func() int) bool {
	return l.PayloadKB > 0 && size() > l.PayloadKB*1000+500
}

// full returns the refusal of an upgrade, nil where there is room.
func (rt *Server) full() *refusal {
	switch {
	case rt.usersFull():
		return &refusal{status: http.StatusTooManyRequests, text: "Too many connected users"}
	case rt.joins.exceeded():
		return &refusal{status: http.StatusTooManyRequests, text: "Too many joins per second"}
	}
	return nil
}

func (rt *Server) usersFull() bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.limits.ConcurrentUsers > 0 && rt.users >= rt.limits.ConcurrentUsers
}

// countUser counts the socket as a user, with its first channel.
func (c *conn) countUser() {
	if c.joined {
		return
	}
	c.joined = true
	c.rt.mu.Lock()
	defer c.rt.mu.Unlock()
	c.rt.users++
}

// overLimit returns for which limit a join is refused. A socket that is among
// the users already is not refused for their number.
func (c *conn) overLimit() string {
	rt := c.rt
	rt.joins.add(1)
	limit := rt.limits.ChannelsPerClient
	switch {
	case !c.joined && rt.usersFull():
		return "ConnectionRateLimitReached: Too many connected users"
	case rt.joins.exceeded():
		return "ClientJoinRateLimitReached: Too many joins per second"
	case limit > 0 && len(c.channels) >= limit:
		return "ChannelRateLimitReached: Too many channels"
	}
	return ""
}
