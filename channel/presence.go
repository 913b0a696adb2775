package channel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/gapless-go/gapless/cdc"
)

// Presence is who is present on a topic, and one's own presence there.
// Channel.Presence makes it. Every method is safe for concurrent use.
type Presence struct {
	ch   *Channel
	busy atomic.Bool
}

// PresenceChange is what has changed since the change before it: metas that
// came and metas that left, by key. A payload that changed is a meta that left
// and one that came.
type PresenceChange struct {
	Joined, Left map[string][]Meta
	// Gap, if it is open, says that the roster is out of date from now on; if
	// it is over, that the roster is right again, with what has changed in
	// between. The first change has one, whose reason is Started.
	Gap *cdc.Gap
}

// Presence makes the channel one that is told who is present, and returns the
// handle for that, the same each time. It must be called before the channel
// joins: ErrJoined otherwise.
func (c *Channel) Presence() (*Presence, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.presence.handle != nil:
	case c.state != Idle:
		return nil, ErrJoined
	default:
		c.presence.handle = &Presence{ch: c}
		c.presence.ready = make(chan struct{}, 1)
		c.presence.settled = make(chan struct{})
	}
	return c.presence.handle, nil
}

// Track makes this channel present under its key (see WithPresenceKey), with a
// payload that encoding/json must make an object of, or changes the payload. It
// joins the channel if that has not been done. The payload is tracked again
// after every rejoin, until Untrack.
//
// It blocks until the server has confirmed this payload, or one that another
// call has put in its place meanwhile. The server closes a channel that tracks
// or untracks more than 5 times in 30 s (see WithPresenceLimit), so calls wait
// for their turn, and only the last of those that wait is made.
//
// If ctx ends first its error is returned, and the payload is tracked all the
// same when its turn comes. A *PushError says that the server refused: no
// policy lets the role do it, or the payload is no object. An error that wraps
// ErrUnacknowledged says that it did not answer.
func (p *Presence) Track(ctx context.Context, payload any) error {
	text, err := json.Marshal(payload)
	switch {
	case err != nil:
		return fmt.Errorf("channel: presence: %w", err)
	case !bytes.HasPrefix(text, []byte("{")):
		return errors.New("channel: presence: the payload is no object")
	}
	return p.want(ctx, text)
}

// Untrack ends what Track began, and blocks and returns as Track does.
func (p *Presence) Untrack(ctx context.Context) error { return p.want(ctx, nil) }

// want sets what is to be tracked, and waits until the server knows of it.
func (p *Presence) want(ctx context.Context, payload []byte) error {
	if err := p.ch.start(); err != nil {
		return err
	}
	c := p.ch
	c.mu.Lock()
	turn := c.wantPresence(payload)
	c.unlock()
	for {
		c.mu.Lock()
		done, err, settled := c.presence.done, c.presence.doneErr, c.presence.settled
		ended, reason := c.state == Closed, c.reason
		c.mu.Unlock()
		switch {
		case done >= turn:
			return err
		case ended:
			return reason
		}
		select {
		case <-settled:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), reason)
		}
	}
}

// State returns who is present, by key, in the order in which they came, and
// whether that is up to date: it is not before the first state from the server
// and while the channel is not joined. The result is the caller's.
func (p *Presence) State() (present map[string][]Meta, current bool) {
	p.ch.mu.Lock()
	defer p.ch.mu.Unlock()
	return p.ch.presence.roster.copy(), p.ch.presence.synced
}

// Changes joins the channel if that has not been done, and returns what changes
// in State, from an empty roster on. A consumer that is slow gets several
// changes as one: who came and went in between is not in it. So nothing queues
// up, and adding up the changes always gives the roster.
//
// The stream ends with an error, as Subscription.Changes does. Ending the
// iteration loses nothing: a later call goes on where it stopped. One iteration
// at a time; a second concurrent one ends at once with ErrBusy. The loop blocks
// while nothing changes.
func (p *Presence) Changes(ctx context.Context) iter.Seq2[PresenceChange, error] {
	return func(yield func(PresenceChange, error) bool) {
		if !p.busy.CompareAndSwap(false, true) {
			yield(PresenceChange{}, ErrBusy)
			return
		}
		defer p.busy.Store(false)
		if err := p.ch.start(); err != nil {
			yield(PresenceChange{}, err)
			return
		}
		for {
			change, err := p.next(ctx)
			if err != nil {
				yield(PresenceChange{}, err)
				return
			}
			if !yield(change, nil) {
				return
			}
		}
	}
}

// next waits for a change.
func (p *Presence) next(ctx context.Context) (PresenceChange, error) {
	for {
		if err := ctx.Err(); err != nil {
			return PresenceChange{}, err
		}
		p.ch.mu.Lock()
		change, ok := p.ch.presence.take()
		ended, reason := p.ch.state == Closed, p.ch.reason
		p.ch.mu.Unlock()
		switch {
		case ok:
			return change, nil
		case ended:
			return PresenceChange{}, reason
		}
		select {
		case <-p.ch.presence.ready:
		case <-ctx.Done():
		}
	}
}
