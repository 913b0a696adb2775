package mockserver_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver"
)

// scenario says how a recorded conversation is played.
type scenario struct {
	name   string
	timing mockserver.Timing
	limits mockserver.Limits
	until  time.Duration // where to stop; 0: nowhere
	// by says what to do at statements and notes that no rule of sqlScript
	// translates; nil: nothing.
	by map[string]func(*testing.T, *mockserver.Server)
	// unordered compares messages as a set, for the reason given in differences.
	unordered bool
	// swept is the socket that the recording's server killed without a close
	// frame.
	swept string
	// skip tells recorded messages that the server under test does not send,
	// for a reason given in differences.
	skip func(l transcript.Line) bool
	// written makes the messages whose recording is cut.
	written map[string]string
}

// differences between the recordings and the server under test that this test
// accepts, and why:
//
//   - ids, commit timestamps, the age of an expired token, and the order of JSON
//     keys: an id is a hash that the mock may choose, times are the run's.
//   - the order of channels on a socket for one change, and of sockets: the
//     real server's follows a hash table.
//   - 17: the recording began with an idle server, which tries to subscribe
//     again after a random 1 to 3 s, each channel for itself; the mock is never
//     idle unless told to be. So messages are compared as a set.
//   - 10: the first socket is closed for idleness after 66 s, the next of ten
//     ticks behind the 60 s; the mock's clock has no ticks. Only the code is
//     compared.
//   - 11: a topic may be a number, and comes back as one; the mock's codec,
//     which is the client's, too, takes strings only, and drops the message.
//   - 11: the sweep of sockets without a channel is every 10 minutes of the
//     server's life; here it is set to where the recording had it.
//   - 02, 03: ALTER TABLE ADD COLUMN, and what follows it. A table of the mock
//     does not change.
//   - 20: a rolled back savepoint, and a TRUNCATE in a transaction, are written
//     as what is left of them.
//   - 08: two messages of megabytes are cut in the recording, and written anew.
//   - 14: of thirty statements the recording has three.
//   - 09, 19: phx_ref, which is random, and whether a diff of presence comes
//     before or behind the reply to what made it, which varies in the recording.
//   - 08, 14: ids of messages, which are random.
//   - 19: the recording is played as far as it is whole, which is up to the
//     flood of broadcasts. TestC54C56EventsPerSecond has what follows.
//   - 22: the recording stops before the changes to the publication.
var scenarios = []scenario{
	{name: "01-join-public.vsn1"},
	{name: "01-join-public.vsn2"},
	{name: "02-private-postgres-changes-full.vsn1", by: everyType("t_full"), skip: addedColumn},
	{name: "02-private-postgres-changes-full.vsn2", by: everyType("t_full"), skip: addedColumn},
	{name: "03-private-postgres-changes-default.vsn1", by: everyType("t_def"), skip: addedColumn},
	{name: "03-private-postgres-changes-default.vsn2", by: everyType("t_def"), skip: addedColumn},
	{name: "04-filters.vsn2"},
	{name: "05-rls.vsn1"},
	{name: "06-privileges-errors.vsn1"},
	{name: "06-privileges-errors.vsn2"},
	{name: "07-multiple-bindings.vsn2"},
	{name: "08-broadcast.vsn1", limits: mockserver.Limits{PayloadKB: 3000}, by: broadcastChanges, written: large},
	{name: "08-broadcast.vsn2", limits: mockserver.Limits{PayloadKB: 3000}, by: broadcastChanges, written: large},
	{name: "09-presence.vsn2"},
	{name: "10-tokens.vsn1"},
	{name: "10-tokens.vsn2"},
	{name: "11-odd-messages.vsn1", timing: mockserver.Timing{Sweep: 64 * time.Second}, swept: "a", skip: numericTopic},
	{name: "11-odd-messages.vsn2", timing: mockserver.Timing{Sweep: 64 * time.Second}, swept: "a", skip: numericTopic},
	{name: "12-duplicate-join.vsn1"},
	{name: "13-leave.vsn2"},
	{name: "14-replay.vsn1", by: thirtyMessages},
	{name: "14-replay.vsn2", by: thirtyMessages},
	{name: "15-select.vsn2"},
	{name: "17-bad-bindings.vsn1", unordered: true},
	{name: "19-limits.vsn2", limits: mockserver.RealisticLimits(), until: 72 * time.Second},
	{name: "20-transactions.vsn2", by: transactions},
	{name: "21-refused-join-blocks.vsn1"},
	{name: "21-refused-join-blocks.vsn2"},
	{name: "22-rls-late-visibility.vsn2"},
	{name: "24-join-rate.vsn2", limits: mockserver.Limits{JoinsPerSecond: 1}},
}

