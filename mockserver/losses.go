package mockserver

import (
	"context"
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
	f := &s.realtime.faults
	f.set(func() { f.slotDelay = max(d, 0) })
}

// LoseSlot drops the slot that the log is read with, and what has not been read
// yet with it. The next one is made after d and begins there; at once where d
// is 0. Nothing tells of it. A real server's slot is gone when its connection
// is, or when another server takes it over.
func (s *Server) LoseSlot(d time.Duration) { s.realtime.loseSlot(d) }

// FailPolls makes the next n looks at the log that find something fail, as one
// does when a filter, a policy or a cast raises an error, or a column is gone:
// what they found is lost, and the slot is, until another one is made after 0.1
// to 5 s (1 to 50 times Timing.Poll). Nothing tells of it. A negative n is until
// further notice, which is n = 0.
func (s *Server) FailPolls(n int) {
	f := &s.realtime.faults
	f.set(func() { f.polls = fault.Budget(n) })
}

// TimeOutPolls makes the next n polls that find something take longer than the
// server waits for one, which is 15 s: nothing is delivered meanwhile, and then what
// they found is lost, and the slot with all that was committed since, until another
// one is made as behind FailPolls. A real server does so when one transaction has
// tens of thousands of changes. Nothing tells of it. A negative n is until further
// notice, which is n = 0.
func (s *Server) TimeOutPolls(n int) {
	f := &s.realtime.faults
	f.set(func() { f.slowPolls = fault.Budget(n) })
}

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
func (s *Server) RestartDatabase(d time.Duration) {
	f := &s.realtime.faults
	f.set(func() {
		f.down = time.Now().Add(d)
		f.terminated = terminated{}
		if d > 0 {
			f.terminated.set(1, f.down.Add(time.Second))
		}
	})
	s.realtime.loseSlot(0)
}

// ExhaustConnections has the database without a connection for anybody new for
// d, as when other clients have taken them all, and takes its own from the
// server. The slot is lost, and another one cannot be made, which goes on as with
// RestartDatabase, and so do the REST API, joins (DatabaseLackOfConnections) and
// subscriptions. On PostgreSQL all connections are really taken, those for
// superusers too: whoever has one keeps it, and nobody else gets one. 0 ends it.
func (s *Server) ExhaustConnections(d time.Duration) {
	rt := s.realtime
	rt.faults.set(func() { rt.faults.full = time.Now().Add(d) })
	rt.freeConnections()
	if d > 0 {
		rt.takeConnections(d)
	}
	rt.loseSlot(0)
}

// takeConnections takes the connections of the database for a while.
func (rt *realtime) takeConnections(d time.Duration) {
	if !rt.enter() {
		return
	}
	ctx, free := context.WithTimeout(rt.ctx, d)
	rt.mu.Lock()
	rt.free = free
	rt.mu.Unlock()
	go func() { // ends with ctx
		defer rt.wg.Done()
		defer free()
		if err := rt.db.Exhaust(ctx); err != nil {
			rt.log.Warn("the connections of the database cannot be taken", "error", err)
		}
	}()
}

// freeConnections ends takeConnections.
func (rt *realtime) freeConnections() {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.free != nil {
		rt.free()
		rt.free = nil
	}
}

// StopWorkers ends the workers that read the log, as when they crash or are
// moved to another region. Nobody hears of any change any more and nothing tells
// of it, until somebody subscribes: a join, another token, or another attempt of
// a subscription that failed. The workers then start anew, as with
// RestartWorkers.
func (s *Server) StopWorkers() {
	rt := s.realtime
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.stopPoller()
}

// RestartWorkers starts the workers anew, which deletes all subscriptions:
// channels stay joined and hear of no change any more until they join again or
// send another token. Nothing tells of it.
func (s *Server) RestartWorkers() {
	rt := s.realtime
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.stopPoller()
	if !rt.closed {
		rt.asleep = time.Now()
		rt.startPoller()
	}
}

// ExceedRate discards row changes for d, and for 5 s (Timing.RateTick) at
// least, as the server does that sends more events per second than the project
// may have. Nothing tells of it. See Limits.EventsPerSecond, too.
func (s *Server) ExceedRate(d time.Duration) {
	f := &s.realtime.faults
	f.set(func() { f.over = time.Now().Add(max(d, s.realtime.timing.RateTick)) })
}

// LimitBacklog kills sockets, without a close frame, for which more bytes wait
// than that, as the real server does with those that are read too slowly; 0:
// 50 MB, which is the real server's.
func (s *Server) LimitBacklog(bytes int) {
	f := &s.realtime.faults
	f.set(func() { f.backlog = max(bytes, 0) })
}

// ExpireTokens closes every channel as if its token had expired at this moment,
// the system message "Token has expired 0 seconds ago" first. The sockets stay.
// The tokens themselves are as good as before.
func (s *Server) ExpireTokens() { s.CloseChannels(tokenExpiredNow) }

// RefuseTokens closes the next n channels that are sent another token, with the
// message, which says why, before that. A negative n is until further notice,
// which is n = 0.
func (s *Server) RefuseTokens(message string, n int) {
	f := &s.realtime.faults
	f.set(func() { f.tokens, f.tokenMessage = fault.Budget(n), message })
}
