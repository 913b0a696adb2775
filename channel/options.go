package channel

import (
	"fmt"
	"time"
	"unicode/utf8"
)

// Option is a choice about a channel.
type Option func(*config) error

type config struct {
	private     bool
	queue       Queue
	liveTimeout time.Duration
	backoffMin  time.Duration
	backoffMax  time.Duration

	self, ack      bool
	ackTimeout     time.Duration
	replay         bool
	replaySince    time.Time
	replayOverlap  time.Duration
	presenceKey    string
	presenceCalls  int
	presenceWindow time.Duration
}

func defaults() config {
	return config{
		queue:       Queue{Changes: 8192, Bytes: 64 << 20},
		liveTimeout: 60 * time.Second, // a cold project takes up to 9 s, its own retries 10 s each
		backoffMin:  time.Second,
		backoffMax:  60 * time.Second, // the window of the server's rate limits

		ackTimeout:    10 * time.Second,
		replayOverlap: time.Minute,
		presenceCalls: 5, presenceWindow: 30 * time.Second,
	}
}

// Private makes the channel private: the join needs a token whose role a
// policy on realtime.messages lets read the topic. That decides who may join,
// not which rows come: those are decided by the tables' own policies, in
// private and public channels alike.
func Private() Option {
	return func(c *config) error { c.private = true; return nil }
}

// Full is what happens when a consumer is slower than its stream.
type Full uint8

const (
	// Overflow drops what does not fit and puts a gap in its place, which ends
	// when the consumer has taken all that came before it. The socket and the
	// other subscriptions are not held up.
	Overflow Full = iota
	// Block stops reading the socket until there is room, and with it every
	// other subscription of the client. Nothing is lost here; but a server
	// whose backlog for this socket grows over 50 MB cuts the connection, which
	// is a gap. Heartbeats go on meanwhile.
	Block
)

// Queue bounds what waits between the socket and the consumer of a
// subscription. A consumer takes a few changes at a time, up to 64 and a
// sixteenth of these bounds, which then do not count.
type Queue struct {
	Changes int  // at most so many changes; default 8192
	Bytes   int  // holding at most so many bytes of rows, a single larger change excepted; default 64 MiB. In memory they may take twice that
	Full    Full // default Overflow
}

// WithQueue bounds the queue of each of the channel's subscriptions and
// listeners; the latter always overflow. Zero fields keep their defaults.
func WithQueue(q Queue) Option {
	return func(c *config) error {
		if q.Changes < 0 || q.Bytes < 0 || q.Full > Block {
			return fmt.Errorf("channel: bad queue %+v", q)
		}
		if q.Changes > 0 {
			c.queue.Changes = q.Changes
		}
		if q.Bytes > 0 {
			c.queue.Bytes = q.Bytes
		}
		c.queue.Full = q.Full
		return nil
	}
}

// SelfBroadcasts has the channel hear its own broadcasts, before the server's
// acknowledgement of them if it has that.
func SelfBroadcasts() Option {
	return func(c *config) error { c.self = true; return nil }
}

// AckBroadcasts makes Send wait for the server to accept each broadcast, for
// the timeout at most; 0 is 10 s.
func AckBroadcasts(timeout time.Duration) Option {
	return func(c *config) error {
		if timeout < 0 {
			return fmt.Errorf("channel: ack timeout %v is negative", timeout)
		}
		if c.ack = true; timeout > 0 {
			c.ackTimeout = timeout
		}
		return nil
	}
}

// ReplayBroadcasts asks for private messages from the database that were sent
// while the channel was not joined: those since a time at the first join, none
// there if it is zero, and after a loss those since some time before it (see
// WithReplayOverlap). Messages that come twice by that are delivered once. The
// server stores them for three days and gives the newest 25; Broadcast.Replay
// tells whether that was all. It needs Private.
func ReplayBroadcasts(since time.Time) Option {
	return func(c *config) error { c.replay, c.replaySince = true, since; return nil }
}

// WithReplayOverlap sets how long before a loss a replay begins. The server goes
// by the time at which the sending transaction began, so this is how long
// transactions may take whose messages are not to be missed. But messages of
// that time count among the 25: on a topic with more of them every replay is
// ReplayIncomplete. Default one minute.
func WithReplayOverlap(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return fmt.Errorf("channel: replay overlap %v is negative", d)
		}
		c.replayOverlap = d
		return nil
	}
}

// WithPresenceKey sets the key under which Presence.Track makes this channel
// present, such as a user's id. Several channels may share a key. Default: the
// server makes one up for each join.
func WithPresenceKey(key string) Option {
	return func(c *config) error {
		if !utf8.ValidString(key) {
			return fmt.Errorf("channel: presence key %q is not UTF-8", key)
		}
		c.presenceKey = key
		return nil
	}
}

// WithPresenceLimit is how many presence messages the server takes of a
// channel in a window of time before it closes the channel; 0 calls are no
// limit. Default 5 in 30 s, as every project has that nobody has changed.
func WithPresenceLimit(calls int, window time.Duration) Option {
	return func(c *config) error {
		if calls < 0 || calls > 0 && window <= 0 {
			return fmt.Errorf("channel: presence limit of %d in %v", calls, window)
		}
		c.presenceCalls, c.presenceWindow = calls, window
		return nil
	}
}

// WithLiveTimeout bounds how long a joined channel waits for the server to
// confirm its subscription before it joins anew. Default 60 s.
func WithLiveTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d <= 0 {
			return fmt.Errorf("channel: live timeout %v is not positive", d)
		}
		c.liveTimeout = d
		return nil
	}
}
