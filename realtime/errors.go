package realtime

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/internal/secret"
	"github.com/gapless-go/gapless/internal/text"
)

var (
	// ErrClosed is returned once Close has been called. It is channel.ErrClosed.
	ErrClosed = channel.ErrClosed
	// ErrNotConnected is why a message could not be sent: the socket is down.
	ErrNotConnected = errors.New("realtime: not connected")
	// ErrSendBufferFull is why a message could not be sent: too many wait.
	ErrSendBufferFull = errors.New("realtime: send buffer full")
	// ErrHeartbeatTimeout is how a socket ends whose server stopped answering.
	ErrHeartbeatTimeout = errors.New("realtime: no answer to the heartbeat")
	// ErrTopicInUse is returned for a second channel of one topic.
	ErrTopicInUse = errors.New("realtime: the client has a channel of this topic already")
	// ErrTokenExpired is a token source's token that had expired when it came.
	ErrTokenExpired = errors.New("realtime: the token source returned an expired token")

	errDialTimeout  = errors.New("it took longer than Options.ConnectTimeout")
	errJoinStalled  = errors.New("realtime: the server answered neither a join nor the heartbeat behind it")
	errTokenAwaited = errors.New("realtime: waiting for the token source")
	errConnecting   = errors.New("realtime: no attempt to connect has ended yet")
)

// ConnectError is a websocket upgrade that the server, or a gateway before it,
// did not accept.
type ConnectError struct {
	Endpoint string // without the key
	Status   int    // HTTP
	Reason   string // the server's text, in one line, if it gave one: for people, not for decisions

	page  bool // the answer was a page for people
	final bool
}

func (e *ConnectError) Error() string {
	reason := http.StatusText(e.Status)
	if e.Reason != "" {
		reason = e.Reason
	}
	return fmt.Sprintf("realtime: connect %s: HTTP %d: %s", e.Endpoint, e.Status, reason)
}

// Permanent reports whether the client has given up because of this answer: it
// was one of 400, 401, 403 and 404, not an HTML page, and the client had never
// been connected, or such answers had persisted for minutes (see
// Options.FailFast). The key, the address or the project must change. An answer
// after which the client tried again is not permanent.
func (e *ConnectError) Permanent() bool { return e.final }

// looksFinal reports whether a refusal is one that trying again does not change,
// as far as it tells itself.
func looksFinal(err error) bool {
	var e *ConnectError
	if !errors.As(err, &e) {
		return IsPermanent(err)
	}
	switch e.Status {
	case http.StatusBadRequest, // not a websocket server
		http.StatusUnauthorized, // the key is missing, malformed, expired or signed by another project
		http.StatusForbidden,    // the project is suspended, or does not speak this version of the protocol
		http.StatusNotFound:     // no such project, or no Realtime at that path
		return !e.page
	}
	return false
}

// final returns a refusal as one that the client has given up for.
func final(err error) error {
	var e *ConnectError
	if !errors.As(err, &e) {
		return err
	}
	given := *e
	given.final = true
	return &given
}

// Permanent wraps an error of a TokenSource that trying again does not cure,
// such as refused credentials: every channel that needs a token ends with it.
// Permanent of nil is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string   { return e.err.Error() }
func (e *permanentError) Unwrap() error   { return e.err }
func (e *permanentError) Permanent() bool { return true }

// IsPermanent reports whether err has ended what it came from for good: a
// refused connection that the client has given up, or an error wrapped by
// Permanent.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

// PanicError is a panic of user code that this module called (a token source, a
// hook, a http.RoundTripper), or of its own. It ends what was under way as any
// other error does, and no more.
type PanicError = rescue.Error

// maxReason is how much of a close frame's reason is shown.
const maxReason = 300

// closeReason makes the end of a websocket readable. What the peer gave as a
// reason is cleaned.
func closeReason(err error) error {
	var closed websocket.CloseError
	if !errors.As(err, &closed) {
		return fmt.Errorf("realtime: connection lost: %w", secret.Scrub(err))
	}
	closed.Reason = text.Clean(secret.Plain(closed.Reason), maxReason)
	if closed.Code == websocket.StatusServiceRestart {
		return fmt.Errorf("realtime: server restarts or changed its configuration (close %d): %w", closed.Code, closed)
	}
	return fmt.Errorf("realtime: closed by the server (close %d): %w", closed.Code, closed)
}
