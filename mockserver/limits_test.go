package mockserver_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// refusedUpgrade wants an upgrade to be refused with 429 and that text.
func refusedUpgrade(t *testing.T, s *mockserver.Server, text string) {
	t.Helper()
	before := time.Now()
	_, refused := dialSocket(t, s, "?apikey="+s.AnonKey(), nil)
	require.NotNil(t, refused)
	require.Equal(t, http.StatusTooManyRequests, refused.StatusCode)
	require.JSONEq(t, `{"error":"`+text+`"}`, body(t, refused))
	require.Equal(t, 2*time.Second, time.Since(before))
}

// C1: sockets count as users when they have joined something, and until they end.
func TestC1ConcurrentUsers(t *testing.T) {
	bubble(t, mockserver.Config{Limits: mockserver.Limits{ConcurrentUsers: 2}}, func(t *testing.T, s *mockserver.Server) {
		idle := open(t, s, phoenix.V2)
		a, b := joined(t, s, phoenix.V2, "realtime:a", `{}`, ""), joined(t, s, phoenix.V2, "realtime:a", `{}`, "")
		refusedUpgrade(t, s, "Too many connected users")
		idle.join(1, "realtime:a", `{}`, "")
		require.JSONEq(t, `{"status":"error","response":{"reason":"ConnectionRateLimitReached: Too many connected users"}}`, idle.next().Payload)
		a.join(2, "realtime:b", `{}`, "") // is a user already
		require.Contains(t, a.next().Payload, `"ok"`)
		b.send(1, 2, "realtime:a", "phx_leave", `{}`)
		b.next()
		refusedUpgrade(t, s, "Too many connected users")
		b.kill()
		time.Sleep(time.Second)
		joined(t, s, phoenix.V2, "realtime:a", `{}`, "")
	})
}

// C1, C21: joins count whether they are refused or not; at the limit the socket
// is closed, too. A minute later all is well.
func TestC1C21JoinsPerSecond(t *testing.T) {
	bubble(t, mockserver.Config{Limits: mockserver.Limits{JoinsPerSecond: 1}}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		for n := range uint64(5) {
			c.join(n+1, fmt.Sprintf("realtime:%d", n), `{}`, "")
			require.Contains(t, c.next().Payload, `"ok"`, "a burst passes")
		}
		time.Sleep(5 * time.Second)
		refusedUpgrade(t, s, "Too many joins per second")
		c.join(9, "realtime:x", `{}`, "")
		require.JSONEq(t, `{"status":"error","response":{"reason":"ClientJoinRateLimitReached: Too many joins per second"}}`, c.next().Payload)
		require.Equal(t, websocket.StatusGoingAway, c.closed())
		time.Sleep(time.Minute)
		joined(t, s, phoenix.V2, "realtime:a", `{}`, "")
	})
}

// C21
func TestC21ChannelsPerClient(t *testing.T) {
	bubble(t, mockserver.Config{Limits: mockserver.RealisticLimits()}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		for n := range uint64(100) {
			c.join(n+1, fmt.Sprintf("realtime:%d", n), `{}`, "")
			require.Contains(t, c.next().Payload, `"ok"`)
			time.Sleep(20 * time.Millisecond)
		}
		c.join(101, "realtime:100", `{}`, "")
		require.JSONEq(t, `{"status":"error","response":{"reason":"ChannelRateLimitReached: Too many channels"}}`, c.next().Payload)
		c.send(1, 102, "realtime:0", "phx_leave", `{}`)
		require.Contains(t, c.next().Payload, `"ok"`)
		require.Equal(t, "phx_close", c.next().Event)
		c.join(103, "realtime:100", `{}`, "")
		require.Contains(t, c.next().Payload, `"ok"`)
	})
}

// C54, C56, C60: a flood of broadcasts as it was recorded (scenario 19): 3000 in
// three seconds go through, the next one after the sample closes the channel
// behind it, and a rejoin works at once. HTTP is refused, and what comes from
// the database is lost, until the mean is below the limit.
func TestC54C56C60EventsPerSecond(t *testing.T) {
	bubble(t, mockserver.Config{Limits: mockserver.RealisticLimits()}, func(t *testing.T, s *mockserver.Server) {
		c := joined(t, s, phoenix.V2, "realtime:bf", `{"broadcast":{"self":true}}`, "")
		for n := range uint64(3000) {
			c.send(1, n+2, "realtime:bf", "broadcast", `{"event":"e"}`)
			c.next()
			time.Sleep(time.Millisecond)
		}
		time.Sleep(6 * time.Second)
		c.send(1, 3002, "realtime:bf", "broadcast", `{"event":"e"}`)
		c.expect(`  realtime:bf broadcast {"event":"e"}`,
			`"1"  realtime:bf system {"channel":"bf","extension":"system","message":"Too many messages per second","status":"error"}`,
			`"1" "1" realtime:bf phx_close {}`)
		c.join(3007, "realtime:bf", `{}`, "")
		require.Contains(t, c.next().Payload, `"ok"`)

		resp := post(t, s, "/broadcast/bf/events/e", "application/json", `{}`, s.AnonKey())
		require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
		require.Equal(t, "1200", resp.Header.Get("X-Rate-Rolling"))
		require.Equal(t, "100", resp.Header.Get("X-Rate-Limit"))
		require.Equal(t, "-1100", resp.Header.Get("X-Rate-Limit-Remaining"))
		require.JSONEq(t, `{"message":"Too many requests"}`, body(t, resp))
		require.NoError(t, s.RealtimeSend(struct{}{}, "e", "bf", false))
		for range 2 {
			c.silent(30 * time.Second)
			c.send(0, 1, "phoenix", "heartbeat", `{}`)
			c.next()
		}
		resp = post(t, s, "/broadcast", "application/json", `{"messages":[`+repeated(`{"topic":"bf","event":"e","payload":{}}`, 101)+`]}`, s.AnonKey())
		require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
		require.JSONEq(t, `{"message":"Too many messages to broadcast, please reduce the batch size"}`, body(t, resp))
		require.NoError(t, s.RealtimeSend(struct{}{}, "e", "bf", false))
		require.Equal(t, phoenix.UserBroadcast, c.nextMessage().Kind)
	})
}

func repeated(item string, n int) string {
	list := item
	for range n - 1 {
		list += "," + item
	}
	return list
}

func TestLimitsAreChecked(t *testing.T) {
	_, err := mockserver.New(mockserver.Config{InMemory: true, Limits: mockserver.Limits{PayloadKB: -1}})
	require.ErrorContains(t, err, "Limits.PayloadKB")
}
