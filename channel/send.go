package channel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gapless-go/gapless/internal/phoenix"
)

const (
	// maxFrame is the largest message that the server takes: a larger one makes
	// it close the socket.
	maxFrame = 5_000_000
	// maxEvent is the longest name of an event, for which a binary frame has one
	// byte of length.
	maxEvent = 255
	// reasonTooLarge is what the server says of a payload over the project's limit.
	reasonTooLarge = "payload_size_exceeded"
)

var (
	// ErrUnacknowledged is wrapped by the error of a call whose answer did not
	// come: it is not known whether the server did what was asked. It does not
	// answer a broadcast on a private channel that no policy lets the role send.
	ErrUnacknowledged = errors.New("channel: no answer from the server: the outcome is unknown")
	// ErrBinary is returned for a binary broadcast in version 1.0.0 of the
	// protocol, which has none.
	ErrBinary = errors.New("channel: version 1.0.0 of the protocol has no binary broadcasts")

	errNoReply = errors.New("channel: the server did not answer in time")
	errEnded   = errors.New("channel: the join ended before the answer")
)

// PayloadTooLargeError is a payload that the server does not take. Nobody has
// got the message.
type PayloadTooLargeError struct {
	Size int // in bytes, as it was sent
	// Limit is that of every server, or 0 where it was the project's own that
	// the payload is over (3,000 KB, on the free plan 256 KB).
	Limit int
}

func (e *PayloadTooLargeError) Error() string {
	if e.Limit > 0 {
		return fmt.Sprintf("channel: payload of %d bytes, the server takes %d", e.Size, e.Limit)
	}
	return fmt.Sprintf("channel: payload of %d bytes is over the project's limit", e.Size)
}

// PushError is a message that the server refused.
type PushError struct {
	Topic  string
	Reason string // the server's text, verbatim; may be empty or {}
}

func (e *PushError) Error() string {
	return fmt.Sprintf("channel: the server refused a message on %q: %s", e.Topic, e.Reason)
}

// Send broadcasts a payload, which encoding/json makes JSON of, to everybody on
// the topic but this channel (see SelfBroadcasts). It joins the channel if that
// has not been done, and blocks until it is joined: nothing is kept for later.
//
// With AckBroadcasts it then blocks until the server has accepted the message,
// which says nothing of who gets it. A *PayloadTooLargeError means that it was
// not sent; an error that wraps ErrUnacknowledged, that it may or may not have
// been. Without AckBroadcasts it returns when the message is on its way to the
// socket, and nobody is told what becomes of it.
//
// It returns ctx's error, joined with the reason for which the channel is not
// joined, what ended the channel, or the client's errors for a socket that is
// lost or a send buffer that is full: then the message was not sent.
func (c *Channel) Send(ctx context.Context, event string, payload any) error {
	text, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("channel: payload of %q: %w", event, err)
	}
	return c.send(ctx, event, text, true)
}

// SendBinary is Send for bytes that are no JSON. It needs version 2.0.0 of the
// protocol: ErrBinary otherwise. Receivers that speak 1.0.0 do not get it.
func (c *Channel) SendBinary(ctx context.Context, event string, payload []byte) error {
	if c.link.Version() == phoenix.V1 {
		return ErrBinary
	}
	return c.send(ctx, event, bytes.Clone(payload), false) // it may wait to be written
}

func (c *Channel) send(ctx context.Context, event string, payload []byte, isJSON bool) error {
	switch {
	case event == "":
		return errors.New("channel: broadcast without an event")
	case len(event) > maxEvent:
		return fmt.Errorf("channel: event of %d bytes, it may have %d", len(event), maxEvent)
	}
	m, err := c.castMessage(event, payload, isJSON)
	if err != nil {
		return err
	}
	if size := len(m.Payload) + maxEvent; size+len(c.wireTopic()) > maxFrame {
		return &PayloadTooLargeError{Size: len(payload), Limit: maxFrame}
	}
	answer, err := c.pushJoined(ctx, m)
	if err != nil || answer == nil {
		return err
	}
	return c.outcome(ctx, answer, len(payload))
}

