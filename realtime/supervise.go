package realtime

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gapless-go/gapless/internal/backoff"
	"github.com/gapless-go/gapless/internal/events"
	"github.com/gapless-go/gapless/internal/patience"
	"github.com/gapless-go/gapless/internal/rescue"
)

// steady is how long a socket must have lived for the failures before it to be
// forgotten.
const steady = 30 * time.Second

// supervise connects, again and again, while anybody wants a socket, until the
// client is closed. It is the client's one long-lived goroutine.
func (c *Client) supervise() {
	defer close(c.done)
	defer c.end()
	r := retrying{min: c.opts.ReconnectMin, max: c.opts.ReconnectMax, patience: patience.Patience{Strict: c.opts.FailFast}}
	for c.waitDemand() {
		started := time.Now()
		var connected bool
		err := rescue.Do("the supervisor", func() (err error) {
			connected, err = c.connectOnce()
			return err
		})
		if c.ctx.Err() != nil {
			return
		}
		wait, giveUp := r.next(connected, time.Since(started), err, time.Now())
		if giveUp {
			err = final(err)
			events.Tell(c.events, events.Event{Level: slog.LevelError, Text: "connection refused for good", Args: []any{"err", err}},
				"Hooks.Failed", c.opts.Hooks.Failed, err)
			c.refused(err)
			continue
		}
		ev := events.Event{Level: slog.LevelWarn, Text: "not connected", Args: []any{"err", err, "again in", wait}}
		if connected { // which Hooks.Lost has been told
			c.events.Add(ev)
		} else {
			events.Tell(c.events, ev, "Hooks.Failed", c.opts.Hooks.Failed, err)
		}
		c.failed(err)
		sleep(c.ctx, wait)
	}
}

// end ends every channel, as nobody connects any more.
func (c *Client) end() {
	c.panicked(c.router.close())
}

// panicked reports panics that ended nothing.
func (c *Client) panicked(err error) {
	if err != nil {
		events.TellOf(c.events, events.Event{Level: slog.LevelError, Text: "panic", Args: []any{"err", err}}, "Hooks.Dropped", c.opts.Hooks.Dropped, "", err)
	}
}

// connectOnce lives through one socket. It returns whether there was one, and
// why there is none any more.
func (c *Client) connectOnce() (connected bool, err error) {
	conn, w, err := c.dial()
	if err != nil {
		return false, err
	}
	s := newSession(c, conn, w)
	c.connected(true)
	ev := events.Event{Level: slog.LevelInfo, Text: "connected", Args: []any{"endpoint", c.endpoint.String()}, Name: "Hooks.Connected", Hook: c.opts.Hooks.Connected}
	c.events.Add(ev)
	err = s.run()
	c.connected(false)
	if errors.Is(err, ErrClosed) { // no gap: nobody listens any more
		return true, err
	}
	if panics := c.router.down(s.wire.proven(), err); panics != nil {
		err = errors.Join(err, panics)
	}
	events.Tell(c.events, events.Event{Level: slog.LevelDebug, Text: "lost", Args: []any{"err", err}}, "Hooks.Lost", c.opts.Hooks.Lost, err)
	return true, err
}

// retrying decides when to connect again, and when not to. It computes and does
// nothing. It is the one place that decides whether a refusal is final.
type retrying struct {
	min, max time.Duration
	patience patience.Patience

	attempts int // since the last steady socket
}

func (r *retrying) next(connected bool, lived time.Duration, err error, now time.Time) (wait time.Duration, giveUp bool) {
	if connected {
		r.patience.Worked()
		if lived >= steady {
			r.attempts = 0
		}
	} else if looksFinal(err) && r.patience.Refused(now) {
		r.attempts = 0
		return 0, true
	}
	wait = backoff.Full(r.attempts, r.min, r.max)
	r.attempts++
	return wait, false
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
