package mockserver_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

func TestFaultsOfSockets(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		a, b := open(t, s, phoenix.V1), open(t, s, phoenix.V2)
		require.Equal(t, 2, s.Sockets())
		s.SendRaw(false, []byte(`{"not":"a message"`))
		s.SendRaw(true, []byte{9, 9, 9})
		for _, c := range []*socket{a, b} {
			require.Equal(t, `{"not":"a message"`, string(c.take(time.Second).raw))
			f := c.take(time.Second)
			require.True(t, f.binary)
			require.Equal(t, []byte{9, 9, 9}, f.raw)
		}
		s.CloseSockets(1001)
		require.Equal(t, websocket.StatusGoingAway, a.closed())
		require.Equal(t, websocket.StatusGoingAway, b.closed())
		synctest.Wait()
		require.Zero(t, s.Sockets())
	})
}

func TestFaultMuteHeartbeats(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.MuteHeartbeats(true)
		c.send(0, 2, "phoenix", "heartbeat", "{}")
		c.silent(time.Minute / 2)
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1}))
		c.change()
		s.MuteHeartbeats(false)
		c.send(0, 3, "phoenix", "heartbeat", "{}")
		require.Equal(t, `"3"`, c.next().Ref)
	})
}

func TestFaultRefuseUpgrades(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		s.RefuseUpgrades(429, "Too many connected users", 2)
		for range 2 {
			_, refused := dialSocket(t, s, "?apikey="+s.AnonKey(), nil)
			require.Equal(t, 429, refused.StatusCode)
			require.JSONEq(t, `{"error":"Too many connected users"}`, body(t, refused))
		}
		open(t, s, phoenix.V2)
		s.RefuseUpgrades(403, "", -1)
		for range 3 {
			_, refused := dialSocket(t, s, "?apikey="+s.AnonKey(), nil)
			require.Equal(t, 403, refused.StatusCode)
			require.Empty(t, body(t, refused))
		}
		s.RefuseUpgrades(0, "", 0)
		open(t, s, phoenix.V2)
	})
}

func TestFaultsOfJoins(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		s.RefuseJoins("ChannelRateLimitReached: Too many channels", 1)
		c.join(1, "realtime:a", `{}`, "")
		c.expect(`"1" "1" realtime:a phx_reply {"response":{"reason":"ChannelRateLimitReached: Too many channels"},"status":"error"}`)
		s.IgnoreJoins(1)
		c.join(2, "realtime:a", `{}`, "")
		c.send(0, 3, "phoenix", "heartbeat", "{}")
		require.Equal(t, "phoenix", c.next().Topic)
		c.silent(30 * time.Second)
		s.DelayJoins(12 * time.Second)
		before := time.Now()
		c.join(4, "realtime:a", `{}`, "")
		c.send(0, 5, "phoenix", "heartbeat", "{}")
		require.Equal(t, `"4"`, c.next().Ref)
		require.Equal(t, "phoenix", c.next().Topic)
		require.Equal(t, 12*time.Second, time.Since(before))
		s.DelayJoins(0)
		s.RefuseJoins("ClientJoinRateLimitReached: Too many joins per second", -1)
		c.join(6, "realtime:b", `{}`, "")
		require.Contains(t, c.next().Payload, "Too many joins per second")
		require.Equal(t, websocket.StatusGoingAway, c.closed())
	})
}

// A refused join holds the socket up for as long as it is asked to.
func TestFaultDelayRefusals(t *testing.T) {
	cfg := withOrders
	cfg.Timing = mockserver.Fast()
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		refused := func(ref uint64, want time.Duration) {
			t.Helper()
			before := time.Now()
			c.join(ref, "realtime:secret", `{"private":true}`, "")
			c.send(0, ref+1, "phoenix", "heartbeat", "{}")
			require.Contains(t, c.next().Payload, "Unauthorized")
			require.Equal(t, "phoenix", c.next().Topic)
			require.Equal(t, want, time.Since(before))
		}
		s.DelayRefusals(8 * time.Second)
		refused(2, 8*time.Second)
		s.DelayRefusals(0)
		refused(4, time.Millisecond)
		s.DelayRefusals(time.Minute)
		s.Heal()
		refused(6, time.Millisecond)
	})
}

