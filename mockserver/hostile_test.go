package mockserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// hostileFrames are what a hostile client may begin with: one frame a line.
var hostileFrames = []string{
	`["1","1","realtime:x","phx_join",{"config":{"postgres_changes":[{"event":"*","schema":"public","table":"orders"}]}}]`,
	`["1","1","realtime:x","phx_join",{"config":{"broadcast":{"self":true,"ack":true},"presence":{"enabled":true,"key":"k"}}}]` + "\n" +
		`["1","2","realtime:x","broadcast",{"type":"broadcast","event":"e","payload":{}}]` + "\n" +
		`["1","3","realtime:x","presence",{"type":"presence","event":"track","payload":{"a":1}}]` + "\n" +
		`["1","4","realtime:x","access_token",{"access_token":"nonsense"}]`,
	`[null,null,"phoenix","heartbeat",{}]`,
	`["1","1","realtime:x","phx_join",{}]` + "\n" + `["1","1","realtime:x","phx_join",{}]` + "\n" + `["1","2","realtime:x","phx_leave",{}]`,
	`["1","1","realtime:x","phx_join",{"config":{"private":true,"broadcast":{"replay":{"since":0,"limit":25}}},"access_token":"a.b.c"}]`,
	`["1","1","realtime:x","phx_join",{"config":{"postgres_changes":[{"schema":"%","table":"_","filter":"id=in.(1,2","select":[1]}]}}]`,
	`[]`, `[[[[[[`, `{}`, `"`, "\x00\x01\x02", `["1","1","realtime:` + strings.Repeat("x", 300) + `","phx_join",{}]`,
	"\x03\x01\x01\x0a\x01\x00\x01" + `11realtime:x` + `e{}`, "\x00\x01\x01\x0a\x09" + `11realtime:xbroadcast{}`, "\x03\xff\xff\xff\xff\xff\xff",
}

// FuzzHostileClient holds that whatever a client sends, the server lives and
// other clients get what they were to get.
func FuzzHostileClient(f *testing.F) {
	for _, frames := range hostileFrames {
		for _, binary := range []bool{false, true} {
			f.Add([]byte(frames), true, binary)
			f.Add([]byte(frames), false, binary)
		}
	}
	f.Fuzz(func(t *testing.T, frames []byte, v2, binary bool) {
		bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
			good := open(t, s, phoenix.V2)
			good.subscribed(1, "realtime:good", ordersBinding, "")
			version := phoenix.V1
			if v2 {
				version = phoenix.V2
			}
			hostile := open(t, s, version)
			typ := websocket.MessageText
			if binary {
				typ = websocket.MessageBinary
			}
			for frame := range bytes.SplitSeq(frames, []byte{'\n'}) {
				if hostile.ws.Write(t.Context(), typ, frame) != nil {
					break
				}
			}
			insert(t, s, 1)
			good.send(1, 9, "phoenix", "heartbeat", "{}")
			answered, changed := false, false
			for !answered || !changed { // a broadcast to its topic may come, too
				m := good.next()
				answered = answered || m.Topic == phoenix.TopicPhoenix
				changed = changed || m.Event == phoenix.EventPostgresChanges
			}
		})
	})
}

// soakTime is how long hostile clients are endured: a moment, or as long as
// GAPLESS_SOAK says.
func soakTime(t *testing.T) time.Duration {
	given := os.Getenv("GAPLESS_SOAK")
	if given == "" {
		return time.Second
	}
	d, err := time.ParseDuration(given)
	require.NoError(t, err, "GAPLESS_SOAK")
	return d
}

