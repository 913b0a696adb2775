package channel

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

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
	// ErrNotPersisted is returned for a broadcast that was sent, but that the server
	// has not stored: one from before late 2026 knows no such broadcasts.
	ErrNotPersisted = errors.New("channel: the broadcast was sent, but the server has not stored it")

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
	Reason string // the server's text, in one line and of at most 4 KiB; may be empty or {}
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
	text, err := phoenix.EncodePayload(payload)
	if err != nil {
		return fmt.Errorf("channel: payload of %q: %w", event, err)
	}
	_, err = c.broadcastPayload(ctx, event, outgoing{payload: text, isJSON: true})
	return err
}

// SendPersisted is Send of a message that the server stores as well, so that a
// channel which joins later gets it by ReplayBroadcasts, for a time in whole
// seconds, 72 hours at most; 0 is as long as the server keeps messages of the
// database. It returns the id that the server gave the message, which is
// Broadcast.ID of the replayed one: those who get it live get it without.
//
// It needs Private, AckBroadcasts, and version 2.0.0 of the protocol, and a policy
// on realtime.messages that lets the role insert with the extension
// 'persistence'. A server from before late 2026 sends the message as any other:
// ErrNotPersisted.
func (c *Channel) SendPersisted(ctx context.Context, event string, payload any, ttl time.Duration) (id string, err error) {
	text, err := phoenix.EncodePayload(payload)
	switch {
	case err != nil:
		return "", fmt.Errorf("channel: payload of %q: %w", event, err)
	case !c.cfg.private || !c.cfg.ack || c.link.Version() == phoenix.V1:
		return "", errors.New("channel: a persisted broadcast needs Private, AckBroadcasts and version 2.0.0 of the protocol")
	case !phoenix.IsTTL(ttl):
		return "", fmt.Errorf("channel: a broadcast cannot be persisted for %v", ttl)
	}
	meta := []byte(`{"persist":true}`)
	if ttl > 0 {
		meta = fmt.Appendf(nil, `{"persist":{"ttl":%d}}`, ttl/time.Second)
	}
	id, err = c.broadcastPayload(ctx, event, outgoing{text, meta, true})
	if err == nil && id == "" {
		err = ErrNotPersisted
	}
	return id, err
}

// SendBinary is Send for bytes that are no JSON. It needs version 2.0.0 of the
// protocol: ErrBinary otherwise. Receivers that speak 1.0.0 do not get it.
func (c *Channel) SendBinary(ctx context.Context, event string, payload []byte) error {
	if c.link.Version() == phoenix.V1 {
		return ErrBinary
	}
	_, err := c.broadcastPayload(ctx, event, outgoing{payload: bytes.Clone(payload)}) // it may wait to be written
	return err
}

// outgoing is what is sent with the event of a broadcast.
type outgoing struct {
	payload []byte
	meta    []byte // what the server is asked to do with it
	isJSON  bool
}

// broadcastPayload sends a broadcast, and returns its id if the server stored it.
func (c *Channel) broadcastPayload(ctx context.Context, event string, o outgoing) (id string, err error) {
	switch {
	case event == "":
		return "", errors.New("channel: broadcast without an event")
	case !utf8.ValidString(event):
		return "", fmt.Errorf("channel: event %q is not UTF-8", event)
	case len(event) > maxEvent:
		return "", fmt.Errorf("channel: event of %d bytes, it may have %d", len(event), maxEvent)
	}
	m, err := c.broadcastMessage(event, o)
	if err != nil {
		return "", err
	}
	if size := len(m.Payload) + maxEvent; size+len(c.wireTopic()) > maxFrame {
		return "", &PayloadTooLargeError{Size: len(o.payload), Limit: maxFrame}
	}
	var answer chan reply
	if c.cfg.ack {
		answer = make(chan reply, 1)
	}
	var ref phoenix.Ref
	var sendErr error
	err = c.wait(ctx, func() bool {
		if c.m.join != joinAccepted || ctx.Err() != nil {
			return false
		}
		ref, sendErr = c.sendBroadcast(m, answer)
		return true
	})
	if err != nil || sendErr != nil || answer == nil {
		return "", cmp.Or(err, sendErr)
	}
	return c.outcome(ctx, ref, answer, len(o.payload))
}

// broadcastMessage is the broadcast in the form of the protocol's version.
func (c *Channel) broadcastMessage(event string, o outgoing) (phoenix.Message, error) {
	m := phoenix.Message{Topic: c.wireTopic(), Event: phoenix.EventBroadcast}
	if c.link.Version() == phoenix.V2 {
		m.Kind, m.UserEvent, m.JSON, m.Payload, m.Meta = phoenix.UserPush, event, o.isJSON, o.payload, o.meta
		return m, nil
	}
	text, err := json.Marshal(struct {
		Type    string          `json:"type"`
		Event   string          `json:"event"`
		Payload json.RawMessage `json:"payload"`
	}{"broadcast", event, o.payload})
	m.Payload = text
	return m, err
}

// sendBroadcast sends a broadcast on the present join.
func (c *Channel) sendBroadcast(m phoenix.Message, answer chan reply) (phoenix.Ref, error) {
	if answer == nil {
		return "", c.send(&m, nil)
	}
	err := c.send(&m, func(r reply) {
		if r.id != "" { // the server stored it: a replay would bring it
			c.replay.ids.add(r.id)
		}
		answer <- r
	})
	return m.Ref, err
}

// outcome waits for the answer to a broadcast, and returns the id in it.
func (c *Channel) outcome(ctx context.Context, ref phoenix.Ref, answer chan reply, size int) (id string, err error) {
	timeout := time.NewTimer(c.cfg.ackTimeout)
	defer timeout.Stop()
	var r reply
	select {
	case r = <-answer:
	case <-ctx.Done():
		r.err = ctx.Err()
	case <-timeout.C:
		r.err = errNoReply
	}
	c.mu.Lock()
	delete(c.awaited, ref)
	c.mu.Unlock()
	switch {
	case r.err != nil:
		return "", fmt.Errorf("%w: %w", ErrUnacknowledged, r.err)
	case r.ok:
		return r.id, nil
	case r.reason == reasonTooLarge:
		return "", &PayloadTooLargeError{Size: size}
	}
	return "", &PushError{Topic: c.topic, Reason: r.reason}
}
