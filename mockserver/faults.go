package mockserver

import (
	"net/http"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/fault"
)

func (s *Server) set(do func(f *fault.InForce)) { s.realtime.Faults.Set(do) }

// The methods that follow make Realtime fail as it does in practice. All of
// them return at once and are safe for concurrent use.

// Heal ends every fault that is in force, with those of the REST API, hidden
// rows (HideRows) and commits (HideCommits). What has happened stays: what was
// lost is lost, sockets and channels that were ended do not come back, and a
// channel that was left deaf stays so until it joins again. But a slot that was
// still to come is made at once. Changes and requests
// that are held up come when they were to.
func (s *Server) Heal() {
	s.tap.Note(0, "fault", "heal")
	s.realtime.Heal()
	s.FaultREST()
	s.LimitRows(0)
	s.db.Heal()
}

// Sockets returns how many sockets are open.
func (s *Server) Sockets() int { return s.realtime.Sockets() }

// KillSockets ends every socket without a close frame, as a crash, a network
// failure, or the server's limit on memory does.
func (s *Server) KillSockets() { _ = s.realtime.EachSocket(0, fault.Socket.Kill) }

// CloseSockets closes every socket with the code, behind all that waits to be
// sent to it. A code that no close frame may have becomes 1011.
func (s *Server) CloseSockets(code int) {
	_ = s.realtime.EachSocket(0, func(c fault.Socket) { c.CloseWith(code) })
}

// Drain does what a server does before it stops, and when a project's settings
// change: it sends the system message "Server requested disconnect" on every
// channel, with null refs, and closes every socket with code 1012.
func (s *Server) Drain() { s.realtime.Drain() }

// Restart drains the server, as Drain does, and has it away for d: meanwhile
// upgrades are refused with 503, and joins of sockets that are still there as
// RealtimeRestarting. Nothing is kept: the log is read again from the first
// subscription on that comes after that.
func (s *Server) Restart(d time.Duration) { s.realtime.Restart(d) }

// BlockSockets holds up every socket that is open for d: it neither reads,
// answers nor sends, as while a join takes long or fails. What comes meanwhile
// waits, in order.
func (s *Server) BlockSockets(d time.Duration) {
	_ = s.realtime.EachSocket(0, func(c fault.Socket) { c.Block(d) })
}

// LimitJoins has the project over its limit of joins per second for d:
// upgrades are refused with 429, and joins as ClientJoinRateLimitReached, after
// Timing.JoinErrorDelay, behind which the server closes the socket with code
// 1001.
func (s *Server) LimitJoins(d time.Duration) {
	s.set(func(f *fault.InForce) { f.Crowded = time.Now().Add(d) })
}

// MuteHeartbeats leaves heartbeats unanswered, as a connection does that is
// dead in one direction.
func (s *Server) MuteHeartbeats(on bool) { s.set(func(f *fault.InForce) { f.HeartbeatsMuted = on }) }

// RefuseUpgrades answers the next n upgrades with the status and the text as
// JSON, {"error":text}, after Timing.RefuseDelay; with no body if text is
// empty. The real server does so with 401, 403, 404, 429 and 500. A negative n
// is until further notice, which is n = 0. A status that is none becomes 500.
func (s *Server) RefuseUpgrades(status int, text string, n int) {
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	s.set(func(f *fault.InForce) {
		f.Upgrades = fault.Refusals{Budget: fault.Budget(n), Status: status, Text: text}
	})
}

// RefuseJoins refuses the next n joins for the reason, after
// Timing.JoinErrorDelay. The server's reasons have the form "Code: text", such
// as "ChannelRateLimitReached: Too many channels". It closes the socket with
// code 1001 behind one that begins with "ClientJoinRateLimitReached:" or
// "TenantNotFound:", and so does this one. A negative n is until further
// notice, which is n = 0.
func (s *Server) RefuseJoins(reason string, n int) {
	s.set(func(f *fault.InForce) { f.Joins = fault.Reasons{Budget: fault.Budget(n), Text: reason} })
}

// IgnoreJoins never answers the next n joins. The socket goes on as if they had
// not come. A negative n is until further notice, which is n = 0.
func (s *Server) IgnoreJoins(n int) {
	s.set(func(f *fault.InForce) { f.JoinsIgnored = fault.Budget(n) })
}

// DelayJoins makes every join take d longer. As with a slow database, all else
// on the socket waits for it: heartbeats, other joins, and what is to be sent.
func (s *Server) DelayJoins(d time.Duration) { s.set(func(f *fault.InForce) { f.JoinDelay = d }) }

// DelayRefusals makes refused joins take d in the place of
// Timing.JoinErrorDelay. All else on the socket waits for them. 0: as usual.
func (s *Server) DelayRefusals(d time.Duration) {
	s.set(func(f *fault.InForce) { f.RefusalDelay = max(d, 0) })
}

// DelaySubscribed makes "Subscribed to PostgreSQL" come d later after the reply
// to a join, as with a server that has been idle. Changes polled before that
// are not delivered.
func (s *Server) DelaySubscribed(d time.Duration) {
	s.set(func(f *fault.InForce) { f.SubscribedDelay = d })
}

// OmitSubscribed makes the next n subscriptions without a word: changes come,
// and the message "Subscribed to PostgreSQL" never does. A negative n is until
// further notice, which is n = 0.
func (s *Server) OmitSubscribed(n int) {
	s.set(func(f *fault.InForce) { f.SubscribedSilently = fault.Budget(n) })
}

// RepeatSubscribed sends "Subscribed to PostgreSQL" once more on every channel
// that was sent it before. Nothing is lost.
func (s *Server) RepeatSubscribed() { s.realtime.RepeatSubscribed() }

// FailSubscriptions answers the next n attempts to subscribe to changes with
// the system message that the extension postgres_changes failed. The channel
// stays joined. The server tries again after Timing.RetryMin to RetryMax,
// unless the message is one of those about the parameters of the client:
// "Unable to subscribe to changes …", "Error parsing …", "No subscription
// params …", "Column selection …". A negative n is until further notice, which
// is n = 0.
func (s *Server) FailSubscriptions(message string, n int) {
	s.set(func(f *fault.InForce) { f.Subscriptions = fault.Reasons{Budget: fault.Budget(n), Text: message} })
}

// CloseChannels closes every channel, with a system message that says why. The
// sockets stay.
func (s *Server) CloseChannels(message string) {
	_ = s.realtime.EachChannel(0, "", func(ch fault.Channel) { ch.Shutdown(message) })
}

// CrashChannels ends every channel with phx_error, as a crash of its process
// does. The sockets stay.
func (s *Server) CrashChannels() { _ = s.realtime.EachChannel(0, "", fault.Channel.Crash) }

// SendRaw sends a message of any bytes to every socket.
func (s *Server) SendRaw(binary bool, frame []byte) {
	_ = s.realtime.EachSocket(0, func(c fault.Socket) { c.SendRaw(binary, frame) })
}