// castMessage is the broadcast in the form of the protocol's version.
func (c *Channel) castMessage(event string, payload []byte, isJSON bool) (phoenix.Message, error) {
	m := phoenix.Message{Topic: c.wireTopic(), Event: phoenix.EventBroadcast}
	if c.link.Version() == phoenix.V2 {
		m.Kind, m.UserEvent, m.JSON, m.Payload = phoenix.UserPush, event, isJSON, payload
		return m, nil
	}
	text, err := json.Marshal(struct {
		Type    string          `json:"type"`
		Event   string          `json:"event"`
		Payload json.RawMessage `json:"payload"`
	}{"broadcast", event, payload})
	m.Payload = text
	return m, err
}

// pushJoined sends a message once the channel is joined. The answer comes on
// the channel returned, which is nil without AckBroadcasts.
func (c *Channel) pushJoined(ctx context.Context, m phoenix.Message) (*answer, error) {
	if err := c.start(); err != nil {
		return nil, err
	}
	for {
		c.mu.Lock()
		joined, state, reason, changed := c.joined, c.state, c.reason, c.changed
		switch {
		case ctx.Err() != nil:
		case state == Closed:
			c.mu.Unlock()
			return nil, reason
		case state == Leaving:
			c.mu.Unlock()
			return nil, ErrClosed
		case joined != "":
			a, err := c.pushNow(m)
			c.unlock()
			return a, err
		}
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), reason)
		}
	}
}

// answer waits for the reply to one message.
type answer struct {
	ref   phoenix.Ref
	reply chan pushReply // capacity 1
}

// pushReply is what became of a message.
type pushReply struct {
	phoenix.ReplyPayload
	err error // there was no reply
}

// pushNow sends a message on the present join. It is called under mu.
func (c *Channel) pushNow(m phoenix.Message) (*answer, error) {
	m.JoinRef, m.Ref = c.joined, c.link.NextRef()
	if err := c.link.Send(m); err != nil || !c.cfg.ack {
		return nil, err
	}
	a := &answer{ref: m.Ref, reply: make(chan pushReply, 1)}
	if c.answers == nil {
		c.answers = map[phoenix.Ref]*answer{}
	}
	c.answers[m.Ref] = a
	return a, nil
}

// outcome waits for the answer to a broadcast.
func (c *Channel) outcome(ctx context.Context, a *answer, size int) error {
	timeout := time.NewTimer(c.cfg.ackTimeout)
	defer timeout.Stop()
	var r pushReply
	select {
	case r = <-a.reply:
	case <-ctx.Done():
		r.err = ctx.Err()
	case <-timeout.C:
		r.err = errNoReply
	}
	c.mu.Lock()
	delete(c.answers, a.ref)
	c.mu.Unlock()
	switch {
	case r.err != nil:
		return fmt.Errorf("%w: %w", ErrUnacknowledged, r.err)
	case r.Status == phoenix.StatusOK:
		return nil
	case r.Reason() == reasonTooLarge:
		return &PayloadTooLargeError{Size: size}
	}
	return &PushError{Topic: c.topic, Reason: r.Reason()}
}

// answered hands a reply to whoever waits for it. It is called under mu.
func (c *Channel) answered(m phoenix.Message) {
	if a, ok := c.answers[m.Ref]; ok {
		r, err := phoenix.DecodeReply(m.Payload)
		a.reply <- pushReply{r, err}
		delete(c.answers, m.Ref)
	}
}

// unanswered tells everybody who waits that no reply will come. It is called
// under mu.
func (c *Channel) unanswered(err error) {
	for ref, a := range c.answers {
		a.reply <- pushReply{err: err}
		delete(c.answers, ref)
	}
}