// broadcastChanges is what the trigger of t_bc does.
var broadcastChanges = map[string]func(*testing.T, *mockserver.Server){
	"insert into t_bc values (1,'b','hello')": changeRoom("INSERT", mockserver.Row{"id": 1, "room": "b", "body": "hello"}, nil),
	"update t_bc set body='changed' where id=1": changeRoom("UPDATE",
		mockserver.Row{"id": 1, "room": "b", "body": "changed"}, mockserver.Row{"id": 1, "room": "b", "body": "hello"}),
	"delete from t_bc": changeRoom("DELETE", nil, mockserver.Row{"id": 1, "room": "b", "body": "changed"}),
}

func changeRoom(operation string, after, before mockserver.Row) func(*testing.T, *mockserver.Server) {
	return func(t *testing.T, s *mockserver.Server) {
		require.NoError(t, s.BroadcastChanges("room:b", operation, operation, "t_bc", after, before))
	}
}

// thirtyMessages are those of which the recording has the first three.
var thirtyMessages = map[string]func(*testing.T, *mockserver.Server){
	"select realtime.send(jsonb_build_object('n',3), 'ev', 'room:rp', true)": func(t *testing.T, s *mockserver.Server) {
		for n := 3; n <= 30; n++ {
			require.NoError(t, s.RealtimeSend(map[string]int{"n": n}, "ev", "room:rp", true))
		}
	},
}

// large are the messages of which the recording has only the beginning.
var large = map[string]string{
	"3.1 MB": strings.Repeat("x", 3_100_000),
	"5.1 MB": strings.Repeat("x", 5_100_000),
}

func addedColumn(l transcript.Line) bool { return strings.Contains(l.Frame, "c_added") }

func numericTopic(l transcript.Line) bool {
	return strings.HasPrefix(l.Frame, `[null,"1",5,`) || strings.HasSuffix(l.Frame, `"topic":5}`)
}

// TestTranscripts plays the clients of recorded conversations with a real
// server, and wants from the mock what that one said. See differences.
func TestTranscripts(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			script, err := transcript.Load(sc.name)
			require.NoError(t, err)
			cfg := recordedDatabase()
			cfg.Timing, cfg.Limits = sc.timing, sc.limits
			bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
				time.Sleep(time.Until(recordedAt(t, script)))
				p := &player{t: t, s: s, sc: sc, script: script, sockets: map[string][]*played{}, ids: map[string]string{}}
				p.play()
				p.compare()
			})
		})
	}
}

var replayedSince = regexp.MustCompile(`"since":(\d{13})`)

var committed = regexp.MustCompile(`"commit_timestamp":"([^"]+)"`)

// recordedAt returns about when the recording began: tokens in it expire. It
// is told by what is to be replayed, which is all, or by the first commit;
// without them it does not matter.
func recordedAt(t *testing.T, script transcript.Transcript) time.Time {
	for _, l := range script.Lines {
		if m := replayedSince.FindStringSubmatch(l.Frame); m != nil {
			ms, err := strconv.ParseInt(m[1], 10, 64)
			require.NoError(t, err)
			return time.UnixMilli(ms)
		}
	}
	var statement time.Duration
	for _, l := range script.Lines {
		if l.Dir == "sql" && statement == 0 {
			statement = l.At()
		}
		if m := committed.FindStringSubmatch(l.Frame); m != nil {
			at, err := time.Parse(time.RFC3339, m[1])
			require.NoError(t, err)
			return at.Add(-statement)
		}
	}
	return time.Now()
}

// player plays one recording.
type player struct {
	t       *testing.T
	s       *mockserver.Server
	sc      scenario
	script  transcript.Transcript
	sockets map[string][]*played // those that a name stood for, one after the other
	ids     map[string]string    // recorded binding id → that of the mock
	answer  *http.Response       // to the last request
}

// played is a socket of the recording and what the real server sent to it.
type played struct {
	*socket
	want      []frame
	closed    bool // by the client
	closeCode int
	refused   *http.Response
	answer    string // the recorded refusal
}

