package realtime

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/internal/events"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/rescue"
)

// keepBuffer is the largest read buffer that is kept for the next frame.
const keepBuffer = 1 << 20

// session is the life of one websocket. Three goroutines work on it: the
// reader, the writer, which also keeps the heartbeat, and the supervisor's,
// which tends joins and tokens. The first to fail ends the others; run waits
// for them.
type session struct {
	client *Client
	conn   *websocket.Conn
	wire   *wire // below conn
	out    chan frame
	woken  chan struct{} // capacity 1: tend has something to look at
	told   string        // the token that the channels have been told; tend's

	decoder phoenix.Decoder // the reader's
	last    *attachment     // the reader's: of the message before

	mu    sync.Mutex
	gate  gate
	heart heart
}

func newSession(c *Client, conn *websocket.Conn, w *wire) *session {
	s := &session{
		client: c, conn: conn, wire: w, decoder: phoenix.Decoder{Version: c.opts.version(), From: phoenix.FromServer},
		out: make(chan frame, c.opts.SendBuffer), woken: make(chan struct{}, 1),
		heart: heart{every: c.opts.Heartbeat, timeout: c.opts.HeartbeatTimeout},
		gate:  gate{probeAfter: min(probeAfter, c.opts.JoinTimeout/2)},
	}
	s.heart.start(time.Now())
	conn.SetReadLimit(c.opts.ReadLimit)
	return s
}

// run lives until the socket is lost or the client closed, and returns why. A
// panic of any of the three goroutines is such a reason.
func (s *session) run() error {
	ctx, end := context.WithCancelCause(s.client.ctx)
	defer end(nil)
	var workers sync.WaitGroup
	workers.Go(func() { end(rescue.Do("the reader of the socket", func() error { return s.read(ctx) })) })
	workers.Go(func() { end(rescue.Do("the writer of the socket", func() error { return s.write(ctx) })) })
	end(rescue.Do("the supervisor of the socket", func() error {
		s.client.router.up(s)
		return s.tend(ctx)
	}))
	s.hangUp(ctx)
	workers.Wait()
	return context.Cause(ctx)
}

// hangUp closes the socket: with a handshake if that is this side's wish,
// without one if it is broken. The library waits 5 s for the answer to a close
// frame; the end of forced cuts the connection below it.
func (s *session) hangUp(ctx context.Context) {
	if errors.Is(context.Cause(ctx), ErrClosed) {
		stop := context.AfterFunc(s.client.forced, func() { _ = s.wire.Close() })
		_ = s.conn.Close(websocket.StatusNormalClosure, "")
		stop()
	}
	_ = s.conn.CloseNow()
}

// read hands every message to its channel, until the socket ends.
func (s *session) read(ctx context.Context) error {
	var buf bytes.Buffer
	for {
		// A context that can end costs a timer and an allocation for each read;
		// hangUp ends the loop.
		kind, r, err := s.conn.Reader(context.Background())
		if err != nil {
			return closeReason(err)
		}
		if buf.Cap() > keepBuffer {
			buf = bytes.Buffer{}
		}
		buf.Reset()
		if _, err := buf.ReadFrom(r); err != nil {
			return closeReason(err)
		}
		s.take(ctx, kind == websocket.MessageBinary, buf.Bytes())
	}
}

// take decodes a frame and hands it to its channel.
func (s *session) take(ctx context.Context, binary bool, frame []byte) {
	m, err := s.decoder.Decode(binary, frame)
	if err != nil {
		s.refuse(err)
		return
	}
	s.dispatch(ctx, m)
}

// refuse notes a frame that cannot be decoded.
func (s *session) refuse(err error) {
	var bad *phoenix.MalformedError
	if errors.As(err, &bad) {
		s.client.router.malformed(bad, s.wire.proven())
		return
	}
	s.client.events.Add(events.Event{Level: slog.LevelDebug, Text: "frame ignored", Args: []any{"err", err}})
}

