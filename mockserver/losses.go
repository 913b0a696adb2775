package mockserver

import (
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/fault"
)

// The methods that follow lose changes in the ways in which the real server
// does. Where it says that nothing tells of it, channels stay joined and no
// message is sent. All of them return at once, and what is committed after they
// have returned is lost. They are safe for concurrent use.

// DelaySlot makes the slot that the log is read with come d after the workers
// have started, which the first subscription does, and the first one after
// StopWorkers or Timing.SlotIdle. "Subscribed to PostgreSQL" does not wait for
// it. What is committed meanwhile is lost and nothing tells of it, as with a
// real server that starts while a transaction is open.
func (s *Server) DelaySlot(d time.Duration) {
	s.set(func(f *fault.InForce) { f.SlotDelay = max(d, 0) })
}

// LoseSlot drops the slot that the log is read with, and what has not been read
// yet with it. The next one is made after d and begins there; at once where d
// is 0. Nothing tells of it. A real server's slot is gone when its connection
// is, or when another server takes it over.
func (s *Server) LoseSlot(d time.Duration) { s.realtime.LoseSlot(d) }

// FailPolls makes the next n looks at the log that find something fail, as one
// does when a filter, a policy or a cast raises an error, or a column is gone:
// what they found is lost, and the slot is, until another one is made after 0.1
// to 5 s (1 to 50 times Timing.Poll). Nothing tells of it. A negative n is until
// further notice, which is n = 0.
func (s *Server) FailPolls(n int) { s.set(func(f *fault.InForce) { f.Polls = fault.Budget(n) }) }

// TimeOutPolls makes the next n polls that find something take longer than the
// server waits for one, which is 15 s: nothing is delivered meanwhile, and then what
// they found is lost, and the slot with all that was committed since, until another
// one is made as behind FailPolls. A real server does so when one transaction has
// tens of thousands of changes. Nothing tells of it. A negative n is until further
// notice, which is n = 0.
func (s *Server) TimeOutPolls(n int) { s.set(func(f *fault.InForce) { f.SlowPolls = fault.Budget(n) }) }

// RestartDatabase has the database away for d. The slot is lost; the server
// tries to make another one after growing pauses of 0.1 to 5 s, and after the
// sixth attempt that failed it does what StopWorkers does, so that a long
// absence is never made up for. Nothing tells of it.
//
// Meanwhile the REST API answers 503, joins are refused as
// UnableToConnectToProject, private channels are closed when another token
// comes, and subscriptions fail and are tried again after Timing.RetryMin to
// RetryMax. The first join of a private channel and the first subscription
// within that time, and a second behind it, fail as TerminateConnections says.
// The methods of Server that write continue as if they had been called before.
func (s *Server) RestartDatabase(d time.Duration) { s.realtime.RestartDatabase(d) }

// TerminateConnections terminates the server's connections to the database, as
// pg_terminate_backend does. The database stays up. The slot is lost and made
// anew at once.
//
// A query on a terminated connection fails, and the server does not say so: the
// next n joins of private channels are refused as "Unauthorized: You do not have
// permissions to read from this Channel topic: …", as if a policy had refused
// them, and another token closes a private channel with these words. The next n
// subscriptions to changes fail with "Unable to subscribe to changes with given
// parameters. An exception happened …: FATAL 57P01 …", which the server does
// not try again by itself. After that everything works again. A negative n is
// until further notice, which is n = 0.
func (s *Server) TerminateConnections(n int) { s.realtime.TerminateConnections(n) }

// ExhaustConnections has the database without a connection for anybody new for
// d, as when other clients have taken them all, and takes its own from the
// server. The slot is lost, and another one cannot be made, which goes on as with
// RestartDatabase, and so do the REST API, joins (DatabaseLackOfConnections) and
// subscriptions. On PostgreSQL all connections are really taken, those for
// superusers too: whoever has one keeps it, and nobody else gets one. 0 ends it.
func (s *Server) ExhaustConnections(d time.Duration) { s.realtime.ExhaustConnections(d) }

// StopWorkers ends the workers that read the log, as when they crash or are
// moved to another region. Nobody hears of any change any more and nothing tells
// of it, until somebody subscribes: a join, another token, or another attempt of
// a subscription that failed. The workers then start anew, as with
// RestartWorkers.
func (s *Server) StopWorkers() { s.realtime.StopWorkers() }

// RestartWorkers starts the workers anew, which deletes all subscriptions:
// channels stay joined and hear of no change any more until they join again or
// send another token. Nothing tells of it.
func (s *Server) RestartWorkers() { s.realtime.RestartWorkers() }

// ExceedRate discards row changes for d, and for 5 s (Timing.RateTick) at
// least, as the server does that sends more events per second than the project
// may have. Nothing tells of it. See Limits.EventsPerSecond, too.
func (s *Server) ExceedRate(d time.Duration) { s.realtime.ExceedRate(d) }

// LimitBacklog kills sockets, without a close frame, for which more bytes wait
// than that, as the real server does with those that are read too slowly; 0:
// 50 MB, which is the real server's.
func (s *Server) LimitBacklog(bytes int) { s.set(func(f *fault.InForce) { f.Backlog = max(bytes, 0) }) }

// ExpireTokens closes every channel as if its token had expired at this moment,
// the system message "Token has expired 0 seconds ago" first. The sockets stay.
// The tokens themselves are as good as before.
func (s *Server) ExpireTokens() { s.CloseChannels(fault.TokenExpiredNow) }

// RefuseTokens closes the next n channels that are sent another token, with the
// message, which says why, before that. A negative n is until further notice,
// which is n = 0.
func (s *Server) RefuseTokens(message string, n int) {
	s.set(func(f *fault.InForce) { f.Tokens = fault.Reasons{Budget: fault.Budget(n), Text: message} })
}

// Resubscribe does what the server does when the tables of the publication
// have changed: it deletes all subscriptions, and makes them anew after
// Timing.ResubscribeMin to ResubscribeMax, which it tells each channel by
// another "Subscribed to PostgreSQL". What is committed between the two is
// never delivered, and nothing else tells of it.
//
// When the server notices by itself that the publication has changed, it makes
// them anew at once, for all channels.
func (s *Server) Resubscribe() { s.realtime.Resubscribe() }

// Publish adds a table to the publication, or removes it. Changes of a table
// that is not in the publication are not delivered, but a binding on a whole
// schema gets those of a table that was added only after the server has
// noticed, which it does within Timing.Publication. It then does what
// Resubscribe does, at once; a channel one of whose bindings has no table any more gets
// an error instead, and no changes until it joins again. The error says that
// there is no such table.
func (s *Server) Publish(table string, on bool) error { return s.db.Publish(table, on) }
