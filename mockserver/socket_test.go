package mockserver_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

var orders = mockserver.Table{
	Name:       "orders",
	Columns:    []mockserver.Column{{Name: "id", Type: "bigint"}, {Name: "status", Type: "text"}, {Name: "total", Type: "numeric(12,2)"}},
	PrimaryKey: []string{"id"},
}

var withOrders = mockserver.Config{Tables: []mockserver.Table{orders}}

const ordersBinding = `[{"event":"*","schema":"public","table":"orders"}]`

func TestC1KeysAndRefusals(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		expired := s.Sign(mockserver.Claims{"role": "anon", "exp": time.Now().Unix()})
		foreign := other(t).Sign(mockserver.Claims{"role": "anon", "exp": 4102444800})
		for _, c := range []struct {
			name, query string
			header      http.Header
			status      int
			text        string
		}{
			{"no key", "", nil, 401, "API key is missing"},
			{"empty key", "?apikey=", nil, 401, "The token provided is not a valid JWT"},
			{"no JWT", "?apikey=garbage", nil, 401, "The token provided is not a valid JWT"},
			{"expired", "?apikey=" + expired, nil, 401, "Token has expired"},
			{"foreign", "?apikey=" + foreign, nil, 401, "Failed to validate JWT signature"},
			{"no exp", "?apikey=" + s.Sign(mockserver.Claims{"role": "anon"}), nil, 401, "Fields `role` and `exp` are required in JWT"},
			{"no role", "?apikey=" + s.Sign(mockserver.Claims{"exp": 4102444800}), nil, 401, "Fields `role` and `exp` are required in JWT"},
			{"empty header wins", "?apikey=" + s.AnonKey(), http.Header{"X-Api-Key": {""}}, 401, "The token provided is not a valid JWT"},
		} {
			before := time.Now()
			_, refused := dialSocket(t, s, c.query, c.header)
			require.NotNil(t, refused, c.name)
			require.Equal(t, c.status, refused.StatusCode, c.name)
			require.JSONEq(t, string(mustJSON(t, map[string]string{"error": c.text})), body(t, refused), c.name)
			require.Equal(t, 2*time.Second, time.Since(before), c.name)
		}
		_, refused := dialSocket(t, s, "?apikey=garbage", http.Header{"X-Api-Key": {s.AnonKey()}})
		require.Nil(t, refused, "the header wins")
	})
}

func TestRefusalWithoutUpgrade(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		for path, want := range map[string]string{
			"/realtime/v1/websocket?apikey=" + s.AnonKey(): "this is no websocket upgrade\n",
			"/realtime/v1/api/ping":                        `{"message":"Success"}`,
			"/healthcheck":                                 "ok",
		} {
			resp, err := s.HTTPClient().Get(s.URL() + path)
			require.NoError(t, err)
			require.Equal(t, want, body(t, resp))
			require.NoError(t, resp.Body.Close())
		}
	})
}

func TestC2Versions(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		for _, vsn := range []string{"", "1", "2", "1.1.0", "2.1.0", "3.0.0", "abc", "1.0.00"} {
			before := time.Now()
			_, refused := dialSocket(t, s, "?vsn="+vsn+"&apikey="+s.AnonKey(), nil)
			require.NotNil(t, refused, vsn)
			require.Equal(t, http.StatusForbidden, refused.StatusCode, vsn)
			require.Empty(t, body(t, refused), vsn)
			require.Zero(t, time.Since(before), vsn)
		}
		for query, want := range map[string]string{
			"?":          `{"topic":"phoenix","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}`,
			"?vsn=1.0.1": `{"topic":"phoenix","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}`,
			"?vsn=2.0.9": `[null,"1","phoenix","phx_reply",{"status":"ok","response":{}}]`,
		} {
			c, refused := dialSocket(t, s, query+"&apikey="+s.AnonKey(), nil)
			require.Nil(t, refused, query)
			c.send(0, 1, "phoenix", "heartbeat", "{}")
			require.Equal(t, want, string(c.take(time.Second).raw), query)
		}
	})
}

