package mockserver_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// page is the stream of events that an inspector's page gets.
type page struct {
	t      *testing.T
	answer *http.Response
	lines  *bufio.Scanner
	raw    bytes.Buffer // all that came
	frames []pageFrame  // that came and were not looked at
	id     string       // of the last event with some
}

type pageEvent struct{ name, id, data string }

func openPage(t *testing.T, s *mockserver.Server, lastID string) *page {
	t.Helper()
	r, err := http.NewRequest("GET", s.URL()+"/inspect/events", nil)
	require.NoError(t, err)
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	answer, err := s.HTTPClient().Do(r)
	require.NoError(t, err)
	require.Equal(t, "text/event-stream", answer.Header.Get("Content-Type"))
	p := &page{t: t, answer: answer, lines: bufio.NewScanner(answer.Body)}
	p.lines.Buffer(nil, 64<<20)
	patience := time.AfterFunc(time.Minute, func() { _ = answer.Body.Close() })
	t.Cleanup(func() { patience.Stop() })
	return p
}

func (p *page) next() (e pageEvent) {
	for p.lines.Scan() {
		p.raw.WriteString(p.lines.Text() + "\n")
		name, value, _ := strings.Cut(p.lines.Text(), ": ")
		switch name {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			e.data = value
		case "":
			return e
		}
	}
	require.FailNow(p.t, "what was to come did not", "%v\n%s", p.lines.Err(), p.raw.String())
	return e
}

// until returns the next event of a name that has a text.
func (p *page) until(name, text string) pageEvent {
	p.t.Helper()
	for {
		if e := p.next(); e.name == name && strings.Contains(e.data, text) {
			return e
		}
	}
}

// frame returns the next frame with an event, with any if that is empty.
func (p *page) frame(event string) pageFrame {
	p.t.Helper()
	for {
		for i, f := range p.frames {
			if event == "" || f.Event == event {
				p.frames = p.frames[i+1:]
				return f
			}
		}
		e := p.until("frames", "")
		p.frames, p.id = framesOf(p.t, e), e.id
	}
}

type pageFrame struct {
	N                          uint64
	Socket                     int
	Dir, Topic, Event, Summary string
	Text                       string
	Cut                        bool
	Size                       int
}

func framesOf(t *testing.T, e pageEvent) (frames []pageFrame) {
	require.NoError(t, json.Unmarshal([]byte(e.data), &frames))
	return frames
}

func inspectorConfig() mockserver.Config {
	cfg := mockserver.Demo()
	cfg.Inspector = true
	return cfg
}

func TestInspectorIsOnlyThereWhenAskedFor(t *testing.T) {
	bubble(t, mockserver.Demo(), func(t *testing.T, s *mockserver.Server) {
		for _, path := range []string{"/", "/inspect", "/inspect/", "/inspect/events", "/inspect/rows?table=orders"} {
			answer, err := s.HTTPClient().Get(s.URL() + path)
			require.NoError(t, err)
			body(t, answer)
			require.Equal(t, 404, answer.StatusCode, path)
		}
	})
}

func TestInspectorFiles(t *testing.T) {
	bubble(t, inspectorConfig(), func(t *testing.T, s *mockserver.Server) {
		for path, want := range map[string]string{
			"/": "<title>mock server</title>", "/inspect": "<title>mock server</title>", "/inspect/page.js": "EventSource", "/inspect/style.css": "color-scheme",
		} {
			answer, err := s.HTTPClient().Get(s.URL() + path)
			require.NoError(t, err)
			require.Contains(t, body(t, answer), want, path)
			require.Contains(t, answer.Header.Get("Content-Security-Policy"), "default-src 'self'")
		}
		answer, err := s.HTTPClient().Get(s.URL() + "/inspect/none.js")
		require.NoError(t, err)
		body(t, answer)
		require.Equal(t, 404, answer.StatusCode)
	})
}

