package realtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/secret"
)

// keepBuffer is the largest read buffer that is kept for the next frame.
const keepBuffer = 1 << 20

// session is the life of one websocket. Three goroutines work on it: the
// reader, the writer, which also keeps the heartbeat, and the supervisor's,
// which tends joins and tokens. The first to fail ends the others; run waits
// for them.
type session struct {
	client  *Client
	conn    *websocket.Conn
	version phoenix.Version
	out     chan phoenix.Message
	woken   chan struct{} // capacity 1: tend has something to look at
	told    string        // the token that the channels have been told; tend's

	// The reader's, and read by others where they are atomic.
	big       *bigReader // the connection under conn, nil if it is none
	began     time.Time
	lastRead  atomic.Int64  // when the last frame came, counted from began
	stuck     atomic.Bool   // channels have the reader, and may let it wait for a consumer
	unflushed []*attachment // they have changes that their consumers may not know of
	last      *attachment   // for which the last change was

	mu    sync.Mutex
	gate  gate
	heart heart
}

func newSession(c *Client, conn *websocket.Conn, big *bigReader) *session {
	now := time.Now()
	s := &session{
		client: c, conn: conn, version: c.opts.version(), big: big, began: now,
		out: make(chan phoenix.Message, c.opts.SendBuffer), woken: make(chan struct{}, 1),
		heart: heart{every: c.opts.Heartbeat, timeout: c.opts.HeartbeatTimeout},
	}
	s.heart.start(now)
	conn.SetReadLimit(c.opts.ReadLimit)
	return s
}

// dial opens a websocket, and returns the connection under it if that is a
// bigReader.
func (c *Client) dial() (*websocket.Conn, *bigReader, error) {
	ctx, cancel := context.WithTimeoutCause(c.ctx, c.opts.ConnectTimeout, errDialTimeout)
	defer cancel()
	ctx, under := traceConn(ctx)
	conn, resp, err := websocket.Dial(ctx, c.endpoint.dial(), &websocket.DialOptions{
		HTTPClient: c.dialer, HTTPHeader: c.opts.Header,
	})
	switch {
	case err == nil:
		c.router.readClock(resp)
		return conn, under(), nil
	case resp != nil:
		return nil, nil, &ConnectError{Endpoint: c.endpoint.String(), Status: resp.StatusCode, Reason: refusal(resp.Body)}
	case ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	}
	return nil, nil, secret.Scrub(err, c.opts.Key)
}

// refusal returns the text of a refused upgrade, which the server gives as
// {"error":"…"}. The websocket library hands over its first kilobyte.
func refusal(body io.Reader) string {
	var answer struct {
		Error string `json:"error"`
	}
	if body == nil || json.NewDecoder(io.LimitReader(body, 4096)).Decode(&answer) != nil {
		return ""
	}
	return answer.Error
}

// run lives until the socket is lost or the client closed, and returns why.
func (s *session) run() error {
	ctx, end := context.WithCancelCause(s.client.ctx)
	defer end(nil)
	var workers sync.WaitGroup
	workers.Go(func() { end(s.read(ctx)) })
	workers.Go(func() { end(s.write(ctx)) })
	s.client.router.up(s)
	end(s.tend(ctx))
	s.hangUp(ctx)
	workers.Wait()
	return context.Cause(ctx)
}

// hangUp closes the socket: with a handshake if that is this side's wish,
// without one if it is broken.
func (s *session) hangUp(ctx context.Context) {
	if errors.Is(context.Cause(ctx), ErrClosed) {
		stop := context.AfterFunc(s.client.forced, func() { _ = s.conn.CloseNow() })
		_ = s.conn.Close(websocket.StatusNormalClosure, "")
		stop()
	}
	_ = s.conn.CloseNow()
}

// read hands every message to its channel, until the socket ends.
func (s *session) read(ctx context.Context) error {
	defer s.flush()
	ahead := s.big.frames()
	var buf bytes.Buffer
	for {
		if ahead {
			s.readAhead(ctx)
			s.big.letGo()
		}
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
		if ahead {
			s.big.hold()
		}
		began := s.begin()
		s.take(ctx, kind == websocket.MessageBinary, buf.Bytes())
		s.end(began)
		if !ahead {
			s.flush()
		}
	}
}

// readAhead hands over the frames that need nothing of the library, and returns
// when one does.
func (s *session) readAhead(ctx context.Context) {
	for {
		s.handOverBuffered(ctx)
		s.flush()
		if !s.big.await() {
			return
		}
	}
}

// handOverBuffered hands over the frames that have come. Nothing is waited for
// but consumers.
func (s *session) handOverBuffered(ctx context.Context) {
	frame, ok := s.big.frame()
	if !ok {
		return
	}
	began := s.begin()
	for ok {
		s.take(ctx, false, frame)
		frame, ok = s.big.frame()
	}
	s.end(began)
}