// C3: every message has the refs of its kind in either serializer.
func TestC3Refs(t *testing.T) {
	want := map[phoenix.Version][]string{
		phoenix.V1: {
			` "7" realtime:a phx_reply {"response":{"postgres_changes":[]},"status":"ok"}`,
			`  realtime:a presence_state {}`,
			`  realtime:a broadcast {"event":"e","payload":{"n":1},"type":"broadcast"}`,
			` "8" realtime:a phx_reply {"response":{},"status":"ok"}`,
			` "9" realtime:b phx_reply {"response":{"reason":"unmatched topic"},"status":"error"}`,
			` "10" phoenix phx_reply {"response":{},"status":"ok"}`,
			` "11" realtime:a phx_reply {"response":{},"status":"ok"}`,
			` "7" realtime:a phx_close {}`,
		},
		phoenix.V2: {
			`"7" "7" realtime:a phx_reply {"response":{"postgres_changes":[]},"status":"ok"}`,
			`"7"  realtime:a presence_state {}`,
			`  realtime:a broadcast {"event":"e","payload":{"n":1},"type":"broadcast"}`,
			`"7" "8" realtime:a phx_reply {"response":{},"status":"ok"}`,
			` "9" realtime:b phx_reply {"response":{"reason":"unmatched topic"},"status":"error"}`,
			` "10" phoenix phx_reply {"response":{},"status":"ok"}`,
			`"7" "11" realtime:a phx_reply {"response":{},"status":"ok"}`,
			`"7" "7" realtime:a phx_close {}`,
		},
	}
	bothVersions(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		c := open(t, s, v)
		c.join(7, "realtime:a", `{"broadcast":{"self":true,"ack":true},"presence":{"enabled":true}}`, "")
		c.expect(want[v][:2]...)
		c.send(7, 8, "realtime:a", "broadcast", `{"type":"broadcast","event":"e","payload":{"n":1}}`)
		c.expect(want[v][2:4]...)
		c.send(7, 9, "realtime:b", "broadcast", `{}`)
		c.send(7, 10, "phoenix", "heartbeat", `{}`)
		c.send(7, 11, "realtime:a", "phx_leave", `{}`)
		c.expect(want[v][4:]...)
	})
}

func TestC6MalformedFramesAreDropped(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		for _, text := range []string{"", "{bad json", "null", "[]", `"x"`, `[null,"1","phoenix","heartbeat"]`, `{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}`} {
			c.raw(text)
		}
		for _, bytes := range []string{"", "\x03\x01", "\x09\x09\x09", "\x00\x01\x01\x0a\x01", "\x00\x01\x01\x01\x0111ab", "\x03\x00\x00\x01\x01\x00\x01abx"} {
			require.NoError(t, c.ws.Write(context.Background(), websocket.MessageBinary, []byte(bytes)))
		}
		c.silentBut(t, ` "1" a phx_reply {"response":{"reason":"unmatched topic"},"status":"error"}`,
			`  a phx_reply {"response":{"reason":"unmatched topic"},"status":"error"}`)
		c.send(0, 1, "phoenix", "heartbeat", "{}")
		c.expect(` "1" phoenix phx_reply {"response":{},"status":"ok"}`)
	})
}

// silentBut wants these messages and no others.
func (c *socket) silentBut(t *testing.T, want ...string) {
	t.Helper()
	c.expect(want...)
	c.silent(time.Second)
}

func TestC7HeartbeatAndIdleTimeout(t *testing.T) {
	bothVersions(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		c := open(t, s, v)
		for range 3 {
			c.silent(59 * time.Second)
			c.send(0, 1, "phoenix", "heartbeat", `{"x":1}`)
			c.expect(` "1" phoenix phx_reply {"response":{},"status":"ok"}`)
		}
		time.Sleep(59 * time.Second)
		require.NoError(t, c.ws.Ping(t.Context())) // counts, too
		before := time.Now()
		require.Equal(t, websocket.StatusNormalClosure, c.closed())
		require.Equal(t, time.Minute, time.Since(before))
	})
}

