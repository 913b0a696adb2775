package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/realtime"
)

// replay plays the server's side of a recording to real clients: one client
// for each recorded socket, one channel for each topic that was joined on it.
// What the recording clients did beyond joining and leaving (pushing tokens,
// joining twice, broadcasting) these clients do not do; the server's frames
// that followed from it reach them all the same.
type replay struct {
	t       *testing.T
	script  *script
	record  transcript.Transcript
	sockets map[string]*replaySocket // by name; a name may be used again
	all     []*replaySocket
	begin   time.Time
}

type replaySocket struct {
	name   string
	client *realtime.Client
	conn   *conn
	before *replaySocket // of the same name
	err    error         // of Connect
	topics map[string]*replayTopic
	joins  map[phoenix.Ref]phoenix.Ref // recorded ref of a join → the client's
	leaves map[phoenix.Ref]phoenix.Ref
	over   bool
}

type replayTopic struct {
	ch  *channel.Channel
	mu  sync.Mutex
	new []phoenix.Message // joins of the client that no recorded join has been matched to
	out []phoenix.Message // leaves
	log []string

	bindings []channel.Binding
}

func newReplay(t *testing.T, record transcript.Transcript) *replay {
	return &replay{t: t, script: newScript(t), record: record, sockets: map[string]*replaySocket{}, begin: time.Now()}
}

func (r *replay) run() {
	for i, line := range r.record.Lines {
		time.Sleep(time.Until(r.begin.Add(line.At())))
		synctest.Wait()
		switch line.Dir {
		case "open":
			r.open(line, r.record.Lines[i:])
		case "send":
			r.send(line)
		case "recv":
			r.recv(line)
		case "close":
			r.close(line)
		}
	}
	time.Sleep(time.Minute)
	synctest.Wait()
}

func (r *replay) version(conn string) phoenix.Version {
	if strings.HasPrefix(r.record.Version(conn), "2") {
		return phoenix.V2
	}
	return phoenix.V1
}

// open makes the client of a recorded socket.
func (r *replay) open(line transcript.Line, rest []transcript.Line) {
	s := &replaySocket{name: line.Conn, topics: map[string]*replayTopic{},
		joins: map[phoenix.Ref]phoenix.Ref{}, leaves: map[phoenix.Ref]phoenix.Ref{}}
	s.before = r.sockets[line.Conn]
	r.all = append(r.all, s)
	r.sockets[line.Conn] = s
	o := r.script.options()
	o.ProtocolVersion = r.version(line.Conn).String()
	var refused *struct {
		Status int    `json:"status"`
		Body   string `json:"body"`
	}
	for _, l := range rest[1:] {
		if l.Conn == line.Conn && l.Dir == "upgrade_refused" {
			require.NoError(r.t, json.Unmarshal([]byte(l.Frame), &refused))
		}
		if l.Conn == line.Conn {
			break
		}
	}
	r.script.refusing(func(w http.ResponseWriter, _ *http.Request) bool {
		if refused != nil {
			w.WriteHeader(refused.Status)
			_, _ = w.Write([]byte(refused.Body))
		}
		return refused != nil
	})
	s.client = open(r.t, o)
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
	defer cancel()
	s.err = s.client.Connect(ctx)
	r.script.refusing(nil)
	if s.err == nil {
		s.conn = r.script.accept()
		go s.listen()
	}
}

// listen notes what the client asks for.
func (s *replaySocket) listen() {
	for {
		select {
		case m := <-s.conn.in:
			if topic := s.topics[m.Topic]; topic != nil {
				topic.mu.Lock()
				switch m.Event {
				case phoenix.EventJoin:
					topic.new = append(topic.new, m)
				case phoenix.EventLeave:
					topic.out = append(topic.out, m)
				}
				topic.mu.Unlock()
			}
		case <-s.conn.gone:
			return
		}
	}
}

