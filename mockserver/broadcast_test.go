package mockserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// binary sends a message that has no text form.
func (c *socket) binary(m phoenix.Message) {
	c.t.Helper()
	raw, binary, err := phoenix.Append(nil, c.version, phoenix.FromClient, m)
	require.NoError(c.t, err)
	require.True(c.t, binary)
	require.NoError(c.t, c.ws.Write(context.Background(), websocket.MessageBinary, raw))
}

// nextMessage is next for binary messages.
func (c *socket) nextMessage() phoenix.Message {
	c.t.Helper()
	f := c.take(15 * time.Second)
	m, err := phoenix.Decode(c.version, phoenix.FromServer, f.binary, f.raw)
	require.NoError(c.t, err, "%s", f.raw)
	return m
}

// joined is open and a join with that config, whose reply it takes.
func joined(t *testing.T, s *mockserver.Server, v phoenix.Version, topic, config, token string) *socket {
	t.Helper()
	c := open(t, s, v)
	c.join(1, topic, config, token)
	m := c.next()
	require.Contains(t, m.Payload, `"status":"ok"`)
	return c
}

// C55: each form of a broadcast, and the form in which either serializer gets it.
func TestC55Relay(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		a, b := joined(t, s, phoenix.V2, "realtime:r", `{}`, ""), joined(t, s, phoenix.V2, "realtime:r", `{}`, "")
		old := joined(t, s, phoenix.V1, "realtime:r", `{}`, "")

		old.send(1, 2, "realtime:r", "broadcast", `{"anything" : [1.50, true]}`)
		require.Equal(t, `[null,null,"realtime:r","broadcast",{"anything" : [1.50, true]}]`, string(a.take(time.Second).raw), "word for word")
		require.Equal(t, string(b.take(time.Second).raw), `[null,null,"realtime:r","broadcast",{"anything" : [1.50, true]}]`)

		push := phoenix.Message{Kind: phoenix.UserPush, JoinRef: `"1"`, Ref: `"3"`, Topic: "realtime:r", UserEvent: "ev",
			Meta: []byte(`{"dropped":1}`), JSON: true, Payload: []byte(`{"n" : 1}`)}
		a.binary(push)
		want := phoenix.Message{Kind: phoenix.UserBroadcast, Topic: "realtime:r", Event: "broadcast", UserEvent: "ev", JSON: true, Payload: []byte(`{"n" : 1}`)}
		require.Equal(t, want, b.nextMessage())
		old.expect(`  realtime:r broadcast {"event":"ev","payload":{"n":1},"type":"broadcast"}`)

		push.JSON, push.Payload = false, []byte{0, 0xff}
		a.binary(push)
		want.JSON, want.Payload = false, []byte{0, 0xff}
		require.Equal(t, want, b.nextMessage())
		a.silent(time.Second)
		old.silent(time.Second)
	})
}

// C55: a topic too long for the header of a binary frame goes to nobody.
func TestC55TooLongForABinaryFrame(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		name := strings.Repeat("x", 255)
		c := joined(t, s, phoenix.V2, "realtime:"+name, `{}`, "")
		require.Equal(t, http.StatusInternalServerError, post(t, s, "/broadcast/"+name+"/events/e", "application/json", `{}`, s.AnonKey()).StatusCode)
		require.NoError(t, s.RealtimeSend(struct{}{}, "e", name, false))
		c.silent(time.Second)
	})
}

// C56: the copy to self comes before the ack; without ack there is none.
func TestC56SelfAndAck(t *testing.T) {
	bothVersions(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		ref := map[phoenix.Version]string{phoenix.V2: `"1"`}[v]
		for config, want := range map[string][]string{
			`{"broadcast":{"self":true,"ack":true}}`: {`  realtime:a broadcast {"event":"e"}`, ref + ` "2" realtime:a phx_reply {"response":{},"status":"ok"}`},
			`{"broadcast":{"self":true}}`:            {`  realtime:a broadcast {"event":"e"}`},
			`{"broadcast":{"ack":true}}`:             {ref + ` "2" realtime:a phx_reply {"response":{},"status":"ok"}`},
			`{}`:                                     nil,
		} {
			c := joined(t, s, v, "realtime:a", config, "")
			c.send(1, 2, "realtime:a", "broadcast", `{"event":"e"}`)
			c.expect(want...)
			c.silent(time.Second)
			c.kill()
		}
	})
}