// play does what the clients and the database did, at their times.
func (p *player) play() {
	began := time.Now()
	var last transcript.Line
	for i, l := range p.script.Lines {
		if p.sc.until > 0 && l.At() >= p.sc.until {
			break
		}
		burst := l.Dir == "send" && last.Dir == "send" && l.At()-last.At() <= 2*time.Millisecond
		if !burst { // messages sent without waiting for anything are sent at one time
			time.Sleep(l.At() - time.Since(began))
			synctest.Wait()
		}
		last = l
		switch l.Dir {
		case "open":
			p.open(l)
		case "send":
			p.send(l)
		case "recv":
			p.expect(l)
		case "close":
			p.deafen(l, p.script.Lines[i+1:])
			p.close(l)
		case "upgrade_refused":
			p.current(l.Conn).answer = l.Frame
		case "sql", "note":
			if do, ok := p.sc.by[l.Frame]; ok {
				if do != nil {
					do(p.t, p.s)
				}
			} else if l.Dir == "sql" {
				sqlScript(p.t, p.s, l.Frame)
			}
		case "http_request":
			p.request(l)
		case "http_response":
			p.response(l)
		case "opened", "sql_done":
		default:
			require.Failf(p.t, "unknown line", "%+v", l)
		}
	}
	time.Sleep(time.Second)
	synctest.Wait()
}

func (p *player) current(conn string) *played {
	list := p.sockets[conn]
	require.NotEmpty(p.t, list, conn)
	return list[len(list)-1]
}

func (p *player) open(l transcript.Line) {
	u, err := url.Parse(l.Frame)
	require.NoError(p.t, err)
	var header http.Header
	if l.Conn == "xk" { // the recording has the key in the header here
		header = http.Header{"X-Api-Key": {userToken(p.s, 1)}}
	}
	c, refused := dialSocket(p.t, p.s, "?"+u.RawQuery, header)
	p.sockets[l.Conn] = append(p.sockets[l.Conn], &played{socket: c, refused: refused})
}

func (p *player) send(l transcript.Line) {
	c := p.current(l.Conn)
	typ := websocket.MessageText
	if l.Kind == "binary" {
		typ = websocket.MessageBinary
	}
	raw := p.whole(l)
	err := c.ws.Write(context.Background(), typ, raw)
	if len(raw) <= 5_000_000 { // the server closes the socket while more is written
		require.NoError(p.t, err)
	}
}

var cut = regexp.MustCompile(`x*… \((.*), cut\)`)

// whole returns a message to be sent, with what the recording has cut.
func (p *player) whole(l transcript.Line) []byte {
	m := cut.FindStringSubmatch(l.Frame)
	if m == nil {
		return l.Bytes()
	}
	begin, _, _ := strings.Cut(l.Frame, m[0])
	end := `"}}]`
	if p.current(l.Conn).version == phoenix.V1 {
		end = `"}},"ref":"11","join_ref":"1"}`
	}
	return []byte(begin + p.sc.written[m[1]] + end)
}

// request makes a recorded request: its method and path, headers and body.
func (p *player) request(l transcript.Line) {
	head, body, _ := strings.Cut(l.Frame, "\n\n")
	lines := strings.Split(head, "\n")
	method, path, _ := strings.Cut(lines[0], " ")
	if encoded, ok := strings.CutPrefix(body, "base64:"); ok {
		raw, err := base64.StdEncoding.DecodeString(encoded)
		require.NoError(p.t, err)
		body = string(raw)
	}
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.s.URL()+path, strings.NewReader(body))
	require.NoError(p.t, err)
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	p.answer, err = p.s.HTTPClient().Do(r)
	require.NoError(p.t, err)
}

// response compares an answer: its status, type and body.
func (p *player) response(l transcript.Line) {
	head, want, _ := strings.Cut(l.Frame, "\n\n")
	status, contentType, _ := strings.Cut(head, " ")
	got := body(p.t, p.answer)
	require.NoError(p.t, p.answer.Body.Close())
	require.Equal(p.t, status, strconv.Itoa(p.answer.StatusCode), "%d ms: %s", l.MS, got)
	require.Equal(p.t, contentType, p.answer.Header.Get("Content-Type"))
	if strings.HasPrefix(want, "{") {
		require.JSONEq(p.t, want, got)
		return
	}
	require.Equal(p.t, want, got)
}

