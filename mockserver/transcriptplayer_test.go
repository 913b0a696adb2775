package mockserver_test

import (
	"cmp"
	"context"
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
	"github.com/gapless-go/gapless/mockserver/internal/transcripttest"
)

// player plays one recording.
type player struct {
	t       *testing.T
	s       *mockserver.Server
	sc      scenario
	script  transcript.Transcript
	sockets map[string][]*played // those that a name stood for, one after the other
	ids     transcripttest.IDs   // recorded binding id → that of the mock
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
	down      bool   // there was no server to connect to
}

// play does what the clients and the database did, at their times.
func (p *player) play() {
	began := time.Now()
	var last transcript.Line
	for i, l := range p.script.Lines {
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
		case "error":
			require.True(p.t, p.sc.skips(l), "%+v", l)
			p.current(l.Conn).down = true
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
	raw := transcripttest.Whole(l, c.version, p.sc.written)
	err := c.ws.Write(context.Background(), typ, raw)
	if len(raw) <= 5_000_000 { // the server closes the socket while more is written
		require.NoError(p.t, err)
	}
}

func (p *player) request(l transcript.Line) {
	var err error
	p.answer, err = transcripttest.Request(p.t.Context(), p.s.HTTPClient(), p.s.URL(), l)
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
	case !p.sc.skips(l):
		c.want = append(c.want, frame{raw: l.Bytes(), binary: l.Kind == "binary"})
	}
}

// skips reports whether a difference excuses the server from a message.
func (sc scenario) skips(l transcript.Line) bool {
	for _, d := range sc.accepts {
		if d.skip != nil && d.skip(l) {
			d.used = true
			return true
		}
	}
	return false
}

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
		if !transcripttest.ByServer[end.Code] && l.Conn != p.sc.swept && c.refused == nil {
			c.kill()
		}
		return
	}
}

func (p *player) compare() {
	for conn, list := range p.sockets {
		for i, c := range list {
			name := fmt.Sprintf("socket %s %d", conn, i+1)
			if c.down {
				require.NotNil(p.t, c.refused, name)
				require.Equal(p.t, http.StatusServiceUnavailable, c.refused.StatusCode, name)
				continue
			}
			if c.answer != "" {
				transcripttest.CheckRefusal(p.t, name, c.answer, c.refused)
				continue
			}
			require.Nil(p.t, c.refused, name)
			require.NoError(p.t, p.ids.Learn(raws(c.want), raws(c.frames)), name)
			want := p.normal(name, c.version, c.want, true)
			got := p.normal(name, c.version, c.frames, false)
			if diff := frameDiff(want, got); diff != "" {
				require.Fail(p.t, "not what the recording has", "%s:\n%s", name, diff)
			}
			switch {
			case transcripttest.ByServer[c.closeCode]:
				require.Equal(p.t, websocket.StatusCode(c.closeCode), websocket.CloseStatus(c.err), name)
			case conn == p.sc.swept:
				require.Error(p.t, c.err, name)
				require.Equal(p.t, websocket.StatusCode(-1), websocket.CloseStatus(c.err), name)
			}
		}
	}
}

