package postgres_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/postgres"
)

// differences between the recordings and the server under test that this test
// accepts, and why:
//
//   - ids of bindings, which are a hash that a server may choose; random ids of
//     messages; commit timestamps; the order of JSON keys, but for those of
//     rows.
//   - the order of changes of different channels, and of what comes out of
//     different parts of the server, which is a matter of timing: messages of a
//     socket are compared by topic and kind, each in their order.
//   - timing: the test waits for what was recorded before it goes on, and for
//     nothing else.
//
// The recordings without SQL are the socket's, which is that of package
// mockserver, and are played there; 10, 12, 13, 21 and 24, whose SQL is
// beside the point, too. 18 and 19 record restarts of machines and a minute of
// too many events.
var scenarios = []struct {
	name   string
	timing mockserver.Timing
	limits mockserver.Limits
	by     map[string]func(*player) // what is to be done at a note, or in the place of a statement
}{
	{name: "02-private-postgres-changes-full.vsn1"},
	{name: "02-private-postgres-changes-full.vsn2"},
	{name: "03-private-postgres-changes-default.vsn1"},
	{name: "03-private-postgres-changes-default.vsn2"},
	{name: "04-filters.vsn2"},
	{name: "05-rls.vsn1"},
	{name: "06-privileges-errors.vsn1"},
	{name: "06-privileges-errors.vsn2"},
	{name: "07-multiple-bindings.vsn2"},
	{name: "08-broadcast.vsn1", limits: mockserver.Limits{PayloadKB: 3000}},
	{name: "08-broadcast.vsn2", limits: mockserver.Limits{PayloadKB: 3000}},
	{name: "14-replay.vsn1", by: thirtyMessages},
	{name: "14-replay.vsn2", by: thirtyMessages},
	{name: "15-select.vsn2"},
	{name: "17-bad-bindings.vsn1"},
	{name: "20-transactions.vsn2", by: overlapping},
	// The rows are changed again before the server looks at them.
	{name: "22-rls-late-visibility.vsn2", timing: mockserver.Timing{JoinErrorDelay: -1}},
}

// thirtyMessages are those of which the recording has the first three.
var thirtyMessages = map[string]func(*player){
	"select realtime.send(jsonb_build_object('n',3), 'ev', 'room:rp', true)": func(p *player) {
		for n := 3; n <= 30; n++ {
			p.exec(fmt.Sprintf("select realtime.send(jsonb_build_object('n',%d), 'ev', 'room:rp', true)", n))
		}
	},
}

// overlapping are the transactions that the recording only names.
var overlapping = map[string]func(*player){
	"overlapping: T1 inserts 4001, T2 inserts 4002 and commits, T1 inserts 4003 and commits": func(p *player) {
		p.other = p.connect()
		p.execOn(p.other, "begin; insert into t_items(id) values (4001)")
	},
	"T1 committed": func(p *player) { p.execOn(p.other, "insert into t_items(id) values (4003); commit") },
}

// TestTranscripts plays the clients and the SQL of recorded conversations with
// a real server, and wants from this one what that one said. See differences.
func TestTranscripts(t *testing.T) {
	schema, err := os.ReadFile("../../internal/transcript/testdata/schema.sql")
	require.NoError(t, err)
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			script, err := transcript.Load(sc.name)
			require.NoError(t, err)
			cfg := mockserver.Config{Timing: sc.timing, Limits: sc.limits}
			if cfg.Timing == (mockserver.Timing{}) {
				cfg.Timing = mockserver.Fast()
			}
			s := postgres.Start(t, postgres.Options{DatabaseURL: database(t), Schema: string(schema), Config: cfg})
			p := &player{t: t, s: s, by: sc.by, sockets: map[string]*played{}, ids: map[string]string{}, began: time.Now()}
			p.db = p.connect()
			p.play(script)
			p.compare()
		})
	}
}

type player struct {
	t       *testing.T
	s       *postgres.Server
	by      map[string]func(*player)
	db      *pgx.Conn
	other   *pgx.Conn
	sockets map[string]*played
	ids     map[string]string // recorded binding id → that of the server
	answer  *http.Response
	began   time.Time

	bystander *socket // hears what the database has sent
	heard     int     // how many frames it had

	recorded int64 // the first time that a replay begins at
}

// played is a socket and what the real server sent to it.
type played struct {
	*socket
	want []frame
}