// C56: what may not be written is dropped without an answer. The right is asked
// for once, and again for a new token.
func TestC56DeniedWrites(t *testing.T) {
	asked := 0
	cfg := mockserver.Config{Messages: mockserver.MessagePolicies{
		Read: func(_, extension string, _ mockserver.Claims) bool { return extension == mockserver.ExtensionBroadcast },
		Write: func(topic, extension string, claims mockserver.Claims) bool {
			asked++
			return topic == "room:1" && extension == mockserver.ExtensionBroadcast && claims["sub"] == "writer"
		},
	}}
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		reader, writer := s.UserToken("reader", time.Hour), s.UserToken("writer", time.Hour)
		a := joined(t, s, phoenix.V2, "realtime:room:1", `{"private":true,"broadcast":{"ack":true}}`, reader)
		b := joined(t, s, phoenix.V2, "realtime:room:1", `{"private":true}`, reader)
		for range 2 {
			a.send(1, 2, "realtime:room:1", "broadcast", `{"event":"e"}`)
			a.silent(time.Minute / 4)
		}
		require.Equal(t, 1, asked)
		a.send(1, 3, "realtime:room:1", "access_token", `{"access_token":"`+writer+`"}`)
		a.send(1, 4, "realtime:room:1", "broadcast", `{"event":"e"}`)
		a.expect(`"1" "4" realtime:room:1 phx_reply {"response":{},"status":"ok"}`)
		b.expect(`  realtime:room:1 broadcast {"event":"e"}`)
		require.Equal(t, 2, asked)
	})
}

// Who may read presence only may join, and gets no broadcasts. A token that
// loses a right closes the channel.
func TestReadRights(t *testing.T) {
	cfg := mockserver.Config{Messages: mockserver.MessagePolicies{
		Read: func(_, extension string, claims mockserver.Claims) bool {
			return claims["sub"] == "all" || claims["sub"] == extension
		},
		Write: func(string, string, mockserver.Claims) bool { return true },
	}}
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		token := func(sub string) string { return s.UserToken(sub, time.Hour) }
		all := joined(t, s, phoenix.V2, "realtime:r", `{"private":true}`, token("all"))
		presence := joined(t, s, phoenix.V2, "realtime:r", `{"private":true,"presence":{"enabled":true}}`, token("presence"))
		presence.expect(`"1"  realtime:r presence_state {}`)
		hears := joined(t, s, phoenix.V2, "realtime:r", `{"private":true,"presence":{"enabled":true}}`, token("broadcast"))
		all.send(1, 2, "realtime:r", "broadcast", `{"n":1}`)
		hears.expect(`  realtime:r broadcast {"n":1}`)
		hears.silent(time.Second)
		presence.silent(time.Second)

		all.track(3, "realtime:r", `{}`)
		require.Equal(t, "presence_diff", presence.next().Event)
		hears.silent(time.Second)
		all.silent(time.Second)                                                    // has not enabled presence
		joined(t, s, phoenix.V2, "realtime:r", `{"private":true}`, s.ServiceKey()) // is not asked about

		refused := open(t, s, phoenix.V2)
		refused.join(1, "realtime:r", `{"private":true}`, token("presence")) // whose right is only asked with presence
		require.Contains(t, refused.next().Payload, "Unauthorized: You do not have permissions to read from this Channel topic: r")

		for sub, text := range map[string]string{
			"presence": "You do not have permissions to read from this Channel topic: r", // presence is not enabled
			"nobody":   "You do not have permissions to read from this Channel topic: r",
		} {
			c := joined(t, s, phoenix.V2, "realtime:r", `{"private":true}`, token("all"))
			c.send(1, 2, "realtime:r", "access_token", `{"access_token":"`+token(sub)+`"}`)
			require.Contains(t, c.next().Payload, text)
			require.Equal(t, "phx_close", c.next().Event)
		}
		c := joined(t, s, phoenix.V2, "realtime:r", `{"private":true,"presence":{"enabled":true}}`, token("all"))
		require.Equal(t, "presence_state", c.next().Event)
		c.send(1, 2, "realtime:r", "access_token", `{"access_token":"`+token("broadcast")+`"}`)
		require.Contains(t, c.next().Payload, "You no longer have permission to read from this Channel topic: r")
		require.Equal(t, "phx_close", c.next().Event)
	})
}

