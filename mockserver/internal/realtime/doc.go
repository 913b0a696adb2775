// Package realtime is the Realtime server of a project: sockets, the channels
// that they join, what is broadcast and who is present in these, and the poller,
// which reads the database's log and sends what subscriptions ask for.
//
//	conn, mailbox            a socket, and what it has still to do, in order
//	join, topic, rights      a channel, and what its token allows
//	subscription             what a channel hears of changes
//	poller, poll, line       the log, and the way of its changes to the channels
//	broadcast, replay        messages, live and stored; broadcastrest: over HTTP
//	presence                 who is there
//	limits, rate, termsize   how much of it all there may be
//	timing                   how long it takes
//	faults                   what is done to sockets, channels and workers from outside
package realtime
