package mockserver

import (
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/internal/phoenix"
)

// faults is what is to go wrong. Methods of Server set it, and the socket half
// asks it at the places where things may go wrong.
type faults struct {
	mu            sync.Mutex
	upgrades      budget
	upgrade       refusal
	joins         budget
	joinReason    string
	ignored       budget
	delay         time.Duration
	subscribed    time.Duration
	subscriptions budget
	message       string
	dropped       budget
	muted         bool
	down          time.Time // until when the database is
}

// budget is how often a fault is still to happen; negative: always.
type budget int

func (b *budget) take() bool {
	if *b > 0 {
		*b--
		return true
	}
	return *b < 0
}

func (f *faults) set(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *faults) refusedUpgrade() *refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.upgrades.take() {
		return nil
	}
	no := f.upgrade
	return &no
}

func (f *faults) refusedJoin() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.joins.take() {
		return ""
	}
	return f.joinReason
}

func (f *faults) failedSubscription() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.subscriptions.take() {
		return ""
	}
	return f.message
}

func (f *faults) joinIgnored() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ignored.take()
}

func (f *faults) changeDropped() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dropped.take()
}

func (f *faults) joinDelay() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.delay
}

func (f *faults) subscribedDelay() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.subscribed
}

func (f *faults) heartbeatsMuted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.muted
}

// databaseDown returns for how much longer the database does not answer.
func (f *faults) databaseDown() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(time.Until(f.down), 0)
}

// The methods that follow make Realtime fail as it does in practice. All of
// them return at once and are safe for concurrent use.

// Sockets returns how many sockets are open.
func (s *Server) Sockets() int { return len(s.realtime.sockets()) }

// KillSockets ends every socket without a close frame, as a crash, a network
// failure, or the server's limit on memory does.
func (s *Server) KillSockets() {
	for _, c := range s.realtime.sockets() {
		c.kill()
	}
}

// CloseSockets closes every socket with the code, behind all that waits to be
// sent to it. A code that no close frame may have becomes 1011.
func (s *Server) CloseSockets(code int) {
	for _, c := range s.realtime.sockets() {
		c.post(0, func() { c.close(websocket.StatusCode(code)) })
	}
}

// Drain does what a server does before it stops, and when a project's settings
// change: it sends the system message "Server requested disconnect" on every
// channel, with null refs, and closes every socket with code 1012.
func (s *Server) Drain() {
	payload := mustJSON(phoenix.System{
		Extension: phoenix.ExtensionSystem, Status: phoenix.StatusOK, Message: "Server requested disconnect",
	})
	s.realtime.onSockets(func(c *conn) {
		for _, ch := range c.channels {
			c.send(phoenix.Message{Topic: ch.topic, Event: phoenix.EventSystem, Payload: payload})
		}
		c.close(websocket.StatusServiceRestart)
	})
}

// MuteHeartbeats leaves heartbeats unanswered, as a connection does that is
// dead in one direction.
func (s *Server) MuteHeartbeats(on bool) {
	f := &s.realtime.faults
	f.set(func() { f.muted = on })
}

// RefuseUpgrades answers the next n upgrades with the status and the text as
// JSON, {"error":text}, after Timing.RefuseDelay; with no body if text is
// empty. The real server does so with 401, 403, 404, 429 and 500. A negative n
// is until further notice, which is n = 0.
func (s *Server) RefuseUpgrades(status int, text string, n int) {
	f := &s.realtime.faults
	f.set(func() { f.upgrades, f.upgrade = budget(n), refusal{status: status, text: text} })
}

// RefuseJoins refuses the next n joins for the reason, after
// Timing.JoinErrorDelay. The server's reasons have the form "Code: text", such
// as "ChannelRateLimitReached: Too many channels". It closes the socket with
// code 1001 behind one that begins with "ClientJoinRateLimitReached:" or
// "TenantNotFound:", and so does this one. A negative n is until further
// notice, which is n = 0.
func (s *Server) RefuseJoins(reason string, n int) {
	f := &s.realtime.faults
	f.set(func() { f.joins, f.joinReason = budget(n), reason })
}

// IgnoreJoins never answers the next n joins. The socket goes on as if they had
// not come. A negative n is until further notice, which is n = 0.
func (s *Server) IgnoreJoins(n int) {
	f := &s.realtime.faults
	f.set(func() { f.ignored = budget(n) })
}

// DelayJoins makes every join take d longer. As with a slow database, all else
// on the socket waits for it: heartbeats, other joins, and what is to be sent.
func (s *Server) DelayJoins(d time.Duration) {
	f := &s.realtime.faults
	f.set(func() { f.delay = d })
}

