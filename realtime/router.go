package realtime

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gapless-go/gapless/internal/link"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// router finds the channel of a message, and the socket for a channel. It is
// the client as its channels see it.
type router struct {
	client *Client
	refs   atomic.Uint64
	ahead  atomic.Int64 // the server's clock, see readClock

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

func (r *router) RejectToken(token string) bool {
	again := r.client.auth.reject(token)
	r.wake()
	return again
}

// wake makes the session look at joins and tokens.
func (r *router) wake() {
	if s := r.current(); s != nil {
		s.wake()
	}
}

func (r *router) FailFast() bool { return false }

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
	log, hooks := r.client.opts.Logger.With("topic", n.Topic), r.client.opts.Hooks
	switch {
	case n.Joined:
		r.client.auth.accepted()
		log.Info("joined")
		call(hooks.Joined, n.Topic)
	case n.Live:
		log.Info("live")
		call(hooks.Live, n.Topic)
	case n.Gap != nil:
		log.Warn("gap", "reason", n.Gap.Reason, "since", n.Gap.Since, "open", n.Gap.Open(), "err", n.Gap.Err)
		if hooks.Gap != nil {
			hooks.Gap(n.Topic, *n.Gap)
		}
	case n.Refused != nil:
		log.Warn("refused, and tried again", "err", n.Refused)
		if hooks.Refused != nil {
			hooks.Refused(n.Topic, n.Refused)
		}
	case n.Dropped != nil:
		log.Warn("dropped", "err", n.Dropped)
		if hooks.Dropped != nil {
			hooks.Dropped(n.Topic, n.Dropped)
		}
	case n.Ended != nil:
		if errors.Is(n.Ended, ErrClosed) {
			log.Info("left")
		} else {
			log.Error("channel ended", "err", n.Ended)
		}
	}
}

func call[T any](hook func(T), v T) {
	if hook != nil {
		hook(v)
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
func (r *router) down(whole time.Time, err error) {
	r.mu.Lock()
	r.session = nil
	r.mu.Unlock()
	for _, h := range r.all() {
		h.Down(whole, err)
	}
}

// fail ends every channel.
func (r *router) fail(err error) {
	for _, h := range r.all() {
		h.Fail(err)
	}
}

// close ends every channel and takes no more.
func (r *router) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.fail(ErrClosed)
}

// malformed tells the channels that may have lost a change by a frame that
// could not be read: none, if it is known to have been something else; all, if
// nothing is known of it.
func (r *router) malformed(bad *phoenix.MalformedError, whole time.Time) {
	if bad.Event == "" || bad.Event == phoenix.EventPostgresChanges {
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
	r.Observe(link.Notice{Topic: bad.Topic, Dropped: bad})
}
