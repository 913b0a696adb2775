package channel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gapless-go/gapless/internal/link"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// maxTopic is what the server can take: its encoder crashes on longer topics.
const maxTopic = 255

// leaveTimeout bounds how long a leave waits for the server.
const leaveTimeout = 10 * time.Second

// Channel is one topic of a client. realtime.Client.Channel makes one.
//
// It joins when the first of its subscriptions is iterated, or WaitLive is
// called, and from then on joins again by itself after every loss until Leave
// or the client's Close, or until the server refuses for good. Every method is
// safe for concurrent use.
type Channel struct {
	topic string // without the prefix
	link  link.Link
	cfg   config
	made  time.Time

	// What the changes themselves need is theirs, and not under mu.
	routes     atomic.Pointer[routes] // from the last reply to a join
	lastChange atomic.Int64           // until when the stream was whole when the last came, counted from made

	mu       sync.Mutex
	state    State
	reason   error         // why it is not live
	changed  chan struct{} // closed and replaced at every change of state
	subs     []*Subscription
	bindings []Binding
	attached bool

	// The join that is under way or holds. There is none when both are null.
	pending  phoenix.Ref // of the join that has no reply yet
	joined   phoenix.Ref // of the join that the server accepted
	leaveRef phoenix.Ref
	token    string // that the join, or a push after it, carried
	fresh    string // the newest token; pushed when the join has a reply

	systemError string    // the last one since the join; explains the phx_close after it
	failures    int       // tries in a row that did not lead to a lasting Live
	liveSince   time.Time // zero: not live
	everLive    bool
	inGap       bool
	lastMessage time.Time // until when the stream was whole when the server last confirmed the subscription, see heard
	pushedAt    time.Time // when a token was pushed whose effect has not been confirmed

	casts    casts                   // receives broadcasts
	presence attendance              // who is present
	answers  map[phoenix.Ref]*answer // that somebody waits for

	timer   *time.Timer
	notices []link.Notice // to be told after mu is released
}

// New makes a channel on a link, which users cannot have: use
// realtime.Client.Channel.
func New(l link.Link, topic string, opts ...Option) (*Channel, error) {
	switch {
	case topic == "":
		return nil, errors.New("channel: empty topic")
	case strings.HasPrefix(topic, phoenix.TopicPrefix):
		return nil, fmt.Errorf("channel: topic %q: give it without the prefix %q", topic, phoenix.TopicPrefix)
	case len(phoenix.TopicPrefix)+len(topic) > maxTopic:
		return nil, fmt.Errorf("channel: topic of %d bytes, with its prefix it may have %d", len(topic), maxTopic)
	}
	c := &Channel{topic: topic, link: l, cfg: defaults(), made: time.Now(), changed: make(chan struct{})}
	for _, opt := range opts {
		if err := opt(&c.cfg); err != nil {
			return nil, err
		}
	}
	if c.cfg.replay && !c.cfg.private {
		return nil, errors.New("channel: only a private channel has a replay of broadcasts")
	}
	c.casts.since = c.cfg.replaySince
	return c, nil
}

// Topic returns the topic as it was given: without the prefix that it has on
// the wire.
func (c *Channel) Topic() string { return c.topic }

func (c *Channel) wireTopic() string { return phoenix.TopicPrefix + c.topic }

// Status is where a channel is, and why it is not live if it is not.
type Status struct {
	State  State
	Reason error // nil when live, idle, or simply under way
}

// Status returns the present one.
func (c *Channel) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Status{State: c.state, Reason: c.reason}
}