func (r *replay) send(line transcript.Line) {
	s := r.sockets[line.Conn]
	m, err := phoenix.Decode(r.version(line.Conn), phoenix.FromClient, line.Kind == "binary", line.Bytes())
	if s == nil || s.conn == nil || err != nil {
		return
	}
	switch m.Event {
	case phoenix.EventJoin:
		r.join(s, m)
	case phoenix.EventLeave:
		topic := s.topics[m.Topic]
		if topic == nil || s.joins[m.JoinRef] == "" && !r.match(s, topic, m.JoinRef) {
			return
		}
		go func() { _ = topic.ch.Leave(r.t.Context()) }()
		synctest.Wait()
		topic.mu.Lock()
		defer topic.mu.Unlock()
		if len(topic.out) > 0 {
			s.leaves[m.Ref] = topic.out[0].Ref
		}
	}
}

// join makes the channel of a recorded join, or lets the one that is there
// join again in its own time.
func (r *replay) join(s *replaySocket, m phoenix.Message) {
	name, ok := strings.CutPrefix(m.Topic, phoenix.TopicPrefix)
	if topic := s.topics[m.Topic]; topic != nil && topic.ch.Status().State != channel.Closed || !ok || name == "" {
		return
	}
	var payload struct {
		Config struct {
			Private  any              `json:"private"`
			Bindings []map[string]any `json:"postgres_changes"`
		} `json:"config"`
	}
	if json.Unmarshal(m.Payload, &payload) != nil {
		return
	}
	var opts []channel.Option
	if payload.Config.Private == true {
		opts = append(opts, channel.Private())
	}
	ch, err := s.client.Channel(name, opts...)
	require.NoError(r.t, err)
	topic := &replayTopic{ch: ch}
	if old := s.topics[m.Topic]; old != nil {
		topic.log = append(old.log, "joined anew")
	}
	s.topics[m.Topic] = topic
	if len(payload.Config.Bindings) == 0 || payload.Config.Bindings[0] == nil {
		go func() {
			topic.note("", ch.WaitLive(r.t.Context()))
		}()
		return
	}
	var bindings []channel.Binding
	for _, b := range payload.Config.Bindings {
		if b != nil { // the server skips null
			bindings = append(bindings, bindingOf(b))
		}
	}
	sub, err := ch.Subscribe(bindings...)
	require.NoError(r.t, err)
	topic.bindings = bindings
	go func() {
		for change, err := range sub.Changes(r.t.Context()) {
			switch {
			case err != nil:
				topic.note("", err)
			case change.Gap == nil:
				topic.note("change", nil)
			case change.Gap.Open():
				topic.note("gap opens: "+change.Gap.Reason.String(), nil)
			default:
				topic.note("gap: "+change.Gap.Reason.String(), nil)
			}
		}
	}()
}

// bindingOf makes a binding that asks for what the recorded one asked for. The
// filter stays away: it is the server's business.
func bindingOf(b map[string]any) (made channel.Binding) {
	text := func(key string) string { s, _ := b[key].(string); return s }
	switch strings.ToUpper(text("event")) {
	case "INSERT":
		made.Op = cdc.Insert
	case "UPDATE":
		made.Op = cdc.Update
	case "DELETE":
		made.Op = cdc.Delete
	}
	made.Schema, made.Table = text("schema"), text("table")
	if made.Table == "*" {
		made.Table = ""
	}
	if made.Schema == "" && made.Table == "" {
		made.Schema = "*"
	}
	return made
}

func (t *replayTopic) note(what string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err != nil:
		what = "ended: " + kindOf(err)
	case what == "":
		what = "live"
	}
	if last := len(t.log) - 1; what == "change" && last >= 0 && strings.HasSuffix(t.log[last], "changes") {
		n, _, _ := strings.Cut(t.log[last], " ")
		count, _ := strconv.Atoi(n)
		t.log[last] = fmt.Sprintf("%d changes", count+1)
		return
	}
	if what == "change" {
		what = "1 changes"
	}
	t.log = append(t.log, what)
}