// begin notes that a frame, or several, have come and are handed over from now
// on, and end that this is done.
func (s *session) begin() (began time.Duration) {
	began = time.Since(s.began)
	s.lastRead.Store(int64(began))
	s.stuck.Store(true)
	return began
}

func (s *session) end(began time.Duration) {
	s.stuck.Store(false)
	s.excuse(time.Since(s.began) - began)
}

// excuse forgives a heartbeat if a frame took long: the answer may have come
// while nobody read.
func (s *session) excuse(took time.Duration) {
	if took > time.Second {
		s.mu.Lock()
		s.heart.excuse(time.Now())
		s.mu.Unlock()
	}
}

// readAt returns when the last frame came.
func (s *session) readAt() time.Time { return s.began.Add(time.Duration(s.lastRead.Load())) }

// take decodes a frame and hands it over. Of a change, the channel decodes the
// payload, and checks it.
func (s *session) take(ctx context.Context, binary bool, frame []byte) {
	if topic, payload, ok := phoenix.Cut(s.version, frame); ok && !binary {
		if a := s.attachmentOf(topic); a != nil {
			a.Change(ctx, payload, frame)
			s.flushLater(a)
			return
		}
	}
	m, err := phoenix.Decode(s.version, phoenix.FromServer, binary, frame)
	var bad *phoenix.MalformedError
	switch {
	case err == nil:
		s.dispatch(ctx, m)
	case errors.As(err, &bad):
		s.client.router.malformed(bad)
	default:
		s.client.opts.Logger.Debug("frame ignored", "err", err)
	}
}

// dispatch finds the channel of a message.
func (s *session) dispatch(ctx context.Context, m phoenix.Message) {
	if m.Event == phoenix.EventReply {
		s.mu.Lock()
		s.replied(m)
		s.mu.Unlock()
	}
	if a, ok := s.client.router.handler(m.Topic); ok {
		a.Receive(ctx, m)
		s.flushLater(a)
	}
}

// attachmentOf returns the channel of a change, which is often that of the one
// before; nil if there is none.
func (s *session) attachmentOf(topic []byte) *attachment {
	if a := s.last; a != nil && a.topic == string(topic) && !a.detached.Load() {
		return a
	}
	s.last, _ = s.client.router.handlerOf(topic)
	return s.last
}

// flushLater has a channel flushed when there is nothing left to read at once.
func (s *session) flushLater(a *attachment) {
	if !a.unflushed {
		a.unflushed = true
		s.unflushed = append(s.unflushed, a)
	}
}

// flush has the channels wake those who wait for what they were given. Waking
// costs more than a change does, so it is done when there is nothing left to
// read at once.
func (s *session) flush() {
	for i, a := range s.unflushed {
		a.unflushed = false
		a.Flush()
		s.unflushed[i] = nil
	}
	s.unflushed = s.unflushed[:0]
}

// replied notes what a reply says about the server. It is called under mu.
func (s *session) replied(m phoenix.Message) {
	switch {
	case m.Topic == phoenix.TopicPhoenix:
		s.heart.answered(m.Ref, s.readAt())
	case s.gate.answered(m.Ref, s.readAt()):
		s.heart.excuse(s.readAt()) // it was busy with the join until now
		s.wake()
	}
}

// write sends what is queued, and heartbeats, until the socket ends.
func (s *session) write(ctx context.Context) error {
	beat := time.NewTimer(s.client.opts.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case m := <-s.out:
			if err := s.writeMessage(ctx, m); err != nil {
				return err
			}
		case <-beat.C:
			next, err := s.tick(ctx)
			if err != nil {
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
	if s.gate.busy() || s.stuck.Load() {
		s.heart.excuse(now)
	}
	beat, dead := s.heart.due(now)
	m := phoenix.Message{Ref: s.client.router.NextRef(), Topic: phoenix.TopicPhoenix, Event: phoenix.EventHeartbeat}
	if beat {
		s.heart.sent(m.Ref, now)
	}
	next = s.heart.next()
	s.mu.Unlock()
	switch {
	case dead:
		return next, ErrHeartbeatTimeout
	case beat:
		return next, s.writeMessage(ctx, m)
	}
	return next, nil
}

func (s *session) writeMessage(ctx context.Context, m phoenix.Message) error {
	frame, binary, err := phoenix.Append(nil, s.version, phoenix.FromClient, m)
	if err != nil {
		return err
	}
	kind := websocket.MessageText
	if binary {
		kind = websocket.MessageBinary
	}
	// The server does not read while it works on a join, so a write may take as
	// long as that.
	ctx, cancel := context.WithTimeout(ctx, s.client.opts.JoinTimeout)
	defer cancel()
	if err := s.conn.Write(ctx, kind, frame); err != nil {
		return closeReason(err)
	}
	return nil
}

// queue adds a message to those to be written.
func (s *session) queue(m phoenix.Message) error {
	select {
	case s.out <- m:
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
