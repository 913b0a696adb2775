package realtime

import (
	"context"
	"slices"
	"time"
)

// tend lets channels join when it is their turn and there is a valid token,
// and has the token replaced ahead of its expiry, until ctx ends or the server
// stalls.
func (s *session) tend(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.woken:
		case <-timer.C:
		}
		if err := s.checkJoins(); err != nil {
			return err
		}
		s.tendToken()
		if err := s.startJoins(ctx); err != nil {
			return err
		}
		timer.Reset(s.untilNext())
	}
}

// untilNext returns how long tend may sleep.
func (s *session) untilNext() time.Duration {
	now := time.Now()
	next := now.Add(time.Hour)
	if at := s.tokenDue(now); !at.IsZero() && at.Before(next) {
		next = at
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.gate.due(s.client.opts.JoinTimeout); !at.IsZero() && at.Before(next) {
		next = at
	}
	return next.Sub(now)
}

// checkJoins gives up a join that the server does not answer: with the whole
// socket, if it has not answered the heartbeat behind the join either, or nothing
// has come at all.
func (s *session) checkJoins() error {
	now := time.Now()
	s.mu.Lock()
	s.gate.hold(s.wire.held(now)) // the reply may be there, unread
	since, came := s.gate.since, s.wire.lastCame()
	join, overdue := s.gate.overdue(now, s.client.opts.JoinTimeout)
	stalled := !join.passed && (join.order <= s.heart.joins || !came.After(since))
	s.mu.Unlock()
	switch {
	case !overdue:
	case stalled:
		return errJoinStalled
	default:
		if h := s.client.router.handler(join.topic); h != nil {
			h.JoinTimeout()
		}
	}
	return nil
}

// tendToken has a token fetched when one is due, and gives a fresh one to the
// channels that are joined.
func (s *session) tendToken() {
	now := time.Now()
	if at := s.tokenDue(now); !at.IsZero() && !at.After(now) {
		s.client.auth.begin() // wakes tend in the end
	}
	if token, ok := s.client.auth.valid(now); ok && token != s.told {
		s.told = token
		if token = sendable(token); token != "" {
			for _, h := range s.client.router.all() {
				h.Token(token)
			}
		}
	}
}

// tokenDue returns when a token is to be fetched, the zero time for not as
// things are. While there is no channel nobody needs one.
func (s *session) tokenDue(now time.Time) time.Time {
	if !s.client.router.wanted() {
		return time.Time{}
	}
	return s.client.auth.due(now)
}

// startJoins sends the joins whose turn it is. Without a valid token there are
// none: a refused join would stall the socket.
func (s *session) startJoins(ctx context.Context) error {
	token, ok := s.client.auth.valid(time.Now())
	if !ok {
		err := s.client.auth.failure()
		if err == nil {
			err = errTokenAwaited
		}
		s.explain(err)
		return nil
	}
	for {
		s.mu.Lock()
		w, ok := s.gate.next()
		s.mu.Unlock()
		if !ok {
			return nil
		}
		h := s.client.router.handler(w.topic)
		if h == nil {
			continue
		}
		m, ok := h.Join(sendable(token))
		if !ok {
			continue
		}
		f, err := s.frame(m)
		if err != nil {
			h.Fail(err)
			continue
		}
		s.mu.Lock()
		s.gate.sent(w, m.Ref, time.Now())
		s.mu.Unlock()
		select { // a join is not to be dropped, so it waits for room
		case s.out <- f:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// explain tells the channels in line why they do not join, and ends them if
// that will not change.
func (s *session) explain(err error) {
	if IsPermanent(err) {
		s.client.panicked(s.client.router.fail(err))
		return
	}
	s.mu.Lock()
	waiting := slices.Clone(s.gate.waiting)
	s.mu.Unlock()
	for _, w := range waiting {
		if h := s.client.router.handler(w.topic); h != nil {
			h.Waiting(err)
		}
	}
}