func kindOf(err error) string {
	var join *channel.JoinError
	var subscribe *channel.SubscribeError
	switch {
	case errors.Is(err, channel.ErrClosed):
		return "left"
	case errors.As(err, &join):
		return "refused " + join.Code
	case errors.As(err, &subscribe):
		return "not subscribed"
	}
	return err.Error()
}

// recv sends a recorded frame with the client's refs in place of the recorded.
func (r *replay) recv(line transcript.Line) {
	s := r.sockets[line.Conn]
	if s == nil || s.conn == nil || !line.IsFrame() {
		return
	}
	v := r.version(line.Conn)
	m, err := phoenix.Decode(v, phoenix.FromServer, line.Kind == "binary", line.Bytes())
	if err != nil {
		s.conn.sendRaw(line.Kind == "binary", line.Bytes())
		return
	}
	topic := s.topics[m.Topic]
	if m.Topic == phoenix.TopicPhoenix {
		return // this server answers heartbeats by itself
	}
	isJoinReply := m.Event == phoenix.EventReply && topic != nil && r.isJoin(line.Conn, m.Topic, m.Ref)
	if isJoinReply && s.joins[m.Ref] == "" {
		if !r.match(s, topic, m.Ref) {
			return // the client did not join again: the recorded one had joined twice
		}
	}
	switch {
	case isJoinReply:
		m.JoinRef, m.Payload = s.joins[m.Ref], r.echo(s, topic, m)
		m.Ref = m.JoinRef
	case m.Event == phoenix.EventReply && s.leaves[m.Ref] != "":
		m.JoinRef, m.Ref = s.joins[m.JoinRef], s.leaves[m.Ref]
	case m.Event == phoenix.EventReply:
		m.Ref = phoenix.NewRef(1 << 40) // to a push that this client has not made
	case m.Event == phoenix.EventClose || m.Event == phoenix.EventError:
		if s.joins[m.Ref] == "" {
			return
		}
		m.JoinRef, m.Ref = s.joins[m.Ref], s.joins[m.Ref]
	case m.JoinRef != "":
		if m.JoinRef = s.joins[m.JoinRef]; m.JoinRef == "" {
			return
		}
	}
	s.conn.send(m)
	synctest.Wait()
}

// isJoin reports whether a recorded ref is that of a join.
func (r *replay) isJoin(conn, topic string, ref phoenix.Ref) bool {
	for _, line := range r.record.Lines {
		if line.Conn != conn || line.Dir != "send" || !strings.Contains(line.Frame, phoenix.EventJoin) {
			continue
		}
		m, err := phoenix.Decode(r.version(conn), phoenix.FromClient, false, line.Bytes())
		if err == nil && m.Topic == topic && m.Ref == ref && m.Event == phoenix.EventJoin {
			return true
		}
	}
	return false
}

// match waits for the client's next join of a topic.
func (r *replay) match(s *replaySocket, topic *replayTopic, recorded phoenix.Ref) bool {
	for range 100 {
		topic.mu.Lock()
		if len(topic.new) > 0 {
			s.joins[recorded] = topic.new[0].Ref
			topic.mu.Unlock()
			return true
		}
		topic.mu.Unlock()
		if state := topic.ch.Status().State; state != channel.Joining && state != channel.Degraded {
			return false
		}
		time.Sleep(time.Second)
		synctest.Wait()
	}
	return false
}

// echo is the recorded reply with the client's own bindings and the recorded
// ids.
func (r *replay) echo(s *replaySocket, topic *replayTopic, m phoenix.Message) []byte {
	topic.mu.Lock()
	join := topic.new[0]
	topic.new = topic.new[1:]
	topic.mu.Unlock()
	var reply struct {
		Status   string `json:"status"`
		Response struct {
			Reason   string            `json:"reason,omitempty"`
			Bindings []json.RawMessage `json:"postgres_changes"`
		} `json:"response"`
	}
	require.NoError(r.t, json.Unmarshal(m.Payload, &reply))
	if reply.Status != phoenix.StatusOK {
		return m.Payload
	}
	sent := withIDs(r.t, join)
	require.Len(r.t, reply.Response.Bindings, len(sent), "%s", m.Payload)
	for i, b := range reply.Response.Bindings {
		// The first id: one recorded client sent an id of its own, which the
		// server echoed after its.
		id := firstID.FindSubmatch(b)
		require.NotNil(r.t, id, "%s", b)
		sent[i]["id"] = json.Number(id[1])
	}
	return mustJSON(map[string]any{"status": "ok", "response": map[string]any{"postgres_changes": sent}})
}

