package channel

import "fmt"

// State is where a channel is in its life. See the diagram in the package's
// documentation.
type State uint8

const (
	// Idle: the channel has been made, and nothing has been asked of it yet.
	Idle State = iota
	// Joining: the channel waits for the socket, a token, or the server's reply.
	Joining
	// Joined: the server accepted the join. It has not confirmed that it
	// delivers changes: what is committed now may be lost.
	Joined
	// Live: the server confirmed the subscription ("Subscribed to
	// PostgreSQL"), or the channel subscribes to no changes and is joined.
	Live
	// Degraded: changes are not delivered, for the reason in Status. The channel
	// comes back by itself.
	Degraded
	// Leaving: Leave was called, and the server has not answered yet.
	Leaving
	// Closed: the channel is over, for the reason in Status. It stays closed.
	Closed

	states = iota
)

// String returns the name of the state.
func (s State) String() string {
	names := [states]string{"idle", "joining", "joined", "live", "degraded", "leaving", "closed"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// input is what can happen to a channel.
type input uint8

const (
	inStart                input = iota // a method needs the channel to be joined
	inUp                                // the socket is up
	inDown                              // the socket is lost
	inSent                              // the join has been sent
	inAccepted                          // reply ok to the join
	inRefused                           // reply error to the join, or none in time
	inUnconfirmed                       // no confirmation of the subscription in time
	inSubscribed                        // system: Subscribed to PostgreSQL
	inSubscribeFailed                   // system: an error after which the server tries again
	inSubscribeRefused                  // system: an error after which it does not
	inUndecodable                       // a frame that may have held a change cannot be read
	inBroadcastUndecodable              // the same of a broadcast
	inRosterUndecodable                 // and of presence
	inReplayed                          // the replay of broadcasts is over
	inRoster                            // presence_state of the join
	inEnded                             // phx_close or phx_error of the join
	inBroken                            // this package panicked
	inRetry                             // the time to join again has come
	inLeave                             // Leave was called
	inLeft                              // reply to the leave, or none in time
	inFail                              // the channel cannot go on

	inputs = iota
)

// streams is a set of the three kinds of streams that a channel has.
type streams uint8

const (
	changes streams = 1 << iota
	broadcasts
	presences
)

// joinStage is what the server knows of the present join.
type joinStage uint8

const (
	joinNone     joinStage = iota
	joinSent               // there is no reply yet
	joinAccepted           // broadcasts and presence come
)

// machine is all that decides what a channel does next. The first two fields of
// a channel never change.
type machine struct {
	binds   bool // there are bindings: Live needs their confirmation
	replays bool // broadcasts are whole when their replay is over, not with the join

	state State
	join  joinStage
	whole streams // those that miss nothing now
	begun streams // those that have been whole before
}

// effects are what follows from an input, beside the machine's next value.
type effects struct {
	lost     streams // a gap opens
	restored streams // the gap closes, or the stream begins
	passing  streams // something may be missing, and that is over already
	joinOver bool    // there is no answer any more to what was sent on the join
	request  bool    // the link is to be asked for a turn to join
	wait     wait
}

// wait is what the channel's timer is for.
type wait uint8

const (
	waitOn        wait = iota // as before
	waitNothing               // an event ends the present state, not a timer
	waitConfirmed             // then inUnconfirmed
	waitServer                // for the server's own retry, then inRetry
	waitBackoff               // then inRetry
	waitLeft                  // then inLeft
)

// next returns the machine after an input, and what follows. It is the only
// place where a channel's state changes and where it is decided what a stream
// has lost. An input that does not concern a state changes nothing: a server
// may send anything at any time.
func (m machine) next(in input) (machine, effects) {
	was := m
	var e effects
	active := m.state >= Joining && m.state <= Degraded
	joined := active && m.join == joinAccepted
	switch {
	case m.state == Closed:
	case in == inFail,
		m.state == Leaving && (in == inLeft || in == inDown || in == inEnded || in == inBroken),
		in == inLeave && m.join == joinNone: // the server knows nothing of it
		m.state, m.join, e.wait = Closed, joinNone, waitNothing
	case in == inLeave && m.state != Leaving:
		m.state, e.wait = Leaving, waitLeft
	case in == inStart && m.state == Idle:
		m.state, e.request = Joining, true
	case in == inUp && (m.state == Joining || m.state == Degraded),
		in == inRetry && m.state == Degraded: // a join that still holds is replaced
		m.state, m.join, e.request, e.wait = Joining, joinNone, true, waitNothing
	case in == inDown && active:
		m.join, e.wait = joinNone, waitNothing // the socket comes up by itself
		if m.state != Joining {
			m.state = Degraded
		}
	case in == inSent && m.state == Joining && m.join == joinNone:
		m.join = joinSent
	case in == inAccepted && m.state == Joining && m.join == joinSent:
		m.state, m.join, e.wait = Joined, joinAccepted, waitConfirmed
		if !m.replays {
			m.whole |= broadcasts
		}
		if !m.binds {
			m.state, e.wait = Live, waitNothing
			m.whole |= changes
		}
	case in == inRefused && m.state == Joining && m.join == joinSent,
		in == inEnded && active && m.join != joinNone,
		in == inBroken && active:
		m.state, m.join, e.wait = Degraded, joinNone, waitBackoff
	case in == inUnconfirmed && m.state == Joined:
		m.state, e.wait = Degraded, waitBackoff
	case in == inSubscribed && joined && m.state == Live: // the server has made its subscriptions anew
		e.passing = changes
	case in == inSubscribed && joined:
		m.state, e.wait = Live, waitNothing
		m.whole |= changes
	case in == inSubscribeFailed && joined:
		m.state, e.wait = Degraded, waitServer
		m.whole &^= changes
	case in == inSubscribeRefused && joined:
		m.state, e.wait = Degraded, waitBackoff
		m.whole &^= changes
	case in == inUndecodable && active:
		e.passing = m.whole & changes
	case in == inBroadcastUndecodable && active:
		e.passing = m.whole & broadcasts
	case in == inRosterUndecodable && active: // until the next state
		m.whole &^= presences
	case in == inReplayed && joined && m.replays:
		m.whole |= broadcasts
	case in == inRoster && joined:
		m.whole |= presences
	}
	if m.join != joinAccepted || m.state == Leaving {
		m.whole = 0
	}
	m.begun |= m.whole
	if m.state != Leaving && m.state != Closed { // there the end of the streams follows
		e.lost = was.whole &^ m.whole
	}
	e.restored = m.whole &^ was.whole
	e.joinOver = was.join != joinNone && m.join == joinNone
	return m, e
}
