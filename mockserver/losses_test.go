package mockserver_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// insert inserts an order.
func insert(t *testing.T, s *mockserver.Server, id int) {
	t.Helper()
	require.NoError(t, s.Insert("orders", mockserver.Row{"id": id}))
}

// gets wants the changes of orders with these ids next, and then nothing for
// some time.
func (c *socket) gets(ids ...int) {
	c.t.Helper()
	for _, id := range ids {
		got, _ := c.change()
		var record struct{ ID int }
		require.NoError(c.t, json.Unmarshal(got.Data.Record, &record))
		require.Equal(c.t, id, record.ID)
	}
	c.silent(2 * time.Second)
}

// rejoined joins a topic again, which ends the channel that it has.
func (c *socket) rejoined(ref uint64, topic string) {
	c.t.Helper()
	c.join(ref, topic, `{"postgres_changes":`+ordersBinding+`}`, "")
	require.Equal(c.t, phoenix.EventReply, c.next().Event)
	require.Equal(c.t, phoenix.EventClose, c.next().Event)
	require.Contains(c.t, c.next().Payload, phoenix.MessageSubscribed)
}

// The slot of a cold start comes later than "Subscribed".
func TestLossDelaySlot(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		s.DelaySlot(3 * time.Second)
		c := open(t, s, phoenix.V2)
		before := time.Now()
		c.subscribed(1, "realtime:a", ordersBinding, "")
		require.Less(t, time.Since(before), time.Second)
		time.Sleep(time.Until(before.Add(2900 * time.Millisecond)))
		insert(t, s, 1)
		time.Sleep(200 * time.Millisecond)
		insert(t, s, 2)
		c.gets(2)
		s.DelaySlot(0)
		s.RestartWorkers()
		c.subscribed(2, "realtime:b", ordersBinding, "")
		insert(t, s, 3)
		c.gets(3)
	})
}

// A lost slot takes with it what was not read, and the next one begins when it
// is made.
func TestLossLoseSlot(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		s.LoseSlot(0) // there is none yet
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		c.silent(time.Second)
		insert(t, s, 1)
		s.LoseSlot(0)
		insert(t, s, 2)
		c.gets(2)
		s.LoseSlot(2 * time.Second)
		s.LoseSlot(time.Second) // does not make it come earlier
		insert(t, s, 3)
		time.Sleep(1990 * time.Millisecond)
		insert(t, s, 4)
		time.Sleep(20 * time.Millisecond)
		insert(t, s, 5)
		c.gets(5)
	})
}

func TestLossFailPolls(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.FailPolls(2)
		insert(t, s, 1)
		insert(t, s, 2)
		time.Sleep(6 * time.Second) // there is a slot again
		insert(t, s, 3)
		c.silent(6 * time.Second)
		insert(t, s, 4)
		c.gets(4)
	})
}

// A poll that takes too long loses what it found, and what was committed until
// the next slot is there.
func TestTimeOutPolls(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		require.NoError(t, s.Inject(mockserver.Fault{Name: "time-out-polls"}))
		insert(t, s, 1)
		time.Sleep(10 * time.Second)
		insert(t, s, 2)
		c.silent(11 * time.Second)
		insert(t, s, 3)
		c.gets(3)
	})
}

// A poisonous filter, which passes the check at the subscription, makes the
// poll fail for everybody.
func TestLossPoison(t *testing.T) {
	docs := mockserver.Table{
		Name: "docs", Columns: []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "body", Type: "json"}}, PrimaryKey: []string{"id"},
	}
	cfg := mockserver.Config{Tables: []mockserver.Table{orders, docs}}
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		poisoner := open(t, s, phoenix.V2)
		poisoner.subscribed(1, "realtime:b", `[{"event":"*","schema":"public","table":"docs","filter":"body=eq.{}"}]`, "")
		require.NoError(t, s.Tx(func(tx *mockserver.Tx) error {
			_ = tx.Insert("orders", mockserver.Row{"id": 1})
			return tx.Insert("docs", mockserver.Row{"id": 1, "body": "{}"})
		}))
		c.silent(6 * time.Second)
		insert(t, s, 2)
		c.gets(2)
		poisoner.silent(0)
	})
}