// play does what the clients and the database did. Before each of it, it waits
// for what the real server had sent by then.
func (p *player) play(script transcript.Transcript) {
	for i, l := range script.Lines {
		switch l.Dir {
		case "open", "send", "sql", "http_request", "note":
			if i == 0 || script.Lines[i-1].Dir != "send" || l.Dir != "send" {
				p.await()
			}
		}
		switch l.Dir {
		case "open":
			u, err := url.Parse(l.Frame)
			require.NoError(p.t, err)
			p.sockets[l.Conn] = &played{socket: dial(p.t, p.s, u.RawQuery)}
		case "send":
			p.send(l)
		case "recv":
			c := p.sockets[l.Conn]
			c.want = append(c.want, frame{raw: l.Bytes(), binary: l.Kind == "binary"})
		case "sql", "note":
			if do, ok := p.by[l.Frame]; ok {
				do(p)
			} else if l.Dir == "sql" {
				p.exec(l.Frame)
			}
			if strings.Contains(l.Frame, "realtime.send") && len(p.sockets) == 0 {
				p.relayed()
			}
		case "http_request":
			p.request(l)
		case "http_response":
			p.response(l)
		}
	}
}

// patience is for frames that do not come; what is missing is found at the end.
const frameTimeout = 30 * time.Second

func (p *player) await() {
	for _, c := range p.sockets {
		if !c.until(len(c.want), frameTimeout) {
			p.compare() // which tells what is missing
			require.FailNow(p.t, "frames are missing")
		}
	}
}

// relayed waits until the messages that the database has sent have been taken
// from its log. The real server had done so when the first client came; behind a
// slower one they would come to it live, too.
func (p *player) relayed() {
	if p.bystander == nil {
		p.bystander = dial(p.t, p.s, "vsn=2.0.0&apikey="+p.s.AnonKey())
		p.bystander.join("1", "realtime:bystander", `{}`, p.s.AnonKey())
		require.True(p.t, p.bystander.until(1, frameTimeout))
		p.heard = 1
	}
	for end := time.Now().Add(frameTimeout); time.Now().Before(end); { // the first ones may come before the relay is there
		p.exec("select realtime.send('{}'::jsonb, 'ev', 'bystander', false)")
		if p.bystander.until(p.heard+1, time.Second) {
			p.heard = p.bystander.count()
			return
		}
	}
	require.FailNow(p.t, "no message comes from the database")
}

var (
	cut   = regexp.MustCompile(`x*… \((.*), cut\)`)
	since = regexp.MustCompile(`"since":\d{13}`) // in milliseconds
)

func (p *player) send(l transcript.Line) {
	c := p.sockets[l.Conn]
	raw, typ := l.Bytes(), websocket.MessageText
	if l.Kind == "binary" {
		typ = websocket.MessageBinary
	}
	if m := cut.FindStringSubmatch(l.Frame); m != nil {
		raw = []byte(p.whole(l, m))
	}
	raw = since.ReplaceAllFunc(raw, p.shift)
	err := c.ws.Write(p.t.Context(), typ, raw)
	if len(raw) <= 5_000_000 { // the server closes the socket while more is written
		require.NoError(p.t, err)
	}
}

// shift moves a time of the recording, whose first one was before all that it
// has, into that of the test.
func (p *player) shift(since []byte) []byte {
	ms, err := strconv.ParseInt(string(since[len(`"since":`):]), 10, 64)
	require.NoError(p.t, err)
	if p.recorded == 0 {
		p.recorded = ms
	}
	return fmt.Appendf(nil, `"since":%d`, ms-p.recorded+p.began.Add(-time.Second).UnixMilli())
}

// whole returns a message with what the recording has cut of it.
func (p *player) whole(l transcript.Line, m []string) string {
	begin, _, _ := strings.Cut(l.Frame, m[0])
	end := `"}}]`
	if p.sockets[l.Conn].version == phoenix.V1 {
		end = `"}},"ref":"11","join_ref":"1"}`
	}
	return begin + map[string]string{"3.1 MB": strings.Repeat("x", 3_100_000), "5.1 MB": strings.Repeat("x", 5_100_000)}[m[1]] + end
}