func (p *player) expect(l transcript.Line) {
	c := p.current(l.Conn)
	switch {
	case l.Kind == "pong":
		require.NoError(p.t, c.ws.Ping(context.Background()))
	case p.sc.skip == nil || !p.sc.skip(l):
		c.want = append(c.want, frame{raw: l.Bytes(), binary: l.Kind == "binary"})
	}
}

// byServer are the codes with which the server ended a socket.
var byServer = map[int]bool{1000: true, 1001: true, 1009: true, 1012: true}

// deafen makes the sockets that end at the time of another get nothing of the
// other's end.
func (p *player) deafen(first transcript.Line, next []transcript.Line) {
	for _, l := range next {
		if l.Dir != "close" || l.MS > first.MS {
			return
		}
		for _, c := range p.sockets[l.Conn] {
			if c.socket != nil && !c.closed && l.Conn != first.Conn && c.end() {
				break
			}
		}
	}
}

// end makes a socket deaf, and reports whether it was not.
func (c *played) end() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.deaf
	c.deaf = true
	return !was
}

// close notes the end of the first socket of that name that has not ended yet,
// and ends it if the client did: with code 1005, or 1006 where it did not wait.
func (p *player) close(l transcript.Line) {
	for _, c := range p.sockets[l.Conn] {
		if c.closed {
			continue
		}
		var end struct{ Code int }
		require.NoError(p.t, json.Unmarshal([]byte(l.Frame), &end))
		c.closed, c.closeCode = true, end.Code
		if !byServer[end.Code] && l.Conn != p.sc.swept && c.refused == nil {
			c.kill()
		}
		return
	}
}

func (p *player) compare() {
	for conn, list := range p.sockets {
		for i, c := range list {
			name := fmt.Sprintf("socket %s %d", conn, i+1)
			if c.answer != "" {
				p.compareRefusal(name, c)
				continue
			}
			require.Nil(p.t, c.refused, name)
			p.learnIDs(c)
			want := p.normal(name, c.version, c.want, true)
			got := p.normal(name, c.version, c.frames, false)
			require.Equal(p.t, want, got, name)
			switch {
			case byServer[c.closeCode]:
				require.Equal(p.t, websocket.StatusCode(c.closeCode), websocket.CloseStatus(c.err), name)
			case conn == p.sc.swept:
				require.Error(p.t, c.err, name)
				require.Equal(p.t, websocket.StatusCode(-1), websocket.CloseStatus(c.err), name)
			}
		}
	}
}

func (p *player) compareRefusal(name string, c *played) {
	var want struct {
		Status      int
		Body        string
		ContentType string `json:"content_type"`
	}
	require.NoError(p.t, json.Unmarshal([]byte(c.answer), &want))
	require.NotNil(p.t, c.refused, name)
	require.Equal(p.t, want.Status, c.refused.StatusCode, name)
	require.Equal(p.t, want.Body, body(p.t, c.refused), name)
	if want.ContentType != "" {
		require.Equal(p.t, want.ContentType, c.refused.Header.Get("Content-Type"), name)
	}
}

var bindingID = regexp.MustCompile(`\{"id":(\d+)`)

// learnIDs pairs the ids of recorded bindings with those of the mock, by the
// replies to joins.
func (p *player) learnIDs(c *played) {
	of := func(frames []frame) (ids []string) {
		for _, f := range frames {
			if strings.Contains(string(f.raw), `"phx_reply"`) {
				for _, m := range bindingID.FindAllSubmatch(f.raw, -1) {
					ids = append(ids, string(m[1]))
				}
			}
		}
		return ids
	}
	want, got := of(c.want), of(c.frames)
	require.Len(p.t, got, len(want), "bindings echoed")
	for i := range want {
		if known, ok := p.ids[want[i]]; ok {
			require.Equal(p.t, known, got[i], "equal bindings have equal ids")
		}
		p.ids[want[i]] = got[i]
	}
}

