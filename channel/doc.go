// Package channel is one topic of Supabase Realtime: joining it, staying
// joined, the streams of row changes and broadcasts that it brings, and who is
// present.
//
// # States
//
//	       join asked for     reply ok      "Subscribed to PostgreSQL"
//	Idle ──────────────▶ Joining ─────▶ Joined ─────────▶ Live
//	                        ▲              │                │
//	      socket up, or the │              │ socket lost, channel closed
//	      wait is over      │              ▼ or crashed, no confirmation
//	                        └────────── Degraded ◀──────────┘
//
//	any ── Leave ──▶ Leaving ──▶ Closed ◀── refused for good, client closed ── any
//
// A join that the server accepts is not a subscription in force: between the
// two, changes are lost. Only Live is the state in which what is committed is
// delivered, and WaitLive waits for it.
//
// A channel comes back by itself from the loss of the socket, from a crash of
// its process on the server, and from being closed after an error that passes:
// an expired token is replaced, a rate limit or a database in trouble waited
// out with backoff. What does not pass ends it with a typed error: *JoinError,
// *SubscribeError, *MismatchError.
//
// # Order
//
// The changes of one subscription come in the order in which the server sent
// them, which is that of their commits, with the rows of a transaction
// together. There is one such order over all tables of a subscription, and
// none between subscriptions.
//
// # Gaps
//
// Where changes may be missing the stream has a value whose Gap is set. It
// starts with one (reason Started): from there on the stream is whole. When
// the connection is lost a gap opens at once, and a second value, with the
// same Since, closes it when the subscription is in force again; a consumer
// that keeps a copy of the table reads it anew then. If the consumer has not
// taken the first by that time it sees the second only. Changes between the
// two are real ones, delivered before the server's confirmation.
//
// # Broadcasts
//
// Send and SendBinary broadcast to the topic, Listen takes what others send. A
// broadcast is at most once: with AckBroadcasts it is known that the server has
// taken it, never who has got it, and an answer that does not come is
// ErrUnacknowledged, an unknown outcome. What is sent while the connection is
// away is inside a gap of the listener's stream. Private messages from the
// database are stored, and ReplayBroadcasts has them delivered behind a loss;
// Broadcast.Replay says whether that was all.
//
// A channel needs no subscription to send, listen or be present, and is Live as
// soon as it is joined then.
//
// # Presence
//
// Presence.Track makes a channel present under a key, with a payload that others
// see, and again after every rejoin. Presence.State is who is present,
// Presence.Changes what changes in it, starting from nobody. While the channel
// is not joined the roster is out of date, and says so.
//
// # Slow consumers
//
// Changes of presence add up: a slow consumer gets the sum, so nothing queues.
// The queue of a listener is bounded, and one that overflows has a gap. Each
// subscription has a bounded queue. A consumer that falls behind makes it
// overflow, which is a gap, or, if the subscription is to block, holds up the
// socket. See Queue.
package channel