func TestFaultsOfSubscriptions(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		s.FailSubscriptions(`{:error, "Too many database timeouts"}`, 2)
		c.join(1, "realtime:a", `{"postgres_changes":`+ordersBinding+`}`, "")
		c.next()
		last := time.Now()
		for range 2 {
			m := c.next()
			require.JSONEq(t, `{"extension":"postgres_changes","status":"error","message":"{:error, \"Too many database timeouts\"}","channel":"a"}`, m.Payload)
			last = time.Now()
		}
		require.Contains(t, c.next().Payload, phoenix.MessageSubscribed)
		require.GreaterOrEqual(t, time.Since(last), 5*time.Second)
		require.LessOrEqual(t, time.Since(last), 10*time.Second)

		s.FailSubscriptions("Unable to subscribe to changes with given parameters. …", -1)
		c.join(2, "realtime:b", `{"postgres_changes":`+ordersBinding+`}`, "")
		c.next()
		require.Contains(t, c.next().Payload, "Unable to subscribe")
		c.silent(30 * time.Second) // it is not tried again
		s.FailSubscriptions("", 0)

		s.DelaySubscribed(7 * time.Second)
		before := time.Now()
		c.subscribed(3, "realtime:c", ordersBinding, "")
		require.Equal(t, 7*time.Second, time.Since(before))
	})
}

// What is committed between the two halves of a re-subscription is lost, and
// nothing else.
func TestFaultResubscribe(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		c.subscribed(2, "realtime:b", ordersBinding, "")
		c.join(3, "realtime:none", `{}`, "")
		c.next()
		before := time.Now()
		s.Resubscribe()
		for id := 1; ; id++ { // also right before the subscriptions are back
			require.NoError(t, s.Insert("orders", mockserver.Row{"id": id}))
			time.Sleep(10 * time.Millisecond)
			c.mu.Lock()
			back := len(c.frames) > 0
			c.mu.Unlock()
			if back {
				break
			}
		}
		elapsed := time.Since(before)
		require.GreaterOrEqual(t, elapsed, time.Second)
		require.LessOrEqual(t, elapsed, 3*time.Second+10*time.Millisecond)
		for _, topic := range []string{"realtime:a", "realtime:b"} {
			m := c.next()
			require.Contains(t, m.Payload, phoenix.MessageSubscribed)
			_ = topic
		}
		c.silent(time.Second)
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 9999}))
		c.change()
		c.change()
	})
}

// A change of the publication is noticed once a minute.
func TestPublish(t *testing.T) {
	lines := mockserver.Table{Name: "lines", Columns: []mockserver.Column{{Name: "id", Type: "int8"}}, PrimaryKey: []string{"id"}, Unpublished: true}
	bubble(t, mockserver.Config{Tables: []mockserver.Table{orders, lines}, Timing: mockserver.Timing{IdleTimeout: -1}}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:all", `[{"schema":"public"}]`, "")
		c.subscribed(2, "realtime:orders", ordersBinding, "")
		require.Error(t, s.Publish("nope", true))
		require.NoError(t, s.Publish("lines", true))
		require.NoError(t, s.Publish("orders", false))
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1}))
		require.NoError(t, s.Insert("lines", mockserver.Row{"id": 1}))
		before := time.Now()
		got := map[string]string{}
		for range 2 {
			f := c.take(2 * time.Minute)
			m, err := phoenix.Decode(c.version, phoenix.FromServer, f.binary, f.raw)
			require.NoError(t, err)
			got[m.Topic] = string(m.Payload)
		}
		require.Contains(t, got["realtime:all"], phoenix.MessageSubscribed)
		require.Contains(t, got["realtime:orders"], "Please check Realtime is enabled")
		require.LessOrEqual(t, time.Since(before), 64*time.Second)
		require.NoError(t, s.Insert("lines", mockserver.Row{"id": 2}))
		change, m := c.change()
		require.Equal(t, "realtime:all", m.Topic)
		require.JSONEq(t, `{"id":2}`, string(change.Data.Record))
		require.NoError(t, s.Publish("orders", true)) // which the channel that got the error does not learn
		f := c.take(2 * time.Minute)
		require.Contains(t, string(f.raw), "realtime:all")
		c.silent(2 * time.Minute)
	})
}

