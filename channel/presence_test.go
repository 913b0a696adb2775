package channel_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
)

const okPush = `{"status":"ok","response":{}}`

// A newer server sends the state again behind a track: what has changed is told,
// and no gap.
func TestPresence_StateComesAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l, ch, p := joinedRoom(t)
		join := phoenix.Message{JoinRef: phoenix.NewRef(1), Topic: "realtime:room", Event: phoenix.EventPresenceState}
		got := make(chan channel.PresenceChange, 10)
		go func() {
			for c := range p.Changes(t.Context()) {
				got <- c
			}
		}()
		join.Payload = []byte(`{"k":{"metas":[{"phx_ref":"a"}]}}`)
		l.receive(join)
		first := <-got
		require.NotNil(t, first.Gap)
		require.Len(t, first.Joined, 1, "the gap's end and what changed are one value")
		join.Payload = []byte(`{"k":{"metas":[{"phx_ref":"a"},{"phx_ref":"b","x":1}]}}`)
		l.receive(join)
		second := <-got
		require.Equal(t, map[string][]channel.PresenceMeta{"k": {{Ref: "b", Payload: json.RawMessage(`{"x":1}`)}}}, second.Joined)
		require.Nil(t, second.Gap)

		// What is handed out is the caller's.
		second.Joined["k"][0].Payload[0] = 'X'
		state, _ := p.State()
		state["k"][0].Payload[0] = 'X'
		state, _ = p.State()
		require.Equal(t, `{}`, string(state["k"][0].Payload))
		require.Equal(t, `{"x":1}`, string(state["k"][1].Payload))
		leave(t, ch)
	})
}

// A Track or Untrack that waits for its answer when the join is lost waits for
// that of the next join.
func TestPresence_TrackAcrossARejoin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l, ch, p := joinedRoom(t)
		tracked := make(chan error, 1)
		go func() { tracked <- p.Track(t.Context(), map[string]int{"a": 1}) }()
		synctest.Wait()
		require.Len(t, l.sent, 1)
		rejoin := func() {
			l.handler.Down(time.Now(), nil)
			l.handler.Up()
			l.reply(l.turn("t"), `{"status":"ok","response":{"postgres_changes":[]}}`)
			synctest.Wait()
		}
		rejoin()
		require.Empty(t, tracked)
		require.Len(t, l.sent, 2)
		l.reply(l.sent[1], okPush)
		require.NoError(t, <-tracked)

		go func() { tracked <- p.Untrack(t.Context()) }()
		synctest.Wait()
		require.Len(t, l.sent, 3)
		l.handler.Down(time.Now(), nil)
		synctest.Wait()
		require.Empty(t, tracked)
		l.handler.Up()
		l.reply(l.turn("t"), `{"status":"ok","response":{"postgres_changes":[]}}`)
		require.NoError(t, <-tracked, "the server knows of none in a new join")
		require.Len(t, l.sent, 3)
		leave(t, ch)
	})
}

func leave(t *testing.T, ch *channel.Channel) {
	t.Helper()
	go func() { _ = ch.Leave(t.Context()) }()
	pause(time.Minute)
}