// Clients that send garbage, too much, or bad tokens, that join and leave as
// fast as they can, or that never read, stop nobody else: every change comes to
// everybody else, in order, and what they use is given back.
func TestHostileClientsStopNobody(t *testing.T) {
	before := heap()
	cfg := withOrders
	cfg.Timing = mockserver.Fast()
	s := mockserver.Start(t, cfg)
	s.LimitBacklog(1 << 20)
	ctx, cancel := context.WithTimeout(t.Context(), soakTime(t))
	defer cancel()
	var clients sync.WaitGroup
	done := map[string]*atomic.Int64{}
	for i, attack := range attacks {
		done[attack.name] = new(atomic.Int64)
		clients.Go(func() {
			for round := uint64(0); ctx.Err() == nil; round++ {
				attack.run(ctx, s, rand.New(rand.NewPCG(round, uint64(i))))
				done[attack.name].Add(1)
			}
		})
	}
	var last atomic.Int64
	for i := range 3 {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, fmt.Sprint("realtime:good", i), ordersBinding, "")
		clients.Go(func() { c.getsAll(ctx, &last) })
	}
	clients.Go(func() {
		for id := int64(1); last.Load() >= 0; id++ {
			if last.Store(id); ctx.Err() != nil {
				last.Store(-id) // which says that it is the last one
			}
			if err := s.Insert("orders", mockserver.Row{"id": id}); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	clients.Wait()
	for name, rounds := range done {
		require.Positive(t, rounds.Load(), name)
		t.Log(name, rounds.Load())
	}
	require.Eventually(t, func() bool { return s.Sockets() <= 3 }, time.Minute, 10*time.Millisecond, "hostile sockets are left")
	require.Less(t, heap()-before, int64(100<<20), "bytes are left")
}

// heap returns how many bytes are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// getsAll wants every change in order, until the last one, whose number is
// negative then, and answers to what it asks now and then. The timeout is for a
// change that never comes, not a promise: the machine may be loaded.
func (c *socket) getsAll(ctx context.Context, last *atomic.Int64) {
	asked, answered := 0, 0
	for next := int64(1); last.Load() >= 0 || next <= -last.Load(); {
		f, ok := c.within(time.Minute)
		if !ok {
			c.t.Errorf("change %d did not come within a minute; the last one is %d", next, last.Load())
			return
		}
		m, err := phoenix.Decode(c.version, phoenix.FromServer, f.binary, f.raw)
		if err == nil && m.Event == phoenix.EventReply {
			answered++
			continue
		}
		var payload struct {
			Data struct{ Record struct{ ID int64 } }
		}
		if err != nil || json.Unmarshal(m.Payload, &payload) != nil || payload.Data.Record.ID != next {
			c.t.Errorf("change %d was to come, and not %s", next, f.raw)
			return
		}
		if next++; next%100 == 0 {
			asked++
			_ = c.ws.Write(ctx, websocket.MessageText, []byte(`[null,"1","phoenix","heartbeat",{}]`))
		}
	}
	if answered < asked-1 { // the last answer may still be under way
		c.t.Errorf("%d heartbeats of %d were answered", answered, asked)
	}
}

// within returns the next frame if it comes within d.
func (c *socket) within(d time.Duration) (frame, bool) {
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	for {
		c.mu.Lock()
		if len(c.frames) > 0 {
			f := c.frames[0]
			c.frames = c.frames[1:]
			c.mu.Unlock()
			return f, true
		}
		err := c.err
		c.mu.Unlock()
		if err != nil {
			return frame{}, false
		}
		select {
		case <-c.came:
		case <-timeout.C:
			return frame{}, false
		}
	}
}

// attack is one life of a hostile client.
type attack struct {
	name string
	run  func(ctx context.Context, s *mockserver.Server, r *rand.Rand)
}

var attacks = []attack{
	{"garbage", attackWithGarbage}, {"too much", attackWithTooMuch}, {"bad tokens", attackWithBadTokens}, {"joins", attackWithJoins},
	{"never reads", attackByNotReading}, {"bad requests", attackWithBadRequests}, {"half requests", attackWithHalfRequests},
}

// hostileSocket opens a socket for a moment.
func hostileSocket(ctx context.Context, s *mockserver.Server, life time.Duration, do func(ctx context.Context, ws *websocket.Conn)) {
	ctx, cancel := context.WithTimeout(ctx, life)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, s.WebsocketURL()+"?vsn=2.0.0&apikey="+s.AnonKey(), nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	do(ctx, ws)
}

// attackWithGarbage sends random bytes, and frames in which some are wrong.
func attackWithGarbage(ctx context.Context, s *mockserver.Server, r *rand.Rand) {
	hostileSocket(ctx, s, 100*time.Millisecond, func(ctx context.Context, ws *websocket.Conn) {
		for range 200 {
			typ := []websocket.MessageType{websocket.MessageText, websocket.MessageBinary}[r.IntN(2)]
			frame := []byte(hostileFrames[r.IntN(len(hostileFrames))])
			for range r.IntN(5) {
				frame[r.IntN(len(frame))] = byte(r.Uint32())
			}
			if ws.Write(ctx, typ, frame[:r.IntN(len(frame)+1)]) != nil {
				return
			}
		}
	})
}

// attackWithTooMuch sends a frame that is too large, or the largest.
func attackWithTooMuch(ctx context.Context, s *mockserver.Server, r *rand.Rand) {
	hostileSocket(ctx, s, 2*time.Second, func(ctx context.Context, ws *websocket.Conn) {
		_ = ws.Write(ctx, websocket.MessageText, []byte(hostileFrames[0]))
		frame := append([]byte(`["1","2","realtime:x","broadcast",{"x":"`), bytes.Repeat([]byte{'x'}, 5_000_000-10+r.IntN(20)-100*r.IntN(2))...)
		_ = ws.Write(ctx, websocket.MessageText, append(frame, `"}]`...))
		_, _, _ = ws.Read(ctx)
	})
	time.Sleep(20 * time.Millisecond) // 5 MB a time are enough
}

// attackWithBadTokens connects, joins and refreshes with tokens that are wrong.
func attackWithBadTokens(ctx context.Context, s *mockserver.Server, r *rand.Rand) {
	token := []byte(s.AnonKey())
	for range 1 + r.IntN(3) {
		token[r.IntN(len(token))] = byte('!' + r.IntN(90))
	}
	bad := string(mustMarshal(string(token)))
	if ws, _, err := websocket.Dial(ctx, s.WebsocketURL()+"?vsn=2.0.0&apikey="+url.QueryEscape(string(token)), nil); err == nil {
		_ = ws.CloseNow() // another letter may still decode to the same bytes
	}
	hostileSocket(ctx, s, 100*time.Millisecond, func(ctx context.Context, ws *websocket.Conn) {
		for i := range 20 {
			join := fmt.Sprintf(`["%d","%d","realtime:t%d","phx_join",{"config":{"private":%v},"access_token":%s}]`, i, i, i, r.IntN(2) == 0, bad)
			refresh := fmt.Sprintf(`["%d",null,"realtime:t%d","access_token",{"access_token":%s}]`, i, i, bad)
			if r.IntN(2) == 0 {
				join = hostileFrames[0]
				refresh = `["1",null,"realtime:x","access_token",{"access_token":` + bad + `}]`
			}
			_ = ws.Write(ctx, websocket.MessageText, []byte(join))
			if ws.Write(ctx, websocket.MessageText, []byte(refresh)) != nil {
				return
			}
		}
	})
}

func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// attackWithJoins joins and leaves many topics, with many bindings.
func attackWithJoins(ctx context.Context, s *mockserver.Server, r *rand.Rand) {
	hostileSocket(ctx, s, 200*time.Millisecond, func(ctx context.Context, ws *websocket.Conn) {
		bindings := strings.Repeat(`{"event":"*","schema":"public","table":"orders","filter":"id=gt.5"},`, 1+r.IntN(20))
		for i := range 100 {
			event, payload := "phx_join", `{"config":{"presence":{"enabled":true},"postgres_changes":[`+strings.TrimSuffix(bindings, ",")+`]}}`
			if r.IntN(3) == 0 {
				event, payload = "phx_leave", `{}`
			}
			if ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `["1","%d","realtime:j%d","%s",%s]`, i, r.IntN(40), event, payload)) != nil {
				return
			}
		}
		for ctx.Err() == nil {
			if _, _, err := ws.Read(ctx); err != nil {
				return
			}
		}
	})
}