func TestLossRestartDatabase(t *testing.T) {
	cfg := withOrders
	cfg.Timing.IdleTimeout = -1
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		user := s.Sign(mockserver.Claims{"role": "authenticated", "sub": "u", "exp": time.Now().Add(time.Hour).Unix()})
		c.subscribed(1, "realtime:a", ordersBinding, "")
		c.join(2, "realtime:private", `{"private":true}`, user)
		c.next()
		insert(t, s, 1)
		s.RestartDatabase(3 * time.Second)
		insert(t, s, 2)

		r, err := http.NewRequest("GET", s.URL()+"/rest/v1/orders", nil)
		require.NoError(t, err)
		r.Header.Set("apikey", s.AnonKey())
		answer, err := s.HTTPClient().Do(r)
		require.NoError(t, err)
		require.Equal(t, 503, answer.StatusCode)
		require.Contains(t, body(t, answer), "PGRST000")
		require.NoError(t, answer.Body.Close())

		c.send(1, 3, "realtime:a", "access_token", `{"access_token":"`+user+`"}`)
		// The first of each kind meets a connection that was terminated.
		c.send(2, 4, "realtime:private", "access_token", `{"access_token":"`+user+` "}`)
		require.Contains(t, c.next().Payload, "You do not have permissions to read from this Channel topic: private")
		require.Equal(t, phoenix.EventClose, c.next().Event)
		// The channel without privacy subscribes again 1 to 3 s later.
		require.Contains(t, c.next().Payload, "Exception: FATAL 57P01 (admin_shutdown) terminating connection due to administrator command")

		s.RestartDatabase(9 * time.Second)
		s.TerminateConnections(0)
		c.join(5, "realtime:private", `{"private":true}`, user)
		require.Contains(t, c.next().Payload, "UnableToConnectToProject: Realtime was unable to connect to the project database")
		c.send(1, 6, "realtime:a", "access_token", `{"access_token":"`+user+` "}`)
		require.Contains(t, c.next().Payload, "Too many database timeouts")
		require.Contains(t, c.next().Payload, phoenix.MessageSubscribed)
		time.Sleep(6 * time.Second)
		insert(t, s, 3)
		c.gets(3)
	})
}

// A terminated connection refuses one private join and one subscription as if
// they were not permitted, and nothing else.
func TestTerminateConnections(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		user := s.Sign(mockserver.Claims{"role": "authenticated", "exp": time.Now().Add(time.Hour).Unix()})
		c.subscribed(1, "realtime:a", ordersBinding, "")
		require.NoError(t, s.Inject(mockserver.Fault{Name: "terminate-connections"}))

		c.join(2, "realtime:private", `{"private":true}`, user)
		require.Contains(t, c.next().Payload, `"reason":"Unauthorized: You do not have permissions to read from this Channel topic: private"`)
		c.join(3, "realtime:private", `{"private":true}`, user)
		require.Contains(t, c.next().Payload, `"status":"ok"`)

		c.join(4, "realtime:b", `{"postgres_changes":`+ordersBinding+`}`, "")
		require.Contains(t, c.next().Payload, `"status":"ok"`)
		require.Contains(t, c.next().Payload, `Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: `+
			`[event: *, schema: public, table: orders, filters: [], select: nil]. Exception: FATAL 57P01 (admin_shutdown) terminating connection due to administrator command`)
		c.silent(20 * time.Second) // The server does not try again.
		c.subscribed(5, "realtime:c", ordersBinding, "")
		insert(t, s, 1)
		c.change() // realtime:a
		c.change() // realtime:c
	})
}