func TestC11LargeFrames(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		pad := func(size int) string {
			frame := `[null,"1","phoenix","heartbeat",""]`
			return strings.Replace(frame, `""`, `"`+strings.Repeat("x", size-len(frame))+`"`, 1)
		}
		c.raw(pad(5_000_000))
		c.expect(` "1" phoenix phx_reply {"response":{},"status":"ok"}`)
		_ = c.ws.Write(t.Context(), websocket.MessageText, []byte(pad(5_000_001)))
		require.Equal(t, websocket.StatusMessageTooBig, c.closed())
	})
}

func TestC11NoCompression(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		ws, resp, err := websocket.Dial(t.Context(), s.WebsocketURL()+"?apikey="+s.AnonKey(), &websocket.DialOptions{
			HTTPClient: s.HTTPClient(), CompressionMode: websocket.CompressionContextTakeover,
		})
		require.NoError(t, err)
		require.Empty(t, resp.Header.Get("Sec-WebSocket-Extensions"))
		require.NoError(t, ws.CloseNow())
	})
}

// C12: a refused join takes 5 s, and the socket with it.
func TestC12RefusedJoinBlocksTheSocket(t *testing.T) {
	bothVersions(t, withOrders, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		c := open(t, s, v)
		c.subscribed(1, "realtime:good", ordersBinding, "")
		before := time.Now()
		c.join(2, "realtime:deny", `{"private":true}`, "")
		c.send(0, 3, "phoenix", "heartbeat", "{}")
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1}))
		m := c.next()
		require.Contains(t, m.Payload, "Unauthorized: You do not have permissions to read from this Channel topic: deny")
		require.Equal(t, 5*time.Second, time.Since(before))
		require.Equal(t, "phoenix", c.next().Topic)
		c.change()
		require.Equal(t, 5*time.Second, time.Since(before))

		before = time.Now()
		c.join(4, "realtime:deny", `{"private":true}`, "")
		c.join(5, "realtime:deny", `{"private":true}`, "")
		c.join(6, "realtime:fine", `{}`, "")
		for range 3 {
			m = c.next()
		}
		require.Equal(t, "realtime:fine", m.Topic)
		require.Equal(t, 10*time.Second, time.Since(before))
	})
}

func TestC15BindingsAreEchoed(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		ids := func(bindings string) []int {
			c.join(1, "realtime:a", `{"postgres_changes":`+bindings+`}`, "")
			for {
				m := c.next()
				if m.Event != phoenix.EventReply {
					continue
				}
				var r struct {
					Response struct {
						Changes []map[string]json.RawMessage `json:"postgres_changes"`
					}
				}
				require.NoError(t, json.Unmarshal([]byte(m.Payload), &r))
				var sent []map[string]json.RawMessage
				require.NoError(t, json.Unmarshal([]byte(bindings), &sent))
				var got []int
				for i, b := range r.Response.Changes {
					var id int
					require.NoError(t, json.Unmarshal(b["id"], &id))
					require.GreaterOrEqual(t, id, 0)
					require.Less(t, id, 1<<27)
					delete(b, "id")
					require.JSONEq(t, string(mustJSON(t, sent[i])), string(mustJSON(t, b)))
					got = append(got, id)
				}
				require.Len(t, got, len(sent))
				return got
			}
		}
		first := ids(`[{"event":"*","schema":"public","table":"orders"},{"event":"INSERT","schema":"public","table":"orders","x":[1.50,{"a":null}]},
			{"table":"orders", "schema":"public" ,"event":"*"}]`)
		require.Equal(t, first[0], first[2], "equal bindings have equal ids, whatever the order of keys")
		require.NotEqual(t, first[0], first[1])
		require.Equal(t, first[1:2], ids(`[{"event":"INSERT","schema":"public","table":"orders","x":[1.50,{"a":null}]}]`), "and stable ones")
		require.Empty(t, ids(`[]`))
		ids(`[{}]`)
	})
}

