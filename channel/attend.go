package channel

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/link"
	"github.com/gapless-go/gapless/internal/phoenix"
)

const (
	// maxEarlyDiffs bounds the diffs that wait for the state of the join.
	maxEarlyDiffs = 1024
	// windowMargin is added to the server's window: messages may come closer
	// together than they were sent.
	windowMargin = time.Second
	// retryPresence is when a message is tried again for which there was no room.
	retryPresence = time.Second
)

var errEarlyDiffs = errors.New("channel: presence diffs dropped: the state of the join did not come")

// attendance is the presence side of a channel. It is under the channel's mu.
type attendance struct {
	handle *Presence // nil: the channel has no presence

	roster roster
	synced bool         // the state of the present join has come
	early  []rosterDiff // diffs that came before it
	gap    *cdc.Gap     // open, or nil
	began  bool

	pending rosterDiff // not taken yet
	told    *cdc.Gap   // not taken yet
	ready   chan struct{}

	wanted  []byte // what is to be tracked, nil: nothing
	turn    int    // of the last call
	done    int    // the last turn that is settled
	doneErr error
	settled chan struct{} // closed and replaced when done or the state changes

	sent    int         // the turn that the server was told in this join
	ref     phoenix.Ref // of the message without an answer yet
	sentAt  time.Time
	tracked bool        // the server has something of this join
	calls   []time.Time // in this join, the last ones
	timer   *time.Timer
}

// wantPresence sets what is to be tracked. It returns the turn, which is
// settled when the server knows.
func (c *Channel) wantPresence(payload []byte) (turn int) {
	a := &c.presence
	a.turn++
	a.wanted = payload
	c.tellPresence()
	return a.turn
}

// tellPresence sends what is wanted, unless that is known, or the time to send
// has not come.
func (c *Channel) tellPresence() {
	a := &c.presence
	if c.joined == "" || a.ref != "" || a.sent == a.turn {
		return
	}
	if a.wanted == nil && !a.tracked {
		a.sent = a.turn
		a.settle(a.turn, nil)
		return
	}
	if wait := a.untilCall(c.cfg.presenceCalls, c.cfg.presenceWindow, time.Now()); wait > 0 {
		c.presenceIn(wait)
		return
	}
	m := presenceMessage(a.wanted)
	m.JoinRef, m.Ref, m.Topic = c.joined, c.link.NextRef(), c.wireTopic()
	if c.link.Send(m) != nil {
		c.presenceIn(retryPresence)
		return
	}
	a.ref, a.sent, a.sentAt = m.Ref, a.turn, time.Now()
	a.tracked = a.tracked || a.wanted != nil
	a.calls = append(a.calls, a.sentAt)
	c.presenceIn(c.cfg.ackTimeout)
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
func (a *attendance) untilCall(calls int, window time.Duration, now time.Time) time.Duration {
	if calls == 0 || len(a.calls) < calls {
		return 0
	}
	a.calls = a.calls[len(a.calls)-calls:]
	return max(0, a.calls[0].Add(window+windowMargin).Sub(now))
}

// presenceIn looks again in d.
func (c *Channel) presenceIn(d time.Duration) {
	a := &c.presence
	a.stop()
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.unlock()
		if a.timer != t {
			return
		}
		a.timer = nil
		if a.ref != "" { // the answer is overdue
			c.presenceAnswered(errors.Join(ErrUnacknowledged, errNoReply))
			return
		}
		c.tellPresence()
	})
	a.timer = t
}

func (a *attendance) stop() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}

// presenceReply handles the reply to a message, if it is one of presence.
func (c *Channel) presenceReply(m phoenix.Message) bool {
	a := &c.presence
	if a.ref == "" || m.Ref != a.ref {
		return false
	}
	r, err := phoenix.DecodeReply(m.Payload)
	switch {
	case err != nil:
	case r.Status != phoenix.StatusOK:
		err = &PushError{Topic: c.topic, Reason: r.Reason()}
	}
	c.presenceAnswered(err)
	return true
}

