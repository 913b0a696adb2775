package channel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// maxEarly bounds the diffs that wait for the state of the join, and their metas.
const maxEarly = 10_000

var errEarlyDiffs = errors.New("channel: presence diffs dropped: the state of the join did not come")

// Presence is who is present on a topic, and this channel's own presence there.
// Channel.Presence makes it. Every method is safe for concurrent use.
type Presence struct {
	ch    *Channel
	inbox *inbox[presenceDelta]
	track tracker // under the channel's mu

	// Of the socket's reader alone, which decodes and compares outside of locks.
	reader  rosterReader
	join    phoenix.Ref    // the one that the rest is about
	synced  bool           // its state has come
	early   []rosterDiff   // diffs that came before that
	waiting int            // the metas in early
	arrived *presenceDelta // what a state changes, for restore

	mu     sync.RWMutex // for roster, which only the reader writes
	roster roster
}

// PresenceChange is what has changed since the change before it: metas that
// came and metas that left, by key. A payload that changed is a meta that left
// and one that came.
type PresenceChange struct {
	Joined, Left map[string][]PresenceMeta
	// Gap, if it is open, says that the roster is out of date from now on; if
	// it is over, that the roster is right again, with what has changed in
	// between. The first change has one, whose reason is Started.
	Gap *cdc.Gap
}

// presenceDelta is a PresenceChange in the inbox.
type presenceDelta struct {
	rosterDiff
	gap *cdc.Gap
}

var presenceTraits = traits[presenceDelta]{
	size: func(*presenceDelta) int { return 0 },
	note: func(d *presenceDelta, g cdc.Gap, _ Replay) { d.gap = &g },
	merge: func(into, d *presenceDelta) bool {
		into.merge(d.rosterDiff)
		return into.empty()
	},
}

// Presence asks the server for who is present, and returns the handle for that,
// the same one each time. It must be called before the channel joins: ErrJoined
// otherwise, and what ended the channel if it is over.
func (c *Channel) Presence() (*Presence, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.presence == nil {
		if err := c.settled(); err != nil {
			return nil, err
		}
		c.presence = &Presence{ch: c, inbox: newInbox(presenceTraits, Queue{}, nil), track: newTracker()}
		c.streams[presences] = []gapped{c.presence}
	}
	return c.presence, nil
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
	text, err := phoenix.EncodePayload(payload)
	switch {
	case err != nil:
		return fmt.Errorf("channel: presence: %w", err)
	case !bytes.HasPrefix(text, []byte("{")):
		return errors.New("channel: presence: the payload is no object")
	}
	return p.ch.track(ctx, text)
}

// Untrack ends what Track began, and blocks and returns as Track does.
func (p *Presence) Untrack(ctx context.Context) error { return p.ch.track(ctx, nil) }

// State returns a copy of who is present, by key, in the order in which they
// came, and whether that is up to date: it is not before the first state from
// the server, while the channel is not joined, and from a message that cannot be
// read to the next state. It takes time in proportion
// to the number of metas, and does not wait for messages that are being read.
func (p *Presence) State() (present map[string][]PresenceMeta, current bool) {
	p.ch.mu.Lock()
	current = p.ch.m.whole&presences != 0
	p.ch.mu.Unlock()
	p.mu.RLock()
	r := maps.Clone(p.roster)
	p.mu.RUnlock()
	return r.byKey(), current
}

// Changes joins the channel if that has not been done, and returns what changes
// in State, from an empty roster on. A consumer that is slow gets several
// changes as one: who came and went in between is not in it. So nothing queues
// up, and the sum of the changes is always the roster.
//
// The stream ends with an error, as Subscription.Changes does. Ending the
// iteration loses nothing: a later call goes on where it stopped. One iteration
// at a time; a second concurrent one ends at once with ErrBusy. The loop blocks
// while nothing changes.
func (p *Presence) Changes(ctx context.Context) iter.Seq2[PresenceChange, error] {
	return func(yield func(PresenceChange, error) bool) {
		for d, err := range stream(ctx, p.ch, p.inbox) {
			change := PresenceChange{Joined: d.joined.byKey(), Left: d.left.byKey(), Gap: d.gap}
			if err != nil {
				change = PresenceChange{}
			}
			if !yield(change, err) {
				return
			}
		}
	}
}

// state takes the state, which comes once for each join, and from newer servers
// again behind a track. In version 1.0.0 it does not say of which join it is.
func (p *Presence) state(m phoenix.Message, whole time.Time) {
	if !p.joinFor(m.JoinRef) {
		return
	}
	state, err := p.reader.state(m.Payload)
	if err != nil {
		p.ch.undecodable(whole, err, inRosterUndecodable)
		return
	}
	for _, d := range p.early {
		state.apply(d)
	}
	p.early, p.waiting, p.synced = nil, 0, true
	p.arrived = &presenceDelta{rosterDiff: p.roster.until(state)}
	p.mu.Lock()
	p.roster = state
	p.mu.Unlock()
	p.ch.happenOn(p.join, inRoster, cause{})
	if p.arrived != nil { // it was no restore
		p.changed(p.arrived.rosterDiff)
		p.arrived = nil
	}
}

// joinFor reports whether a message belongs to the present join, and forgets
// what is of an earlier one.
func (p *Presence) joinFor(ref phoenix.Ref) bool {
	join := p.ch.joined()
	if join == "" || ref != "" && ref != join {
		return false
	}
	if join != p.join {
		p.join, p.synced, p.early, p.waiting = join, false, nil, 0
	}
	return true
}

// open, restore and end are called when the stream of changes is interrupted,
// whole again, and over.
func (p *Presence) open(g cdc.Gap) { p.inbox.open(g) }
func (p *Presence) end(err error)  { p.inbox.end(err) }
func (p *Presence) restore(g cdc.Gap, _ Replay) {
	p.inbox.restoreWith(g, NoReplay, p.arrived) // as one value
	p.arrived = nil
}

// diff takes a diff. It waits for the state of the join if that has not come.
func (p *Presence) diff(m phoenix.Message, whole time.Time) {
	if !p.joinFor("") {
		return
	}
	d, err := p.reader.diff(m.Payload)
	switch {
	case err != nil:
		p.ch.undecodable(whole, err, inRosterUndecodable)
		return
	case p.synced:
		p.apply(d)
		return
	}
	p.early = append(p.early, d)
	if p.waiting += len(d.joined) + len(d.left) + 1; p.waiting > maxEarly {
		// The state includes what the server sent before it, as a rule.
		p.early, p.waiting = nil, 0
		p.ch.dropped(errEarlyDiffs)
	}
}

// apply changes the roster: a large change in a copy, so that State waits for
// small ones only.
func (p *Presence) apply(d rosterDiff) {
	if size := len(d.joined) + len(d.left); size > 1000 && size > len(p.roster)/10 {
		next := maps.Clone(p.roster)
		d = next.apply(d)
		p.mu.Lock()
		p.roster = next
		p.mu.Unlock()
	} else {
		p.mu.Lock()
		d = p.roster.apply(d)
		p.mu.Unlock()
	}
	p.changed(d)
}

func (p *Presence) changed(d rosterDiff) {
	if !d.empty() {
		p.inbox.push(context.Background(), &presenceDelta{rosterDiff: d}, 0, time.Time{})
	}
}
