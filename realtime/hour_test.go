package realtime_test

import (
	"encoding/json"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
	"github.com/gapless-go/gapless/realtime/signin"
)

const (
	alice    = "11111111-1111-4111-8111-111111111111"
	bob      = "22222222-2222-4222-8222-222222222222"
	password = "correct horse battery staple"
)

// An hour of a private channel over a table with row level security, with a
// token that expires every minute, and a socket that is killed at random:
// every change arrives once, in order, or inside a declared gap.
func TestAnHourOfTrouble(t *testing.T) {
	for _, vsn := range []string{"2.0.0", "1.0.0"} {
		t.Run(vsn, func(t *testing.T) {
			bubble(t, func(t *testing.T) { anHour(t, vsn) })
		})
	}
}

func anHour(t *testing.T, vsn string) {
	srv := mockserver.Start(t, mockserver.Config{
		InMemory: true, Seed: 1,
		TokenLifetime: time.Minute,
		Users:         []mockserver.User{{ID: alice, Email: "alice@example.com", Password: password}},
		Tables: []mockserver.Table{{
			Name: "notes", RLS: true, PrimaryKey: []string{"id"},
			Columns: []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "owner", Type: "uuid"}, {Name: "seq", Type: "int8"}},
			Select:  func(claims mockserver.Claims, row mockserver.Row) bool { return row["owner"] == claims["sub"] },
		}},
	})
	source, err := signin.New(signin.Options{URL: srv.URL(), Key: srv.AnonKey(), Email: "alice@example.com", Password: password, HTTPClient: srv.HTTPClient()})
	require.NoError(t, err)
	var connected, hookGaps atomic.Int64
	client := open(t, realtime.Options{URL: srv.URL(), Key: srv.AnonKey(), HTTPClient: srv.HTTPClient(), Token: source.Token, ProtocolVersion: vsn,
		Hooks: realtime.Hooks{
			Connected: func() { connected.Add(1) },
			Gap:       func(string, cdc.Gap) { hookGaps.Add(1) },
		}})
	ch, err := client.Channel("room:alice", channel.Private())
	require.NoError(t, err)
	sub, err := ch.Subscribe(channel.Binding{Table: "notes"})
	require.NoError(t, err)
	require.NoError(t, ch.WaitLive(t.Context()))

	rng := rand.New(rand.NewPCG(7, 7))
	const last = 3_000_000
	var written int64
	ended, done := make(chan struct{}), make(chan struct{})
	go func() { // the writer, and the trouble
		defer close(ended)
		kill := time.Now().Add(time.Minute)
		for end := time.Now().Add(time.Hour); time.Now().Before(end); {
			written++
			_ = srv.Tx(func(tx *mockserver.Tx) error {
				require.NoError(t, tx.Insert("notes", mockserver.Row{"id": written, "owner": alice, "seq": written}))
				require.NoError(t, tx.Insert("notes", mockserver.Row{"id": -written, "owner": bob, "seq": written}))
				return nil
			})
			if rng.IntN(3) == 0 {
				written++
				_, err := srv.Update("notes", mockserver.Row{"seq": written}, mockserver.Row{"id": int64(1)})
				require.NoError(t, err)
			}
			time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
			if time.Now().After(kill) {
				srv.KillSockets()
				kill = time.Now().Add(time.Duration(rng.ExpFloat64() * float64(90*time.Second)))
			}
		}
		// The last kill may not have been noticed: a single last row could be
		// lost in its gap.
		for n := int64(last); ; n++ {
			require.NoError(t, srv.Insert("notes", mockserver.Row{"id": n, "owner": alice, "seq": n}))
			select {
			case <-done:
				return
			case <-time.After(time.Second):
			}
		}
	}()

	var seen, arrived, missing int64
	var gaps, opened int
	inGap := true // until the stream has started
	for change, err := range sub.Changes(t.Context()) {
		require.NoError(t, err)
		if g := change.Gap; g != nil {
			require.Contains(t, []cdc.GapReason{cdc.Started, cdc.Disconnected}, g.Reason, "nothing else went wrong: %v", g.Err)
			inGap = true
			if g.Open() {
				opened++
			} else {
				gaps++
			}
			continue
		}
		var row struct {
			Owner string `json:"owner"`
			Seq   int64  `json:"seq"`
		}
		require.NoError(t, json.Unmarshal(change.Record, &row))
		require.Equal(t, alice, row.Owner, "row level security")
		if row.Seq >= last {
			break
		}
		require.Greater(t, row.Seq, seen, "in order, and once")
		if row.Seq != seen+1 {
			require.True(t, inGap, "changes %d to %d are missing and no gap says so", seen+1, row.Seq-1)
			missing += row.Seq - seen - 1
		}
		arrived++
		seen, inGap = row.Seq, false
	}
	close(done)
	<-ended
	if seen != written {
		require.True(t, inGap)
		missing += written - seen
	}
	synctest.Wait()
	t.Logf("%d written, %d arrived, %d missing inside %d gaps; %d connections", written, arrived, missing, gaps, connected.Load())
	require.Equal(t, written, arrived+missing)
	require.Greater(t, connected.Load(), int64(20), "the socket was killed often")
	require.Greater(t, missing, int64(0), "and something was lost")
	require.Greater(t, arrived, written*8/10)
	require.InDelta(t, gaps, opened+1, 3)
	require.GreaterOrEqual(t, hookGaps.Load(), int64(gaps-1))
}
