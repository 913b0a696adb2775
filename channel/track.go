package channel

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gapless-go/gapless/internal/link"
	"github.com/gapless-go/gapless/internal/phoenix"
)

const (
	// windowMargin is added to the server's window: messages may come closer
	// together than they were sent.
	windowMargin = time.Second
	// roomWait is when a presence message is tried again for which the socket
	// had no room.
	roomWait = time.Second
)

// tracker keeps the server's view of this channel's presence as Track and
// Untrack want it: one message at a time, within the server's limit. It is
// under the channel's mu.
type tracker struct {
	payload []byte        // what is to be tracked, nil: nothing
	turn    int           // of the last call of Track or Untrack
	done    int           // the last turn that is settled
	err     error         // how
	settled chan struct{} // closed and replaced when done changes, or the channel ends

	sent    int         // the turn that the server was told in this join
	ref     phoenix.Ref // of the message without a reply yet
	tracked bool        // the server has something of this join
	calls   []time.Time // in this join, the last ones
	timer   timer
}

func newTracker() tracker { return tracker{settled: make(chan struct{})} }

// track sets what is to be tracked, and waits until the server knows of it.
func (c *Channel) track(ctx context.Context, payload []byte) error {
	if err := c.start(); err != nil {
		return err
	}
	c.mu.Lock()
	t := &c.presence.track
	t.turn++
	t.payload = payload
	turn := t.turn
	c.sendTrack()
	c.unlock()
	for {
		c.mu.Lock()
		done, err, settled := t.done, t.err, t.settled
		ended := c.m.state == Closed
		c.mu.Unlock()
		switch {
		case done >= turn:
			return err
		case ended:
			return c.Status().Reason
		}
		select {
		case <-settled:
		case <-ctx.Done():
			return c.late(ctx)
		}
	}
}

// sendTrack sends what is wanted, unless the server knows it, or the time to
// send has not come.
func (c *Channel) sendTrack() {
	if c.presence == nil {
		return
	}
	t := &c.presence.track
	if c.m.join != joinAccepted || c.m.state == Leaving || t.ref != "" || t.sent == t.turn {
		return
	}
	if t.payload == nil && !t.tracked {
		t.sent = t.turn
		t.settle(nil)
		return
	}
	now := time.Now()
	if wait := t.untilCall(c.cfg.presenceCalls, c.cfg.presenceWindow, now); wait > 0 {
		c.after(&t.timer, wait, c.sendTrack)
		return
	}
	m := presenceMessage(t.payload)
	if c.send(&m, func(r reply) { c.tracked(r) }) != nil {
		c.after(&t.timer, roomWait, c.sendTrack)
		return
	}
	t.ref, t.sent = m.Ref, t.turn
	t.tracked = t.tracked || t.payload != nil
	t.calls = append(t.calls, now)
	c.after(&t.timer, c.cfg.ackTimeout, func() {
		delete(c.awaited, m.Ref)
		c.tracked(reply{err: errNoReply})
	})
}

func presenceMessage(payload []byte) phoenix.Message {
	message := struct {
		Type    string          `json:"type"`
		Event   string          `json:"event"`
		Payload json.RawMessage `json:"payload,omitempty"`
	}{"presence", "track", payload}
	if payload == nil {
		message.Event = "untrack"
	}
	text, _ := json.Marshal(message) // the payload has been made by json.Marshal
	return phoenix.Message{Event: phoenix.EventPresence, Payload: text}
}

// untilCall returns how long to wait with the next call: of a server that
// allows so many in a window, wherever the window begins.
func (t *tracker) untilCall(calls int, window time.Duration, now time.Time) time.Duration {
	if calls == 0 || len(t.calls) < calls {
		return 0
	}
	t.calls = t.calls[len(t.calls)-calls:]
	return max(0, t.calls[0].Add(window+windowMargin).Sub(now))
}

// tracked takes the reply to a message.
func (c *Channel) tracked(r reply) {
	t := &c.presence.track
	t.timer.stop()
	t.ref = ""
	err := r.err
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrUnacknowledged, err)
	case !r.ok:
		err = &PushError{Topic: c.topic, Reason: r.reason}
	}
	t.settle(err)
	if err != nil {
		c.note(link.Notice{Dropped: err})
	}
	c.sendTrack()
}

// settle says what became of the turns up to the one that was sent.
func (t *tracker) settle(err error) {
	t.done, t.err = t.sent, err
	t.wake()
}

func (t *tracker) wake() {
	close(t.settled)
	t.settled = make(chan struct{})
}

// restart begins anew with an accepted join: the server knows nothing of this
// channel's presence yet, and counts its calls anew.
func (t *tracker) restart() {
	t.tracked, t.calls, t.ref, t.sent = false, nil, "", 0
}

// stop ends what waits for the server: the join is over.
func (t *tracker) stop() {
	t.timer.stop()
	t.ref = ""
}
