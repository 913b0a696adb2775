package realtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gapless-go/gapless/internal/memhttp"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/realtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	projectURL = "http://project.test"
	anonKey    = "anon-key-that-must-not-be-printed"
)

// bubble runs a test in virtual time and makes sure that it leaves nothing
// behind: synctest fails when a goroutine of the bubble is left.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// script is a Realtime server whose every frame is the test's own. The mock
// server is the place for a server that behaves; this one is for what it never
// does.
type script struct {
	t       *testing.T
	ln      *memhttp.Listener
	http    *http.Server
	client  *http.Client
	conns   chan *conn
	last    *conn
	dials   []*http.Request
	refuse  func(w http.ResponseWriter, r *http.Request) bool
	mu      sync.Mutex
	serving sync.WaitGroup
}

func newScript(t *testing.T) *script {
	s := &script{t: t, ln: memhttp.Listen(), conns: make(chan *conn, 100)}
	s.client = s.ln.Client()
	s.http = &http.Server{Handler: s}
	s.serving.Go(func() { _ = s.http.Serve(s.ln) })
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		_ = s.http.Close()
		s.serving.Wait()
	})
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.dials = append(s.dials, r)
	refuse := s.refuse
	s.mu.Unlock()
	if refuse != nil && refuse(w, r) {
		return
	}
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	ws.SetReadLimit(5_000_000)
	v := phoenix.V1
	if r.URL.Query().Get("vsn") == "2.0.0" {
		v = phoenix.V2
	}
	c := &conn{t: s.t, ws: ws, v: v, in: make(chan phoenix.Message, 1000), gone: make(chan struct{})}
	s.conns <- c
	c.read()
}

func (s *script) refusing(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

func (s *script) dialed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.dials)
}

// accept waits for the next connection.
func (s *script) accept() *conn {
	s.t.Helper()
	select {
	case c := <-s.conns:
		s.mu.Lock()
		s.last = c
		s.mu.Unlock()
		return c
	case <-time.After(2 * time.Hour):
		require.FailNow(s.t, "no connection")
		return nil
	}
}

// lastConn is the connection that accept returned last.
func (s *script) lastConn() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// conn is the server's side of a socket. It answers heartbeats unless mute.
type conn struct {
	t    *testing.T
	ws   *websocket.Conn
	v    phoenix.Version
	in   chan phoenix.Message // everything but heartbeats
	gone chan struct{}        // closed when the client is gone
	mute bool
	held []phoenix.Message // answers to heartbeats that mute keeps back
	hold chan struct{}     // not nil: do not read before it is closed
	mu   sync.Mutex
	beat int

	resumed func() // ends what silence began
}

func (c *conn) read() {
	defer close(c.gone)
	for {
		c.mu.Lock()
		hold := c.hold
		c.mu.Unlock()
		if hold != nil {
			<-hold
		}
		kind, frame, err := c.ws.Read(context.Background())
		if err != nil {
			return
		}
		m, err := phoenix.Decode(c.v, phoenix.FromClient, kind == websocket.MessageBinary, frame)
		if err != nil {
			c.t.Errorf("the client sent a bad frame: %v: %s", err, frame)
			return
		}
		if m.Topic == phoenix.TopicPhoenix {
			c.mu.Lock()
			c.beat++
			answer := phoenix.Message{Ref: m.Ref, Topic: m.Topic, Event: phoenix.EventReply, Payload: []byte(`{"status":"ok","response":{}}`)}
			mute := c.mute
			if mute {
				c.held = append(c.held, answer)
			}
			c.mu.Unlock()
			if !mute {
				go c.send(answer) // this goroutine is to go on reading while the client does not
			}
			continue
		}
		c.in <- m
	}
}

// release sends the answers that mute has kept back.
func (c *conn) release() {
	c.mu.Lock()
	held := c.held
	c.mute, c.held = false, nil
	c.mu.Unlock()
	for _, m := range held {
		c.send(m)
	}
}

// stopReading makes the server take nothing more after the next frame.
func (c *conn) stopReading() (resume func()) {
	synctest.Wait() // until it waits for that
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hold = make(chan struct{})
	resume = sync.OnceFunc(func() { close(c.hold) })
	c.t.Cleanup(resume)
	return resume
}

func (c *conn) beats() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.beat
}

func (c *conn) setMute(mute bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute = mute
}

// expect waits for the client's next message, which must be of this event.
func (c *conn) expect(event string) phoenix.Message {
	c.t.Helper()
	select {
	case m := <-c.in:
		require.Equal(c.t, event, m.Event, "payload %s", m.Payload)
		return m
	case <-c.gone:
		require.FailNow(c.t, "the client is gone", "waiting for %s", event)
	case <-time.After(2 * time.Hour):
		require.FailNow(c.t, "no message", "waiting for %s", event)
	}
	return phoenix.Message{}
}

