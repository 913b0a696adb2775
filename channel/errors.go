package channel

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is what a stream ends with after Leave, or after the client's
	// Close.
	ErrClosed = errors.New("channel: closed")
	// ErrJoined is returned by Subscribe, Listen and Presence once the channel has
	// been asked to join: Realtime takes bindings with the join and never after it.
	ErrJoined = errors.New("channel: subscriptions, listeners and presence must be added before the channel joins")
	// ErrBusy ends a second concurrent iteration of one stream.
	ErrBusy = errors.New("channel: the stream is being iterated already")
)

// JoinError is a join that the server refused, or a channel that it closed
// with an error.
type JoinError struct {
	Topic  string // as given to the client, without the prefix
	Code   string // such as "Unauthorized"; empty where the server gave none
	Reason string // the server's text, in one line and of at most 4 KiB
}

func (e *JoinError) Error() string {
	return fmt.Sprintf("channel: join %q: %s", e.Topic, e.Reason)
}

// SubscribeError says that the server does not deliver the changes that a
// channel asked for: a table that is not in the publication, a column that does
// not exist or may not be read, a filter that does not parse, or, for the time
// being, trouble with the database.
type SubscribeError struct {
	Topic   string
	Message string // the server's text, in one line and of at most 4 KiB
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