// Subscribe adds bindings to the channel and returns their stream. The changes
// of all bindings of one subscription come in one order; those of several
// subscriptions each have their own queue, and no order between them.
//
// It must be called before the channel joins: ErrJoined otherwise. A binding
// that the server would misread is a *BindingError.
func (c *Channel) Subscribe(bindings ...Binding) (*Subscription, error) {
	if len(bindings) == 0 {
		return nil, errors.New("channel: subscription without a binding")
	}
	for _, b := range bindings {
		if err := b.check(); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != Idle { // Realtime takes bindings with the join only
		return nil, ErrJoined
	}
	s := &Subscription{ch: c, bindings: slices.Clone(bindings), first: len(c.bindings), queue: newQueue(c.cfg.queue)}
	c.bindings = append(c.bindings, bindings...)
	c.subs = append(c.subs, s)
	return s, nil
}

// WaitLive joins the channel if that has not been done, and blocks until it is
// live: from then on every committed change that its bindings ask for is
// delivered, or is inside a gap of its stream. It returns ctx's error, joined
// with the reason for which the channel is not live, or the error that ended
// the channel.
func (c *Channel) WaitLive(ctx context.Context) error {
	if err := c.start(); err != nil {
		return err
	}
	for {
		c.mu.Lock()
		state, reason, changed := c.state, c.reason, c.changed
		c.mu.Unlock()
		switch state {
		case Live:
			return nil
		case Closed:
			return reason
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), c.Status().Reason)
		}
	}
}

// Leave ends the channel and its streams, which deliver what they hold and
// then end with ErrClosed. It blocks until the server has confirmed, for 10 s
// at most, or until ctx ends, whose error it returns; the channel is over in
// every case. Leaving a channel that is over does nothing.
func (c *Channel) Leave(ctx context.Context) error {
	c.beginLeave()
	for {
		c.mu.Lock()
		state, changed := c.state, c.changed
		c.mu.Unlock()
		if state == Closed {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			c.mu.Lock()
			c.close(ErrClosed)
			c.unlock()
			return ctx.Err()
		}
	}
}

func (c *Channel) beginLeave() {
	c.mu.Lock()
	defer c.unlock()
	if !c.step(leave) {
		return
	}
	if c.current() == "" || c.sendLeave() != nil {
		c.close(ErrClosed) // the server knows nothing of it
		return
	}
	c.after(leaveTimeout, func() { c.close(ErrClosed) })
}

func (c *Channel) sendLeave() error {
	c.leaveRef = c.link.NextRef()
	return c.link.Send(phoenix.Message{JoinRef: c.current(), Ref: c.leaveRef, Topic: c.wireTopic(), Event: phoenix.EventLeave})
}

// current returns the join that the server knows, accepted or not.
func (c *Channel) current() phoenix.Ref {
	if c.joined != "" {
		return c.joined
	}
	return c.pending
}

// step applies an input to the state and reports whether that changed it. It
// is called under mu.
func (c *Channel) step(in input) bool {
	next := c.state.next(in)
	if next == c.state {
		return false
	}
	c.state = next
	close(c.changed)
	c.changed = make(chan struct{})
	return true
}

// close ends the channel for good. It is called under mu.
func (c *Channel) close(err error) {
	if !c.step(fail) {
		return // it is over
	}
	c.reason = err
	c.stopTimer()
	if c.attached {
		c.link.Detach(c.wireTopic())
		c.attached = false
	}
	for _, s := range c.subs {
		s.queue.end(err)
	}
	c.castsEnded(err)
	c.presenceEnded()
	c.unanswered(errEnded)
	c.notices = append(c.notices, link.Notice{Topic: c.topic, Ended: err})
}

// after makes f run in d, under mu, unless another timer or a stop comes
// first: a channel waits for one thing at a time.
func (c *Channel) after(d time.Duration, f func()) {
	c.stopTimer()
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.unlock()
		if c.timer == t {
			c.timer = nil
			f()
		}
	})
	c.timer = t
}

func (c *Channel) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// unlock unlocks mu and then tells the operator what happened under it.
func (c *Channel) unlock() {
	notices := c.notices
	c.notices = nil
	c.mu.Unlock()
	for _, n := range notices {
		c.link.Observe(n)
	}
}