// quiet requires that the client sends nothing for a while.
func (c *conn) quiet(d time.Duration) {
	c.t.Helper()
	select {
	case m := <-c.in:
		require.FailNow(c.t, "unexpected message", "%s %s", m.Event, m.Payload)
	case <-time.After(d):
	}
}

func (c *conn) send(m phoenix.Message) {
	frame, binary, err := phoenix.Append(nil, c.v, phoenix.FromServer, m)
	if err != nil {
		c.t.Errorf("send: %v", err)
		return
	}
	c.sendRaw(binary, frame)
}

func (c *conn) sendRaw(binary bool, frame []byte) {
	kind := websocket.MessageText
	if binary {
		kind = websocket.MessageBinary
	}
	_ = c.ws.Write(context.Background(), kind, frame) // a client that is gone is the test's business
}

// reply answers a push.
func (c *conn) reply(to phoenix.Message, status string, response any) {
	c.send(phoenix.Message{JoinRef: to.JoinRef, Ref: to.Ref, Topic: to.Topic, Event: phoenix.EventReply,
		Payload: mustJSON(map[string]any{"status": status, "response": response})})
}

// acceptJoin answers a join with its bindings, with ids 100, 101 and so on.
func (c *conn) acceptJoin(join phoenix.Message) {
	c.t.Helper()
	c.reply(join, "ok", map[string]any{"postgres_changes": withIDs(c.t, join)})
}

func (c *conn) refuseJoin(join phoenix.Message, reason string) {
	c.reply(join, "error", map[string]any{"reason": reason})
}

// subscribed confirms the subscription of a join.
func (c *conn) subscribed(join phoenix.Message) {
	c.system(join, "postgres_changes", "ok", "Subscribed to PostgreSQL")
}

func (c *conn) system(join phoenix.Message, extension, status, message string) {
	c.send(phoenix.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: phoenix.EventSystem,
		Payload: mustJSON(map[string]any{"extension": extension, "status": status, "message": message,
			"channel": strings.TrimPrefix(join.Topic, "realtime:")})})
}

func (c *conn) closeChannel(join phoenix.Message) {
	c.send(phoenix.Message{JoinRef: join.JoinRef, Ref: join.JoinRef, Topic: join.Topic, Event: phoenix.EventClose})
}

func (c *conn) crashChannel(join phoenix.Message) {
	c.send(phoenix.Message{JoinRef: join.JoinRef, Ref: join.JoinRef, Topic: join.Topic, Event: phoenix.EventError})
}

// joinLive sees a channel through to live.
func (c *conn) joinLive() phoenix.Message {
	c.t.Helper()
	join := c.expect(phoenix.EventJoin)
	c.acceptJoin(join)
	c.subscribed(join)
	return join
}

// insert sends an INSERT of a row {"id": n} into public.orders.
func (c *conn) insert(join phoenix.Message, n int, ids ...int) {
	if len(ids) == 0 {
		ids = []int{100}
	}
	c.change(join.Topic, "public", "orders", "INSERT", n, ids...)
}

func (c *conn) change(topic, schema, table, op string, n int, ids ...int) {
	payload := fmt.Sprintf(`{"ids":%s,"data":{"schema":%q,"table":%q,"type":%q,"commit_timestamp":"2026-11-23T05:03:06.372Z",`+
		`"columns":[{"name": "id", "type": "int8"}],"errors":null`, mustJSON(ids), schema, table, op)
	if op != "DELETE" {
		payload += fmt.Sprintf(`,"record":{"id": %d}`, n)
	}
	if op != "INSERT" {
		payload += fmt.Sprintf(`,"old_record":{"id": %d}`, n)
	}
	c.send(phoenix.Message{Topic: topic, Event: phoenix.EventPostgresChanges, Payload: []byte(payload + "}}")})
}

// kill cuts the connection without a close frame.
func (c *conn) kill() { _ = c.ws.CloseNow() }

// shut closes with a code.
func (c *conn) shut(code websocket.StatusCode) { _ = c.ws.Close(code, "") }

func withIDs(t *testing.T, join phoenix.Message) []map[string]any {
	t.Helper()
	var payload struct {
		Config struct {
			Bindings []map[string]any `json:"postgres_changes"`
		} `json:"config"`
	}
	require.NoError(t, json.Unmarshal(join.Payload, &payload))
	for i, b := range payload.Config.Bindings {
		b["id"] = 100 + i
	}
	return payload.Config.Bindings
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return bytes.TrimSpace(b)
}

// dialing returns options for a client of the script.
func (s *script) options() realtime.Options {
	return realtime.Options{URL: projectURL, Key: anonKey, HTTPClient: s.client}
}

// open makes a client, closed at the end of the test.
func open(t *testing.T, o realtime.Options) *realtime.Client {
	t.Helper()
	c, err := realtime.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { closeClient(t, c) })
	return c
}

func closeClient(t *testing.T, c *realtime.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close: %v", err)
	}
}
