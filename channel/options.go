package channel

import (
	"fmt"
	"time"
)

// Option is a choice about a channel.
type Option func(*config) error

type config struct {
	private     bool
	queue       Queue
	liveTimeout time.Duration
	backoffMin  time.Duration
	backoffMax  time.Duration
}

func defaults() config {
	return config{
		queue:       Queue{Changes: 8192, Bytes: 64 << 20},
		liveTimeout: 60 * time.Second, // a cold project takes up to 9 s, its own retries 10 s each
		backoffMin:  time.Second,
		backoffMax:  60 * time.Second, // the window of the server's rate limits
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
// subscription.
type Queue struct {
	Changes int  // at most so many changes; default 8192
	Bytes   int  // holding at most so many bytes of rows, a single larger change excepted; default 64 MiB
	Full    Full // default Overflow
}

// WithQueue bounds the queue of each of the channel's subscriptions. Zero
// fields keep their defaults.
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
