package mockserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// socket is a client of the socket under test. A goroutine of its own reads
// until the socket ends.
type socket struct {
	t       *testing.T
	ws      *websocket.Conn
	version phoenix.Version

	mu     sync.Mutex
	frames []frame
	err    error         // why reading ended
	deaf   bool          // what comes is ignored
	came   chan struct{} // holds a value when frames came or reading ended
	ended  chan struct{}
	stop   context.CancelFunc
}

type frame struct {
	at     time.Time
	binary bool
	raw    []byte
}

// dialSocket opens a socket with these query parameters, behind the API key of
// anon where there is none. It reports the refusal where there is one.
func dialSocket(t *testing.T, s *mockserver.Server, path string, header http.Header) (*socket, *http.Response) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ws, resp, err := websocket.Dial(ctx, s.WebsocketURL()+path, &websocket.DialOptions{HTTPClient: s.HTTPClient(), HTTPHeader: header})
	if err != nil {
		stop()
		require.NotNil(t, resp, "%v", err)
		return nil, resp
	}
	ws.SetReadLimit(-1)
	c := &socket{t: t, ws: ws, version: phoenix.V1, came: make(chan struct{}, 1), ended: make(chan struct{}), stop: stop}
	if u, err := url.Parse(path); err == nil && strings.HasPrefix(u.Query().Get("vsn"), "2") {
		c.version = phoenix.V2
	}
	go c.read(ctx)
	t.Cleanup(c.kill)
	return c, nil
}

// open is dialSocket for a socket that must open, with the server's anon key.
func open(t *testing.T, s *mockserver.Server, v phoenix.Version) *socket {
	t.Helper()
	c, refused := dialSocket(t, s, "?vsn="+v.String()+"&apikey="+s.AnonKey(), nil)
	require.Nil(t, refused)
	return c
}

func (c *socket) read(ctx context.Context) {
	defer close(c.ended)
	for {
		typ, raw, err := c.ws.Read(ctx)
		c.mu.Lock()
		if err != nil {
			c.err = err
		} else if !c.deaf {
			c.frames = append(c.frames, frame{time.Now(), typ == websocket.MessageBinary, raw})
		}
		c.mu.Unlock()
		select {
		case c.came <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// kill ends the socket and its goroutine.
func (c *socket) kill() {
	c.stop()
	<-c.ended
	_ = c.ws.CloseNow()
}

// raw sends bytes.
func (c *socket) raw(text string) {
	c.t.Helper()
	require.NoError(c.t, c.ws.Write(context.Background(), websocket.MessageText, []byte(text)))
}

// send sends a message; refs are numbers, 0 is null.
func (c *socket) send(joinRef, ref uint64, topic, event, payload string) {
	c.t.Helper()
	m := phoenix.Message{Topic: topic, Event: event, Payload: []byte(payload)}
	if joinRef > 0 {
		m.JoinRef = phoenix.NewRef(joinRef)
	}
	if ref > 0 {
		m.Ref = phoenix.NewRef(ref)
	}
	text, _, err := phoenix.Append(nil, c.version, phoenix.FromClient, m)
	require.NoError(c.t, err)
	c.raw(string(text))
}

// join sends a join with the config, an object or empty for none, and a token.
func (c *socket) join(ref uint64, topic, config, token string) {
	c.t.Helper()
	payload := map[string]any{}
	if config != "" {
		payload["config"] = json.RawMessage(config)
	}
	if token != "" {
		payload["access_token"] = token
	}
	b, err := json.Marshal(payload)
	require.NoError(c.t, err)
	c.send(ref, ref, topic, phoenix.EventJoin, string(b))
}

// message is a frame as tests compare it.
type message struct {
	JoinRef, Ref string
	Topic, Event string
	Payload      string // JSON without insignificant space
}

func (m message) String() string {
	return fmt.Sprintf("%s %s %s %s %s", m.JoinRef, m.Ref, m.Topic, m.Event, m.Payload)
}

// take returns the next frame, which must come within d.
func (c *socket) take(d time.Duration) frame {
	c.t.Helper()
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	for {
		c.mu.Lock()
		if len(c.frames) > 0 {
			f := c.frames[0]
			c.frames = c.frames[1:]
			c.mu.Unlock()
			return f
		}
		err := c.err
		c.mu.Unlock()
		require.NoError(c.t, err, "the socket ended")
		select {
		case <-c.came:
		case <-timeout.C:
			require.Failf(c.t, "no frame", "within %v", d)
		}
	}
}

// next returns the next message, which must come within 15 s.
func (c *socket) next() message {
	c.t.Helper()
	f := c.take(15 * time.Second)
	m, err := phoenix.Decode(c.version, phoenix.FromServer, f.binary, f.raw)
	require.NoError(c.t, err, "%s", f.raw)
	return message{string(m.JoinRef), string(m.Ref), m.Topic, m.Event, compact(c.t, m.Payload)}
}

// expect wants these messages next, each as message.String writes it.
func (c *socket) expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		require.Equal(c.t, w, c.next().String())
	}
}

// silent wants no frame for d.
func (c *socket) silent(d time.Duration) {
	c.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	require.NoError(c.t, c.err, "the socket ended")
	for _, f := range c.frames {
		require.Failf(c.t, "a frame that should not be there", "%s", f.raw)
	}
}

// closed waits for the end of the socket and returns the code, -1 where there
// was no close frame. Frames that came before are left.
func (c *socket) closed() websocket.StatusCode {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(time.Hour):
		require.Fail(c.t, "the socket did not end")
	}
	return websocket.CloseStatus(c.err)
}

