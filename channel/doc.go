// Package channel is one topic of Supabase Realtime: joining it, staying
// joined, the streams of row changes, broadcasts and presence that it brings.
//
// # States
//
//	       first use          reply ok      "Subscribed to PostgreSQL"
//	Idle ──────────────▶ Joining ─────▶ Joined ─────────▶ Live
//	                        ▲              │                │
//	   the socket is up, or │              │ socket lost, channel closed
//	   the wait has passed  │              ▼ or crashed, no confirmation
//	                        └────────── Degraded ◀──────────┘
//
//	any state ── Leave ──▶ Leaving ──▶ Closed ◀── refused for good, client closed ── any state
//
// A join that the server accepts is not a subscription in force: between the
// two, changes are lost. Only Live is the state in which what is committed is
// delivered, and WaitLive waits for it.
//
// A channel comes back by itself from the loss of the socket, from a crash of
// its process on the server, and from being closed after an error that passes:
// it replaces an expired token, and waits with backoff while a rate limit holds
// or the database is in trouble. A refusal that looks permanent ends the channel
// with a typed error, *JoinError or *SubscribeError, if the topic has never
// worked, or if the server repeats the refusal for minutes: a database that
// restarts makes it refuse, too. Until then Status has the reason, and the hook
// Refused is called. A reply that contradicts the join, *MismatchError, ends the
// channel at once.
//
// All of that is one pure function, machine.next, of the present state and what
// happened; it also decides which streams lose something. Channel.apply carries
// out what follows. testdata/moves.txt lists every move.
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
// taken the first by that time it gets the second only. Changes between the
// two are real ones, delivered before the server's confirmation.
//
// Since is the last moment at which the stream was surely whole. After this
// process was stopped, or held up, that is before the pause, although what
// arrived in it is read later.
//
// Broadcasts and presence have the same gaps: one that begins with the end of a
// join begins for all three, and ends for each when that stream is whole again.
// A message that cannot be read is one in each stream that it may have been for:
// over at once, or, in that of presence, with the next state from the server. One
// about the join itself may have been its end: the channel joins anew.
//
// # Broadcasts
//
// Send and SendBinary broadcast to the topic, Listen receives what others send. A
// broadcast is at most once: with AckBroadcasts it is known that the server has
// taken it, never who has received it, and an answer that does not come is
// ErrUnacknowledged, an unknown outcome. What is sent while the connection is
// away is inside a gap of the listener's stream. Private messages from the
// database are stored, and ReplayBroadcasts requests them after a loss;
// Broadcast.Replay reports whether that was all.
//
// A channel needs no subscription to send, listen or be present, and is Live as
// soon as it is joined then.
//
// # Presence
//
// Presence.Track makes a channel present under a key, with a payload that others
// see, and again after every rejoin. Presence.State returns who is present, and
// Presence.Changes what changes in it, starting from nobody. While the channel
// is not joined the roster is out of date, and both report that.
//
// # Slow consumers
//
// Each subscription and each listener has a bounded queue. A consumer that falls
// behind makes it overflow, which is a gap, or, if the subscription is to block,
// holds up the socket; see Queue. The hook Gap is called once when an overflow
// begins and once when it is over, then with the number of values lost. Changes
// of presence add up: a slow consumer gets the sum, so nothing queues.
//
// # Bounds
//
// The work for a message of the server is linear in its bytes, whatever they
// are, and so is the memory: at most about 400 bytes for a byte while a message
// is decoded (presence that consists of tiny entries), and about 20 for a byte
// that is kept. Messages are decoded without locks, so Status, Send and
// Presence.State do not wait for one, however large it is. Nothing that a server
// sends piles up: queues are bounded by Queue, presence by who is present,
// diffs that come before their state by 10,000 metas, remembered ids by 1,024,
// and the server's text in an error by 4 KiB.
//
// A panic in this package, or in a hook that it runs, makes the channel join
// anew, with that error as the reason. No other channel is affected.
package channel
