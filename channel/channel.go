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
	"unicode/utf8"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/link"
	"github.com/gapless-go/gapless/internal/patience"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// maxTopic is what the server can take: its encoder crashes on longer topics.
const maxTopic = 255

// Channel is one topic of a client. realtime.Client.Channel makes one.
//
// It joins when the first of its streams is iterated, or WaitLive, Send or
// Presence.Track is called, and from then on joins again by itself after every
// loss until Leave or the client's Close, or until the server refuses for good.
// Every method is safe for concurrent use.
type Channel struct {
	topic string // without the prefix
	link  link.Link
	cfg   config

	// Of the socket's reader: changes come without mu.
	routes     atomic.Pointer[routes] // from the last reply to a join
	lastChange time.Time              // when the stream was whole at the last change

	mu       sync.Mutex
	m        machine
	reason   error         // why it is not live
	changed  chan struct{} // closed and replaced at every change of state
	attached bool
	timer    timer // for what m's last effects wait for

	bindings  []Binding
	subs      []*Subscription
	listeners []*Listener
	presence  *Presence // nil: the channel has none
	streams   map[streams][]gapped
	replay    replayer

	joinRef phoenix.Ref // of the join that m.join is about, "": none
	awaited map[phoenix.Ref]func(reply)
	token   string // that the join, or a push after it, carried
	fresh   string // the newest token; pushed when the join has a reply
	pushes  int    // pushed tokens whose confirmation has not come
	pushed  time.Time
	doubted time.Time // until when the stream was whole before what was taken for such a confirmation

	systemError   string    // the last one since the join; explains the phx_close after it
	failures      int       // tries in a row that did not lead to a lasting Live
	liveSince     time.Time // zero: not live
	lastConfirmed time.Time // when the stream was whole at the last confirmation
	lastWhole     time.Time // the same at the last message but changes
	lastPassing   time.Time // when a gap that was over already was last reported
	lastDropped   time.Time // when a message that cannot be read was
	joins         patience.Patience
	subscribes    patience.Patience

	notices []link.Notice // to be emitted when mu is released
}

// gapped is a stream that gaps are put into.
type gapped interface {
	open(g cdc.Gap)
	restore(g cdc.Gap, replay Replay)
	end(err error)
}

// New makes a channel on a link. Use realtime.Client.Channel.
func New(l link.Link, topic string, opts ...Option) (*Channel, error) {
	switch {
	case topic == "":
		return nil, errors.New("channel: empty topic")
	case !utf8.ValidString(topic):
		return nil, fmt.Errorf("channel: topic %q is not UTF-8", topic)
	case strings.HasPrefix(topic, phoenix.TopicPrefix):
		return nil, fmt.Errorf("channel: topic %q: give it without the prefix %q", topic, phoenix.TopicPrefix)
	case len(phoenix.TopicPrefix)+len(topic) > maxTopic:
		return nil, fmt.Errorf("channel: topic of %d bytes, with its prefix it may have %d", len(topic), maxTopic)
	}
	c := &Channel{topic: topic, link: l, cfg: defaults(), changed: make(chan struct{}),
		streams: map[streams][]gapped{}, awaited: map[phoenix.Ref]func(reply){}}
	for _, opt := range opts {
		if err := opt(&c.cfg); err != nil {
			return nil, err
		}
	}
	if c.cfg.replay && !c.cfg.private {
		return nil, errors.New("channel: only a private channel has a replay of broadcasts")
	}
	c.m.replays = c.cfg.replay
	c.replay.since, c.replay.remembers = c.cfg.replaySince, c.cfg.replay
	c.joins.Strict, c.subscribes.Strict = l.FailFast(), l.FailFast()
	return c, nil
}

// Topic returns the topic as it was given: without the prefix that it has on
// the wire.
func (c *Channel) Topic() string { return c.topic }

func (c *Channel) wireTopic() string { return phoenix.TopicPrefix + c.topic }

// Status is where a channel is, and why it is not live if it is not.
type Status struct {
	State State
	// Reason is the last error that kept the channel from being live, such as a
	// refused join that is tried again; nil when it is live or idle, or when
	// nothing has failed.
	Reason error
}

// Status returns the channel's state and reason at the moment. It does not
// block.
func (c *Channel) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Status{State: c.m.state, Reason: c.reason}
}

// Subscribe adds bindings to the channel and returns their stream. The changes
// of all bindings of one subscription come in one order; those of several
// subscriptions each have their own queue, and no order between them.
//
// It must be called before the channel joins: ErrJoined otherwise, and what
// ended the channel if it is over. A binding that the server would misread is a
// *BindingError.
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
	if err := c.settled(); err != nil { // Realtime takes bindings with the join only
		return nil, err
	}
	s := &Subscription{ch: c, bindings: cloneBindings(bindings), first: len(c.bindings)}
	s.inbox = newInbox(changeTraits, c.cfg.queue, c.overflowed)
	c.bindings = append(c.bindings, s.bindings...)
	c.subs = append(c.subs, s)
	c.streams[changes] = append(c.streams[changes], s.inbox)
	c.m.binds = true
	return s, nil
}