// C57: over the limit there is an error with ack, and nothing without.
func TestC57PayloadSize(t *testing.T) {
	bothVersions(t, mockserver.Config{Limits: mockserver.Limits{PayloadKB: 1}}, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		a, b := joined(t, s, v, "realtime:a", `{"broadcast":{"ack":true}}`, ""), joined(t, s, v, "realtime:a", `{}`, "")
		// An object with one member of one letter has 17 bytes around its text.
		fits, over := `{"s":"`+strings.Repeat("x", 1500-17)+`"}`, `{"s":"`+strings.Repeat("x", 1500-16)+`"}`
		a.send(1, 2, "realtime:a", "broadcast", fits)
		require.Contains(t, a.next().Payload, `"status":"ok"`)
		b.next()
		a.send(1, 3, "realtime:a", "broadcast", over)
		require.JSONEq(t, `{"status":"error","response":"payload_size_exceeded"}`, a.next().Payload)
		b.send(1, 4, "realtime:a", "broadcast", over)
		b.silent(time.Second)
		a.silent(time.Second)
		require.NoError(t, s.RealtimeSend(map[string]string{"s": strings.Repeat("x", 2000)}, "e", "a", false))
		a.silent(time.Second)
		resp := post(t, s, "/broadcast", "application/json", `{"messages":[{"topic":"a","event":"e","payload":`+over+`},{"topic":"a","event":"e","payload":{}}]}`, s.AnonKey())
		require.Equal(t, http.StatusUnprocessableEntity, resp.StatusCode)
		require.JSONEq(t, `{"errors":{"messages":[{"payload":["Payload size exceeds tenant limit"]},{}]}}`, body(t, resp))
	})
}

// C59
func TestC59PrivateAndPublicAreApart(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		user := s.UserToken("u", time.Hour)
		private, public := joined(t, s, phoenix.V2, "realtime:r", `{"private":true}`, user), joined(t, s, phoenix.V2, "realtime:r", `{}`, user)
		for name, c := range map[string]*socket{"private": private, "public": public} {
			c.send(1, 2, "realtime:r", "broadcast", `{"from":"`+name+`"}`)
			require.NoError(t, s.RealtimeSend(map[string]string{"id": name}, "e", "r", name == "private"))
			require.Equal(t, name, eventID(t, c.nextMessage().Payload))
			private.silent(time.Second)
			public.silent(time.Second)
		}
	})
}

func eventID(t *testing.T, payload []byte) string {
	t.Helper()
	var p struct{ ID string }
	require.NoError(t, json.Unmarshal(payload, &p))
	return p.ID
}