// A pool has noticed some time after a restart that its connections are gone.
func TestTerminatedConnections_Noticed(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		user := s.Sign(mockserver.Claims{"role": "authenticated", "exp": time.Now().Add(time.Hour).Unix()})
		s.RestartDatabase(time.Second)
		time.Sleep(3 * time.Second)
		c.join(1, "realtime:private", `{"private":true}`, user)
		require.Contains(t, c.next().Payload, `"status":"ok"`)
		c.subscribed(2, "realtime:a", ordersBinding, "")
	})
}

// The poller gives up after six attempts, and what is subscribed stays deaf
// until the workers start anew, and then, too.
func TestLossLongDatabaseRestart(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.RestartDatabase(40 * time.Second)
		time.Sleep(41 * time.Second)
		insert(t, s, 1)
		c.silent(10 * time.Second)
		c.subscribed(2, "realtime:b", ordersBinding, "")
		insert(t, s, 2)
		_, m := c.change()
		require.Equal(t, "realtime:b", m.Topic)
		c.silent(2 * time.Second)
	})
}

func TestLossStopWorkers(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		a, b := open(t, s, phoenix.V2), open(t, s, phoenix.V2)
		a.subscribed(1, "realtime:a", ordersBinding, "")
		b.subscribed(1, "realtime:b", ordersBinding, "")
		s.StopWorkers()
		s.StopWorkers()
		insert(t, s, 1)
		a.silent(10 * time.Second)
		b.silent(0)
		// Another token makes the workers start, and delete all subscriptions but
		// that of the channel it came on.
		user := s.Sign(mockserver.Claims{"role": "authenticated", "exp": time.Now().Add(time.Hour).Unix()})
		a.send(1, 2, "realtime:a", "access_token", `{"access_token":"`+user+`"}`)
		require.Contains(t, a.next().Payload, phoenix.MessageSubscribed)
		insert(t, s, 2)
		a.gets(2)
		b.silent(10 * time.Second)
		b.rejoined(2, "realtime:b")
		insert(t, s, 3)
		a.gets(3)
		b.gets(3)
	})
}

func TestLossRestartWorkers(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.RestartWorkers()
		insert(t, s, 1)
		c.silent(30 * time.Second)
		c.rejoined(2, "realtime:a")
		insert(t, s, 2)
		c.gets(2)
	})
}

func TestLossExceedRate(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.ExceedRate(time.Second) // which is less than the server can
		insert(t, s, 1)
		time.Sleep(4 * time.Second)
		insert(t, s, 2)
		time.Sleep(1500 * time.Millisecond)
		insert(t, s, 3)
		c.gets(3)
	})
}

// The rate counts each subscriber of each change, as a mean that is looked at
// every 5 s; what is discarded does not count.
func TestC54ChangesOverTheRateAreLost(t *testing.T) {
	cfg := withOrders
	cfg.Limits.EventsPerSecond = 4
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		c.subscribed(2, "realtime:b", ordersBinding, "")
		id, got := 0, 0
		count := func() int {
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			defer func() { c.frames = nil }()
			return len(c.frames)
		}
		burst := func(n int) int {
			for range n {
				id++
				insert(t, s, id)
			}
			time.Sleep(4900 * time.Millisecond)
			return count()
		}
		// The first tick, at the first subscription, has counted nothing.
		require.Equal(t, 2*9, burst(9)) // 18 in 10 s are less than 4 a second
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, 2*21, burst(21)) // 60 in 15 s are not, but the tick comes only now
		time.Sleep(100 * time.Millisecond)
		require.Zero(t, burst(3))
		time.Sleep(100 * time.Millisecond) // 60 in 20 s
		got = burst(3)
		require.Equal(t, 2*3, got)
	})
}

func TestLossLimitBacklog(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.LimitBacklog(1000)
		require.NoError(t, s.Tx(func(tx *mockserver.Tx) error {
			for id := range 100 { // which come at once
				_ = tx.Insert("orders", mockserver.Row{"id": id})
			}
			return nil
		}))
		require.Equal(t, websocket.StatusCode(-1), c.closed())
		s.LimitBacklog(0)
		c = open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		insert(t, s, 1000)
		c.gets(1000)
	})
}

