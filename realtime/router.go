package realtime

import (
	"cmp"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gapless-go/gapless/internal/events"
	"github.com/gapless-go/gapless/internal/link"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/internal/text"
)

// router finds the channel of a message, and the socket for a channel. It is
// the client as its channels see it.
type router struct {
	client *Client
	refs   atomic.Uint64
	ahead  atomic.Pointer[time.Duration] // of the server's clock, see readClock; nil: not known

	mu       sync.Mutex
	attached map[string]*attachment // by topic
	session  *session               // nil while the socket is down
	closed   bool
}

var _ link.Link = (*router)(nil)

// attachment is a channel as the router has it.
type attachment struct {
	link.Handler
	topic    string
	detached atomic.Bool
}

func (r *router) Attach(topic string, h link.Handler) error {
	r.mu.Lock()
	_, taken := r.attached[topic]
	closed := r.closed
	if !taken && !closed {
		r.attached[topic] = &attachment{Handler: h, topic: topic}
	}
	r.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case taken:
		return ErrTopicInUse
	}
	r.client.demand()
	if r.current() == nil {
		h.Waiting(cmp.Or(r.client.why(), errConnecting))
	}
	return nil
}

func (r *router) Detach(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.attached[topic]; a != nil {
		a.detached.Store(true)
	}
	delete(r.attached, topic)
	if r.session != nil {
		r.session.forgetJoin(topic)
	}
}

func (r *router) RequestJoin(topic string, failing bool) {
	if s := r.current(); s != nil {
		s.requestJoin(topic, failing)
	}
}

func (r *router) RejectToken(token string, why error) bool {
	again := r.client.auth.reject(token, why)
	r.wake()
	return again
}

// wake makes the session look at joins and tokens.
func (r *router) wake() {
	if s := r.current(); s != nil {
		s.wake()
	}
}

func (r *router) FailFast() bool { return r.client.opts.FailFast }

func (r *router) Version() phoenix.Version { return r.client.opts.version() }

func (r *router) NextRef() phoenix.Ref { return phoenix.NewRef(r.refs.Add(1)) }

func (r *router) Send(m phoenix.Message) error {
	s := r.current()
	if s == nil {
		return ErrNotConnected
	}
	return s.queue(m)
}

func (r *router) Observe(n link.Notice) {
	e, hooks := r.client.events, r.client.opts.Hooks
	ev := events.Event{Level: slog.LevelInfo, Args: []any{"topic", n.Topic}}
	switch {
	case n.Joined:
		r.client.auth.accepted()
		ev.Text = "joined"
		events.Tell(e, ev, "Hooks.Joined", hooks.Joined, n.Topic)
	case n.Live:
		ev.Text = "live"
		events.Tell(e, ev, "Hooks.Live", hooks.Live, n.Topic)
	case n.Gap != nil:
		ev.Level, ev.Text = slog.LevelWarn, "gap"
		ev.Args = append(ev.Args, "reason", n.Gap.Reason, "since", n.Gap.Since, "open", n.Gap.Open(), "err", n.Gap.Err)
		events.TellOf(e, ev, "Hooks.Gap", hooks.Gap, n.Topic, *n.Gap)
	case n.Refused != nil:
		ev.Level, ev.Text, ev.Args = slog.LevelWarn, "refused, and tried again", append(ev.Args, "err", n.Refused)
		events.TellOf(e, ev, "Hooks.Refused", hooks.Refused, n.Topic, n.Refused)
	case n.Dropped != nil:
		ev.Level, ev.Text, ev.Args = slog.LevelWarn, "dropped", append(ev.Args, "err", n.Dropped)
		events.TellOf(e, ev, "Hooks.Dropped", hooks.Dropped, n.Topic, n.Dropped)
	case errors.Is(n.Ended, ErrClosed):
		ev.Text = "left"
		e.Add(ev)
	case n.Ended != nil:
		ev.Level, ev.Text, ev.Args = slog.LevelError, "channel ended", append(ev.Args, "err", n.Ended)
		e.Add(ev)
	}
}

func (r *router) current() *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.session
}

// handler returns the channel of a topic, nil if there is none.
func (r *router) handler(topic string) *attachment {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attached[topic]
}

// all returns the handlers of the moment, to be called without the lock.
func (r *router) all() []*attachment {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.attached))
}

func (r *router) wanted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.attached) > 0
}

// up makes s the socket of every channel.
func (r *router) up(s *session) {
	r.mu.Lock()
	r.session = s
	r.mu.Unlock()
	for _, h := range r.all() {
		h.Up()
	}
}

// down says that the socket is gone. Nothing is received any more.
func (r *router) down(whole time.Time, err error) error {
	r.mu.Lock()
	r.session = nil
	r.mu.Unlock()
	return r.each(func(a *attachment) { a.Down(whole, err) })
}

// each calls f for every channel, also when that panics for one of them.
func (r *router) each(f func(*attachment)) error {
	var panics []error
	for _, a := range r.all() {
		panics = append(panics, rescue.Do("a channel", func() error { f(a); return nil }))
	}
	return errors.Join(panics...)
}

// waiting tells the channels why there is no socket.
func (r *router) waiting(err error) error {
	return r.each(func(a *attachment) { a.Waiting(err) })
}

// fail ends every channel.
func (r *router) fail(err error) error {
	return r.each(func(a *attachment) { a.Fail(err) })
}

// close ends every channel and takes no more.
func (r *router) close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	return r.fail(ErrClosed)
}

// malformed tells the channels that may have lost something by a frame that
// could not be read: none, if it is known to have been something else; all, if
// nothing is known of it.
func (r *router) malformed(bad *phoenix.MalformedError, whole time.Time) {
	switch bad.Event {
	case "", phoenix.EventPostgresChanges, phoenix.EventBroadcast, phoenix.EventPresenceState, phoenix.EventPresenceDiff,
		phoenix.EventSystem, phoenix.EventClose, phoenix.EventError:
		if h := r.handler(bad.Topic); h != nil {
			h.Malformed(bad, whole)
			return
		}
		if bad.Topic == "" {
			for _, h := range r.all() {
				h.Malformed(bad, whole)
			}
			return
		}
	}
	r.Observe(link.Notice{Topic: text.Clean(bad.Topic, maxField), Dropped: bad}) // it may be any text
}
