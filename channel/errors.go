package channel

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrClosed is what a stream ends with after Leave, or after the client's
	// Close.
	ErrClosed = errors.New("channel: closed")
	// ErrJoined is returned by Subscribe once the channel has been asked to
	// join: Realtime takes bindings with the join and never after it.
	ErrJoined = errors.New("channel: bindings must be added before the channel joins")
	// ErrBusy ends a second concurrent iteration of one subscription.
	ErrBusy = errors.New("channel: the subscription is being iterated already")
)

// JoinError is a join that the server refused, or a channel that it closed
// with an error.
type JoinError struct {
	Topic  string // as given to the client, without the prefix
	Code   string // such as "Unauthorized"; empty where the server gave none
	Reason string // the server's text, verbatim
}

func (e *JoinError) Error() string {
	return fmt.Sprintf("channel: join %q: %s", e.Topic, e.Reason)
}

// SubscribeError says that the server will not deliver the changes that a
// channel asked for and will not try again: a table that is not in the
// publication, a column that does not exist or may not be read, a filter that
// does not parse.
type SubscribeError struct {
	Topic   string
	Message string // the server's text, verbatim
}

func (e *SubscribeError) Error() string {
	return fmt.Sprintf("channel: subscribe on %q: %s", e.Topic, e.Message)
}

// MismatchError says that the server accepted a join with other bindings than
// those that were sent.
type MismatchError struct {
	Topic  string
	Detail string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("channel: join %q: the server's bindings are not those sent: %s", e.Topic, e.Detail)
}

// BindingError is a binding that cannot be sent.
type BindingError struct {
	Binding Binding
	Err     error
}

func (e *BindingError) Error() string {
	return fmt.Sprintf("channel: binding of %s: %v", e.Binding.name(), e.Err)
}

func (e *BindingError) Unwrap() error { return e.Err }

// errLost, errNotLive and errUnanswered are reasons of a degraded channel that
// no server text explains.
var (
	errUnprompted = errors.New("channel: closed by the server without a reason")
	errCrashed    = errors.New("channel: crashed on the server")
	errNotLive    = errors.New("channel: joined, but the server did not confirm the subscription in time")
	errUnanswered = errors.New("channel: the server did not answer the join in time")
)

// verdict is what to do about a refusal.
type verdict uint8

const (
	tryAgain     verdict = iota // with backoff
	replaceToken                // with another token, if there is one
	giveUp                      // the caller must act
)

// verdicts lists the codes of refused joins that are not simply tried again.
// The server has no other machine-readable form than the text before ": ";
// codes that it may learn are tried again.
var verdicts = map[string]verdict{
	"TenantNotFound":            giveUp, // wrong URL
	"RealtimeDisabledForTenant": giveUp,
	"PrivateOnly":               giveUp, // until the project's settings change
	"ChannelRateLimitReached":   giveUp, // too many channels on this socket: leave one; trying would stall the others 5 s each time
	"TopicNameRequired":         giveUp,
	"JwtSignerError":            giveUp, // an algorithm or key id that the project does not have
	"Unauthorized":              giveUp, // no policy lets this role read the topic
	"InvalidJWTToken":           replaceToken,
	"MalformedJWT":              replaceToken,
	"JwtSignatureError":         replaceToken,
}

// systemVerdicts does the same for the text of the system errors that precede
// a phx_close. They carry no code; these are their beginnings.
var systemVerdicts = []struct {
	prefix  string
	verdict verdict
}{
	{"Token has expired", replaceToken},
	{"Fields `role` and `exp` are required", replaceToken},
	{"The token provided is not a valid JWT", replaceToken},
	{"Failed to validate JWT signature", replaceToken},
	{":signature_error", replaceToken}, // what a token with a bad signature gets on a joined channel
	{"Failed to generate JWT signer", giveUp},
	{"You do not have permissions to read", giveUp},
	{"You no longer have permission to read", giveUp},
}

// judgeJoin decides about the reason of a refused join.
func judgeJoin(reason string) (code string, v verdict) {
	code, _, found := strings.Cut(reason, ": ")
	if !found || strings.ContainsAny(code, " `") {
		return "", tryAgain
	}
	return code, verdicts[code]
}

// judgeSystem decides about a system error.
func judgeSystem(message string) verdict {
	for _, s := range systemVerdicts {
		if strings.HasPrefix(message, s.prefix) {
			return s.verdict
		}
	}
	return tryAgain
}

// parameterErrors begin the messages with which the server says that it will
// never subscribe these bindings.
var parameterErrors = []string{
	"Unable to subscribe to changes with given parameters",
	"Error parsing `filter` params",
	"Error parsing `select` params",
	"Column selection is not supported",
	"No subscription params provided",
}

// isParameterError reports whether an error of the subscription is final.
// Others the server tries again by itself, every 5 to 10 s.
func isParameterError(message string) bool {
	for _, prefix := range parameterErrors {
		if strings.HasPrefix(message, prefix) {
			return true
		}
	}
	return false
}