func TestLossOfTokens(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.ExpireTokens()
		require.Contains(t, c.next().Payload, `"message":"Token has expired 0 seconds ago"`)
		require.Equal(t, phoenix.EventClose, c.next().Event)
		c.subscribed(2, "realtime:a", ordersBinding, "")
		s.RefuseTokens("The token provided is not a valid JWT", 1)
		user := s.Sign(mockserver.Claims{"role": "authenticated", "exp": time.Now().Add(time.Hour).Unix()})
		c.send(2, 3, "realtime:a", "access_token", `{"access_token":"`+user+`"}`)
		require.Contains(t, c.next().Payload, "not a valid JWT")
		require.Equal(t, phoenix.EventClose, c.next().Event)
		c.subscribed(4, "realtime:a", ordersBinding, "")
		c.send(4, 5, "realtime:a", "access_token", `{"access_token":"`+user+`"}`)
		require.Contains(t, c.next().Payload, phoenix.MessageSubscribed)
	})
}

func TestLossTruncateChanges(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.TruncateChanges(1)
		insert(t, s, 1)
		got, _ := c.change()
		require.Equal(t, []string{"Error 413: Payload Too Large"}, got.Data.Errors)
		require.JSONEq(t, `{"id":1}`, string(got.Data.Record), "NULLs are gone")
		insert(t, s, 2)
		got, _ = c.change()
		require.Empty(t, got.Data.Errors)
		require.Contains(t, string(got.Data.Record), "null")
	})
}

func TestChangesTwiceLateAndInAnotherOrder(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.DuplicateChanges(1)
		insert(t, s, 1)
		insert(t, s, 2)
		c.gets(1, 1, 2)

		s.DelayChanges(3 * time.Second)
		before := time.Now()
		insert(t, s, 3)
		insert(t, s, 4)
		got, _ := c.change()
		require.Contains(t, string(got.Data.Record), `"id":3`)
		require.GreaterOrEqual(t, time.Since(before), 3*time.Second)
		c.gets(4)
		insert(t, s, 5)
		time.Sleep(time.Second)
		s.DelayChanges(0)
		insert(t, s, 6) // does not overtake
		c.gets(5, 6)

		s.ReorderChanges(2)
		insert(t, s, 7)
		time.Sleep(700 * time.Millisecond)
		insert(t, s, 8)
		insert(t, s, 9)
		c.gets(8, 7, 9)
		s.ReorderChanges(2)
		insert(t, s, 10)
		c.gets(10) // the other one does not come in time
		s.ReorderChanges(-1)
		insert(t, s, 11)
		insert(t, s, 12)
		c.gets(12, 11)
		s.ReorderChanges(0)
		insert(t, s, 13)
		insert(t, s, 14)
		c.gets(13, 14)
	})
}

// What is late misses the channel that it was for, even if its topic is joined
// again meanwhile.
func TestLateChangesMissEndedChannels(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.DelayChanges(2 * time.Second)
		insert(t, s, 1)
		time.Sleep(time.Second)
		c.rejoined(2, "realtime:a")
		insert(t, s, 2)
		c.silent(time.Second)
		c.gets(2)
	})
}

// A socket that was held up gets all that was on its way before its channel's
// end, late or not, and then that.
func TestLateChangesOfASocketThatIsHeldUp(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		s.BlockSockets(20 * time.Second)
		s.CloseChannels("Too many messages per second")
		insert(t, s, 1)
		time.Sleep(2 * time.Second)
		s.DelayChanges(2 * time.Second)
		insert(t, s, 2) // late
		time.Sleep(time.Second)
		s.DelayChanges(0)
		time.Sleep(5 * time.Second)
		insert(t, s, 3)
		time.Sleep(20 * time.Second)
		for _, id := range []string{`"id":1`, `"id":2`, `"id":3`} {
			got, _ := c.change()
			require.Contains(t, string(got.Data.Record), id)
		}
		require.Contains(t, c.next().Payload, "Too many messages per second")
		require.Equal(t, phoenix.EventClose, c.next().Event)
		c.silent(time.Second)
	})
}
