package mockserver_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
	"github.com/gapless-go/gapless/realtime/signin"
)

// project is what a program is given, be it a server, a recorder or a player.
type project interface {
	URL() string
	HTTPClient() *http.Client
}

const recordedPassword = "correct horse battery"

// customers is a program: it signs in, follows a table on a private channel,
// writes three rows when it is live, and returns the changes that came.
func customers(t *testing.T, p project, key, vsn string) (seen []string) {
	source, err := signin.New(signin.Options{URL: p.URL(), Key: key, Email: "ann@example.com", Password: recordedPassword, HTTPClient: p.HTTPClient()})
	require.NoError(t, err)
	client, err := realtime.New(realtime.Options{URL: p.URL(), Key: key, HTTPClient: p.HTTPClient(), Token: source.Token, ProtocolVersion: vsn})
	require.NoError(t, err)
	defer client.Close(context.Background())
	room, err := client.Channel("customers", channel.Private())
	require.NoError(t, err)
	table, err := room.Subscribe(channel.Binding{Table: "customers", Filter: cdc.Neq("city", "Porto")})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	for change, err := range table.Changes(ctx) {
		require.NoError(t, err, "%v", seen)
		if change.Gap != nil {
			seen = append(seen, change.Gap.Reason.String())
			time.Sleep(time.Minute) // heartbeats pass
			for id := 3; id < 6; id++ {
				row := fmt.Sprintf(`{"id":%d,"name":"Cid","city":"Oslo"}`, id)
				r, err := http.NewRequestWithContext(context.Background(), "POST", "/rest/v1/customers?select=id", strings.NewReader(row))
				require.NoError(t, err)
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Prefer", "return=representation")
				answer, err := client.Do(r)
				require.NoError(t, err)
				written, err := io.ReadAll(answer.Body)
				require.NoError(t, err)
				require.NoError(t, answer.Body.Close())
				seen = append(seen, fmt.Sprint(answer.StatusCode, string(written)))
			}
			continue
		}
		seen = append(seen, fmt.Sprint(change.Op, " ", string(change.Record)))
		if strings.Contains(seen[len(seen)-1], `"id": 5`) {
			return seen
		}
	}
	return seen
}

// record runs the program against a server behind a recorder, and returns the
// transcript and what the program saw.
func record(t *testing.T, vsn string) (file []byte, seen []string) {
	cfg := mockserver.Demo()
	cfg.InMemory = true
	cfg.Users[0].Password = recordedPassword
	server := mockserver.Start(t, cfg)
	var w bytes.Buffer
	recorder, err := mockserver.NewRecorder(&w, mockserver.RecorderConfig{
		Upstream: server.URL(), Client: server.HTTPClient(), InMemory: true, Scenario: "customers",
	})
	require.NoError(t, err)
	defer recorder.Close()
	seen = customers(t, recorder, server.AnonKey(), vsn)
	require.NoError(t, recorder.Close())
	require.NoError(t, server.Close())
	require.Len(t, seen, 7)
	for _, f := range server.Sent() {
		if f.Event == phoenix.EventJoin {
			require.Contains(t, string(f.Raw), `"access_token":"eyJ`, "the session has a secret to hide")
		}
	}
	for _, secret := range []string{"eyJ", recordedPassword, server.AnonKey()[:20], "Bearer e"} {
		require.NotContains(t, w.String(), secret)
	}
	return w.Bytes(), seen
}

func TestRecordAndPlay(t *testing.T) {
	for _, vsn := range []string{"1.0.0", "2.0.0"} {
		for _, speed := range []float64{0, 1} {
			t.Run(fmt.Sprintf("vsn %s speed %v", vsn, speed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					file, seen := record(t, vsn)
					time.Sleep(48 * time.Hour) // what was recorded of tokens has expired
					player, err := mockserver.NewPlayer(bytes.NewReader(file), mockserver.PlayerConfig{InMemory: true, Speed: speed})
					require.NoError(t, err)
					defer player.Close()
					require.Equal(t, seen, customers(t, player, "another-key", vsn))
					require.NoError(t, player.Wait(context.Background()), "%s", file)
				})
			})
		}
	}
}

