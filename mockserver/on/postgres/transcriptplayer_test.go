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
	"github.com/gapless-go/gapless/mockserver/internal/transcripttest"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

// player plays one recording.
type player struct {
	t       *testing.T
	s       *postgres.Server
	sc      scenario
	db      *pgx.Conn
	slot    string // that was there last
	other   *pgx.Conn
	sockets map[string]*played
	ids     transcripttest.IDs // recorded binding id → that of the server
	answer  *http.Response
	began   time.Time

	bystander *socket // hears what the database has sent
	heard     int     // how many frames it had

	recorded int64 // the first time that a replay begins at
}

// played is a socket and what the real server sent to it.
type played struct {
	*socket         // nil: it was refused
	want            []frame
	refused         *http.Response
	answer          string // the recorded refusal
	down            bool   // there was no server to connect to
	counted, wanted tally
	code            int // with which the server closed it; 0: it did not
}

// play does what the clients and the database did. Before each of it, it waits
// for what the real server had sent by then, and for its time.
func (p *player) play(lines []transcript.Line) {
	wrote := false
	for i, l := range lines {
		switch l.Dir {
		case "open", "send", "sql", "http_request", "note", "close":
			if i == 0 || lines[i-1].Dir != "send" || l.Dir != "send" {
				p.await()
				p.rest(l.At() - lines[0].At())
				if l.Dir == "sql" && !wrote { // by when sockets and channels are there
					wrote, p.began = true, time.Now().Add(-p.paced(l.At()-lines[0].At()))
				}
			}
		}
		switch l.Dir {
		case "open":
			p.open(l)
		case "send":
			p.send(l)
		case "recv":
			c := p.sockets[l.Conn]
			c.want = append(c.want, frame{raw: l.Bytes(), binary: l.Kind == "binary"})
		case "upgrade_refused":
			p.sockets[l.Conn].answer = l.Frame
		case "error":
			p.sockets[l.Conn].down = true
		case "close":
			p.close(l)
		case "sql", "note":
			if do, ok := p.sc.by[l.Frame]; ok {
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

// rest waits until it is time for what was so long behind the beginning.
func (p *player) rest(at time.Duration) {
	if p.sc.pace > 0 {
		time.Sleep(time.Until(p.began.Add(p.paced(at))))
	}
}

func (p *player) paced(d time.Duration) time.Duration { return d / time.Duration(max(p.sc.pace, 1)) }

// frameTimeout is for frames that do not come; what is missing is found at the
// end.
const frameTimeout = time.Minute

func (p *player) await() {
	for _, c := range p.sockets {
		if c.socket != nil && !p.complete(c) {
			p.compare() // which tells what is missing
			require.FailNow(p.t, "frames are missing")
		}
	}
}

// complete waits until a socket has as many frames as it had, of those that
// have to come.
func (p *player) complete(c *played) bool {
	return c.have(func(frames []frame) bool {
		return c.counted.add(p.sc.either, frames).firm >= c.wanted.add(p.sc.either, c.want).firm
	}, frameTimeout)
}

// tally counts frames that have to come, of a list that grows.
type tally struct{ seen, firm int }

func (n *tally) add(either func(frame) bool, frames []frame) *tally {
	for ; n.seen < len(frames); n.seen++ {
		if either == nil || !either(frames[n.seen]) {
			n.firm++
		}
	}
	return n
}

// open opens a socket, or is refused one.
func (p *player) open(l transcript.Line) {
	u, err := url.Parse(string(p.lasting([]byte(l.Frame))))
	require.NoError(p.t, err)
	var header http.Header
	if l.Conn == "xk" { // the recording has the key in the header here
		header = http.Header{"X-Api-Key": {p.s.UserToken(benchUser, time.Hour)}}
	}
	c, refused := tryDial(p.t, p.s, u.RawQuery, header)
	p.sockets[l.Conn] = &played{socket: c, refused: refused}
}

var token = regexp.MustCompile(`eyJ[\w-]+\.([\w-]+)\.[\w-]+`)

// lasting puts a token that ends as late as it did in the place of the one that
// ended while the recording was made.
func (p *player) lasting(text []byte) []byte {
	return token.ReplaceAllFunc(text, func(t []byte) []byte {
		raw, err := base64.RawURLEncoding.DecodeString(string(token.FindSubmatch(t)[1]))
		require.NoError(p.t, err)
		var claims struct {
			Sub string
			Exp int64
		}
		require.NoError(p.t, json.Unmarshal(raw, &claims))
		const before, after = 1_700_000_000, 2_000_000_000
		if claims.Exp > before && claims.Exp < after {
			return []byte(p.s.UserToken(claims.Sub, 3*time.Second))
		}
		return t
	})
}

// close ends a socket if the client did.
func (p *player) close(l transcript.Line) {
	var end struct{ Code int }
	require.NoError(p.t, json.Unmarshal([]byte(l.Frame), &end))
	c := p.sockets[l.Conn]
	if transcripttest.ByServer[end.Code] {
		c.code = end.Code
	} else if c.socket != nil {
		_ = c.ws.CloseNow()
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

var since = regexp.MustCompile(`"since":\d{13}`) // in milliseconds

func (p *player) send(l transcript.Line) {
	c := p.sockets[l.Conn]
	typ := websocket.MessageText
	if l.Kind == "binary" {
		typ = websocket.MessageBinary
	}
	raw := transcripttest.Whole(l, c.version, map[string]string{"3.1 MB": strings.Repeat("x", 3_100_000), "5.1 MB": strings.Repeat("x", 5_100_000)})
	raw = p.lasting(since.ReplaceAllFunc(raw, p.shift))
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
	var err error
	p.answer, err = transcripttest.Request(p.t.Context(), p.s.HTTPClient(), p.s.URL(), l)
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
		switch {
		case c.down: // the server goes on to listen
			require.Equal(p.t, http.StatusServiceUnavailable, c.refused.StatusCode, name)
			continue
		case c.answer != "":
			transcripttest.CheckRefusal(p.t, name, c.answer, c.refused)
			continue
		}
		require.Nil(p.t, c.refused, name)
		p.complete(c)
		c.mu.Lock()
		frames := slices.Clone(c.frames)
		c.mu.Unlock()
		_ = p.ids.Learn(raws(c.want), raws(frames)) // what is missing, the comparison tells
		require.Equal(p.t, p.normal(c.version, c.want, true), p.normal(c.version, frames, false), "socket %s", name)
		if c.code != 0 {
			require.Eventually(p.t, func() bool { return c.closeCode() != -1 }, frameTimeout, time.Millisecond, name)
			require.Equal(p.t, c.code, c.closeCode(), name)
		}
	}
}

// short tells long messages apart without printing megabytes.
func short(text string) string {
	if len(text) < 5000 {
		return text
	}
	return fmt.Sprintf("%s… %d bytes, hash %x", text[:1000], len(text), sha256.Sum256([]byte(text)))
}

var (
	timestamp = regexp.MustCompile(`"commit_timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)
	uuid      = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	random    = regexp.MustCompile(`"id": ?"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"`)
)

// normal writes messages so that equal ones are equal strings, each topic's and
// event's in their order.
func (p *player) normal(v phoenix.Version, frames []frame, recorded bool) (normal []string) {
	for _, f := range frames {
		if p.sc.either != nil && p.sc.either(f) {
			continue
		}
		m, err := phoenix.Decode(v, phoenix.FromServer, f.binary, f.raw)
		if err != nil {
			payload := transcripttest.NotJSON.FindSubmatch(f.raw) // a client's broadcast has brought it
			require.NotNil(p.t, payload, "%s", f.raw)
			normal = append(normal, short("no JSON: "+string(payload[1])))
			continue
		}
		text := fmt.Sprintf("%s %s %s %s", m.Topic, m.Event, m.JoinRef, m.Ref)
		payload := string(m.Payload)
		if recorded && (m.Event == phoenix.EventReply || m.Event == phoenix.EventPostgresChanges) {
			payload = p.ids.Translate(payload)
		}
		payload = timestamp.ReplaceAllString(payload, `"commit_timestamp":"TIME"`)
		payload = transcripttest.Age.ReplaceAllString(payload, "expired N seconds")
		payload = random.ReplaceAllString(payload, `"id":"UUID"`)
		if f.binary {
			text += fmt.Sprintf(" kind %d %s %s", m.Kind, m.UserEvent, uuid.ReplaceAll(m.Meta, []byte("UUID")))
		}
		if json.Valid([]byte(payload)) {
			text += " " + oneForm(p.t, payload) + transcripttest.RowText([]byte(payload))
		} else {
			text += fmt.Sprintf(" %q", payload)
		}
		normal = append(normal, short(text))
	}
	if p.sc.order {
		return normal
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

// raws are the frames as they came.
func raws(frames []frame) (raw [][]byte) {
	for _, f := range frames {
		raw = append(raw, f.raw)
	}
	return raw
}
