package mockserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver"
)

// understudy plays the client's side of a recording, with refs of its own, and
// keeps what it gets.
type understudy struct {
	t       *testing.T
	player  *mockserver.Player
	reading sync.WaitGroup

	mu  sync.Mutex
	got map[string][]string // by socket
}

type understudySocket struct {
	ws      *websocket.Conn
	version phoenix.Version
}

func (u *understudy) open(l transcript.Line) *understudySocket {
	at, err := url.Parse(l.Frame)
	require.NoError(u.t, err)
	at.Scheme, at.Host, at.Path = "ws", "mockserver.test", "/realtime/v1/websocket"
	ws, _, err := websocket.Dial(context.Background(), at.String(), &websocket.DialOptions{HTTPClient: u.player.HTTPClient()})
	if err != nil {
		return nil // refused
	}
	ws.SetReadLimit(-1)
	s := &understudySocket{ws, phoenix.V1}
	if strings.HasPrefix(at.Query().Get("vsn"), "2") {
		s.version = phoenix.V2
	}
	u.reading.Go(func() {
		for {
			typ, raw, err := ws.Read(context.Background())
			if err != nil {
				return
			}
			u.mu.Lock()
			u.got[l.Conn] = append(u.got[l.Conn], plainFrame(s.version, phoenix.FromServer, typ == websocket.MessageBinary, raw, "7"))
			u.mu.Unlock()
		}
	})
	return s
}

// plainFrame writes a frame with every ref r as "r" and the number that was put
// before it taken away.
func plainFrame(v phoenix.Version, from phoenix.Side, binary bool, raw []byte, prefix string) string {
	m, err := phoenix.Decode(v, from, binary && v == phoenix.V2, raw)
	if err != nil {
		return string(raw)
	}
	m.Ref, m.JoinRef = shorter(m.Ref, prefix), shorter(m.JoinRef, prefix)
	frame, _, err := phoenix.Append(nil, v, from, m)
	if err != nil {
		return string(raw)
	}
	return string(frame)
}

func shorter(r phoenix.Ref, prefix string) phoenix.Ref {
	return phoenix.Ref(strings.Replace(string(r), `"`+prefix, `"`, 1))
}

func longer(r phoenix.Ref) phoenix.Ref { return phoenix.Ref(strings.Replace(string(r), `"`, `"7`, 1)) }

// send sends a recorded frame with 7 before each ref.
func (s *understudySocket) send(t *testing.T, l transcript.Line) {
	raw, typ := l.Bytes(), websocket.MessageText
	if l.Kind == "binary" {
		typ = websocket.MessageBinary
	}
	if m, err := phoenix.Decode(s.version, phoenix.FromClient, l.Kind == "binary" && s.version == phoenix.V2, raw); err == nil && strings.HasPrefix(string(m.Ref), `"`) {
		m.Ref, m.JoinRef = longer(m.Ref), longer(m.JoinRef)
		if raw, _, err = phoenix.Append(nil, s.version, phoenix.FromClient, m); err != nil {
			require.NoError(t, err)
		}
	}
	_ = s.ws.Write(context.Background(), typ, raw) // the server may have ended it
}

// isBeat reports whether a line is a heartbeat or the answer to one.
func isBeat(l transcript.Line, v phoenix.Version) bool {
	from := phoenix.FromServer
	if l.Dir == "send" {
		from = phoenix.FromClient
	}
	m, err := phoenix.Decode(v, from, l.Kind == "binary" && v == phoenix.V2, l.Bytes())
	return err == nil && m.Topic == phoenix.TopicPhoenix && (m.Event == phoenix.EventHeartbeat || m.Event == phoenix.EventReply)
}

// Every recording can be played to a client that does what the recorded one
// did, in time or as fast as it goes: it gets the same frames, with its own
// refs.
func TestPlayerPlaysEveryRecording(t *testing.T) {
	for _, name := range transcript.Names() {
		for _, speed := range []float64{0, 1} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { playRecording(t, name, speed) })
			})
		}
	}
}