// subscribed joins a topic with bindings and waits until they are in force.
func (c *socket) subscribed(ref uint64, topic, bindings, token string) {
	c.t.Helper()
	c.join(ref, topic, `{"postgres_changes":`+bindings+`}`, token)
	require.Equal(c.t, phoenix.EventReply, c.next().Event)
	m := c.next()
	require.Contains(c.t, m.Payload, phoenix.MessageSubscribed)
}

// changed is the content of a postgres_changes message.
type changed struct {
	IDs  []int
	Data struct {
		Schema, Table, Type string
		CommitTimestamp     *string         `json:"commit_timestamp"`
		Columns             json.RawMessage `json:"columns"`
		Record              json.RawMessage `json:"record"`
		OldRecord           json.RawMessage `json:"old_record"`
		Errors              []string
	}
}

// change returns the next message, which must be a change.
func (c *socket) change() (changed, message) {
	c.t.Helper()
	m := c.next()
	require.Equal(c.t, phoenix.EventPostgresChanges, m.Event, "%v", m)
	var got changed
	require.NoError(c.t, json.Unmarshal([]byte(m.Payload), &got))
	return got, m
}

func compact(t *testing.T, raw []byte) string {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	var v any
	require.NoError(t, dec.Decode(&v), "%s", raw)
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	require.NoError(t, enc.Encode(v))
	return strings.TrimSpace(b.String())
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(b)
}

// bubble runs f in virtual time against a server in memory, which begins in
// 2026 so that tokens of earlier years have expired.
func bubble(t *testing.T, cfg mockserver.Config, f func(t *testing.T, s *mockserver.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)))
		cfg.InMemory = true
		f(t, mockserver.Start(t, cfg))
	})
}

// bothVersions runs f in a bubble with either serializer.
func bothVersions(t *testing.T, cfg mockserver.Config, f func(t *testing.T, s *mockserver.Server, v phoenix.Version)) {
	t.Helper()
	for _, v := range []phoenix.Version{phoenix.V1, phoenix.V2} {
		t.Run("vsn "+v.String(), func(t *testing.T) {
			bubble(t, cfg, func(t *testing.T, s *mockserver.Server) { f(t, s, v) })
		})
	}
}
