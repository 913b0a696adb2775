package postgres_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/internal/pgtest"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

// shared is a cluster for the tests that do not stop theirs.
var shared = struct {
	sync.Mutex
	cluster *postgres.Cluster
}{}

// database returns the URL of the shared cluster, with an empty database.
func database(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil {
		shared.cluster = pgtest.Keep(t)
	}
	return pgtest.Create(t, shared.cluster)
}

// startProject starts a server on an empty database with a schema.
func startProject(t testing.TB, schema string, timing mockserver.Timing) *postgres.Server {
	t.Helper()
	return postgres.Start(t, postgres.Options{
		DatabaseURL: database(t), Schema: schema, Config: mockserver.Config{Timing: timing},
	})
}

// frame is a message as it came.
type frame struct {
	raw    []byte
	binary bool
	at     time.Time
}

// socket is a raw client. A goroutine of its own reads until it ends.
type socket struct {
	t       testing.TB
	ws      *websocket.Conn
	version phoenix.Version

	mu     sync.Mutex
	frames []frame
	taken  int
	err    error
	came   chan struct{}
	ended  chan struct{}
}

func dial(t testing.TB, s *postgres.Server, query string) *socket {
	t.Helper()
	c, refused := tryDial(t, s, query, nil)
	require.Nil(t, refused)
	return c
}

// tryDial opens a socket, or returns the answer by which it is refused.
func tryDial(t testing.TB, s *postgres.Server, query string, header http.Header) (*socket, *http.Response) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ws, answer, err := websocket.Dial(ctx, s.WebsocketURL()+"?"+query, &websocket.DialOptions{HTTPClient: s.HTTPClient(), HTTPHeader: header})
	if err != nil && answer != nil {
		stop()
		return nil, answer
	}
	require.NoError(t, err)
	ws.SetReadLimit(-1)
	c := &socket{t: t, ws: ws, version: phoenix.V1, came: make(chan struct{}, 1), ended: make(chan struct{})}
	if strings.Contains(query, "vsn=2") {
		c.version = phoenix.V2
	}
	go c.read(ctx)
	t.Cleanup(func() {
		stop()
		<-c.ended
		_ = ws.CloseNow()
	})
	return c, nil
}

func (c *socket) read(ctx context.Context) {
	defer close(c.ended)
	for {
		typ, raw, err := c.ws.Read(ctx)
		c.mu.Lock()
		if c.err = err; err == nil {
			c.frames = append(c.frames, frame{raw, typ == websocket.MessageBinary, time.Now()})
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

// until waits for n frames in all, for the patience.
func (c *socket) until(n int, patience time.Duration) bool {
	return c.have(func(frames []frame) bool { return len(frames) >= n }, patience)
}

// have waits until the frames are enough, for the patience.
func (c *socket) have(enough func([]frame) bool, patience time.Duration) bool {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		c.mu.Lock()
		yes := enough(c.frames)
		c.mu.Unlock()
		if yes {
			return true
		}
		select {
		case <-c.came:
		case <-timeout.C:
			return false
		}
	}
}

// closeCode returns the code with which the server closed it; -1: it did not.
func (c *socket) closeCode() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(websocket.CloseStatus(c.err))
}

// count returns how many frames have come.
func (c *socket) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.frames)
}

func (c *socket) send(text string) {
	c.t.Helper()
	require.NoError(c.t, c.ws.Write(context.Background(), websocket.MessageText, []byte(text)))
}

// join joins a topic with serializer 2.0.0.
func (c *socket) join(ref, topic, config, token string) {
	c.t.Helper()
	payload := map[string]any{"config": json.RawMessage(config)}
	if token != "" {
		payload["access_token"] = token
	}
	text, err := json.Marshal([]any{ref, ref, topic, "phx_join", payload})
	require.NoError(c.t, err)
	c.send(string(text))
}

// next returns the next message.
func (c *socket) next() phoenix.Message {
	c.t.Helper()
	require.True(c.t, c.until(c.taken+1, time.Minute), "no frame")
	c.mu.Lock()
	f := c.frames[c.taken]
	c.taken++
	c.mu.Unlock()
	m, err := phoenix.Decode(c.version, phoenix.FromServer, f.binary, f.raw)
	require.NoError(c.t, err)
	return m
}

// subscribed joins and waits until the bindings are in force.
func (c *socket) subscribed(ref, topic, bindings, token string) {
	c.t.Helper()
	c.join(ref, topic, `{"postgres_changes":`+bindings+`}`, token)
	require.Contains(c.t, string(c.next().Payload), `"ok"`)
	require.Contains(c.t, string(c.next().Payload), phoenix.MessageSubscribed)
}

// changed is the content of a postgres_changes message.
type changed struct {
	IDs  []int
	Data struct {
		Schema, Table, Type string
		Record              json.RawMessage
		OldRecord           json.RawMessage `json:"old_record"`
		Columns             json.RawMessage
		CommitTimestamp     *string `json:"commit_timestamp"`
		Errors              []string
	}
}

// change returns the next message, which must be a change.
func (c *socket) change() (got changed) {
	c.t.Helper()
	m := c.next()
	require.Equal(c.t, phoenix.EventPostgresChanges, m.Event, "%s", m.Payload)
	require.NoError(c.t, json.Unmarshal(m.Payload, &got))
	return got
}

// open opens a socket of the anon key with serializer 2.0.0.
func open(t testing.TB, s *postgres.Server) *socket {
	return dial(t, s, "vsn=2.0.0&apikey="+s.AnonKey())
}
