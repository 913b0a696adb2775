// Package link is where a channel meets the socket that carries it: package
// channel knows the socket by Link, and package realtime knows a channel by
// Handler. Users can import neither.
package link

import (
	"context"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// Link is all that a channel knows of its socket. Every method is safe for
// concurrent use and none blocks.
type Link interface {
	// Attach registers the handler of a topic and makes sure that there is a
	// socket, or will be. From then on the handler is called.
	Attach(topic string, h Handler) error
	// Detach ends that.
	Detach(topic string)
	// RequestJoin asks for Handler.Join to be called, once there is a valid
	// token and the socket has room for another join. Failing says that the
	// last join of this topic was refused: a refused join stalls the socket
	// for seconds, so such joins are made one at a time. It does nothing while
	// the socket is down.
	RequestJoin(topic string, failing bool)
	// RejectToken says that the server refused a token, and in which words: it is
	// not used again. It reports whether there may be another one.
	RejectToken(token string, why error) bool
	// FailFast says that what has worked is not tried again after a refusal that
	// looks permanent.
	FailFast() bool
	// Version is that of the protocol.
	Version() phoenix.Version
	// ServerTime is what the server's clock shows at a time of this machine's.
	ServerTime(t time.Time) time.Time
	// NextRef returns a ref that no other message has.
	NextRef() phoenix.Ref
	// Send queues a message. It fails when the socket is down, its queue is full
	// or the message has no form on the wire.
	Send(m phoenix.Message) error
	// Observe reports an event to the logger and the hooks.
	Observe(n Notice)
}

// Handler is what a Link calls. Receive and Malformed are called by one
// goroutine, in the order of the socket, between an Up and the Down after it;
// the others by one goroutine, too.
//
// The argument whole is the last moment, by this machine's clock, at which the
// socket's stream was surely complete: everything that the server had sent by
// then has been received. It is earlier than now by as long as this program may
// have read from buffers, and never decreases while a socket lives. A gap that
// begins with the call begins at whole.
type Handler struct {
	Up        func()
	Down      func(whole time.Time, err error) // no Receive is under way any more
	Receive   func(ctx context.Context, m phoenix.Message, whole time.Time)
	Malformed func(err *phoenix.MalformedError, whole time.Time)
	// Join returns the join message, or false if the channel no longer wants it.
	Join func(token string) (phoenix.Message, bool)
	// JoinTimeout says that the server has not answered the join, though it is
	// not busy with another.
	JoinTimeout func()
	// Waiting says why Join has not been called yet.
	Waiting func(err error)
	// Token is a fresh token for a channel that may be joined.
	Token func(token string)
	// Fail ends the channel: the socket will not come up again.
	Fail func(err error)
}

// Notice is an event that a channel reports. Exactly one of the fields beside
// Topic is set.
type Notice struct {
	Topic   string
	Joined  bool     // the server accepted the join
	Live    bool     // the server confirmed the subscription
	Gap     *cdc.Gap // changes may be missing
	Refused error    // the server refused a join or a subscription, which is tried again
	Dropped error    // something was discarded, and why
	Ended   error    // the channel is over, and why
}
