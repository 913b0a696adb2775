package channel_test

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// A panic before the replay of an earlier loss is over does not shorten what is
// asked for.
func TestReplay_APanicForgetsNoLoss(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &link{t: t}
		ch, err := channel.New(l, "room", channel.Private(), channel.ReplayBroadcasts(time.Time{}))
		require.NoError(t, err)
		listener, err := ch.Listen()
		require.NoError(t, err)
		go func() {
			for range listener.Broadcasts(t.Context()) {
			}
		}()
		synctest.Wait()
		const accepted = `{"status":"ok","response":{"postgres_changes":[]}}`
		since := func(join phoenix.Message) time.Time {
			var p struct {
				Config struct {
					Broadcast struct{ Replay struct{ Since int64 } }
				}
			}
			require.NoError(t, json.Unmarshal(join.Payload, &p))
			return time.UnixMilli(p.Config.Broadcast.Replay.Since)
		}
		join := l.turn("t")
		l.reply(join, accepted)
		l.system(join, "system", "ok", "Replication connection established")
		lost := time.Now()
		l.handler.Down(lost, errors.New("lost"))
		pause(time.Hour)
		l.handler.Up()
		join = l.turn("t")
		first := since(join)
		require.False(t, first.After(lost))
		l.reply(join, accepted)
		l.panics = "Observe"
		l.receive(phoenix.Message{Topic: "realtime:room", Event: phoenix.EventBroadcast, Payload: []byte(`[]`)})
		require.Equal(t, channel.Degraded, ch.Status().State)
		pause(time.Minute)
		join = l.turn("t")
		require.Equal(t, first, since(join))
		l.reply(join, accepted)
		l.system(join, "system", "ok", "Replication connection established")
		synctest.Wait()
		again := time.Now()
		l.handler.Down(again, errors.New("lost"))
		l.handler.Up()
		require.True(t, since(l.turn("t")).After(first), "that loss is made good")
		go func() { _ = ch.Leave(t.Context()) }()
		pause(time.Minute)
	})
}