func (c *Channel) presenceAnswered(err error) {
	a := &c.presence
	a.stop()
	a.ref = ""
	a.settle(a.sent, err)
	if err != nil {
		c.notices = append(c.notices, link.Notice{Topic: c.topic, Dropped: err})
	}
	c.tellPresence()
}

// settle says what became of the turns up to one.
func (a *attendance) settle(turn int, err error) {
	a.done, a.doneErr = turn, err
	a.wake()
}

func (a *attendance) wake() {
	if a.settled != nil {
		close(a.settled)
		a.settled = make(chan struct{})
	}
}

// presenceJoined handles the accepted join: the server knows nothing of this
// channel's presence yet, and counts its calls anew.
func (c *Channel) presenceJoined() {
	a := &c.presence
	if a.handle == nil {
		return
	}
	a.tracked, a.calls, a.ref = false, nil, ""
	a.sent = 0
	if a.wanted == nil {
		a.sent = a.done // an Untrack that waits is settled by that
	}
	c.tellPresence()
}

// presenceLost handles the end of the join, or of the socket.
func (c *Channel) presenceLost(reason cdc.GapReason, since time.Time, err error) {
	a := &c.presence
	a.stop()
	a.ref, a.early, a.synced = "", nil, false
	if !a.began || a.gap != nil {
		return
	}
	a.gap = &cdc.Gap{Since: since, Reason: reason, Err: err}
	a.tell(*a.gap)
}

// presenceEnded wakes everybody: the channel is over.
func (c *Channel) presenceEnded() {
	a := &c.presence
	if a.handle != nil {
		a.stop()
		a.synced = false
		a.wake()
		signal(a.ready)
	}
}

// presenceState handles the state, which comes once for each join. In version
// 1.0.0 it does not say of which.
func (c *Channel) presenceState(m phoenix.Message) {
	a := &c.presence
	if a.handle == nil || c.joined == "" || m.JoinRef != "" && m.JoinRef != c.joined {
		return
	}
	state, err := readRoster(m.Payload)
	if err != nil {
		c.notices = append(c.notices, link.Notice{Topic: c.topic, Dropped: err})
		return
	}
	if a.roster == nil {
		a.roster = roster{}
	}
	changed := a.roster.sync(state)
	for _, d := range a.early {
		changed.merge(a.roster.apply(d))
	}
	a.early, a.synced = nil, true
	a.changed(changed)
	g := cdc.Gap{Reason: cdc.Started}
	if a.gap != nil {
		g = *a.gap
	}
	g.Until = time.Now()
	a.gap, a.began = nil, true
	a.tell(g)
}

// presenceDiff handles a diff. It waits for the state of the join if that has
// not come.
func (c *Channel) presenceDiff(m phoenix.Message) {
	a := &c.presence
	if a.handle == nil || c.joined == "" {
		return
	}
	d, err := readRosterDiff(m.Payload)
	switch {
	case err != nil:
	case a.synced:
		a.changed(a.roster.apply(d))
		return
	case len(a.early) < maxEarlyDiffs:
		a.early = append(a.early, d)
		return
	default:
		a.early, err = []rosterDiff{d}, errEarlyDiffs
	}
	c.notices = append(c.notices, link.Notice{Topic: c.topic, Dropped: err})
}

// changed adds to what the consumer has not taken.
func (a *attendance) changed(d rosterDiff) {
	if a.pending.joined == nil {
		a.pending = rosterDiff{roster{}, roster{}}
	}
	a.pending.merge(d)
	if !a.pending.empty() {
		signal(a.ready)
	}
}

// tell adds a gap to what the consumer has not taken: the end of one of which
// it has not been told has that one's beginning.
func (a *attendance) tell(g cdc.Gap) {
	if a.told != nil {
		g.Since, g.Reason = a.told.Since, a.told.Reason
	}
	a.told = &g
	signal(a.ready)
}

func (a *attendance) take() (PresenceChange, bool) {
	if a.pending.empty() && a.told == nil {
		return PresenceChange{}, false
	}
	change := PresenceChange{Joined: a.pending.joined, Left: a.pending.left, Gap: a.told}
	a.pending, a.told = rosterDiff{roster{}, roster{}}, nil
	return change, true
}