// post sends a request to the Realtime API, with a bearer token if that is not
// empty.
func post(t *testing.T, s *mockserver.Server, path, contentType, content, token string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/realtime/v1/api"+path, strings.NewReader(content))
	require.NoError(t, err)
	r.Header.Set("Content-Type", contentType)
	if strings.HasPrefix(token, "sb_") {
		r.Header.Set("apikey", token)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.HTTPClient().Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// C60: the statuses, the errors of batches, and what is dropped though accepted.
func TestC60REST(t *testing.T) {
	cfg := mockserver.Config{Messages: mockserver.MessagePolicies{
		Write: func(topic, _ string, _ mockserver.Claims) bool { return topic == "open/door" },
	}}
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		user := s.UserToken("u", time.Hour)
		c := joined(t, s, phoenix.V2, "realtime:open/door", `{"private":true}`, user)
		c.join(2, "realtime:shut", `{"private":true}`, user)
		c.next()
		for _, r := range []struct {
			path, contentType, content, token string
			status                            int
			answer                            string
		}{
			{"/broadcast", "application/json", `{"messages":[{"topic":"shut","event":"e","payload":{},"private":true},{"topic":"open/door","event":"e","payload":{"n":1},"private":true,"id":"i"}]}`, user, 202, ""},
			{"/broadcast", "application/json; charset=utf-8", `{"messages":[{"topic":"realtime:open/door","event":"e","payload":{},"private":true}]}`, user, 202, ""},
			{"/broadcast/open%2Fdoor/events/e%20v?private=true", "application/json", `[1, 2]`, user, 202, ""},
			{"/broadcast/shut/events/e?private=true", "application/json", `{}`, user, 403, `{"message":"Unauthorized"}`},
			{"/broadcast/shut/events/e", "application/json", `{}`, s.UserToken("u", -time.Hour), 401, `{"message":"Unauthorized"}`},
			{"/broadcast/shut/events/e", "application/json", ``, s.PublishableKey(), 202, ""},
			{"/broadcast/shut/events/e", "application/json", ``, "sb_secret_x", 401, `{"message":"Unauthorized"}`},
			{"/broadcast/shut/events/e", "text/plain", `x`, "sb_secret_x", 415, `{"error":"Unsupported Media Type. Use application/json or application/octet-stream"}`},
			{"/broadcast", "application/json", `{"messages":"x"}`, user, 422, `{"errors":{"messages":["is invalid"]}}`},
			{"/broadcast", "text/plain", `{"messages":[]}`, user, 422, `{"errors":{"messages":["can't be blank"]}}`},
			{"/broadcast", "application/json", `{"messages":[{"topic":"","event":1,"payload":null,"private":"x"}]}`, user, 422, `{"errors":{"messages":[{"topic":["can't be blank"],"event":["is invalid"],"payload":["can't be blank"],"private":["is invalid"]}]}}`},
			{"/broadcast", "application/json", `{"x":"` + strings.Repeat("x", 8_000_000) + `"}`, user, 413, "Request Entity Too Large"},
			{"/broadcast", "application/json", `{`, user, 400, "Bad Request"},
		} {
			resp := post(t, s, r.path, r.contentType, r.content, r.token)
			require.Equal(t, r.status, resp.StatusCode, "%s %.100s", r.path, r.content)
			if got := body(t, resp); strings.HasPrefix(r.answer, "{") {
				require.JSONEq(t, r.answer, got)
			} else {
				require.Equal(t, r.answer, got)
			}
		}
		c.expect(`  realtime:open/door broadcast {"event":"e","meta":{"id":"i"},"payload":{"n":1},"type":"broadcast"}`)
		require.Equal(t, phoenix.Message{Kind: phoenix.UserBroadcast, Topic: "realtime:open/door", Event: "broadcast", UserEvent: "e v", JSON: true,
			Payload: []byte(`{"_json":[1,2]}`)}, c.nextMessage())
		c.silent(time.Second)
	})
}

// C61: payload ids, transactions, and what is not delivered.
func TestC61MessagesFromTheDatabase(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		user := s.UserToken("u", time.Hour)
		c := joined(t, s, phoenix.V1, "realtime:r", `{"private":true}`, user)
		require.NoError(t, s.Tx(func(tx *mockserver.Tx) error {
			require.NoError(t, tx.RealtimeSend(map[string]int{"n": 1}, "a", "r", true))
			c.silent(time.Second)
			return tx.BroadcastChanges("r", "changed", "UPDATE", "orders", mockserver.Row{"id": 2}, mockserver.Row{"id": 1})
		}))
		var first, second struct {
			Event   string
			Meta    struct{ ID string }
			Payload map[string]any
		}
		require.NoError(t, json.Unmarshal([]byte(c.next().Payload), &first))
		require.NoError(t, json.Unmarshal([]byte(c.next().Payload), &second))
		require.Equal(t, map[string]any{"n": 1.0, "id": first.Meta.ID}, first.Payload)
		require.Equal(t, second.Meta.ID, second.Payload["id"])
		require.Equal(t, "changed", second.Event)
		require.Equal(t, "orders", second.Payload["table"])
		require.Equal(t, 1.0, second.Payload["old_record"].(map[string]any)["id"])

		require.Error(t, s.Tx(func(tx *mockserver.Tx) error {
			require.NoError(t, tx.RealtimeSend(map[string]int{"n": 1}, "a", "r", true))
			return context.Canceled
		}))
		require.Error(t, s.RealtimeSend([]int{1}, "a", "r", true))
		require.Error(t, s.RealtimeSend(func() {}, "a", "r", true))
		require.Error(t, s.BroadcastChanges("r", "e", "TRUNCATE", "orders", nil, nil))
		require.Error(t, s.BroadcastChanges("r", "e", "INSERT", "no such table", nil, nil))
		require.Error(t, s.BroadcastChanges("r", "e", "INSERT", "orders", mockserver.Row{"id": "x"}, nil))
		require.NoError(t, s.RealtimeSendBinary([]byte{1}, "a", "r", true)) // not for serializer 1.0.0
		c.silent(time.Second)
	})
}

