// Package realtime connects to Supabase Realtime and keeps connected.
//
// A Client has one websocket, which it opens when a channel needs it and opens
// again, for ever, whenever it is lost. Channels (package channel) join topics
// over it and deliver row changes (package cdc) in order, with a gap in the
// stream wherever some may have been lost:
//
//	client, err := realtime.New(realtime.Options{URL: url, Key: key})
//	if err != nil { … }
//	defer client.Close(context.Background())
//	room, err := client.Channel("room:1", channel.Private())
//	if err != nil { … }
//	sub, err := room.Subscribe(channel.Binding{Table: "orders"})
//	if err != nil { … }
//	for change, err := range sub.Changes(ctx) { … }
//
// # What is promised
//
// Realtime delivers at most once and replays no change: what is committed while
// nobody listens is not delivered. This package does not change that. It
// promises that a stream is in order, that its values are exact, and that it
// is never silently incomplete where a client can know: every loss of the
// socket, every end of a channel, every renewal of the server's subscriptions,
// every overflow of a queue and every unreadable frame is a cdc.Gap at its
// place in the stream. What the server loses without a sign (a replication
// slot that died, a rate limit on changes, a row hidden by a policy at the
// moment it was looked at) no stream can show.
//
// # Broadcasts and presence
//
// Channels send and receive broadcasts, and tell who is present: see package
// channel. Client.Broadcast sends over HTTP, from a program that has joined
// nothing.
//
// # Tokens
//
// With Options.Token the client acts for a signed-in user. It calls the source
// one call at a time, ahead of the token's expiry (five minutes, or the last
// fifth of a short life), pushes the fresh token to every joined channel, uses
// it for every later join, and never joins with one that has expired. A token
// that the server refuses is replaced by another call of the source.
//
// # Since when a stream is not whole
//
// Since of a gap is the last moment, by this machine's clock, at which the
// stream was surely whole. It follows from when the server must have sent
// something, not from when this program read it: a read that waited proves that
// everything that had come when it began has been received, the answer to a
// heartbeat that everything has that was sent before it. Bytes that were in a
// buffer prove nothing, so a process that was stopped, a machine that slept and
// a reader that a subscription blocked make Since earlier and never too late. In
// a quiet stream it is up to a heartbeat earlier than the loss. What was under
// way in the network, or not yet read from the database's log, when the
// connection broke is not known here: allow for seconds where that matters.
//
// # Errors
//
// What passes by itself is tried again with full jitter and does not end
// anything. So is what had worked before, even if the server calls it forbidden
// or not found: gateways and projects that restart say so, too. It is final when
// it has never worked, has persisted for minutes, or with Options.FailFast; see
// there. Meanwhile Hooks.Failed and Hooks.Refused, the Logger, channel.Status
// and the errors of Connect and WaitLive show it. What is final is a typed error
// that ends the streams concerned: a *ConnectError (the address, the key or the
// project is wrong), a *channel.JoinError, a *channel.SubscribeError, a permanent
// error of the token source. IsPermanent tells a connection and a token source
// that have been given up from what is tried again. Keys and tokens are in no
// error and no log; what a server says is clipped, and on one line.
//
// # What waits, and how long
//
// A server that is silent is noticed within Options.Heartbeat and
// HeartbeatTimeout of time in which this process ran and read; one that answers
// neither a join nor the heartbeat that is sent behind it within JoinTimeout. A
// join without an answer holds up other channels for no more than 8 s, or half
// the JoinTimeout, unless the server works on it, as it then answers nothing. Dials
// end after ConnectTimeout, calls of a token source after 30 s. Close returns when
// its context ends.
//
// A frame costs memory of at most about four times its length, and no frame is
// longer than Options.ReadLimit; CPU is in proportion to its length. At most
// SendBuffer messages wait to be written, 1,024 events for the hooks and the
// logger, and of a subscription what channel.Queue says.
//
// # Goroutines
//
//	goroutine          started by                     ends when                             waited for by
//	supervisor, one    the first channel, or Connect  Close                                 Close
//	reader and writer  the supervisor, per socket     the socket is lost, or Close          the supervisor
//	token call         a token that is due            the source returns; its context ends  Close
//	events, one        an event for hooks or logger   all have been given to them           Close, but for a hook that runs
//	finish             Close                          the others have ended                 Close
//
// There is none per channel or subscription: they run on the reader's calls
// and on the consumer's own goroutine. The supervisor tends joins and tokens
// while a socket is up. The writer keeps the heartbeat, so that a consumer
// which blocks the reader does not stop it. A panic of any of them, or of user
// code that they call, is a [PanicError]: it ends the socket, the attempt or the
// call, and not the process.
package realtime
