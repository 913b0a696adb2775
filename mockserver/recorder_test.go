package mockserver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/memhttp"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver"
)

// recorded runs f at a recorder before a server, in a bubble, and returns the
// lines of the file.
func recorded(t *testing.T, f func(t *testing.T, r *mockserver.Recorder, s *mockserver.Server)) (script transcript.Transcript, file []byte) {
	var w bytes.Buffer
	bubble(t, mockserver.Demo(), func(t *testing.T, s *mockserver.Server) {
		r, err := mockserver.NewRecorder(&w, mockserver.RecorderConfig{Upstream: s.URL(), Client: s.HTTPClient(), InMemory: true})
		require.NoError(t, err)
		defer r.Close()
		f(t, r, s)
		require.NoError(t, r.Close())
		require.NoError(t, r.Close())
	})
	script, err := transcript.Read("r", bytes.NewReader(w.Bytes()))
	require.NoError(t, err)
	require.NotContains(t, w.String(), "eyJ")
	return script, w.Bytes()
}

func metaLines(script transcript.Transcript) (lines []string) {
	for _, l := range script.Lines {
		if l.Kind == "meta" {
			lines = append(lines, strings.TrimSpace(l.Conn+" "+l.Dir+" "+l.Frame))
		}
	}
	return lines
}

func dialProject(t *testing.T, p project, query string) (*websocket.Conn, *http.Response, error) {
	return websocket.Dial(t.Context(), p.URL()+"/realtime/v1/websocket"+query, &websocket.DialOptions{HTTPClient: p.HTTPClient()})
}

// How sockets open and end, on both sides, is recorded, and passed on.
func TestRecorderRecordsHowSocketsEnd(t *testing.T) {
	script, file := recorded(t, func(t *testing.T, r *mockserver.Recorder, s *mockserver.Server) {
		_, refused, err := dialProject(t, r, "?vsn=2.0.0&apikey=eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.x")
		require.Error(t, err)
		require.Equal(t, 401, refused.StatusCode)
		require.JSONEq(t, `{"error":"The token provided is not a valid JWT"}`, body(t, refused))

		byServer, _, err := dialProject(t, r, "?vsn=2.0.0&apikey="+s.AnonKey())
		require.NoError(t, err)
		synctest.Wait()
		s.CloseSockets(1012)
		_, _, err = byServer.Read(t.Context())
		require.Equal(t, websocket.StatusServiceRestart, websocket.CloseStatus(err))
		synctest.Wait()

		killed, _, err := dialProject(t, r, "?apikey="+s.AnonKey())
		require.NoError(t, err)
		synctest.Wait()
		s.KillSockets()
		_, _, err = killed.Read(t.Context())
		require.Error(t, err)
		require.Equal(t, websocket.StatusCode(-1), websocket.CloseStatus(err))
		synctest.Wait()

		byClient, _, err := dialProject(t, r, "?apikey="+s.AnonKey())
		require.NoError(t, err)
		require.NoError(t, byClient.Close(4321, "a reason with sb_secret_123"))
		synctest.Wait() // which is recorded before the next one opens
		gone, _, err := dialProject(t, r, "?apikey="+s.AnonKey())
		require.NoError(t, err)
		require.NoError(t, gone.CloseNow())
		synctest.Wait()
		require.Zero(t, s.Sockets())
		_, _, err = dialProject(t, r, "?apikey="+s.AnonKey()) // is open when the recorder ends
		require.NoError(t, err)
	})
	require.Equal(t, []string{
		`a open /realtime/v1/websocket?vsn=2.0.0&apikey=[redacted]`,
		`a upgrade_refused {"status":401,"content_type":"application/json; charset=utf-8","body":"{\"error\":\"The token provided is not a valid JWT\"}"}`,
		`b open /realtime/v1/websocket?vsn=2.0.0&apikey=[redacted]`, `b opened`, `b close {"code":1012,"reason":"","by":"server"}`,
		`c open /realtime/v1/websocket?apikey=[redacted]`, `c opened`, `c close {"code":1006,"reason":"","by":"server"}`,
		`d open /realtime/v1/websocket?apikey=[redacted]`, `d opened`, `d close {"code":4321,"reason":"a reason with sb_secret_[redacted]","by":"client"}`,
		`e open /realtime/v1/websocket?apikey=[redacted]`, `e opened`, `e close {"code":1006,"reason":"","by":"client"}`,
		`f open /realtime/v1/websocket?apikey=[redacted]`, `f opened`,
	}, metaLines(script))

	// And is played so.
	synctest.Test(t, func(t *testing.T) {
		p, err := mockserver.NewPlayer(bytes.NewReader(file), mockserver.PlayerConfig{InMemory: true})
		require.NoError(t, err)
		defer p.Close()
		_, refused, err := dialProject(t, p, "?vsn=2.0.0&apikey=x")
		require.Error(t, err)
		require.Equal(t, 401, refused.StatusCode)
		require.JSONEq(t, `{"error":"The token provided is not a valid JWT"}`, body(t, refused))
		byServer, _, err := dialProject(t, p, "?vsn=2.0.0&apikey=x")
		require.NoError(t, err)
		_, _, err = byServer.Read(t.Context())
		require.Equal(t, websocket.StatusServiceRestart, websocket.CloseStatus(err))
		killed, _, err := dialProject(t, p, "?apikey=x")
		require.NoError(t, err)
		_, _, err = killed.Read(t.Context())
		require.Equal(t, websocket.StatusCode(-1), websocket.CloseStatus(err))
		for range 2 {
			byClient, _, err := dialProject(t, p, "?apikey=x")
			require.NoError(t, err)
			require.NoError(t, byClient.Close(4321, ""))
		}
		_, _, err = dialProject(t, p, "?apikey=x")
		require.NoError(t, err)
		require.NoError(t, p.Wait(t.Context()))
	})
}

