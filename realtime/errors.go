package realtime

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/channel"
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

	errDialTimeout = errors.New("realtime: connecting took too long")
	errJoinStalled = errors.New("realtime: nothing came from the server while a join waited for its reply")
)

// ConnectError is a websocket upgrade that the server, or a gateway before it,
// refused.
type ConnectError struct {
	Endpoint string // without the key
	Status   int    // HTTP
	Reason   string // the server's text, if it gave one: for people, not for decisions
}

func (e *ConnectError) Error() string {
	text := http.StatusText(e.Status)
	if e.Reason != "" {
		text = e.Reason
	}
	return fmt.Sprintf("realtime: connect %s: HTTP %d: %s", e.Endpoint, e.Status, text)
}

// Permanent reports whether trying again is of no use: the key, the address or
// the project must change. 429 and 5xx pass, and so does what a gateway
// answers while a server restarts.
func (e *ConnectError) Permanent() bool {
	switch e.Status {
	case http.StatusBadRequest, // not a websocket server
		http.StatusUnauthorized, // the key is missing, malformed, expired or signed by another project
		http.StatusForbidden,    // the project is suspended, or does not speak this version of the protocol
		http.StatusNotFound:     // no such project, or no Realtime at that path
		return true
	}
	return false
}

// Permanent wraps an error of a TokenSource that trying again does not cure,
// such as refused credentials: every channel that needs a token ends with it.
func Permanent(err error) error { return &permanentError{err} }

type permanentError struct{ err error }

func (e *permanentError) Error() string   { return e.err.Error() }
func (e *permanentError) Unwrap() error   { return e.err }
func (e *permanentError) Permanent() bool { return true }

// IsPermanent reports whether err ends what it came from for good: a refused
// connection that trying again does not change, or an error wrapped by
// Permanent.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

// closeReason makes the end of a websocket readable.
func closeReason(err error) error {
	switch code := websocket.CloseStatus(err); code {
	case -1:
		return fmt.Errorf("realtime: connection lost: %w", err)
	case websocket.StatusServiceRestart:
		return fmt.Errorf("realtime: server restarts or changed its configuration (close %d): %w", code, err)
	default:
		return fmt.Errorf("realtime: closed by the server (close %d): %w", code, err)
	}
}