// A recording has what a recording of package transcript has: reading it again
// gives sockets, frames and requests in their order.
func TestRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, _ := record(t, "2.0.0")
		script, err := transcript.Read("r", bytes.NewReader(file))
		require.NoError(t, err)
		require.Equal(t, "customers", script.Scenario)
		require.Equal(t, "2.0.0", script.Version("a"))
		var dirs []string
		for _, l := range script.Lines {
			if len(dirs) == 0 || dirs[len(dirs)-1] != l.Dir {
				dirs = append(dirs, l.Dir)
			}
		}
		require.Equal(t, []string{"open", "opened", "http_request", "http_response", "send", "recv", "send", "recv"}, dirs[:8])
		last := script.Lines[len(script.Lines)-1]
		require.Equal(t, "close", last.Dir)
		require.Contains(t, last.Frame, `"by":"client"`)
	})
}

// conversation plays frames at a recorder or a player over one socket, each
// after the answer to the one before.
func conversation(t *testing.T, p project, query string, frames ...[]byte) (answers []string, end error) {
	ctx := context.Background()
	url := "ws" + strings.TrimPrefix(p.URL(), "http") + "/realtime/v1/websocket" + query
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: p.HTTPClient()})
	require.NoError(t, err)
	defer func() { _ = ws.CloseNow() }()
	for _, f := range frames {
		typ := websocket.MessageText
		if f[0] < ' ' {
			typ = websocket.MessageBinary
		}
		if err := ws.Write(ctx, typ, f); err != nil {
			_, _, end = ws.Read(ctx)
			return answers, end
		}
		_, answer, err := ws.Read(ctx)
		if err != nil {
			return answers, err
		}
		answers = append(answers, string(answer))
	}
	return answers, ws.Close(websocket.StatusNormalClosure, "")
}

// small is a transcript of one socket.
const small = `{"scenario":"small"}
{"t_ms":0,"conn":"a","dir":"open","kind":"meta","frame":"/socket/websocket?apikey=x&vsn=2.0.0"}
{"t_ms":1,"conn":"a","dir":"opened","kind":"meta","frame":""}
{"t_ms":2,"conn":"a","dir":"send","kind":"text","frame":"[\"1\",\"1\",\"realtime:a\",\"phx_join\",{\"config\":{\"presence\":{\"key\":\"6b1c1e0c-0000-4000-8000-000000000001\"}},\"access_token\":\"[redacted]\"}]"}
{"t_ms":3,"conn":"a","dir":"recv","kind":"text","frame":"[\"1\",\"1\",\"realtime:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":{\"key\":\"6b1c1e0c-0000-4000-8000-000000000001\"}}]"}
{"t_ms":4,"conn":"a","dir":"send","kind":"text","frame":"[\"1\",\"2\",\"realtime:a\",\"presence\",{\"event\":\"track\",\"payload\":{\"at\":\"2026-11-23T04:00:00Z\",\"me\":\"6b1c1e0c-0000-4000-8000-000000000001\"}}]"}
{"t_ms":5,"conn":"a","dir":"recv","kind":"text","frame":"[\"1\",\"2\",\"realtime:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]"}
{"t_ms":6,"conn":"a","dir":"close","kind":"meta","frame":"{\"code\":1000,\"reason\":\"\",\"by\":\"client\"}"}
`

func playSmall(t *testing.T, frames ...string) (answers []string, end, err error) {
	synctest.Test(t, func(t *testing.T) {
		player, started := mockserver.NewPlayer(strings.NewReader(small), mockserver.PlayerConfig{InMemory: true})
		require.NoError(t, started)
		defer player.Close()
		raw := make([][]byte, len(frames))
		for i, f := range frames {
			raw[i] = []byte(f)
		}
		answers, end = conversation(t, player, "?vsn=2.0.0&apikey=y", raw...)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = player.Wait(ctx)
	})
	return answers, end, err
}

// Refs, tokens, times and made-up UUIDs may be others, and come back as the
// client's.
func TestPlayerTranslates(t *testing.T) {
	answers, end, err := playSmall(t,
		`["5","5","realtime:a","phx_join",{"access_token":"eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.x","config":{"presence":{"key":"99999999-0000-4000-8000-000000000009"}}}]`,
		`[null,"6","phoenix","heartbeat",{}]`,
		`["5","7","realtime:a","presence",{"event":"track","payload":{"me":"99999999-0000-4000-8000-000000000009","at":"2031-01-01T00:00:00.123Z"}}]`)
	require.NoError(t, err)
	require.NoError(t, end)
	require.Equal(t, []string{
		`["5","5","realtime:a","phx_reply",{"status":"ok","response":{"key":"99999999-0000-4000-8000-000000000009"}}]`,
		`[null,"6","phoenix","phx_reply",{"status":"ok","response":{}}]`,
		`["5","7","realtime:a","phx_reply",{"status":"ok","response":{}}]`,
	}, answers)
}