// dispatch finds the channel of a message, which is often that of the one
// before.
func (s *session) dispatch(ctx context.Context, m phoenix.Message) {
	if m.Event == phoenix.EventReply {
		s.mu.Lock()
		s.replied(m)
		s.mu.Unlock()
	}
	a := s.last
	if a == nil || a.topic != m.Topic || a.detached.Load() {
		if a = s.client.router.handler(m.Topic); a == nil {
			return
		}
		s.last = a
	}
	a.Receive(ctx, m, s.wire.proven())
}

// replied notes what a reply says about the server. It is called under mu.
func (s *session) replied(m phoenix.Message) {
	now := time.Now()
	switch {
	case m.Topic == phoenix.TopicPhoenix:
		if sent, last := s.heart.answered(m.Ref, now); last {
			s.wire.prove(sent)
			s.gate.pass(s.heart.joins, now)
			s.wake()
		}
	case s.gate.answered(m.Ref, now):
		s.heart.excuse(now) // it was busy with the join until now
		s.wake()
	}
}

// write sends what is queued, and heartbeats, until the socket ends.
func (s *session) write(ctx context.Context) error {
	next := time.Now().Add(s.client.opts.Heartbeat)
	beat := time.NewTimer(time.Until(next))
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case f := <-s.out:
			if f.join != "" {
				s.mu.Lock()
				s.gate.write(f.join)
				s.mu.Unlock()
				beat.Reset(min(s.gate.probeAfter, time.Until(next)))
			}
			if err := s.writeFrame(ctx, f); err != nil {
				return err
			}
		case <-beat.C:
			var err error
			if next, err = s.tick(ctx); err != nil {
				return err
			}
			beat.Reset(time.Until(next))
		}
	}
}

// tick keeps the heartbeat and returns when to look again.
func (s *session) tick(ctx context.Context) (next time.Time, err error) {
	now := time.Now()
	s.mu.Lock()
	s.heart.excuse(s.wire.held(now))
	if s.gate.busy() {
		s.heart.excuse(now)
	}
	beat, dead := s.heart.due(now)
	if probe := s.gate.probe(s.heart.joins); !probe.IsZero() && !probe.After(now) {
		beat = true
	}
	m := phoenix.Message{Ref: s.client.router.NextRef(), Topic: phoenix.TopicPhoenix, Event: phoenix.EventHeartbeat}
	if beat {
		s.heart.sent(m.Ref, s.gate.written, now)
	}
	next = s.heart.next()
	if probe := s.gate.probe(s.heart.joins); !probe.IsZero() && probe.Before(next) {
		next = probe
	}
	s.mu.Unlock()
	switch {
	case dead:
		return next, ErrHeartbeatTimeout
	case beat:
		f, err := s.frame(m)
		if err != nil {
			return next, err
		}
		return next, s.writeFrame(ctx, f)
	}
	return next, nil
}

// frame is a message as it is written.
type frame struct {
	binary bool
	text   []byte
	join   phoenix.Ref // of a join
}

func (s *session) frame(m phoenix.Message) (f frame, err error) {
	f.text, f.binary, err = phoenix.Append(nil, s.decoder.Version, phoenix.FromClient, m)
	if m.Event == phoenix.EventJoin {
		f.join = m.Ref
	}
	return f, err
}

func (s *session) writeFrame(ctx context.Context, f frame) error {
	kind := websocket.MessageText
	if f.binary {
		kind = websocket.MessageBinary
	}
	// The server does not read while it works on a join, so a write may take as
	// long as that.
	ctx, cancel := context.WithTimeout(ctx, s.client.opts.JoinTimeout)
	defer cancel()
	if err := s.conn.Write(ctx, kind, f.text); err != nil {
		return closeReason(err)
	}
	return nil
}

// queue adds a message to those to be written.
func (s *session) queue(m phoenix.Message) error {
	f, err := s.frame(m)
	if err != nil {
		return err
	}
	select {
	case s.out <- f:
		return nil
	default:
		return ErrSendBufferFull
	}
}

func (s *session) requestJoin(topic string, failing bool) {
	s.mu.Lock()
	s.gate.request(topic, failing)
	s.mu.Unlock()
	s.wake()
}

func (s *session) forgetJoin(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate.forget(topic)
}

func (s *session) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}