// What passes is told once, with what it was about and without keys and tokens.
func TestInspectorTellsWhatPasses(t *testing.T) {
	bubble(t, inspectorConfig(), func(t *testing.T, s *mockserver.Server) {
		p := openPage(t, s, "")
		defer p.answer.Body.Close()
		require.Equal(t, "hello", p.next().name)
		state := p.until("state", `"open":0`)
		require.Contains(t, state.data, `"name":"customers"`)

		c, _ := dialSocket(t, s, "?vsn=2.0.0&apikey="+s.AnonKey(), nil)
		token := userToken(s, 1)
		require.NoError(t, c.ws.Write(t.Context(), websocket.MessageText, []byte(
			`["1","1","realtime:a","phx_join",{"config":{"postgres_changes":[{"event":"*","schema":"public","table":"customers"}]},"access_token":"`+token+`"}]`)))
		require.Equal(t, "serializer 2.0.0, role anon", p.frame("opened").Text)
		for _, event := range []string{"in phx_join", "out phx_reply", "out system"} {
			f := p.frame("")
			require.Equal(t, event+" realtime:a #1", fmt.Sprint(f.Dir, " ", f.Event, " ", f.Topic, " #", f.Socket))
		}
		joined := p.id
		require.Contains(t, p.until("state", `"open":1`).data, `"bindings":[{"event":"*","schema":"public","table":"customers"}]`)

		require.NoError(t, s.Insert("customers", mockserver.Row{"id": 3, "name": token, "city": "Oslo"}))
		change := p.frame("postgres_changes")
		require.Equal(t, `INSERT public.customers {"id": 3, "city": "Oslo", "name": "[redacted]"}`, change.Summary)
		require.NoError(t, s.Inject(mockserver.Fault{Name: "kill-sockets", Params: json.RawMessage(`{"socket":1}`)}))
		seen := map[string]string{} // the socket may end before the fault has been noted
		for len(seen) < 2 {
			f := p.frame("")
			seen[f.Event] = f.Text
		}
		require.Equal(t, map[string]string{"fault": `kill-sockets {"socket":1}`, "ended": "without a close frame"}, seen)
		r, err := http.NewRequest("GET", s.URL()+"/rest/v1/customers?select=id&apikey="+s.AnonKey(), nil)
		require.NoError(t, err)
		answer, err := s.HTTPClient().Do(r)
		require.NoError(t, err)
		body(t, answer)
		require.Equal(t, `GET /rest/v1/customers?select=id&apikey=[redacted] 200 in 0 ms`, p.frame("request").Text)
		require.NotContains(t, p.raw.String(), "eyJ")

		// A page that comes back is told what it has missed and no more.
		again := openPage(t, s, joined)
		defer again.answer.Body.Close()
		require.Equal(t, change.N, again.frame("").N)
		other := openPage(t, s, "another-server-3")
		defer other.answer.Body.Close()
		require.EqualValues(t, 1, other.frame("").N)
	})
}