// Binary frames are in base64, with their secrets taken out.
func TestRecorderRecordsBinaryFrames(t *testing.T) {
	push := phoenix.Message{Kind: phoenix.UserPush, JoinRef: `"1"`, Ref: `"2"`, Topic: "realtime:a", Event: phoenix.EventBroadcast, UserEvent: "e", Payload: []byte(`{"n":1,"token":"opaque-secret"}`), JSON: true}
	frame, _, err := phoenix.Append(nil, phoenix.V2, phoenix.FromClient, push)
	require.NoError(t, err)
	script, file := recorded(t, func(t *testing.T, r *mockserver.Recorder, s *mockserver.Server) {
		ws, _, err := dialProject(t, r, "?vsn=2.0.0&apikey="+s.AnonKey())
		require.NoError(t, err)
		require.NoError(t, ws.Write(t.Context(), websocket.MessageText, []byte(`["1","1","realtime:a","phx_join",{"config":{"broadcast":{"self":true}}}]`)))
		_, _, err = ws.Read(t.Context())
		require.NoError(t, err)
		require.NoError(t, ws.Write(t.Context(), websocket.MessageBinary, frame))
		typ, got, err := ws.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, websocket.MessageBinary, typ)
		require.Contains(t, string(got), "opaque-secret", "what is passed on is whole")
		require.NoError(t, ws.Close(websocket.StatusNormalClosure, ""))
	})
	require.NotContains(t, string(file), "opaque-secret")
	binary := 0
	for _, l := range script.Lines {
		if l.Kind == "binary" {
			binary++
			require.NotContains(t, string(l.Bytes()), "opaque-secret")
			require.Contains(t, string(l.Bytes()), `{"n":1,"token":"[redacted]"}`)
		}
	}
	require.Equal(t, 2, binary)
}

// upstream serves a handler in memory.
func upstream(t *testing.T, h http.HandlerFunc) *http.Client {
	l := memhttp.Listen()
	server := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	client := l.Client()
	t.Cleanup(func() {
		_ = server.Close()
		client.CloseIdleConnections()
		<-done
	})
	return client
}