func TestFaultsOfChannels(t *testing.T) {
	bothVersions(t, withOrders, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		c := open(t, s, v)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		c.subscribed(2, "realtime:b", ordersBinding, "")
		s.CrashChannels()
		for _, want := range []string{`"1" realtime:a phx_error {"reason":"channel_crash"}`, `"2" realtime:b phx_error {"reason":"channel_crash"}`} {
			m := c.next()
			require.Equal(t, want, m.Ref+" "+m.Topic+" "+m.Event+" "+m.Payload)
		}
		c.subscribed(3, "realtime:a", ordersBinding, "")
		s.CloseChannels("Token has expired 0 seconds ago")
		require.Contains(t, c.next().Payload, "Token has expired 0 seconds ago")
		m := c.next()
		require.Equal(t, `"3" phx_close`, m.Ref+" "+m.Event)
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1}))
		c.silent(time.Second)
	})
}

func TestFaultDropChanges(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.DropChanges(2)
		for id := range 3 {
			require.NoError(t, s.Insert("orders", mockserver.Row{"id": id}))
		}
		got, _ := c.change()
		require.Contains(t, string(got.Data.Record), `"id":2`)
		s.DropChanges(-1)
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 3}))
		c.silent(time.Second)
		s.DropChanges(0)
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 4}))
		got, _ = c.change()
		require.Contains(t, string(got.Data.Record), `"id":4`)
	})
}

// Everything at once, from several goroutines, and Close in the middle of it:
// nothing races, hangs or is left behind.
func TestFaultsUnderLoad(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		var work sync.WaitGroup
		for n := range 4 {
			work.Go(func() {
				for i := range 50 {
					_ = s.Insert("orders", mockserver.Row{"id": n*1000 + i})
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		for range 3 {
			work.Go(func() {
				for range 4 {
					c, refused := dialSocket(t, s, "?vsn=2.0.0&apikey="+s.AnonKey(), nil)
					if refused != nil {
						continue
					}
					for ref := uint64(1); ref < 8; ref++ {
						payload := `{"config":{"postgres_changes":` + ordersBinding + `}}`
						text, _, _ := phoenix.Append(nil, phoenix.V2, phoenix.FromClient, phoenix.Message{
							JoinRef: phoenix.NewRef(ref), Ref: phoenix.NewRef(ref), Topic: "realtime:a", Event: "phx_join", Payload: []byte(payload),
						})
						if c.ws.Write(t.Context(), websocket.MessageText, text) != nil {
							break
						}
						time.Sleep(300 * time.Millisecond)
					}
				}
			})
		}
		for i := range 40 {
			time.Sleep(150 * time.Millisecond)
			switch i % 8 {
			case 0:
				s.KillSockets()
			case 1:
				s.CrashChannels()
			case 2:
				s.Resubscribe()
			case 3:
				s.CloseChannels("Too many messages per second")
			case 4:
				s.Drain()
			case 5:
				s.DropChanges(3)
			case 6:
				s.FailSubscriptions("database away", 1)
			case 7:
				s.RefuseJoins("QueryCanceled: …", 1)
			}
			_, _ = s.Sent(), s.Sockets()
		}
		require.NoError(t, s.Close())
		work.Wait()
		require.NoError(t, s.Close())
	})
}

// The node goes, and comes back without a memory.
func TestC75Restart(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.Restart(10 * time.Second)
		require.Contains(t, c.next().Payload, "Server requested disconnect")
		require.Equal(t, websocket.StatusServiceRestart, c.closed())
		_, refused := dialSocket(t, s, "?apikey="+s.AnonKey(), nil)
		require.Equal(t, 503, refused.StatusCode)
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1}))
		time.Sleep(10 * time.Second)
		c = open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		insert(t, s, 2)
		c.gets(2)
	})
}

func TestC75KillWithoutACloseFrame(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.KillSockets()
		require.Equal(t, websocket.StatusCode(-1), c.closed())
		synctest.Wait()
		require.Zero(t, s.Sockets())
	})
}

// While a socket is held up nothing comes of it, and then all of it in order.
func TestFaultBlockSockets(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.BlockSockets(5 * time.Second)
		insert(t, s, 1)
		c.silent(time.Second)
		c.send(0, 2, "phoenix", "heartbeat", "{}")
		c.silent(3900 * time.Millisecond)
		c.change()
		require.Equal(t, "phoenix", c.next().Topic)
	})
}

