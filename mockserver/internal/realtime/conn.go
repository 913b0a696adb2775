package realtime

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/mockserver/internal/auth"
	"github.com/gapless-go/gapless/mockserver/internal/fault"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// maxFrame is the largest message that a client may send; a larger one closes
// the socket with code 1009.
const maxFrame = 5_000_000

// conn is one socket. Two goroutines serve it: read, which is that of the HTTP
// request, puts what comes in into the mailbox, and process works the mailbox
// off. Whatever wants to send puts it into the mailbox too, so that one
// goroutine writes and everything a socket does has one order.
//
// Cancelling ctx kills the socket without a close frame, and both goroutines.
type conn struct {
	rt      *Server
	id      int
	ws      *websocket.Conn
	version phoenix.Version
	who     bearer
	opened  time.Time
	ctx     context.Context
	kill    context.CancelFunc
	box     *mailbox
	chance  *fault.Chance
	idle    *time.Timer // fires when nothing has come in for too long

	// Of the goroutine process:
	channels []*channel // joined, in the order of their joins
	joined   bool       // had a channel once
}

// bearer is on whose behalf a socket or a channel acts.
type bearer struct {
	token   string // as it was given
	claims  project.Claims
	expires time.Time // zero: never, which is what an sb_ key does
}

// serve serves a socket until it ends.
func (rt *Server) serve(w http.ResponseWriter, r *http.Request) {
	if !rt.enter() {
		http.Error(w, "the server is closed", http.StatusServiceUnavailable)
		return
	}
	defer rt.wg.Done()
	version, who, no := rt.admit(r)
	if no != nil {
		rt.refuse(w, r, no)
		return
	}
	c := rt.newConn(version, who)
	defer c.forget()
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // any origin, as in the server's production configuration
		CompressionMode:    websocket.CompressionDisabled,
		OnPingReceived: func(context.Context, []byte) bool {
			c.heard()
			return true
		},
	})
	if err != nil {
		return // and Accept has answered
	}
	ws.SetReadLimit(maxFrame)
	c.ws = ws
	rt.tap.Note(c.id, "opened", "serializer %s, role %s", version, project.RoleOf(who.claims))
	c.run()
}

// endText tells how a socket ended.
func endText(err error) string {
	if code := websocket.CloseStatus(err); code >= 0 {
		return "with the close code " + strconv.Itoa(int(code))
	}
	return "without a close frame"
}

// refusal is the answer to an upgrade that is refused.
type refusal struct {
	status int
	text   string
	plain  bool // at once and not as JSON
}

// admit decides about an upgrade.
func (rt *Server) admit(r *http.Request) (phoenix.Version, bearer, *refusal) {
	if r.Method != http.MethodGet || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return 0, bearer{}, &refusal{status: http.StatusBadRequest, text: "this is no websocket upgrade", plain: true}
	}
	version, ok := wire.VersionOf(r)
	if !ok {
		return 0, bearer{}, &refusal{status: http.StatusForbidden, plain: true}
	}
	if status, text, refused := rt.Faults.RefusedUpgrade(); refused {
		return 0, bearer{}, &refusal{status: status, text: text}
	}
	if rt.Faults.Restarting() {
		return 0, bearer{}, &refusal{status: http.StatusServiceUnavailable, text: "the server is restarting", plain: true}
	}
	if rt.Faults.JoinsExceeded() {
		return 0, bearer{}, &refusal{status: http.StatusTooManyRequests, text: "Too many joins per second"}
	}
	key, ok := keyOf(r)
	if !ok {
		return 0, bearer{}, &refusal{status: http.StatusUnauthorized, text: "API key is missing"}
	}
	who, err := rt.connectionBearer(key)
	switch {
	case err == nil:
		return version, who, rt.full()
	case err.Fault == auth.BadExpiry:
		return 0, bearer{}, &refusal{status: http.StatusInternalServerError, text: "Error connecting to Realtime"}
	}
	return 0, bearer{}, &refusal{status: http.StatusUnauthorized, text: err.UpgradeText()}
}

// keyOf reads the API key. The header wins, even if it is empty.
func keyOf(r *http.Request) (string, bool) {
	if header := r.Header.Values("X-Api-Key"); len(header) > 0 {
		return header[0], true
	}
	query := r.URL.Query()
	return query.Get("apikey"), query.Has("apikey")
}

// connectionBearer reads the key of a connection. The gateway before the real
// server exchanges a publishable or secret key for a token.
func (rt *Server) connectionBearer(key string) (bearer, *auth.TokenError) {
	if role, ok := rt.verifier.KeyRole(key); ok {
		return bearer{token: key, claims: project.Claims{"role": role}}, nil
	}
	return rt.bearer(key)
}

// bearer verifies a token.
func (rt *Server) bearer(token string) (bearer, *auth.TokenError) {
	claims, expires, err := rt.verifier.Verify(token)
	if err != nil {
		return bearer{}, err.(*auth.TokenError)
	}
	return bearer{token: token, claims: claims, expires: expires}, nil
}

// refuse answers an upgrade, most refusals after a while.
func (rt *Server) refuse(w http.ResponseWriter, r *http.Request, no *refusal) {
	rt.tap.Note(0, "refused", "upgrade: %d %s", no.status, no.text)
	rt.log.Debug("upgrade refused", "status", no.status, "reason", no.text)
	switch {
	case no.plain && no.text != "":
		http.Error(w, no.text, no.status)
	case no.plain:
		w.WriteHeader(no.status)
	case !rt.Pause(r.Context(), rt.timing.RefuseDelay):
		return
	case no.text == "":
		w.WriteHeader(no.status)
	default:
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(no.status)
		_, _ = w.Write(rawjson.Must(map[string]string{"error": no.text}))
	}
}