func (p *player) connect() *pgx.Conn {
	conn, err := pgx.Connect(p.t.Context(), p.s.DatabaseURL())
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// exec runs what was run then, each statement in a transaction of its own
// unless the script says begin.
func (p *player) exec(sql string) { p.execOn(p.db, sql) }

func (p *player) execOn(conn *pgx.Conn, sql string) {
	_, err := conn.PgConn().Exec(p.t.Context(), sql).ReadAll()
	require.NoError(p.t, err, sql)
}

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

func (p *player) response(l transcript.Line) {
	defer p.answer.Body.Close()
	status, _, _ := strings.Cut(l.Frame, " ")
	got, err := io.ReadAll(p.answer.Body)
	require.NoError(p.t, err)
	require.Equal(p.t, status, fmt.Sprint(p.answer.StatusCode), "%s", got)
}

func (p *player) compare() {
	for name, c := range p.sockets {
		c.until(len(c.want), frameTimeout)
		c.mu.Lock()
		frames := slices.Clone(c.frames)
		c.mu.Unlock()
		p.learnIDs(c.want, frames)
		want, got := p.normal(c.version, c.want, true), p.normal(c.version, frames, false)
		for i := range want {
			want[i] = short(want[i])
		}
		for i := range got {
			got[i] = short(got[i])
		}
		require.Equal(p.t, want, got, "socket %s", name)
	}
}

// short tells long messages apart without printing megabytes.
func short(text string) string {
	if len(text) < 5000 {
		return text
	}
	return fmt.Sprintf("%s… %d bytes, hash %x", text[:1000], len(text), sha256.Sum256([]byte(text)))
}

var bindingID = regexp.MustCompile(`\{"id":(\d+)`)

// learnIDs pairs the ids of recorded bindings with those of the server, by the
// replies to joins.
func (p *player) learnIDs(want, got []frame) {
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
	w, g := of(want), of(got)
	for i := range min(len(w), len(g)) {
		p.ids[w[i]] = g[i]
	}
}

var (
	bindingIDs = regexp.MustCompile(`"(?:id|ids)":(?:\d+|\[[\d,]*\])`)
	number     = regexp.MustCompile(`\d+`)
	timestamp  = regexp.MustCompile(`"commit_timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)
	uuid       = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	notJSON    = regexp.MustCompile(`"payload":(.*),"ref":null`)
	random     = regexp.MustCompile(`"id": ?"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"`)
)

// normal writes messages so that equal ones are equal strings, each topic's and
// event's in their order.
func (p *player) normal(v phoenix.Version, frames []frame, recorded bool) (normal []string) {
	for _, f := range frames {
		m, err := phoenix.Decode(v, phoenix.FromServer, f.binary, f.raw)
		if err != nil {
			payload := notJSON.FindSubmatch(f.raw) // a client's broadcast has brought it
			require.NotNil(p.t, payload, "%s", f.raw)
			normal = append(normal, "no JSON: "+string(payload[1]))
			continue
		}
		text := fmt.Sprintf("%s %s %s %s", m.Topic, m.Event, m.JoinRef, m.Ref)
		payload := string(m.Payload)
		if recorded && (m.Event == phoenix.EventReply || m.Event == phoenix.EventPostgresChanges) {
			payload = p.translateIDs(payload)
		}
		payload = timestamp.ReplaceAllString(payload, `"commit_timestamp":"TIME"`)
		payload = random.ReplaceAllString(payload, `"id":"UUID"`)
		if f.binary {
			text += fmt.Sprintf(" kind %d %s %s", m.Kind, m.UserEvent, uuid.ReplaceAll(m.Meta, []byte("UUID")))
		}
		if json.Valid([]byte(payload)) {
			text += " " + oneForm(p.t, payload) + rowText(p.t, payload)
		} else {
			text += fmt.Sprintf(" %q", payload)
		}
		normal = append(normal, text)
	}
	slices.SortStableFunc(normal, func(a, b string) int { return strings.Compare(kindOf(a), kindOf(b)) })
	return normal
}

// kindOf is the topic and event of a normal message.
func kindOf(text string) string {
	topic, rest, _ := strings.Cut(text, " ")
	event, _, _ := strings.Cut(rest, " ")
	return topic + " " + event
}

// translateIDs puts the server's ids in the place of recorded ones, in their
// order.
func (p *player) translateIDs(payload string) string {
	return bindingIDs.ReplaceAllStringFunc(payload, func(m string) string {
		return number.ReplaceAllStringFunc(m, func(id string) string {
			if own, ok := p.ids[id]; ok {
				return own
			}
			return id
		})
	})
}

func oneForm(t *testing.T, raw string) string {
	dec := json.NewDecoder(strings.NewReader(raw))
	dec.UseNumber()
	var v any
	require.NoError(t, dec.Decode(&v))
	if m, ok := v.(map[string]any); ok {
		sortIDs(m)
	}
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

// sortIDs sorts the ids of a change, whose order is that of a hash table.
func sortIDs(m map[string]any) {
	ids, _ := m["ids"].([]any)
	slices.SortFunc(ids, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

// rowText returns what PostgreSQL has written in a change, whose spaces and
// order of keys the server passes on.
func rowText(t *testing.T, payload string) string {
	var change struct {
		Data struct {
			Columns   json.RawMessage
			Record    json.RawMessage
			OldRecord json.RawMessage `json:"old_record"`
		}
	}
	if json.Unmarshal([]byte(payload), &change) != nil {
		return ""
	}
	return fmt.Sprintf(" %s %s %s", change.Data.Columns, change.Data.Record, change.Data.OldRecord)
}