// C17, and the order of two joins of one topic that did not wait for each other.
func TestC17DuplicateJoin(t *testing.T) {
	for v, refs := range map[phoenix.Version][]string{phoenix.V1: {"", "", "", ""}, phoenix.V2: {`"1"`, `"2"`, `"3"`, ``}} {
		bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
			c := open(t, s, v)
			c.join(1, "realtime:a", `{"postgres_changes":`+ordersBinding+`}`, "")
			c.join(2, "realtime:a", ``, "") // before the first one has subscribed
			require.Equal(t, `"1"`, c.next().Ref)
			c.expect(refs[1]+` "2" realtime:a phx_reply {"response":{"postgres_changes":[]},"status":"ok"}`,
				refs[0]+` "1" realtime:a phx_close {}`)
			c.join(3, "realtime:a", `{"private":true}`, "")
			require.Contains(t, c.next().Payload, "Unauthorized")
			c.expect(refs[1] + ` "2" realtime:a phx_close {}`)
			c.send(3, 4, "realtime:a", "broadcast", "{}")
			c.expect(` "4" realtime:a phx_reply {"response":{"reason":"unmatched topic"},"status":"error"}`)
			require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1}))
			c.silent(10 * time.Second)
		})
	}
}

func TestC19StaleJoinRefs(t *testing.T) {
	bothVersions(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		c := open(t, s, v)
		c.join(5, "realtime:a", `{"broadcast":{"self":true}}`, "")
		c.next()
		for _, joinRef := range []uint64{5, 4, 0} {
			c.send(joinRef, 6, "realtime:a", "broadcast", `{"n":1}`)
			c.expect(`  realtime:a broadcast {"n":1}`)
		}
		for _, joinRef := range []uint64{4, 0} { // a leave wants the right one
			c.send(joinRef, 7, "realtime:a", "phx_leave", `{}`)
		}
		c.send(5, 8, "realtime:a", "no such event", `{}`)
		c.silent(time.Second)
	})
}

func TestC20UnknownTopics(t *testing.T) {
	const unmatched = ` phx_reply {"response":{"reason":"unmatched topic"},"status":"error"}`
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.join(1, "lobby", `{}`, "")
		c.expect(` "1" lobby` + unmatched)
		c.send(1, 2, "realtime:a", "access_token", `{"access_token":"x"}`)
		c.expect(` "2" realtime:a` + unmatched)
		c.send(0, 3, "phoenix", "else", `{}`)
		c.expect(` "3" phoenix` + unmatched)
		c.send(1, 4, "realtime:a", "phx_leave", `{}`)
		c.expect(`"1" "4" realtime:a phx_reply {"response":{},"status":"ok"}`)
	})
}