func TestFaultLimitJoins(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		s.LimitJoins(7 * time.Second)
		_, refused := dialSocket(t, s, "?apikey="+s.AnonKey(), nil)
		require.Equal(t, 429, refused.StatusCode)
		require.JSONEq(t, `{"error":"Too many joins per second"}`, body(t, refused))
		c.join(1, "realtime:a", `{}`, "") // 2 s later, since a refusal takes that long
		require.Contains(t, c.next().Payload, "ClientJoinRateLimitReached: Too many joins per second")
		require.Equal(t, websocket.StatusGoingAway, c.closed())
		open(t, s, phoenix.V2).subscribed(1, "realtime:a", ordersBinding, "")
	})
}

func TestFaultsOfSubscribed(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		s.OmitSubscribed(1)
		c.join(1, "realtime:a", `{"postgres_changes":`+ordersBinding+`}`, "")
		c.next()
		c.silent(10 * time.Second)
		insert(t, s, 1)
		c.gets(1)
		s.RepeatSubscribed() // not to who was not told
		c.silent(time.Second)
		c.subscribed(2, "realtime:b", ordersBinding, "")
		s.RepeatSubscribed()
		m := c.next()
		require.Equal(t, "realtime:b", m.Topic)
		require.Contains(t, m.Payload, phoenix.MessageSubscribed)
		insert(t, s, 2)
		c.gets(2, 2)
	})
}

// Whatever is in force, Heal ends it.
func TestHeal(t *testing.T) {
	owned := mockserver.Table{
		Name: "owned", Columns: []mockserver.Column{{Name: "id", Type: "int8"}}, PrimaryKey: []string{"id"}, RLS: true,
		Select: func(mockserver.Claims, mockserver.Row) bool { return true },
		Rows:   []mockserver.Row{{"id": 1}},
	}
	bubble(t, mockserver.Config{Tables: []mockserver.Table{orders, owned}}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		for _, fault := range []func(){
			func() { s.RefuseUpgrades(500, "", -1) }, func() { s.LimitJoins(time.Hour) }, func() { s.MuteHeartbeats(true) },
			func() { s.RefuseJoins("QueryCanceled: …", -1) }, func() { s.IgnoreJoins(-1) }, func() { s.DelayJoins(time.Minute) },
			func() { s.DelaySubscribed(time.Minute) }, func() { s.OmitSubscribed(-1) }, func() { s.FailSubscriptions("x", -1) },
			func() { s.RefuseTokens("x", -1) }, func() { s.LimitBacklog(1) }, func() { s.FailPolls(-1) }, func() { s.ExceedRate(time.Hour) },
			func() { s.DropChanges(-1) }, func() { s.TruncateChanges(-1) }, func() { s.DuplicateChanges(-1) }, func() { s.ReorderChanges(-1) },
			func() { s.DelayChanges(time.Minute) }, func() { s.RestartDatabase(4 * time.Second) }, func() { s.LoseSlot(time.Hour) },
			func() { s.FaultREST(mockserver.RESTFault{Status: 500}) }, func() { s.LimitRows(1) }, func() { s.HideCommits(time.Hour, -1) },
			func() { require.NoError(t, s.HideRows("owned", mockserver.Row{"id": 1})) },
			func() { require.NoError(t, s.Insert("owned", mockserver.Row{"id": 2})) }, // which is hidden by HideCommits
		} {
			fault()
		}
		s.Heal()
		restCall{path: "owned", as: "anon", want: `[{"id":1},{"id":2}]`}.check(t, s)
		insert(t, s, 1)
		insert(t, s, 2)
		for _, id := range []string{`"id":1`, `"id":2`} {
			got, _ := c.change()
			require.Contains(t, string(got.Data.Record), id)
			require.Empty(t, got.Data.Errors)
		}
		c.send(0, 9, "phoenix", "heartbeat", "{}")
		require.Equal(t, "phoenix", c.next().Topic)
		open(t, s, phoenix.V2).subscribed(1, "realtime:b", ordersBinding, "")
		user := s.Sign(mockserver.Claims{"role": "authenticated", "exp": time.Now().Add(time.Hour).Unix()})
		c.send(1, 10, "realtime:a", "access_token", `{"access_token":"`+user+`"}`)
		require.Contains(t, c.next().Payload, phoenix.MessageSubscribed)
	})
}