func playRecording(t *testing.T, name string, speed float64) {
	script, err := transcript.Load(name)
	require.NoError(t, err)
	file, err := transcript.Open(name)
	require.NoError(t, err)
	player, err := mockserver.NewPlayer(file, mockserver.PlayerConfig{Name: name, InMemory: true, Speed: speed})
	require.NoError(t, err)
	u := &understudy{t: t, player: player, got: map[string][]string{}}
	defer u.reading.Wait()
	defer player.Close()
	before := map[string][]*understudySocket{} // of a name, those that were opened before the last one and have not ended
	dialed := map[string]chan *understudySocket{}
	sockets, want := map[string]*understudySocket{}, map[string][]string{}
	began := time.Now()
	for _, l := range script.Lines {
		if speed == 1 {
			time.Sleep(l.At() - time.Since(began))
		}
		synctest.Wait() // what the server had to say by then has come
		v := phoenix.V1
		if s := sockets[l.Conn]; s != nil {
			v = s.version
		}
		switch {
		case l.Dir == "open":
			if s, named := sockets[l.Conn]; named {
				before[l.Conn] = append(before[l.Conn], s)
			}
			sockets[l.Conn] = nil
			dialed[l.Conn] = make(chan *understudySocket, 1)
			answer := dialed[l.Conn]
			go func() { answer <- u.open(l) }() // ends when the player has decided
			synctest.Wait()
		case l.Dir == "opened", l.Dir == "upgrade_refused":
			sockets[l.Conn] = <-dialed[l.Conn]
		case l.IsFrame() && l.Dir == "recv":
			if !isBeat(l, v) {
				want[l.Conn] = append(want[l.Conn], plainFrame(v, phoenix.FromServer, l.Kind == "binary", l.Bytes(), ""))
			}
		case l.Dir == "close":
			s := sockets[l.Conn]
			if list := before[l.Conn]; len(list) > 0 {
				s, before[l.Conn] = list[0], list[1:]
			}
			if s != nil && strings.Contains(l.Frame, "1005") {
				_ = s.ws.Close(websocket.StatusNoStatusRcvd, "")
			}
		case sockets[l.Conn] == nil: // no socket, or one that was refused
		case l.IsFrame():
			sockets[l.Conn].send(t, l)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, player.Wait(ctx))
	synctest.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	for conn, frames := range want {
		got := u.got[conn][:0:0]
		for _, f := range u.got[conn] {
			if !strings.Contains(f, `"phoenix","phx_reply"`) && !strings.Contains(f, `"topic":"phoenix","event":"phx_reply"`) {
				got = append(got, f)
			}
		}
		require.Equal(t, frames, got, conn)
	}
}

// A session that was recorded once is good for an hour whenever it is played,
// by its token and by what is said beside it.
func TestPlayerRenewsTokens(t *testing.T) {
	const file = `{"scenario":"sign-in"}
{"conn":"http1","dir":"http_request","kind":"http","frame":"GET /auth/v1/token\n\n"}
{"conn":"http1","dir":"http_response","kind":"http","frame":"200 application/json\n\n{\"access_token\":\"[redacted]\",\"expires_in\":3600,\"expires_at\": 1000}"}
{"conn":"http2","dir":"http_request","kind":"http","frame":"GET /rest/v1/coupons\n\n"}
{"conn":"http2","dir":"http_response","kind":"http","frame":"200 application/json\n\n[{\"expires_at\":1000}]"}
`
	synctest.Test(t, func(t *testing.T) {
		player, err := mockserver.NewPlayer(strings.NewReader(file), mockserver.PlayerConfig{InMemory: true})
		require.NoError(t, err)
		defer player.Close()
		time.Sleep(48 * time.Hour)
		answer, err := player.HTTPClient().Get(player.URL() + "/auth/v1/token")
		require.NoError(t, err)
		var session struct {
			AccessToken string `json:"access_token"`
			ExpiresAt   int64  `json:"expires_at"`
		}
		require.NoError(t, json.Unmarshal([]byte(body(t, answer)), &session))
		require.Equal(t, time.Now().Add(time.Hour).Unix(), session.ExpiresAt)
		claims := jwt.MapClaims{}
		_, err = jwt.ParseWithClaims(session.AccessToken, claims, func(*jwt.Token) (any, error) { return []byte(mockserver.DefaultSecret), nil })
		require.NoError(t, err)
		require.Equal(t, "authenticated", claims["role"])
		require.EqualValues(t, session.ExpiresAt, claims["exp"])
		answer, err = player.HTTPClient().Get(player.URL() + "/rest/v1/coupons")
		require.NoError(t, err)
		require.Equal(t, `[{"expires_at":1000}]`, body(t, answer))
		require.NoError(t, player.Wait(t.Context()))
	})
}

// FuzzPlayer reads files that nobody has recorded: they are refused, or played
// for as long as no client comes.
func FuzzPlayer(f *testing.F) {
	f.Add([]byte(small))
	f.Add([]byte(`{}
{"conn":"http1","dir":"http_request","kind":"http","frame":"GET /rest/v1/t?x=1\nAccept: a\n\nbase64:AAAA"}
{"conn":"http1","dir":"http_response","kind":"http","frame":"200 text/plain\nBody-Not-Recorded: more\n\n"}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		player, err := mockserver.NewPlayer(bytes.NewReader(file), mockserver.PlayerConfig{InMemory: true})
		if err != nil {
			require.Nil(t, player)
			return
		}
		require.NoError(t, player.Close())
	})
}