func TestPlayerTellsTheFirstDifference(t *testing.T) {
	const join = `["1","1","realtime:a","phx_join",{"config":{"presence":{"key":"6b1c1e0c-0000-4000-8000-000000000001"}},"access_token":"t"}]`
	for _, c := range []struct {
		name   string
		frames []string
		want   string
	}{
		{"a value", []string{`["1","1","realtime:a","phx_join",{"config":{"presence":{"key":"k"}},"access_token":"t"}]`},
			`line 4 (socket a), send phx_join of realtime:a, at payload.config.presence.key: want "6b1c1e0c-0000-4000-8000-000000000001", got "k"`},
		{"a member more", []string{`["1","1","realtime:a","phx_join",{"config":{"private":true,"presence":{"key":"6b1c1e0c-0000-4000-8000-000000000001"}},"access_token":"t"}]`},
			`line 4 (socket a), send phx_join of realtime:a, at payload.config.private: want nothing, got true`},
		{"a topic", []string{`["1","1","realtime:b","phx_join",{"access_token":"eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.x"}]`},
			`(socket a), a frame more: want no further frame of that topic, got ["1","1","realtime:b","phx_join",{"access_token":"[redacted]"}]`},
		{"an event", []string{join, `["1","2","realtime:a","broadcast",{}]`},
			`line 6 (socket a), send presence of realtime:a, at event: want "presence", got "broadcast"`},
		{"another channel's join_ref", []string{join, `["2","2","realtime:a","presence",{}]`},
			`line 6 (socket a), send presence of realtime:a, at join_ref: want "1", got "2"`},
		{"a UUID that stood for another", []string{join, `["1","2","realtime:a","presence",{"event":"track","payload":{"at":"2026-11-23T04:00:00Z","me":"6b1c1e0c-0000-4000-8000-000000000002"}}]`},
			`line 6 (socket a), send presence of realtime:a, at payload.payload.me: want "6b1c1e0c-0000-4000-8000-000000000001", got "6b1c1e0c-0000-4000-8000-000000000002"`},
		{"an end", []string{join}, `line 6 (socket a), send presence of realtime:a: want it to be sent, got the end of the socket`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, end, err := playSmall(t, c.frames...)
			var differs *mockserver.DifferenceError
			require.ErrorAs(t, err, &differs)
			require.Contains(t, err.Error(), c.want)
			require.NotContains(t, err.Error(), "eyJ")
			if c.name != "an end" {
				require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(end), "%v", end)
				require.Contains(t, end.Error(), "differs from the transcript")
			}
		})
	}
}

func TestPlayerTellsWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		player, err := mockserver.NewPlayer(strings.NewReader(small), mockserver.PlayerConfig{InMemory: true})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err = player.Wait(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "still at line 2, open")
		require.NoError(t, player.Close())
		require.ErrorIs(t, player.Wait(context.Background()), mockserver.ErrPlayerClosed)
		require.NoError(t, player.Close())
	})
}

func TestPlayerRefusesWhatIsNoTranscript(t *testing.T) {
	for text, want := range map[string]string{
		"{}": "there is nothing to play in it",
		"{}\n" + `{"dir":"http_response","kind":"http","conn":"http1","frame":"200 \n\n"}`: "line 2: it is an answer to no request",
		"":      "it is empty",
		"{}\n{": "line 2",
		"{}\n" + `{"dir":"recv","kind":"binary","conn":"a","frame":"*"}`:             "line 2: illegal base64",
		"{}\n" + `{"dir":"recv","kind":"text","conn":"a","frame":"[]"}`:              `line 2: socket "a" has not been opened`,
		"{}\n" + `{"dir":"http_request","kind":"http","conn":"http1","frame":"GET"}`: "line 2: it is no request",
	} {
		_, err := mockserver.NewPlayer(strings.NewReader(text), mockserver.PlayerConfig{InMemory: true})
		require.ErrorContains(t, err, want)
	}
}
