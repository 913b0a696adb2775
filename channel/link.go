package channel

import (
	"context"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// Link is all that a channel knows of the socket that carries it. It is
// exported, as Handler and New are, for package realtime alone: its methods
// name types that only this module can import.
//
// Every method is safe for concurrent use and none blocks.
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
	// RejectToken says that the server refused a token: it is not used again.
	// It reports whether there may be another one.
	RejectToken(token string) bool
	// Version is that of the protocol.
	Version() phoenix.Version
	// ServerTime is what the server's clock shows at a time of this machine's.
	ServerTime(t time.Time) time.Time
	// NextRef returns a ref that no other message has.
	NextRef() phoenix.Ref
	// Send queues a message. It fails when the socket is down or its queue full.
	Send(m phoenix.Message) error
	// Observe tells the operator what happened.
	Observe(n Notice)
}

// Handler is what a Link calls. Receive, Change and Malformed are called by one
// goroutine, in the order of the socket, between an Up and the Down after it,
// and so is Flush, after one or more calls of the first two; the others by one
// goroutine, too.
type Handler struct {
	Up        func()
	Down      func(lastRead time.Time, err error) // no Receive is under way any more
	Receive   func(ctx context.Context, m phoenix.Message)
	Change    func(ctx context.Context, payload, frame []byte) // as phoenix.Cut has cut it
	Flush     func()                                           // consumers are to know by now of what was received
	Malformed func(err *phoenix.MalformedError)
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

// Notice is something that a channel tells its operator. Exactly one of the
// fields beside Topic is set.
type Notice struct {
	Topic   string
	Joined  bool     // the server accepted the join
	Live    bool     // the server confirmed the subscription
	Gap     *cdc.Gap // changes may be missing
	Dropped error    // something was discarded, and why
	Ended   error    // the channel is over, and why
}
