package channel_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// After a pause the reply to a join and the sign that live messages are delivered
// are read at once, however far apart the server sent them.
func TestReplay_IsNotCompleteByWhenItWasRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &link{t: t}
		ch, err := channel.New(l, "room", channel.Private(), channel.ReplayBroadcasts(time.UnixMilli(1234)))
		require.NoError(t, err)
		listener, err := ch.Listen()
		require.NoError(t, err)
		var gaps []channel.Broadcast
		go func() {
			for b := range listener.Broadcasts(t.Context()) {
				if b.Gap != nil {
					gaps = append(gaps, b)
				}
			}
		}()
		synctest.Wait()
		join := l.turn("t")
		whole := time.Now()
		pause(3 * time.Second) // nobody reads: the server may have sent the one long before the other
		l.handler.Receive(t.Context(), answer(join, `{"status":"ok","response":{"postgres_changes":[]}}`), whole)
		l.handler.Receive(t.Context(), phoenix.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: phoenix.EventSystem,
			Payload: []byte(`{"extension":"system","status":"ok","message":"Replication connection established","channel":"room"}`)}, whole)
		synctest.Wait()
		require.Len(t, gaps, 1)
		require.Equal(t, channel.ReplayIncomplete, gaps[0].Replay)
		leave(t, ch)
	})
}