var (
	bindingIDs = regexp.MustCompile(`"(?:id|ids)":(?:\d+|\[[\d,]*\])`)
	number     = regexp.MustCompile(`\d+`)
	timestamp  = regexp.MustCompile(`"commit_timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)
	age        = regexp.MustCompile(`expired \d+ seconds`)
)

// normal writes messages so that equal ones are equal strings. Runs of changes
// are sorted by topic, which keeps the order of each channel.
func (p *player) normal(name string, v phoenix.Version, frames []frame, recorded bool) (normal []string) {
	var topics []string
	run := 0
	for _, f := range frames {
		m, err := phoenix.Decode(v, phoenix.FromServer, f.binary, f.raw)
		if err != nil || f.binary {
			topics, normal = append(topics, m.Topic), append(normal, p.normalBroadcast(name, f, m, err))
			run = len(topics)
			continue
		}
		payload := string(m.Payload)
		if recorded && (m.Event == phoenix.EventReply || m.Event == phoenix.EventPostgresChanges) {
			payload = p.translateIDs(payload)
		}
		payload = timestamp.ReplaceAllString(payload, `"commit_timestamp":"TIME"`)
		payload = age.ReplaceAllString(payload, "expired N seconds")
		m.Payload = []byte(payload)
		text := message{string(m.JoinRef), string(m.Ref), m.Topic, m.Event, compact(p.t, m.Payload)}.String()
		if m.Event == phoenix.EventPostgresChanges {
			text += rowText(p.t, m.Payload)
			at := run
			for at < len(topics) && topics[at] <= m.Topic {
				at++
			}
			topics, normal = slices.Insert(topics, at, m.Topic), slices.Insert(normal, at, text)
			continue
		}
		topics, normal = append(topics, m.Topic), append(normal, text)
		run = len(topics)
	}
	if p.sc.unordered {
		slices.Sort(normal)
	}
	return numbered(repliesFirst(normal))
}

// repliesFirst moves replies before the diffs of presence that came just before
// them.
func repliesFirst(texts []string) []string {
	diff := func(text string) bool { return strings.Contains(text, " presence_diff ") }
	for i := 1; i < len(texts); i++ {
		for j := i; j > 0 && strings.Contains(texts[j], " phx_reply ") && diff(texts[j-1]); j-- {
			texts[j], texts[j-1] = texts[j-1], texts[j]
		}
	}
	return texts
}

var notJSON = regexp.MustCompile(`"payload":(.*),"ref":null`)

// normalBroadcast writes a message that is not a text with a JSON payload: a
// binary one, or one into which a client's broadcast has brought what is no
// JSON.
func (p *player) normalBroadcast(name string, f frame, m phoenix.Message, err error) string {
	if err != nil {
		var bad *phoenix.MalformedError
		require.ErrorAs(p.t, err, &bad, name)
		require.Equal(p.t, phoenix.EventBroadcast, bad.Event, "%s: %s", name, f.raw)
		payload := notJSON.FindSubmatch(f.raw)
		require.NotNil(p.t, payload, "%s: %s", name, f.raw)
		return string(payload[1])
	}
	payload := fmt.Sprintf("%q", m.Payload)
	if m.JSON && json.Valid(m.Payload) {
		payload = string(m.Payload) // with the database's spaces and order
	}
	return fmt.Sprintf("kind %d %s %s %q meta %s %s", m.Kind, m.Topic, m.Event, m.UserEvent, m.Meta, payload)
}

var randomID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|"phx_ref(?:_prev)?":"[\w-]{16}"`)

// numbered replaces random ids by the order in which they come.
func numbered(texts []string) []string {
	seen := map[string]string{}
	for i, text := range texts {
		texts[i] = randomID.ReplaceAllStringFunc(text, func(id string) string {
			name, ref, isRef := strings.Cut(id, ":")
			if isRef {
				id = ref
			}
			if seen[id] == "" {
				seen[id] = fmt.Sprintf("ID-%d", len(seen)+1)
			}
			if isRef {
				return name + ":" + seen[id]
			}
			return seen[id]
		})
	}
	return texts
}

// rowText returns what PostgreSQL has written in a change, whose spaces and
// order of keys the server passes on.
func rowText(t *testing.T, payload []byte) string {
	var change struct {
		Data struct {
			Columns   json.RawMessage
			Record    json.RawMessage
			OldRecord json.RawMessage `json:"old_record"`
		}
	}
	require.NoError(t, json.Unmarshal(payload, &change))
	return fmt.Sprintf(" %s %s %s", change.Data.Columns, change.Data.Record, change.Data.OldRecord)
}

func (p *player) translateIDs(payload string) string {
	return bindingIDs.ReplaceAllStringFunc(payload, func(member string) string {
		return number.ReplaceAllStringFunc(member, func(id string) string {
			if mine, ok := p.ids[id]; ok {
				return mine
			}
			return id
		})
	})
}
