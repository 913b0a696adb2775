package mockserver

import (
	"cmp"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver/internal/fault"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
)

// faults is what is to go wrong. Methods of Server set it, and the socket half
// asks it at the places where things may go wrong.
type faults struct {
	mu sync.Mutex
	faultState
}

// faultState is what Server.Heal takes back.
type faultState struct {
	upgrades      fault.Budget
	upgrade       refusal
	joins         fault.Budget
	joinReason    string
	ignored       fault.Budget
	delay         time.Duration // of joins
	refusal       time.Duration // how long a refused join takes; 0: as configured
	subscribed    time.Duration
	silent        fault.Budget // subscriptions of which the client is not told
	subscriptions fault.Budget
	message       string
	tokens        fault.Budget
	tokenMessage  string
	muted         bool
	backlog       int // 0: the real server's

	terminated terminated

	down     time.Time // until when the database is
	full     time.Time // until when the database has no connection left
	draining time.Time // until when the server is
	crowded  time.Time // until when there are too many joins
	over     time.Time // until when there are too many changes

	slotDelay time.Duration
	polls     fault.Budget // that fail
	slowPolls fault.Budget // that take longer than the server waits for
	dropped   tableBudget
	truncated tableBudget
	doubled   tableBudget
	reordered fault.Budget
	lag       time.Duration
}

// tableBudget is a budget for changes of one table, or of any.
type tableBudget struct {
	fault.Budget
	table string // with its schema; empty: any
}

func (b *tableBudget) takeOf(table string) bool {
	return (b.table == "" || b.table == table) && b.Take()
}

func (f *faults) set(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *faults) refusedUpgrade() *refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.upgrades.Take() {
		return nil
	}
	no := f.upgrade
	return &no
}

func (f *faults) refusedJoin() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.joins.Take() {
		return ""
	}
	return f.joinReason
}

func (f *faults) failedSubscription() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.subscriptions.Take() {
		return ""
	}
	return f.message
}

func (f *faults) joinIgnored() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ignored.Take()
}

func (f *faults) joinDelay() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.delay
}

func (f *faults) refusalDelay(usual time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return cmp.Or(f.refusal, usual)
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

// until returns how long it is until a time of the state, or 0 if it has
// passed.
func (f *faults) until(at *time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(time.Until(*at), 0)
}

// outage is why the database does not answer, in the words of the server.
type outage struct {
	join string // why a join is refused
	rest string // the details of the REST API's error
}

// outage returns why the database does not answer; nil: it does.
func (f *faults) outage() *outage {
	switch {
	case f.until(&f.down) > 0:
		return &outage{"UnableToConnectToProject: " + noDatabase, "connection to server failed: Connection refused"}
	case f.until(&f.full) > 0:
		return &outage{"DatabaseLackOfConnections: Database can't accept more connections, Realtime won't connect",
			"connection to server failed: FATAL:  sorry, too many clients already"}
	}
	return nil
}

// whyAway returns why the database does not answer, for the REST API.
func (rt *realtime) whyAway() string {
	if out := rt.faults.outage(); out != nil {
		return out.rest
	}
	return ""
}

func (f *faults) restarting() bool { return f.until(&f.draining) > 0 }

func (f *faults) joinsExceeded() bool { return f.until(&f.crowded) > 0 }

func (f *faults) subscribedSilently() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.silent.Take()
}

func (f *faults) refusedToken() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.tokens.Take() {
		return ""
	}
	return f.tokenMessage
}

func (f *faults) maxBacklog() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return cmp.Or(f.backlog, maxBacklog)
}

// The methods that follow make Realtime fail as it does in practice. All of
// them return at once and are safe for concurrent use.

// Heal ends every fault that is in force, with those of the REST API, hidden
// rows (HideRows) and commits (HideCommits). What has happened stays: what was
// lost is lost, sockets and channels that were ended do not come back, and a
// channel that was left deaf stays so until it joins again. But a slot that was
// still to come is made at once. Changes and requests
// that are held up come when they were to.
func (s *Server) Heal() {
	s.realtime.tap.note(0, "fault", "heal")
	s.realtime.faults.set(func() { s.realtime.faults.faultState = faultState{} })
	s.realtime.freeConnections()
	s.realtime.mend()
	s.FaultREST()
	s.LimitRows(0)
	s.db.Heal()
}

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
	payload := rawjson.Must(phoenix.System{
		Extension: phoenix.ExtensionSystem, Status: phoenix.StatusOK, Message: "Server requested disconnect",
	})
	s.realtime.onSockets(func(c *conn) {
		for _, ch := range c.channels {
			c.send(phoenix.Message{Topic: ch.topic, Event: phoenix.EventSystem, Payload: payload})
		}
		c.close(websocket.StatusServiceRestart)
	})
}

