package channel

import "fmt"

// State is where a channel is in its life. See the diagram in the package's
// documentation.
type State uint8

const (
	// Idle: made, and nobody has asked for anything yet.
	Idle State = iota
	// Joining: waits for the socket, for a token, or for the server's reply.
	Joining
	// Joined: the server accepted the join. It has not confirmed that it
	// delivers changes: what is committed now may be lost.
	Joined
	// Live: the server confirmed the subscription ("Subscribed to
	// PostgreSQL"), or the channel subscribes to no changes and is joined.
	Live
	// Degraded: not delivering, for the reason in Status; comes back by itself.
	Degraded
	// Leaving: asked to leave, the server has not answered yet.
	Leaving
	// Closed: over, for the reason in Status. A closed channel stays closed.
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
	start           input = iota // somebody wants the stream
	up                           // the socket is up
	down                         // the socket is lost
	accepted                     // reply ok to the join
	refused                      // reply error to the join, and another try may do
	unanswered                   // no reply, or no confirmation, in time
	subscribed                   // system: Subscribed to PostgreSQL
	subscribeFailed              // system: an error that the server will try again
	ended                        // phx_close or phx_error of the current join
	retry                        // the time to try again has come
	leave                        // somebody wants out
	fail                         // it is over

	inputs = iota
)

// next is the only place where a channel's state changes: it returns the state
// that follows s. What does not concern a state leaves it as it is: a server
// may send anything at any time.
func (s State) next(in input) State {
	switch in {
	case fail:
		return Closed
	case leave:
		if s != Closed {
			return Leaving
		}
	case start:
		if s == Idle {
			return Joining
		}
	case up, retry:
		if s == Degraded {
			return Joining
		}
	case down:
		if s == Joined || s == Live {
			return Degraded
		}
	case accepted:
		if s == Joining {
			return Joined
		}
	case refused:
		if s == Joining {
			return Degraded
		}
	case unanswered, ended:
		switch s {
		case Joining, Joined, Live:
			return Degraded
		}
	case subscribed:
		// Degraded: the server had failed to subscribe and tried again by itself.
		if s == Joined || s == Degraded {
			return Live
		}
	case subscribeFailed:
		if s == Joined || s == Live {
			return Degraded
		}
	}
	return s
}
