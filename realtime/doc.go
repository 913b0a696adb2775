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
// # Errors
//
// What passes by itself is tried again with full jitter and does not end
// anything. What does not is a typed error that ends the streams concerned: a
// *ConnectError (the address, the key or the project is wrong), a
// *channel.JoinError, a *channel.SubscribeError, a permanent error of the
// token source. IsPermanent tells a refused connection and a permanent source
// error from others. Keys and tokens are in no error and no log.
//
// # Goroutines
//
//	goroutine          started by                     ends when                             waited for by
//	supervisor, one    the first channel, or Connect  Close                                 Close
//	reader and writer  the supervisor, per socket     the socket is lost, or Close          the supervisor
//	token call         a token that is due            the source returns; its context ends  Close
//
// There is none per channel or subscription: they run on the reader's calls
// and on the consumer's own goroutine. The supervisor tends joins and tokens
// while a socket is up. The writer keeps the heartbeat, so that a consumer
// which blocks the reader does not stop it.
package realtime