func TestC21JoinErrors(t *testing.T) {
	bothVersions(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		good := mockserver.Claims{"role": "authenticated", "sub": "u", "exp": 4102444800}
		for _, c := range []struct{ name, topic, config, token, reason string }{
			{"expired", "realtime:a", `{}`, s.Sign(mockserver.Claims{"role": "anon", "exp": time.Now().Unix() - 10}), "InvalidJWTToken: Token has expired 10 seconds ago"},
			{"no name", "realtime:", `{}`, "", "TopicNameRequired: You must provide a topic name"},
			{"no role", "realtime:a", `{}`, s.Sign(mockserver.Claims{"exp": 4102444800}), "InvalidJWTToken: Fields `role` and `exp` are required in JWT"},
			{"exp is no number", "realtime:a", `{}`, s.Sign(mockserver.Claims{"role": "anon", "exp": "x"}), "InvalidJWTToken: Token expiration time is invalid"},
			{"no JWT", "realtime:a", `{}`, "not.a.jwt", "MalformedJWT: The token provided is not a valid JWT"},
			{"foreign", "realtime:a", `{}`, other(t).Sign(good), "JwtSignatureError: Failed to validate JWT signature"},
			{"private", "realtime:a:b", `{"private":true}`, "", "Unauthorized: You do not have permissions to read from this Channel topic: a:b"},
			{"no such role", "realtime:a", `{"private":true}`, s.Sign(mockserver.Claims{"role": "nobody", "exp": 4102444800}), "Unauthorized: You do not have permissions to read from this Channel topic: a"},
			{"replay", "realtime:a", `{"broadcast":{"replay":null}}`, "", "UnableToReplayMessages: Replay is not allowed for public channels"},
			{"config", "realtime:a", `"x"`, "", "UnknownErrorOnChannel: no function clause matching in Access.get/3"},
			{"broadcast", "realtime:a", `{"broadcast":"x"}`, "", "UnknownErrorOnChannel: no function clause matching in Access.get/3"},
			{"binding", "realtime:a", `{"postgres_changes":[5]}`, "", "UnknownErrorOnChannel: expected a map, got: 5"},
		} {
			sock := open(t, s, v)
			before := time.Now()
			sock.join(1, c.topic, c.config, c.token)
			m := sock.next()
			require.JSONEq(t, `{"status":"error","response":`+string(mustJSON(t, map[string]string{"reason": c.reason}))+`}`, m.Payload, c.name)
			require.Equal(t, 5*time.Second, time.Since(before), c.name)
			sock.kill()
		}
		sock := open(t, s, v)
		sock.send(1, 1, "realtime:a", "phx_join", `"x"`)
		require.Contains(t, sock.next().Payload, "UnknownErrorOnChannel: expected params to be a :map, got: `\\\"x\\\"`")
		sock.join(2, "realtime:a", `{"private":true}`, s.Sign(good))
		require.Contains(t, sock.next().Payload, `"ok"`)
	})
}

// C22: what cannot be read has its default.
func TestC22LenientJoins(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		for config, presence := range map[string]bool{
			``: false, `null`: false, `{}`: false, `{"private":"yes"}`: false, `{"private":null,"presence":null,"broadcast":null}`: false,
			`{"presence":"x"}`: false, `{"presence":{"enabled":"TRUE","key":null}}`: true, `{"presence":{"enabled":1}}`: false,
			`{"postgres_changes":"x"}`: false, `{"postgres_changes":null}`: false, `{"postgres_changes":[null]}`: false,
			`{"broadcast":{"ack":[],"self":"no"}}`: false, `{"Private":true}`: false,
		} {
			c := open(t, s, phoenix.V2)
			c.join(1, "realtime:a", config, "")
			c.expect(`"1" "1" realtime:a phx_reply {"response":{"postgres_changes":[]},"status":"ok"}`)
			if presence {
				c.expect(`"1"  realtime:a presence_state {}`)
			}
			c.silent(time.Second)
			c.kill()
		}
		c := open(t, s, phoenix.V2)
		c.join(1, "realtime:a", `{"private":"True"}`, "")
		require.Contains(t, c.next().Payload, "Unauthorized", "a string is as good as a boolean")
	})
}

// C25, C26: the two ways in which the server ends a channel by itself.
func TestC25SystemErrorThenClose(t *testing.T) {
	bothVersions(t, withOrders, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		c := open(t, s, v)
		c.subscribed(1, "realtime:room:1", ordersBinding, "")
		s.CloseChannels("Too many messages per second")
		m := c.next()
		require.JSONEq(t, `{"extension":"system","status":"error","message":"Too many messages per second","channel":"room:1"}`, m.Payload)
		require.Equal(t, "phx_close", c.next().Event)

		c.join(2, "realtime:room:1", `{"postgres_changes":[{"schema":"public","table":"nope"}]}`, "")
		c.next()
		m = c.next()
		require.Contains(t, m.Payload, `"extension":"postgres_changes"`)
		require.Contains(t, m.Payload, `"status":"error"`)
		c.silent(time.Minute / 2) // it stays joined
		c.send(2, 3, "realtime:room:1", "phx_leave", "{}")
		require.Contains(t, c.next().Payload, `"ok"`)
	})
}

