package realtime

import "time"

// Timing is how long the Realtime server takes for what it does. A field that
// is zero is the time of the real server, which its comment states; a negative
// one is no time at all, or never for the two timeouts.
type Timing struct {
	// Poll is the pause between two looks at the log while changes come that
	// nobody is subscribed to, with up to the same again at random; 100 ms.
	// Behind changes that were delivered the next look follows at once.
	Poll time.Duration
	// PollIdle is the pause when there was no change at all; 500 ms. A lone
	// change waits up to that long.
	PollIdle time.Duration

	// PollTimeout is how long the server waits for a look at the log, see
	// Server.TimeOutPolls; 15 s.
	PollTimeout time.Duration

	// RefuseDelay is how long a refused upgrade waits for its answer; 2 s.
	RefuseDelay time.Duration
	// JoinErrorDelay is how long a refused join waits for its answer, and all
	// else on its socket with it; 5 s.
	JoinErrorDelay time.Duration

	// Subscribed is the time between the reply to a join and the message
	// "Subscribed to PostgreSQL", before which no change is delivered; less than a
	// millisecond. 1 to 9 s is what a server takes that was idle.
	Subscribed time.Duration
	// ResubscribeMin and ResubscribeMax bound the random time from an
	// access_token to the subscriptions with its claims; 1 s and 3 s.
	ResubscribeMin, ResubscribeMax time.Duration
	// RetryMin and RetryMax bound the random time after which a subscription
	// that the database failed is tried again; 5 s and 10 s.
	RetryMin, RetryMax time.Duration

	// RateTick is how often the server looks at its rates of events, whose limits
	// hold until the next time; 5 s.
	RateTick time.Duration

	// IdleTimeout closes a socket, with code 1000, that has sent nothing for so
	// long; 60 s.
	IdleTimeout time.Duration
	// Sweep is how often sockets are killed, without a close frame, that had a
	// channel and have none; 10 min.
	Sweep time.Duration
	// Publication is how often the server looks whether the tables of the
	// publication have changed; 60 s. See Server.Publish.
	Publication time.Duration
	// SlotIdle is how long the server goes on to read the log without
	// subscribers; 10 min. A replication slot is opened for the first one after
	// that.
	SlotIdle time.Duration

	atOnce bool // a look at the log of PostgreSQL follows a commit at once
}

// Fast returns the timing for tests that run in real time: nothing waits for
// longer than a few milliseconds, and on PostgreSQL a look at the log follows a
// commit at once. Only the timeouts are the real ones.
func Fast() Timing {
	return Timing{
		Poll: time.Millisecond, PollIdle: 2 * time.Millisecond, PollTimeout: 15 * time.Millisecond,
		RefuseDelay: time.Millisecond, JoinErrorDelay: time.Millisecond,
		ResubscribeMin: time.Millisecond, ResubscribeMax: 3 * time.Millisecond,
		RetryMin: 5 * time.Millisecond, RetryMax: 10 * time.Millisecond,
		RateTick: 20 * time.Millisecond, Publication: 10 * time.Millisecond, atOnce: true,
	}
}

// leastPoll keeps the poller from taking a whole processor.
const leastPoll = 100 * time.Microsecond

// withDefaults fills in the real server's times.
func (t Timing) withDefaults() Timing {
	for _, f := range []struct {
		field *time.Duration
		real  time.Duration
	}{
		{&t.Poll, 100 * time.Millisecond},
		{&t.PollIdle, 500 * time.Millisecond},
		{&t.PollTimeout, 15 * time.Second},
		{&t.RefuseDelay, 2 * time.Second},
		{&t.JoinErrorDelay, 5 * time.Second},
		{&t.ResubscribeMin, time.Second},
		{&t.ResubscribeMax, 3 * time.Second},
		{&t.RetryMin, 5 * time.Second},
		{&t.RetryMax, 10 * time.Second},
		{&t.RateTick, 5 * time.Second},
		{&t.Publication, time.Minute},
		{&t.SlotIdle, 10 * time.Minute},
	} {
		if *f.field == 0 {
			*f.field = f.real
		}
		*f.field = max(*f.field, 0)
	}
	t.RateTick = max(t.RateTick, time.Millisecond)
	t.Poll, t.PollIdle = max(t.Poll, leastPoll), max(t.PollIdle, leastPoll)
	if t.IdleTimeout == 0 {
		t.IdleTimeout = time.Minute
	}
	if t.Sweep == 0 {
		t.Sweep = 10 * time.Minute
	}
	return t
}