var timestamp = regexp.MustCompile(`"commit_timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)

// normal makes messages of one meaning equal. Those of one change that follow
// each other are sorted by topic.
func (p *player) normal(name string, v phoenix.Version, frames []frame, recorded bool) (normal []normalFrame) {
	for _, f := range frames {
		n := p.normalFrame(name, v, f, recorded)
		at := len(normal)
		for at > 0 && n.sameChange(normal[at-1]) && normal[at-1].topic > n.topic {
			at--
		}
		normal = slices.Insert(normal, at, n)
	}
	for _, d := range p.sc.accepts {
		before := slices.Clone(normal)
		if d.interleaved {
			slices.SortStableFunc(normal, func(a, b normalFrame) int { return strings.Compare(a.topic, b.topic) })
		}
		if d.repliesFirst {
			repliesFirst(normal)
		}
		d.used = d.used || !slices.Equal(before, normal)
	}
	return numbered(normal)
}

func repliesFirst(frames []normalFrame) {
	for i := range frames {
		for ; i > 0 && frames[i].is(phoenix.EventReply) && frames[i-1].is(phoenix.EventPresenceDiff); i-- {
			frames[i], frames[i-1] = frames[i-1], frames[i]
		}
	}
}

func (p *player) normalFrame(name string, v phoenix.Version, f frame, recorded bool) normalFrame {
	m, err := phoenix.Decode(v, phoenix.FromServer, f.binary, f.raw)
	if err != nil || f.binary {
		return p.normalBroadcast(name, f, m, err)
	}
	payload := string(m.Payload)
	if recorded && (m.Event == phoenix.EventReply || m.Event == phoenix.EventPostgresChanges) {
		payload = p.ids.Translate(payload)
	}
	payload = transcripttest.Age.ReplaceAllString(payload, "expired N seconds")
	n := normalFrame{
		topic: m.Topic, head: fmt.Sprintf("%s %s %s", orNull(m.JoinRef), orNull(m.Ref), m.Event),
		payload: compact(p.t, []byte(payload)),
	}
	if m.Event == phoenix.EventPostgresChanges {
		n.exact = transcripttest.RowText(m.Payload)
	}
	return n
}

// orNull writes a ref, which is JSON.
func orNull(ref phoenix.Ref) string { return cmp.Or(string(ref), "null") }

// normalBroadcast writes a message that is not a text with a JSON payload: a
// binary one, or one into which a client's broadcast has brought what is no
// JSON.
func (p *player) normalBroadcast(name string, f frame, m phoenix.Message, err error) normalFrame {
	if err != nil {
		var bad *phoenix.MalformedError
		require.ErrorAs(p.t, err, &bad, name)
		require.Equal(p.t, phoenix.EventBroadcast, bad.Event, "%s: %s", name, f.raw)
		payload := transcripttest.NotJSON.FindSubmatch(f.raw)
		require.NotNil(p.t, payload, "%s: %s", name, f.raw)
		return normalFrame{head: bad.Event, // the topic may stand behind what is no JSON
			payload: string(payload[1])}
	}
	payload := fmt.Sprintf("%q", m.Payload)
	if m.JSON && json.Valid(m.Payload) {
		payload = string(m.Payload) // with the database's spaces and order
	}
	return normalFrame{topic: m.Topic, head: fmt.Sprintf("kind %d %s %q meta %s", m.Kind, m.Event, m.UserEvent, m.Meta), payload: payload}
}

// random finds what two runs have different values of.
var random = []struct {
	name  string
	value *regexp.Regexp
}{
	{"ID", regexp.MustCompile(`([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})`)},
	{"TIME", regexp.MustCompile(`"commit_timestamp":"([^"]+)"`)},
	{"REF", regexp.MustCompile(`"phx_ref(?:_prev)?":"([^"]+)"`)},
}

// numbered replaces random values by the order in which they come.
func numbered(frames []normalFrame) []normalFrame {
	for _, r := range random {
		seen := map[string]string{}
		number := func(text string) string {
			for _, m := range r.value.FindAllStringSubmatch(text, -1) {
				if seen[m[1]] == "" {
					seen[m[1]] = fmt.Sprintf("%s-%d", r.name, len(seen)+1)
				}
				text = strings.ReplaceAll(text, m[1], seen[m[1]])
			}
			return text
		}
		for i, f := range frames {
			frames[i] = normalFrame{topic: f.topic, head: number(f.head), payload: number(f.payload), exact: number(f.exact)}
		}
	}
	return frames
}

// raws are the frames as they came.
func raws(frames []frame) (raw [][]byte) {
	for _, f := range frames {
		raw = append(raw, f.raw)
	}
	return raw
}