// newConn makes a socket that is about to open. The server knows it before the
// client does, so that whoever has a socket can rely on the server's methods
// to find it.
func (rt *Server) newConn(version phoenix.Version, who bearer) *conn {
	c := &conn{rt: rt, version: version, who: who, opened: time.Now(), box: newMailbox()}
	c.ctx, c.kill = context.WithCancel(rt.ctx)
	c.idle = time.NewTimer(rt.idleTimeout())
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.opened++
	c.id = rt.opened
	c.chance = fault.NewChance(rt.seed, fault.StreamSockets+uint64(c.id))
	rt.conns = append(rt.conns, c)
	return c
}

func (rt *Server) idleTimeout() time.Duration {
	if rt.timing.IdleTimeout < 0 {
		return math.MaxInt64
	}
	return rt.timing.IdleTimeout
}

// run serves the socket until it ends.
func (c *conn) run() {
	var process sync.WaitGroup
	process.Go(c.process)
	c.read()
	c.kill()
	process.Wait()
	_ = c.ws.CloseNow()
}

// forget ends what is left of the socket in the server.
func (c *conn) forget() {
	c.kill()
	c.idle.Stop()
	c.box.close()
	for _, ch := range c.channels {
		ch.end()
	}
	c.rt.mu.Lock()
	defer c.rt.mu.Unlock()
	c.rt.conns = without(c.rt.conns, c)
	if c.joined {
		c.rt.users--
	}
}

// heard notes that something came in.
func (c *conn) heard() { c.idle.Reset(c.rt.idleTimeout()) }

// read puts what the client sends into the mailbox. It goes on while a join
// holds up the rest: what comes in then stands in its place among what is to
// go out.
func (c *conn) read() {
	for {
		typ, frame, err := c.ws.Read(c.ctx)
		if err != nil {
			c.rt.tap.Note(c.id, "ended", "%s", endText(err))
			return
		}
		c.heard()
		binary := typ == websocket.MessageBinary
		// Serializer 1.0.0 does not look at the type of a message.
		m, err := phoenix.Decode(c.version, phoenix.FromClient, binary && c.version == phoenix.V2, frame)
		c.rt.Sent.Add(c.id, binary, frame, m)
		c.rt.tap.In(c.id, c.version, binary, frame)
		if err == nil { // the server ignores what it cannot read
			c.post(len(frame), func() { c.receive(m) })
		}
	}
}

// post puts a task into the mailbox, and kills the socket when too much waits.
func (c *conn) post(size int, do func()) {
	if c.box.put(size, do) > c.rt.Faults.MaxBacklog(maxBacklog) {
		c.rt.log.Debug("socket killed: its backlog is too long", "socket", c.id)
		c.kill()
	}
}

// process works the mailbox off.
func (c *conn) process() {
	sweep := time.NewTimer(c.rt.untilSweep())
	defer sweep.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.box.wake:
			c.workOff()
		case <-c.idle.C:
			c.close(websocket.StatusNormalClosure)
		case <-sweep.C:
			if c.joined && len(c.channels) == 0 {
				c.kill()
			}
			sweep.Reset(c.rt.untilSweep())
		}
	}
}

func (c *conn) workOff() {
	for c.ctx.Err() == nil {
		do, ok := c.box.take()
		if !ok {
			return
		}
		if err := rescue.Do("a socket", func() error { do(); return nil }); err != nil {
			c.rt.log.Error("socket killed", "socket", c.id, "error", err)
			c.kill()
		}
	}
}

// untilSweep returns the time to the next round of the sweep, whose rounds are
// the server's and not the socket's.
func (rt *Server) untilSweep() time.Duration {
	if rt.timing.Sweep < 0 {
		return math.MaxInt64
	}
	return rt.timing.Sweep - time.Since(rt.started)%rt.timing.Sweep
}

// close ends the socket with a close frame. It waits for the client's, for a
// few seconds.
func (c *conn) close(code websocket.StatusCode) {
	c.rt.tap.Note(c.id, "closing", "with the code %d", int(code))
	_ = c.ws.Close(code, "")
	c.kill()
}

// send writes a message at once, before all that waits. It is for what the
// process of the socket itself answers: heartbeats, joins, unknown topics.
func (c *conn) send(m phoenix.Message) { c.write(c.encode(m)) }

// push puts a message behind all that waits. It is for what channels send.
func (c *conn) push(m phoenix.Message) {
	frame, binary := c.encode(m)
	c.pushFrame(frame, binary)
}

func (c *conn) pushFrame(frame []byte, binary bool) {
	c.post(len(frame), func() { c.write(frame, binary) })
}

// frameRoom is about what a frame has beside the topic and the payload.
const frameRoom = 80

func (c *conn) encode(m phoenix.Message) (frame []byte, binary bool) {
	frame = make([]byte, 0, len(m.Topic)+len(m.Payload)+frameRoom)
	frame, binary, err := phoenix.Append(frame, c.version, phoenix.FromServer, m)
	if err != nil {
		panic("mockserver: " + err.Error()) // only text messages are made here, and those have no bounds
	}
	return frame, binary
}

func (c *conn) write(frame []byte, binary bool) {
	typ := websocket.MessageText
	if binary {
		typ = websocket.MessageBinary
	}
	c.rt.tap.Out(c.id, c.version, binary, frame)
	if err := c.ws.Write(c.ctx, typ, frame); err != nil {
		c.kill()
	}
}