// Requests are recorded with what is needed to answer them again, and passed on
// whole.
func TestRecorderRecordsRequests(t *testing.T) {
	const large = 9 << 20
	synctest.Test(t, func(t *testing.T) {
		client := upstream(t, func(w http.ResponseWriter, r *http.Request) {
			sent, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
			w.Header().Set("Content-Range", "0-1/2")
			w.Header().Set("Set-Cookie", "session=opaque-secret")
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(sent)
		})
		var file bytes.Buffer
		r, err := mockserver.NewRecorder(&file, mockserver.RecorderConfig{Upstream: "http://project.test/base/", Client: client, InMemory: true})
		require.NoError(t, err)
		defer r.Close()
		post := func(p project, contentType, content string) (int, string) {
			req, err := http.NewRequestWithContext(t.Context(), "POST", p.URL()+"/auth/v1/token?grant_type=password&token_hash=opaque-secret", strings.NewReader(content))
			require.NoError(t, err)
			req.Header.Set("Content-Type", contentType)
			req.Header.Set("Authorization", "Bearer opaque-secret")
			req.Header.Set("Apikey", "opaque-secret")
			req.Header.Set("Cookie", "session=opaque-secret")
			answer, err := p.HTTPClient().Do(req)
			require.NoError(t, err)
			return answer.StatusCode, body(t, answer)
		}
		for _, c := range [][2]string{
			{"application/json", `{"email":"a@b.test","password":"opaque-secret"}`},
			{"application/x-www-form-urlencoded", "email=a%40b.test&password=opaque-secret"},
			{"application/octet-stream", "\xff\x00base64:"},
			{"text/plain", strings.Repeat("x", large)},
		} {
			contentType, content := c[0], c[1]
			status, got := post(r, contentType, content)
			require.Equal(t, 206, status)
			require.True(t, content == got, "%s: it is passed on as it is", contentType)
		}
		require.NoError(t, r.Close())
		text := file.String()
		require.NotContains(t, text, "opaque-secret")
		require.Contains(t, text, `POST /auth/v1/token?grant_type=password&token_hash=[redacted]\nContent-Type: application/json\nApikey: [redacted]\nAuthorization: Bearer [redacted]\n\n{\"email\":\"a@b.test\",\"password\":\"[redacted]\"}`)
		require.Contains(t, text, `206 application/json\nContent-Range: 0-1/2\nAccess-Control-Allow-Origin: *\n\n{\"email\"`)
		require.Contains(t, text, `\n\nemail=a%40b.test&password=[redacted]`)
		require.Contains(t, text, `Body-Not-Recorded: it is not known what may be secret in application/octet-stream`)
		require.Contains(t, text, `Body-Not-Recorded: more than 8388608 bytes\n\n"`)
		require.Less(t, len(text), 10_000)

		// A player answers them in any order.
		p, err := mockserver.NewPlayer(strings.NewReader(text), mockserver.PlayerConfig{InMemory: true})
		require.NoError(t, err)
		defer p.Close()
		var asking sync.WaitGroup
		requests := [][3]string{
			{"application/x-www-form-urlencoded", "email=a%40b.test&password=another", "email=a%40b.test&password=[redacted]"},
			{"application/json", `{"password":"another", "email":"a@b.test"}`, `{"email":"a@b.test","password":"`},
		}
		answers := make([]string, len(requests))
		for n, c := range requests {
			asking.Go(func() {
				status, got := post(p, c[0], c[1])
				answers[n] = http.StatusText(status) + " " + got
			})
		}
		asking.Wait()
		for n, c := range requests {
			require.Contains(t, answers[n], "Partial Content "+c[2])
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorContains(t, p.Wait(ctx), "POST /auth/v1/token", "the large one has not come")
	})
}

type brokenDisk struct{ left int }

func (d *brokenDisk) Write(b []byte) (int, error) {
	if d.left -= len(b); d.left < 0 {
		return 0, errors.New("no space left")
	}
	return len(b), nil
}

// A recording that cannot be written is told of, and the client goes on.
func TestRecorderTellsThatTheFileIsNotWhole(t *testing.T) {
	bubble(t, mockserver.Demo(), func(t *testing.T, s *mockserver.Server) {
		r, err := mockserver.NewRecorder(&brokenDisk{left: 300}, mockserver.RecorderConfig{Upstream: s.URL(), Client: s.HTTPClient(), InMemory: true})
		require.NoError(t, err)
		for range 2 {
			answer, err := r.HTTPClient().Get(r.URL() + "/healthcheck")
			require.NoError(t, err)
			require.Equal(t, "ok", body(t, answer))
		}
		require.ErrorContains(t, r.Close(), "the transcript is not whole: no space left")
	})
}

// A server that is not there is answered for with 502, and recorded so.
func TestRecorderWithoutAServer(t *testing.T) {
	var file bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		l := memhttp.Listen()
		require.NoError(t, l.Close())
		r, err := mockserver.NewRecorder(&file, mockserver.RecorderConfig{Upstream: "http://project.test", Client: l.Client(), InMemory: true})
		require.NoError(t, err)
		answer, err := r.HTTPClient().Get(r.URL() + "/rest/v1/t")
		require.NoError(t, err)
		body(t, answer)
		require.Equal(t, 502, answer.StatusCode)
		_, refused, err := dialProject(t, r, "")
		require.Error(t, err)
		require.Equal(t, 502, refused.StatusCode)
		require.NoError(t, r.Close())
	})
	require.Contains(t, file.String(), `"frame":"502 \n\n"`)
	require.Contains(t, file.String(), `{\"status\":502,\"body\":\"\"}`)
}

func TestRecorderRefusesWrongSettings(t *testing.T) {
	for _, cfg := range []mockserver.RecorderConfig{{}, {Upstream: "project.test"}, {Upstream: "ftp://project.test"}, {Upstream: "http://"}, {Upstream: "http://%"}, {Upstream: "http://x", InMemory: true, Addr: ":0"}} {
		_, err := mockserver.NewRecorder(io.Discard, cfg)
		require.Error(t, err, "%+v", cfg)
	}
}
