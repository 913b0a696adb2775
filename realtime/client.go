package realtime

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/events"
	"github.com/gapless-go/gapless/internal/patience"
)

// Client is a connection to the Realtime server of one project, which it makes
// when it is needed and makes again whenever it is lost. Its channels share
// one websocket. Every method is safe for concurrent use. Close it in the end.
type Client struct {
	opts     Options
	endpoint endpoint
	auth     *auth
	router   *router
	events   *events.Queue

	ctx    context.Context // the client's life; its cause is ErrClosed
	cancel context.CancelCauseFunc
	forced context.Context // ends when Close cannot wait any longer
	force  context.CancelFunc
	wakeup chan struct{} // capacity 1: somebody wants a socket
	done   chan struct{} // closed when the supervisor has ended

	finished chan struct{} // closed when a closed client has ended all but its hooks

	mu       sync.Mutex
	running  bool // the supervisor has been started
	closed   bool
	open     bool          // there is a socket
	waiters  int           // calls of Connect since the last refusal for good
	lastErr  error         // why there is no socket: the last attempt's
	refusal  error         // the last refusal for good
	refusals int           // how many there have been
	changed  chan struct{} // closed and replaced when something of this changes
}

// New makes a client. It checks the options and connects to nothing: the first
// channel that joins does, or Connect.
func New(o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	e, err := parseEndpoint(o.URL, o.Key, o.version())
	if err != nil {
		return nil, err
	}
	if o.ProjectURL != "" {
		if e.project, err = parseProject(o.ProjectURL); err != nil {
			return nil, err
		}
	}
	c := &Client{opts: o, endpoint: e, wakeup: make(chan struct{}, 1), done: make(chan struct{}), finished: make(chan struct{}), changed: make(chan struct{})}
	c.events = newEvents(o.Logger, o.Hooks)
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.forced, c.force = context.WithCancel(context.Background())
	c.router = &router{client: c, attached: map[string]*attachment{}}
	c.auth = &auth{source: o.Token, ctx: c.ctx, notify: c.router.wake, events: c.events, clock: c.router.clock, history: patience.Patience{Strict: o.FailFast}}
	return c, nil
}

// FailFast returns what Options.FailFast is.
func (c *Client) FailFast() bool { return c.opts.FailFast }

// Channel makes a channel of a topic, which is given without the prefix
// "realtime:" that it has on the wire. It joins when one of its subscriptions
// is first iterated, or WaitLive is called on it. A client has one channel of
// a topic at a time: joining a second one ends it with ErrTopicInUse.
func (c *Client) Channel(topic string, opts ...channel.Option) (*channel.Channel, error) {
	return channel.New(c.router, topic, opts...)
}

// Connect makes sure that there is a socket: it blocks until there is, until
// the server refuses it for good (a *ConnectError), or until ctx ends; the
// error then also says why there is none yet. Nobody has to call it: channels
// connect by themselves. A socket that no channel uses is not made again when
// it is lost.
func (c *Client) Connect(ctx context.Context) error {
	c.mu.Lock()
	c.waiters++
	before := c.refusals
	c.mu.Unlock()
	defer c.noWaiter(before)
	c.demand()
	for {
		c.mu.Lock()
		open, closed, changed := c.open, c.closed, c.changed
		refused, refusal := c.refusals != before, c.refusal
		c.mu.Unlock()
		switch {
		case closed:
			return ErrClosed
		case open:
			return nil
		case refused:
			return refusal
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("realtime: connecting: %w: %w", ctx.Err(), cmp.Or(c.why(), errConnecting))
		}
	}
}

func (c *Client) noWaiter(before int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusals == before { // a refusal has sent all waiters away
		c.waiters--
	}
}

// Token returns the token that the client's channels use at present: that of
// Options.Token, or Options.Key where there is no source. It blocks while the
// source is asked for a new one, until ctx ends, and returns the source's
// error.
func (c *Client) Token(ctx context.Context) (string, error) {
	if c.opts.Token == nil {
		return c.opts.Key, nil
	}
	for {
		if token, ok := c.auth.valid(time.Now()); ok {
			return token, nil
		}
		if err := c.auth.begin().wait(ctx); err != nil {
			return "", err
		}
	}
}

// Close ends every channel with ErrClosed, closes the socket and waits for
// everything that the client has started, and for the logger and the hooks to
// have been told. A hook that runs when Close is called is not waited for, as it
// may be the one that calls Close.
//
// If ctx ends first, Close cuts the connection and returns ctx's error at once;
// what then still runs is user code that does not return (a TokenSource, a
// RoundTripper or a hook that ignores its context), and ends with it. A server
// that does not answer the close frame is given up after 5 s. Closing twice does
// nothing more.
func (c *Client) Close(ctx context.Context) error {
	hooking := c.events.Busy()
	c.mu.Lock()
	running := c.running
	if !c.closed {
		c.closed = true
		c.signal()
		go c.finish(running) // ends when everything else has; waited for by Close
	}
	c.mu.Unlock()
	c.cancel(ErrClosed)
	select {
	case <-c.finished:
	case <-ctx.Done():
		c.force()
		return ctx.Err()
	}
	if !hooking {
		c.events.Drain(ctx)
	}
	return ctx.Err()
}

// finish waits for what the client has started.
func (c *Client) finish(running bool) {
	defer close(c.finished)
	if running {
		<-c.done
	} else {
		c.end()
	}
	c.auth.close()
}

// demand makes the supervisor look whether anybody wants a socket.
func (c *Client) demand() {
	c.mu.Lock()
	if !c.running && !c.closed {
		c.running = true
		go c.supervise() // ends when the client is closed; waited for by Close
	}
	c.mu.Unlock()
	select {
	case c.wakeup <- struct{}{}:
	default:
	}
}

// waitDemand blocks until somebody wants a socket. It reports false when the
// client is closed.
func (c *Client) waitDemand() bool {
	for {
		c.mu.Lock()
		wanted := c.waiters > 0
		c.mu.Unlock()
		switch {
		case c.ctx.Err() != nil:
			return false
		case wanted || c.router.wanted():
			return true
		}
		select {
		case <-c.wakeup:
		case <-c.ctx.Done():
		}
	}
}

// signal wakes those who wait in Connect. It is called under mu.
func (c *Client) signal() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Client) connected(open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = open
	c.lastErr = nil
	c.signal()
}

// failed keeps why there is no socket at the moment, and tells the channels.
func (c *Client) failed(err error) {
	c.mu.Lock()
	c.lastErr = err
	c.mu.Unlock()
	c.panicked(c.router.waiting(err))
}

// why returns why there is no socket, nil where there is one or the first attempt
// is under way.
func (c *Client) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastErr
}

// refused ends everybody who wants a socket, as there will be none.
func (c *Client) refused(err error) {
	c.mu.Lock()
	c.refusal = err
	c.refusals++
	c.waiters = 0
	c.lastErr = err
	c.signal()
	c.mu.Unlock()
	c.panicked(c.router.fail(err))
}