// DelaySubscribed makes "Subscribed to PostgreSQL" come d later after the reply
// to a join, as with a server that has been idle. Changes polled before that
// are not delivered.
func (s *Server) DelaySubscribed(d time.Duration) {
	f := &s.realtime.faults
	f.set(func() { f.subscribed = d })
}

// FailSubscriptions answers the next n attempts to subscribe to changes with
// the system message that the extension postgres_changes failed. The channel
// stays joined. The server tries again after Timing.RetryMin to RetryMax,
// unless the message is one of those about the parameters of the client:
// "Unable to subscribe to changes …", "Error parsing …", "No subscription
// params …", "Column selection …". A negative n is until further notice, which
// is n = 0.
func (s *Server) FailSubscriptions(message string, n int) {
	f := &s.realtime.faults
	f.set(func() { f.subscriptions, f.message = budget(n), message })
}

// Resubscribe does what the server does when the tables of the publication
// have changed: it deletes all subscriptions, and makes them anew after
// Timing.ResubscribeMin to ResubscribeMax, which it tells each channel by
// another "Subscribed to PostgreSQL". What is committed between the two is
// never delivered, and nothing else tells of it.
func (s *Server) Resubscribe() { s.realtime.resubscribe() }

// Publish adds a table to the publication, or removes it. Changes of a table
// that is not in the publication are not delivered, but a binding on a whole
// schema gets those of a table that was added only after the server has
// noticed, which it does within Timing.Publication. It then does what
// Resubscribe does; a channel one of whose bindings has no table any more gets
// an error instead, and no changes until it joins again. The error says that
// there is no such table.
func (s *Server) Publish(table string, on bool) error {
	t, err := s.db.lookup(table)
	if err != nil {
		return err
	}
	s.db.setPublished(t, on)
	s.realtime.mu.Lock()
	defer s.realtime.mu.Unlock()
	s.realtime.republished = true
	return nil
}

// CloseChannels closes every channel, with a system message that says why. The
// sockets stay.
func (s *Server) CloseChannels(message string) {
	s.realtime.onSockets(func(c *conn) {
		for _, ch := range c.channels {
			ch.shutdown(message)
		}
	})
}

// CrashChannels ends every channel with phx_error, as a crash of its process
// does. The sockets stay.
func (s *Server) CrashChannels() {
	s.realtime.onSockets(func(c *conn) {
		for _, ch := range c.channels {
			ch.crash()
		}
	})
}

// DropChanges loses the next n row changes that would be looked at, whoever
// subscribes to them, without a sign. So does a real server that lost its
// replication slot, or is over its limit of events. A negative n is until
// further notice, which is n = 0.
func (s *Server) DropChanges(n int) {
	f := &s.realtime.faults
	f.set(func() { f.dropped = budget(n) })
}

// SendRaw sends a message of any bytes to every socket.
func (s *Server) SendRaw(binary bool, frame []byte) {
	for _, c := range s.realtime.sockets() {
		c.pushFrame(frame, binary)
	}
}

// onSockets runs do on the process of each socket.
func (rt *realtime) onSockets(do func(c *conn)) {
	for _, c := range rt.sockets() {
		c.post(0, func() { do(c) })
	}
}

// resubscribe deletes all subscriptions and has their channels subscribe again
// after a while.
func (rt *realtime) resubscribe() {
	d := rt.between(rt.timing.ResubscribeMin, rt.timing.ResubscribeMax)
	for _, ch := range rt.unsubscribeAll() {
		ch.conn.post(0, func() {
			if !ch.ended {
				ch.loseUntil(d)
			}
		})
	}
}

// publicationChanged reports, once in a while, whether the publication has
// changed since it was asked last.
func (rt *realtime) publicationChanged() bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if time.Since(rt.checked) < rt.timing.Publication {
		return false
	}
	changed := rt.republished
	rt.checked, rt.republished = time.Now(), false
	return changed
}

// unsubscribeAll deletes all subscriptions and returns the channels that had
// some.
func (rt *realtime) unsubscribeAll() (channels []*channel) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	seen := map[*channel]bool{}
	for _, subs := range rt.subs {
		for _, s := range subs {
			if !seen[s.ch] {
				seen[s.ch] = true
				channels = append(channels, s.ch)
			}
		}
	}
	clear(rt.subs)
	rt.asleep = time.Now()
	return channels
}

// loseUntil subscribes after d, to changes that are committed after that.
func (ch *channel) loseUntil(d time.Duration) {
	ch.subscribeIn(max(d, 1))
	ch.lossy = true
}