func TestC26C75Drain(t *testing.T) {
	bothVersions(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		c := open(t, s, v)
		c.join(1, "realtime:a", `{}`, "")
		c.join(2, "realtime:b", `{}`, "")
		c.next()
		c.next()
		s.Drain()
		c.expect(`  realtime:a system {"extension":"system","message":"Server requested disconnect","status":"ok"}`,
			`  realtime:b system {"extension":"system","message":"Server requested disconnect","status":"ok"}`)
		require.Equal(t, websocket.StatusServiceRestart, c.closed())

		c = open(t, s, v)
		s.KillSockets()
		require.Equal(t, websocket.StatusCode(-1), c.closed(), "no close frame")
		synctest.Wait()
		require.Zero(t, s.Sockets())
	})
}

func TestC29DelayedSubscribed(t *testing.T) {
	cfg := withOrders
	cfg.Timing.Subscribed = 9 * time.Second
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.join(1, "realtime:a", `{"postgres_changes":`+ordersBinding+`}`, "")
		c.next()
		before := time.Now()
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1}))
		m := c.next()
		require.Contains(t, m.Payload, phoenix.MessageSubscribed)
		require.Equal(t, 9*time.Second, time.Since(before))
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 2}))
		got, _ := c.change()
		require.JSONEq(t, `{"id":2,"status":null,"total":null}`, string(got.Data.Record), "what came before is lost")
	})
}

// C71: a gateway gives the project's publishable and secret keys a role.
func TestC71PublishableAndSecretKeys(t *testing.T) {
	table := orders
	table.RLS = true
	bubble(t, mockserver.Config{Tables: []mockserver.Table{table}}, func(t *testing.T, s *mockserver.Server) {
		sockets := map[string]*socket{}
		for _, key := range []string{s.PublishableKey(), s.SecretKey()} {
			c, refused := dialSocket(t, s, "?vsn=2.0.0&apikey="+key, nil)
			require.Nil(t, refused)
			c.subscribed(1, "realtime:a", ordersBinding, key) // as a token it counts for nothing
			sockets[key] = c
		}
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1}))
		sockets[s.SecretKey()].change()
		sockets[s.PublishableKey()].silent(time.Second)
		for _, key := range []string{"sb_else", "sb_secret_abc", "sb_publishable_abc"} {
			_, refused := dialSocket(t, s, "?apikey="+key, nil)
			require.Equal(t, http.StatusUnauthorized, refused.StatusCode)
		}
	})
}

func TestC72Leave(t *testing.T) {
	bothVersions(t, withOrders, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		c := open(t, s, v)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		c.send(1, 2, "realtime:a", "phx_leave", "{}")
		reply, closed := c.next(), c.next()
		require.Equal(t, `"2" phx_reply`, reply.Ref+" "+reply.Event)
		require.Equal(t, `"1" phx_close`, closed.Ref+" "+closed.Event)
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1}))
		c.silent(time.Second)
	})
}

// A socket that had channels and has none is killed at the next round of the
// sweep; one that never had any is not.
func TestSweepOfSocketsWithoutChannels(t *testing.T) {
	bubble(t, mockserver.Config{Timing: mockserver.Timing{IdleTimeout: -1}}, func(t *testing.T, s *mockserver.Server) {
		began := time.Now()
		left, never := open(t, s, phoenix.V2), open(t, s, phoenix.V2)
		left.join(1, "realtime:a", `{}`, "")
		left.next()
		time.Sleep(15 * time.Minute)
		left.send(1, 2, "realtime:a", "phx_leave", "{}")
		left.next()
		left.next()
		require.Equal(t, websocket.StatusCode(-1), left.closed())
		require.Equal(t, 20*time.Minute, time.Since(began))
		never.silent(time.Hour)
	})
}