// C62: only private messages of the database, not older than what is kept, and
// none twice. What was not delivered live is there, too.
func TestC62Replay(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		user := s.UserToken("u", 400*time.Hour)
		send := func(id string, private bool) {
			require.NoError(t, s.RealtimeSend(map[string]string{"id": id}, "e", "r", private))
		}
		send("old", true)
		time.Sleep(100 * time.Hour)
		send("kept", true)
		send("public", false)
		since := time.Now()
		time.Sleep(time.Second)
		require.NoError(t, s.Tx(func(tx *mockserver.Tx) error { // which begins before, and commits after
			require.NoError(t, tx.RealtimeSend(map[string]string{"id": "long"}, "e", "r", true))
			time.Sleep(time.Second)
			send("short", true)
			return nil
		}))
		replay := func(since time.Time) (ids []string) {
			since = since.Truncate(time.Millisecond)
			c := joined(t, s, phoenix.V2, "realtime:r", fmt.Sprintf(`{"private":true,"broadcast":{"replay":{"since":%d}}}`, since.UnixMilli()), user)
			time.Sleep(time.Second)
			c.send(0, 9, "phoenix", "heartbeat", `{}`)
			for m := c.nextMessage(); m.Topic != "phoenix"; m = c.nextMessage() {
				require.Contains(t, string(m.Payload), `"replayed":true`)
				var p struct{ Payload struct{ ID string } }
				require.NoError(t, json.Unmarshal(m.Payload, &p))
				ids = append(ids, p.Payload.ID)
			}
			c.kill()
			return ids
		}
		require.Equal(t, []string{"kept", "long", "short"}, replay(time.UnixMilli(0)), "in the order in which their transactions began")
		require.Equal(t, []string{"long", "short"}, replay(since.Add(time.Millisecond)))
		require.Empty(t, replay(time.Now()))
	})
}

// C62: one who joins while messages are sent gets each once, by replay or live,
// and none is lost between the two.
func TestC62NoSecondLiveCopy(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		user := s.UserToken("u", time.Hour)
		n := 0
		var sockets []*socket
		for range 40 {
			var sender sync.WaitGroup
			sender.Go(func() {
				for range 10 {
					assert.NoError(t, s.RealtimeSend(map[string]int{"n": n}, "e", "r", true))
					n++
				}
			})
			sockets = append(sockets, joined(t, s, phoenix.V2, "realtime:r", `{"private":true,"broadcast":{"replay":{"since":0}}}`, user))
			sender.Wait()
		}
		last := n - 1
		time.Sleep(time.Second)
		synctest.Wait()
		for _, c := range sockets {
			seen := map[int]bool{}
			first := last
			c.mu.Lock()
			for _, f := range c.frames {
				n := numberIn(t, f)
				require.False(t, seen[n], "%d comes twice", n)
				seen[n], first = true, min(first, n)
			}
			c.mu.Unlock()
			require.Len(t, seen, last-first+1, "none is missing")
		}
	})
}

// numberIn is the n of a message from the database, replayed or live.
func numberIn(t *testing.T, f frame) int {
	t.Helper()
	m, err := phoenix.Decode(phoenix.V2, phoenix.FromServer, f.binary, f.raw)
	require.NoError(t, err)
	var payload struct {
		N       int
		Payload struct{ N int }
	}
	require.NoError(t, json.Unmarshal(m.Payload, &payload))
	return payload.N + payload.Payload.N
}

// C62: the database that is away delivers nothing live, and keeps it.
func TestC62TheDatabaseIsAway(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		user := s.UserToken("u", time.Hour)
		c := joined(t, s, phoenix.V2, "realtime:r", `{"private":true}`, user)
		s.RestartDatabase(10 * time.Second)
		require.NoError(t, s.RealtimeSend(struct{}{}, "e", "r", true))
		c.silent(11 * time.Second)
		c.join(2, "realtime:r", `{"private":true,"broadcast":{"replay":{"since":0}}}`, user)
		require.Equal(t, "phx_reply", c.next().Event)
		require.Equal(t, "phx_close", c.next().Event)
		require.Contains(t, c.next().Payload, `"replayed":true`)
	})
}
