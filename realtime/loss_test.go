package realtime_test

import (
	"encoding/json"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// C50: every way of losing changes that a client can see is a gap, exactly
// where it happened: while one row is written after the other, no number is
// missing from the stream without a gap between its neighbours, and each
// trouble that loses something is over when its gap is.
func TestC50EveryVisibleLossIsAGap(t *testing.T) {
	during := func(d time.Duration, on, off func(*mockserver.Server)) func(*mockserver.Server) {
		return func(s *mockserver.Server) {
			on(s)
			time.Sleep(d)
			off(s)
		}
	}
	kill := (*mockserver.Server).KillSockets
	for name, c := range map[string]struct {
		trouble func(*mockserver.Server)
		reason  cdc.GapReason
	}{
		"killed without a close frame": {kill, cdc.Disconnected},
		"closed 1000":                  {func(s *mockserver.Server) { s.CloseSockets(1000) }, cdc.Disconnected},
		"drained":                      {(*mockserver.Server).Drain, cdc.Disconnected},
		"a zombie":                     {during(29*time.Second, func(s *mockserver.Server) { s.MuteHeartbeats(true) }, func(s *mockserver.Server) { s.MuteHeartbeats(false) }), cdc.Disconnected},
		"refused upgrades":             {func(s *mockserver.Server) { s.RefuseUpgrades(503, "", 3); kill(s) }, cdc.Disconnected},
		"too many users":               {func(s *mockserver.Server) { s.RefuseUpgrades(429, "Too many connected users", 3); kill(s) }, cdc.Disconnected},
		"refused joins":                {func(s *mockserver.Server) { s.RefuseJoins("UnableToConnectToProject: x", 3); kill(s) }, cdc.Disconnected},
		"too many joins": {func(s *mockserver.Server) {
			s.RefuseJoins("ClientJoinRateLimitReached: Too many joins per second", 1)
			kill(s)
		}, cdc.Disconnected},
		"a join without an answer": {func(s *mockserver.Server) { s.IgnoreJoins(1); kill(s) }, cdc.Disconnected},
		"slow joins":               {during(time.Minute, func(s *mockserver.Server) { s.DelayJoins(20 * time.Second); kill(s) }, func(s *mockserver.Server) { s.DelayJoins(0) }), cdc.Disconnected},
		"subscribed late":          {during(time.Minute, func(s *mockserver.Server) { s.DelaySubscribed(9 * time.Second); kill(s) }, func(s *mockserver.Server) { s.DelaySubscribed(0) }), cdc.Disconnected},
		"channels crash":           {(*mockserver.Server).CrashChannels, cdc.Crashed},
		"channels are closed":      {func(s *mockserver.Server) { s.CloseChannels("Too many messages per second") }, cdc.Closed},
		"the publication changes":  {(*mockserver.Server).Resubscribe, cdc.Resubscribed},
		"the subscription fails": {func(s *mockserver.Server) {
			s.FailSubscriptions(`{:error, "Too many database timeouts"}`, 3)
			s.Resubscribe()
		}, cdc.SubscriptionFailed},
		"an unreadable frame": {func(s *mockserver.Server) { s.SendRaw(false, []byte("{")) }, cdc.Undecodable},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLossTest(t, nil)
				time.Sleep(10 * time.Second)
				c.trouble(l.srv)
				time.Sleep(5 * time.Minute)
				l.finish()
				require.Equal(t, []cdc.GapReason{cdc.Started, c.reason}, l.reasons)
			})
		})
	}
	t.Run("the token expires", func(t *testing.T) { // L11
		bubble(t, func(t *testing.T) {
			source := &tokens{lifetime: time.Minute}
			l := newLossTest(t, source)
			time.Sleep(10 * time.Second)
			source.setFail(errSource)
			time.Sleep(5 * time.Minute)
			source.setFail(nil)
			time.Sleep(5 * time.Minute)
			l.finish()
			require.Equal(t, []cdc.GapReason{cdc.Started, cdc.Closed}, l.reasons)
			require.Greater(t, l.missing, int64(4*60*5*8/10), "four of the five minutes, five rows a second")
		})
	})
	t.Run("a slow consumer", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLossTest(t, nil, channel.WithQueue(channel.Queue{Changes: 20}))
			time.Sleep(10 * time.Second)
			l.slow.Store(true)
			time.Sleep(time.Minute)
			l.slow.Store(false)
			time.Sleep(time.Minute)
			l.finish()
			require.Contains(t, l.reasons, cdc.Overflow)
		})
	})
}