// Private and public channels of one name are two worlds (C59).
func TestBroadcastReachesItsWorld(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		private := s.UserToken("u", time.Hour)
		a, b, p, old := open(t, s, phoenix.V2), open(t, s, phoenix.V2), open(t, s, phoenix.V2), open(t, s, phoenix.V1)
		a.join(1, "realtime:x", `{"broadcast":{"ack":true}}`, "")
		b.join(1, "realtime:x", ``, "")
		old.join(1, "realtime:x", ``, "")
		p.join(1, "realtime:x", `{"private":true}`, private)
		for _, c := range []*socket{a, b, p, old} {
			require.Equal(t, "phx_reply", c.next().Event)
		}
		a.send(1, 2, "realtime:x", "broadcast", `{"any":["thing",1.50]}`)
		a.expect(`"1" "2" realtime:x phx_reply {"response":{},"status":"ok"}`)
		b.expect(`  realtime:x broadcast {"any":["thing",1.50]}`)
		old.expect(`  realtime:x broadcast {"any":["thing",1.50]}`)
		p.silent(time.Second)

		a.send(1, 3, "realtime:x", "broadcast", `null`)
		a.expect(`"1" "1" realtime:x phx_error {"reason":"channel_crash"}`)
		b.silent(time.Second)
	})
}

// A client that does not read is cut off when too much waits for it.
func TestSlowReaderIsKilled(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		ws, _, err := websocket.Dial(t.Context(), s.WebsocketURL()+"?apikey="+s.AnonKey(), &websocket.DialOptions{HTTPClient: s.HTTPClient()})
		require.NoError(t, err)
		synctest.Wait()
		for range 60 {
			require.Equal(t, 1, s.Sockets())
			s.SendRaw(true, make([]byte, 850_000))
			synctest.Wait()
		}
		require.Zero(t, s.Sockets())
		require.NoError(t, ws.CloseNow())
	})
}

func TestSentFramesAreLogged(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.send(0, 7, "phoenix", "heartbeat", `{"a":1}`)
		c.raw("garbage")
		synctest.Wait()
		sent := s.Sent()
		require.Len(t, sent, 2)
		require.Equal(t, mockserver.Frame{
			At: time.Now(), Socket: 1, Raw: []byte(`[null,"7","phoenix","heartbeat",{"a":1}]`),
			JoinRef: "null", Ref: `"7"`, Topic: "phoenix", Event: "heartbeat", Payload: json.RawMessage(`{"a":1}`),
		}, sent[0])
		require.Equal(t, "garbage", string(sent[1].Raw))
	})
}

// Everything works over TCP and in real time, too.
func TestOverTCP(t *testing.T) {
	cfg := withOrders
	cfg.Timing = mockserver.Fast()
	s := mockserver.Start(t, cfg)
	u, err := url.Parse(s.URL())
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", u.Hostname())
	c := open(t, s, phoenix.V2)
	c.subscribed(1, "realtime:a", ordersBinding, "")
	require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1, "total": "1.5"}))
	got, _ := c.change()
	require.JSONEq(t, `{"id":1,"status":null,"total":1.50}`, string(got.Data.Record))
	c.join(2, "realtime:b", `{"private":true}`, "")
	require.Contains(t, c.next().Payload, "Unauthorized")
}

// other is a server with another secret, to sign tokens that do not fit.
func other(t *testing.T) *mockserver.Server {
	t.Helper()
	return mockserver.Start(t, mockserver.Config{InMemory: true, JWTSecret: "another-secret-of-at-least-32-characters"})
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}