// Restart drains the server, as Drain does, and has it away for d: meanwhile
// upgrades are refused with 503, and joins of sockets that are still there as
// RealtimeRestarting. Nothing is kept: the log is read again from the first
// subscription on that comes after that.
func (s *Server) Restart(d time.Duration) {
	rt := s.realtime
	rt.faults.set(func() { rt.faults.draining = time.Now().Add(d) })
	s.StopWorkers()
	rt.unsubscribeAll()
	s.Drain()
}

// BlockSockets holds up every socket that is open for d: it neither reads,
// answers nor sends, as while a join takes long or fails. What comes meanwhile
// waits, in order.
func (s *Server) BlockSockets(d time.Duration) {
	for _, c := range s.realtime.sockets() {
		c.block(d)
	}
}

// LimitJoins has the project over its limit of joins per second for d:
// upgrades are refused with 429, and joins as ClientJoinRateLimitReached, after
// Timing.JoinErrorDelay, behind which the server closes the socket with code
// 1001.
func (s *Server) LimitJoins(d time.Duration) {
	f := &s.realtime.faults
	f.set(func() { f.crowded = time.Now().Add(d) })
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
// is until further notice, which is n = 0. A status that is none becomes 500.
func (s *Server) RefuseUpgrades(status int, text string, n int) {
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	f := &s.realtime.faults
	f.set(func() { f.upgrades, f.upgrade = fault.Budget(n), refusal{status: status, text: text} })
}

// RefuseJoins refuses the next n joins for the reason, after
// Timing.JoinErrorDelay. The server's reasons have the form "Code: text", such
// as "ChannelRateLimitReached: Too many channels". It closes the socket with
// code 1001 behind one that begins with "ClientJoinRateLimitReached:" or
// "TenantNotFound:", and so does this one. A negative n is until further
// notice, which is n = 0.
func (s *Server) RefuseJoins(reason string, n int) {
	f := &s.realtime.faults
	f.set(func() { f.joins, f.joinReason = fault.Budget(n), reason })
}

// IgnoreJoins never answers the next n joins. The socket goes on as if they had
// not come. A negative n is until further notice, which is n = 0.
func (s *Server) IgnoreJoins(n int) {
	f := &s.realtime.faults
	f.set(func() { f.ignored = fault.Budget(n) })
}

// DelayJoins makes every join take d longer. As with a slow database, all else
// on the socket waits for it: heartbeats, other joins, and what is to be sent.
func (s *Server) DelayJoins(d time.Duration) {
	f := &s.realtime.faults
	f.set(func() { f.delay = d })
}

// DelayRefusals makes refused joins take d in the place of
// Timing.JoinErrorDelay. All else on the socket waits for them. 0: as usual.
func (s *Server) DelayRefusals(d time.Duration) {
	f := &s.realtime.faults
	f.set(func() { f.refusal = max(d, 0) })
}

// DelaySubscribed makes "Subscribed to PostgreSQL" come d later after the reply
// to a join, as with a server that has been idle. Changes polled before that
// are not delivered.
func (s *Server) DelaySubscribed(d time.Duration) {
	f := &s.realtime.faults
	f.set(func() { f.subscribed = d })
}

// OmitSubscribed makes the next n subscriptions without a word: changes come,
// and the message "Subscribed to PostgreSQL" never does. A negative n is until
// further notice, which is n = 0.
func (s *Server) OmitSubscribed(n int) {
	f := &s.realtime.faults
	f.set(func() { f.silent = fault.Budget(n) })
}

// RepeatSubscribed sends "Subscribed to PostgreSQL" once more on every channel
// that was sent it before. Nothing is lost.
func (s *Server) RepeatSubscribed() {
	s.realtime.onSockets(func(c *conn) {
		for _, ch := range c.channels {
			if ch.told {
				ch.system(phoenix.ExtensionPostgresChanges, phoenix.StatusOK, phoenix.MessageSubscribed)
			}
		}
	})
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
	f.set(func() { f.subscriptions, f.message = fault.Budget(n), message })
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