// lossTest writes rows that are numbered, and holds a stream to it.
type lossTest struct {
	t       *testing.T
	srv     *mockserver.Server
	slow    atomic.Bool
	stop    chan struct{}
	stopped chan struct{}
	read    chan struct{}
	written int64

	seen, missing int64
	reasons       []cdc.GapReason
}

func newLossTest(t *testing.T, source *tokens, opts ...channel.Option) *lossTest {
	l := &lossTest{t: t, stop: make(chan struct{}), stopped: make(chan struct{}), read: make(chan struct{})}
	l.srv = mockserver.Start(t, mockserver.Config{InMemory: true, JWTSecret: "secret", Tables: []mockserver.Table{{
		Name: "rows", PrimaryKey: []string{"id"}, Columns: []mockserver.Column{{Name: "id", Type: "int8"}},
	}}})
	o := realtime.Options{URL: l.srv.URL(), Key: l.srv.AnonKey(), HTTPClient: l.srv.HTTPClient()}
	if source != nil {
		o.Token = source.next
	}
	client := open(t, o)
	ch, err := client.Channel("rows", opts...)
	require.NoError(t, err)
	sub, err := ch.Subscribe(channel.Binding{Table: "rows"})
	require.NoError(t, err)
	require.NoError(t, ch.WaitLive(t.Context()))
	go l.consume(sub)
	go l.write()
	return l
}

func (l *lossTest) write() {
	defer close(l.stopped)
	for {
		select {
		case <-l.stop:
			return
		case <-time.After(200 * time.Millisecond):
			l.written++
			if err := l.srv.Insert("rows", mockserver.Row{"id": l.written}); err != nil {
				l.t.Errorf("insert: %v", err)
			}
		}
	}
}

const finalRow = 1_000_000

func (l *lossTest) consume(sub *channel.Subscription) {
	defer close(l.read)
	inGap, open := false, false
	for change, err := range sub.Changes(l.t.Context()) {
		if err != nil {
			l.t.Errorf("the stream ended: %v", err)
			return
		}
		if l.slow.Load() {
			time.Sleep(time.Second)
		}
		if g := change.Gap; g != nil {
			inGap = true
			if !open {
				l.reasons = append(l.reasons, g.Reason)
			}
			open = g.Open()
			continue
		}
		var row struct {
			ID int64 `json:"id"`
		}
		if err := json.Unmarshal(change.Record, &row); err != nil {
			l.t.Errorf("row: %v", err)
		}
		if row.ID == finalRow {
			if open {
				l.t.Errorf("the gap never closed")
			}
			return
		}
		if row.ID <= l.seen {
			l.t.Errorf("row %d after row %d", row.ID, l.seen)
		}
		if row.ID != l.seen+1 && !inGap {
			l.t.Errorf("rows %d to %d are missing and no gap says so", l.seen+1, row.ID-1)
		}
		l.missing += row.ID - l.seen - 1
		l.seen, inGap = row.ID, false
	}
}

// finish stops the writer and waits for the last row, which must come.
func (l *lossTest) finish() {
	l.t.Helper()
	close(l.stop)
	<-l.stopped
	require.NoError(l.t, l.srv.Insert("rows", mockserver.Row{"id": int64(finalRow)}))
	<-l.read
	synctest.Wait()
	require.Equal(l.t, l.written, l.seen, "whole again")
}