var firstID = regexp.MustCompile(`"id":(\d+)`)

func (r *replay) close(line transcript.Line) {
	s := r.sockets[line.Conn]
	if s != nil && s.before != nil && !s.before.over {
		s = s.before // whose end was noticed after the next of its name had begun
	}
	if s == nil || s.over {
		return
	}
	s.over = true
	if s.conn == nil {
		return
	}
	var end struct {
		Code int `json:"code"`
	}
	require.NoError(r.t, json.Unmarshal([]byte(line.Frame), &end))
	switch end.Code {
	case 1005: // the recording client's own
	case 1006:
		s.conn.kill()
	default:
		s.conn.shut(websocket.StatusCode(end.Code))
	}
	synctest.Wait()
	closeClient(r.t, s.client)
}

// story tells what became of every channel, one line for those of one fate:
// in some recordings hundreds do the same.
func (r *replay) story() []string {
	count := map[string]int{}
	for _, s := range r.all {
		name := s.name
		if s.err != nil {
			var refused *realtime.ConnectError
			require.ErrorAs(r.t, s.err, &refused)
			count[fmt.Sprintf("%s: refused %d %q", alike(name), refused.Status, refused.Reason)]++
		}
		for topic, state := range s.topics {
			state.mu.Lock()
			count[fmt.Sprintf("%s %s: %s", alike(name), alike(strings.TrimPrefix(topic, phoenix.TopicPrefix)), strings.Join(state.log, ", "))]++
			state.mu.Unlock()
		}
	}
	var lines []string
	for line, n := range count {
		if n > 1 {
			line += fmt.Sprintf(" (%d times)", n)
		}
		lines = append(lines, line)
	}
	sort.Strings(lines)
	return lines
}

// alike makes names that differ in their numbers one.
func alike(name string) string { return numbers.ReplaceAllString(name, "#") }

var numbers = regexp.MustCompile(`\d+`)

// Every recording, from the server's side: the client comes to the states and
// delivers the changes that the recording's notes describe.
func TestRecordedServersDriveTheClient(t *testing.T) {
	require.Len(t, stories, len(transcript.Names()))
	for _, name := range transcript.Names() {
		t.Run(name, func(t *testing.T) {
			record, err := transcript.Load(name)
			require.NoError(t, err)
			bubble(t, func(t *testing.T) {
				r := newReplay(t, record)
				r.run()
				require.Equal(t, strings.Split(strings.TrimSpace(stories[name]), "\n"), r.story())
				r.requireCounts()
			})
		})
	}
}

// requireCounts holds the channels that were live all the time, and have one
// binding, against a plain count of the recorded frames.
func (r *replay) requireCounts() {
	frames := map[string]int{}
	for _, line := range r.record.Lines {
		if line.Dir == "recv" && line.IsFrame() && strings.Contains(line.Frame, `"postgres_changes"`) {
			m, err := phoenix.Decode(r.version(line.Conn), phoenix.FromServer, false, line.Bytes())
			if err == nil && m.Event == phoenix.EventPostgresChanges {
				frames[line.Conn+" "+m.Topic]++
			}
		}
	}
	for _, s := range r.all {
		for topic, state := range s.topics {
			simple := len(state.bindings) == 1 && len(state.log) == 3 && state.log[0] == "gap: started" &&
				strings.HasSuffix(state.log[1], "changes") && state.log[2] == "ended: left"
			if simple {
				require.Equal(r.t, fmt.Sprintf("%d changes", frames[s.name+" "+topic]), state.log[1], topic)
			}
		}
	}
}