// attackByNotReading makes the server send more than a connection holds, until
// it kills the socket.
func attackByNotReading(ctx context.Context, s *mockserver.Server, r *rand.Rand) {
	hostileSocket(ctx, s, 2*time.Second, func(ctx context.Context, ws *websocket.Conn) {
		_ = ws.Write(ctx, websocket.MessageText, []byte(`["1","1","realtime:deaf","phx_join",{"config":{"broadcast":{"self":true}}}]`))
		frame := []byte(`["1","2","realtime:deaf","broadcast",{"x":"` + strings.Repeat("x", 100_000+r.IntN(100_000)) + `"}]`)
		for ws.Write(ctx, websocket.MessageText, frame) == nil {
			time.Sleep(time.Millisecond)
		}
	})
}

// attackWithBadRequests sends requests that make no sense, or are too large.
func attackWithBadRequests(ctx context.Context, s *mockserver.Server, r *rand.Rand) {
	paths := []string{"/rest/v1/orders?id=eq." + strings.Repeat("(", 1000), "/rest/v1/orders?or=(", "/rest/v1/%2e%2e/x", "/rest/v1/rpc/x", "/auth/v1/token?grant_type=x", "/realtime/v1/websocket", "/rest/v1/orders?select=" + strings.Repeat("a,", 10_000)}
	body := io.Reader(strings.NewReader(hostileFrames[r.IntN(len(hostileFrames))]))
	if r.IntN(20) == 0 {
		body = bytes.NewReader(make([]byte, 9<<20))
	}
	q, err := http.NewRequestWithContext(ctx, []string{"GET", "POST", "PATCH", "DELETE", "PUT", "BREW"}[r.IntN(6)], s.URL()+paths[r.IntN(len(paths))], body)
	if err != nil {
		return
	}
	if r.IntN(2) == 0 {
		q.Header.Set("apikey", s.AnonKey())
		q.Header.Set("Range", "items=x-y")
	}
	if answer, err := s.HTTPClient().Do(q); err == nil {
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
	time.Sleep(time.Millisecond)
}

// attackWithHalfRequests opens connections and says nothing sensible, or
// nothing.
func attackWithHalfRequests(ctx context.Context, s *mockserver.Server, r *rand.Rand) {
	var open []net.Conn
	for range 20 {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(s.URL(), "http://"))
		if err != nil {
			break
		}
		open = append(open, c)
		_, _ = io.WriteString(c, []string{"", "GET / HTTP/1.1\r\nHost: x\r\nX:", "\x16\x03\x01\x02\x00", "GET /realtime/v1/websocket?vsn=2.0.0&apikey=" + s.AnonKey() + " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\xfe\xff\xff\x00\x00\x00\x00half"}[r.IntN(4)])
	}
	time.Sleep(50 * time.Millisecond)
	for _, c := range open {
		_ = c.Close()
	}
}