// settled returns why nothing can be added to what the channel joins with.
func (c *Channel) settled() error {
	switch c.m.state {
	case Idle:
		return nil
	case Leaving:
		return ErrClosed
	case Closed:
		return c.reason
	}
	return ErrJoined
}

// WaitLive joins the channel if that has not been done, and blocks until it is
// live: from then on every committed change that its bindings ask for is
// delivered, or is inside a gap of its stream. The error wraps ctx's and the
// reason for which the channel is not live, if there is one, or it is the error
// that ended the channel.
//
// After a long time without any channel a server may confirm a subscription a
// few seconds before its own connection to the database is ready: changes of
// these seconds can be lost without a gap. See cache.WithMarker.
func (c *Channel) WaitLive(ctx context.Context) error {
	return c.wait(ctx, func() bool { return c.m.state == Live })
}

// wait joins the channel if that has not been done, and blocks until done,
// which is called under mu, reports true.
func (c *Channel) wait(ctx context.Context, done func() bool) error {
	if err := c.start(); err != nil {
		return err
	}
	for {
		c.mu.Lock()
		err, changed := c.over(), c.changed
		is := err == nil && done()
		c.mu.Unlock()
		switch {
		case err != nil:
			return err
		case is:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return c.late(ctx)
		}
	}
}

// over returns why the channel is over or about to be.
func (c *Channel) over() error {
	switch c.m.state {
	case Closed:
		return c.reason
	case Leaving:
		return ErrClosed
	}
	return nil
}

// late is the error of a call whose context ended before the channel was in the
// state that it waited for.
func (c *Channel) late(ctx context.Context) error {
	s := c.Status()
	if s.Reason == nil {
		return fmt.Errorf("channel: %q is %v: %w", c.topic, s.State, ctx.Err())
	}
	return fmt.Errorf("channel: %q is %v: %w: %w", c.topic, s.State, ctx.Err(), s.Reason)
}

// Leave ends the channel and its streams, which deliver what they hold and
// then end with ErrClosed. It blocks until the server has confirmed, for 10 s
// at most, or until ctx ends, whose error it returns; the channel is over in
// every case. Leaving a channel that is over does nothing.
func (c *Channel) Leave(ctx context.Context) error {
	c.mu.Lock()
	if c.m.state != Leaving {
		c.apply(inLeave, cause{err: ErrClosed})
		if c.m.state == Leaving && c.sendLeave() != nil {
			c.apply(inLeft, cause{err: ErrClosed})
		}
	}
	c.unlock()
	for {
		c.mu.Lock()
		state, changed := c.m.state, c.changed
		c.mu.Unlock()
		if state == Closed {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			c.happen(inLeft, cause{err: ErrClosed})
			return ctx.Err()
		}
	}
}

func (c *Channel) sendLeave() error {
	m := phoenix.Message{Event: phoenix.EventLeave}
	return c.send(&m, func(reply) { c.apply(inLeft, cause{err: ErrClosed}) })
}

// send sends a message on the present join, and has its reply handed to f,
// under mu. Without f none is expected.
func (c *Channel) send(m *phoenix.Message, f func(reply)) error {
	m.JoinRef, m.Ref, m.Topic = c.joinRef, c.link.NextRef(), c.wireTopic()
	if err := c.link.Send(*m); err != nil {
		return err
	}
	if f != nil {
		c.awaited[m.Ref] = f
	}
	return nil
}

// joined returns the ref of the accepted join, "" if there is none.
func (c *Channel) joined() phoenix.Ref {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m.join != joinAccepted {
		return ""
	}
	return c.joinRef
}

// note has a notice emitted when mu is released.
func (c *Channel) note(n link.Notice) {
	n.Topic = c.topic
	c.notices = append(c.notices, n)
}

// dropped reports what was discarded. It is not called under mu.
func (c *Channel) dropped(err error) { c.link.Observe(link.Notice{Topic: c.topic, Dropped: err}) }

// overflowed reports that an overflow of an inbox has begun or is over.
func (c *Channel) overflowed(g cdc.Gap) { c.link.Observe(link.Notice{Topic: c.topic, Gap: &g}) }

// unlock unlocks mu and then emits the notices: hooks run without it.
func (c *Channel) unlock() {
	notices := c.notices
	c.notices = nil
	c.mu.Unlock()
	for _, n := range notices {
		c.link.Observe(n)
	}
}

// cloneBindings returns a copy that shares nothing with bindings.
func cloneBindings(bindings []Binding) []Binding {
	bindings = slices.Clone(bindings)
	for i := range bindings {
		bindings[i].Columns = slices.Clone(bindings[i].Columns)
	}
	return bindings
}
