package realtime

import (
	"context"
	"errors"
	"time"

	"github.com/gapless-go/gapless/internal/backoff"
)

// steady is how long a socket must have lived for the failures before it to be
// forgotten.
const steady = 30 * time.Second

// maxRefusals is how often in a row a client that had been connected may be
// refused for good before it believes it: gateways answer oddly for a while
// when a project restarts. A client that never was connected believes at once.
const maxRefusals = 3

// supervise connects, again and again, while anybody wants a socket, until the
// client is closed. It is the client's one long-lived goroutine.
func (c *Client) supervise() {
	defer close(c.done)
	defer c.router.close()
	r := retrying{min: c.opts.ReconnectMin, max: c.opts.ReconnectMax}
	for c.waitDemand() {
		started := time.Now()
		connected, err := c.connectOnce()
		if c.ctx.Err() != nil {
			return
		}
		wait, giveUp := r.next(connected, time.Since(started), err)
		if giveUp {
			c.opts.Logger.Error("connection refused for good", "err", err)
			c.refused(err)
			continue
		}
		c.opts.Logger.Warn("not connected", "err", err, "again in", wait)
		c.note(err)
		sleep(c.ctx, wait)
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
	c.opts.Logger.Info("connected", "endpoint", c.endpoint)
	if c.opts.Hooks.Connected != nil {
		c.opts.Hooks.Connected()
	}
	err = s.run()
	c.connected(false)
	if errors.Is(err, ErrClosed) { // no gap: nobody listens any more
		c.router.close()
		return true, err
	}
	c.router.down(s.wire.proven(), err)
	call(c.opts.Hooks.Lost, err)
	return true, err
}

// retrying decides when to connect again, and when not to. It computes and
// does nothing.
type retrying struct {
	min, max time.Duration

	attempts  int  // since the last steady socket
	refusals  int  // for good, in a row
	connected bool // ever
}

func (r *retrying) next(connected bool, lived time.Duration, err error) (wait time.Duration, giveUp bool) {
	if connected {
		r.connected = true
		r.refusals = 0
		if lived >= steady {
			r.attempts = 0
		}
	} else if IsPermanent(err) {
		r.refusals++
		if !r.connected || r.refusals >= maxRefusals {
			r.refusals, r.attempts = 0, 0
			return 0, true
		}
	} else {
		r.refusals = 0
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