// What is kept is bounded, and a page is told what it does not get.
func TestInspectorIsBounded(t *testing.T) {
	bubble(t, inspectorConfig(), func(t *testing.T, s *mockserver.Server) {
		c, _ := dialSocket(t, s, "?vsn=2.0.0&apikey="+s.AnonKey(), nil)
		const sent = 3_000
		for n := range sent {
			require.NoError(t, c.ws.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, `[null,"%d","phoenix","nothing",{}]`, n)))
		}
		time.Sleep(time.Second)
		p := openPage(t, s, "")
		defer p.answer.Body.Close()
		skipped := p.until("skipped", "")
		frames := framesOf(t, p.until("frames", ""))
		require.Len(t, frames, 1000)
		require.Equal(t, skipped.data, fmt.Sprint(frames[0].N-1))
		require.EqualValues(t, 2*sent+1, frames[999].N, "each frame, each answer, and that it was opened")

		get := func(n uint64) (int, string) {
			answer, err := s.HTTPClient().Get(fmt.Sprintf("%s/inspect/frames/%d", s.URL(), n))
			require.NoError(t, err)
			return answer.StatusCode, body(t, answer)
		}
		status, _ := get(frames[999].N - 4999)
		require.Equal(t, 200, status)
		status, _ = get(frames[999].N - 5000)
		require.Equal(t, 404, status)
		status, _ = get(frames[999].N + 1)
		require.Equal(t, 404, status)

		// A long frame is cut, and there as a whole when it is asked for.
		long := strings.Repeat("x", 100_000)
		require.NoError(t, c.ws.Write(t.Context(), websocket.MessageText, []byte(`[null,"1","phoenix","nothing",{"long":"`+long+`","access_token":"secret"}]`)))
		cut := framesOf(t, p.until("frames", "long"))[0]
		require.True(t, cut.Cut)
		require.Len(t, cut.Text, 8<<10)
		status, text := get(cut.N)
		require.Equal(t, 200, status)
		require.Equal(t, `{"long":"`+long+`","access_token":"[redacted]"}`, text)
		require.NoError(t, p.answer.Body.Close())
		longer := []byte(`[null,"1","phoenix","nothing",{"long":"` + strings.Repeat("x", 3<<20) + `"}]`)
		for range 6 { // more than is kept at all
			require.NoError(t, c.ws.Write(t.Context(), websocket.MessageText, longer))
		}
		time.Sleep(time.Second)
		status, _ = get(cut.N)
		require.Equal(t, 404, status)
	})
}

func TestInspectorRows(t *testing.T) {
	bubble(t, inspectorConfig(), func(t *testing.T, s *mockserver.Server) {
		rows := func(query string) (int, string) {
			answer, err := s.HTTPClient().Get(s.URL() + "/inspect/rows?" + query)
			require.NoError(t, err)
			return answer.StatusCode, body(t, answer)
		}
		require.NoError(t, s.Insert("customers", mockserver.Row{"id": int64(9007199254740993), "name": "a key: sb_secret_123456"}))
		status, text := rows("table=customers&offset=1")
		require.Equal(t, 200, status)
		require.JSONEq(t, `{"columns":["id","name","city"],"rows":[["2","\"Ben\"","\"Porto\""],["9007199254740993","\"a key: sb_secret_[redacted]\"",null]],"count":3}`, text)
		status, _ = rows("table=none")
		require.Equal(t, 404, status)
		many := make([]mockserver.Row, 500)
		for n := range many {
			many[n] = mockserver.Row{"id": 1000 + n, "name": "x"}
		}
		require.NoError(t, s.Insert("customers", many...))
		_, text = rows("table=customers&offset=100")
		require.Equal(t, 200, strings.Count(text, `"\"x\""`))
		require.Contains(t, text, `"count":503`)
	})
}

func TestInspectorShowsBinaryFrames(t *testing.T) {
	bubble(t, inspectorConfig(), func(t *testing.T, s *mockserver.Server) {
		c, _ := dialSocket(t, s, "?vsn=2.0.0&apikey="+s.AnonKey(), nil)
		for _, payload := range []string{`{"n":1,"token":"secret"}`, "\xff\x00"} {
			m := phoenix.Message{Kind: phoenix.UserPush, JoinRef: `"1"`, Ref: `"2"`, Topic: "realtime:a", Event: phoenix.EventBroadcast, UserEvent: "e", Payload: []byte(payload), JSON: payload[0] == '{'}
			frame, _, err := phoenix.Append(nil, phoenix.V2, phoenix.FromClient, m)
			require.NoError(t, err)
			require.NoError(t, c.ws.Write(t.Context(), websocket.MessageBinary, frame))
		}
		require.NoError(t, c.ws.Write(t.Context(), websocket.MessageBinary, []byte{9, 9}))
		time.Sleep(time.Second) // all of it has come
		p := openPage(t, s, "")
		defer p.answer.Body.Close()
		var texts []string
		for _, f := range framesOf(t, p.until("frames", "unreadable")) {
			if f.Dir == "in" {
				texts = append(texts, f.Event+" "+f.Text)
			}
		}
		require.Equal(t, []string{`broadcast {"n":1,"token":"[redacted]"}`, "broadcast ff00", "unreadable \t\t"}, texts)
	})
}
