package channel_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// joinedRoom is a channel without bindings that the link has let join.
func joinedRoom(t *testing.T, opts ...channel.Option) (*link, *channel.Channel, *channel.Presence) {
	t.Helper()
	l := &link{t: t}
	ch, err := channel.New(l, "room", opts...)
	require.NoError(t, err)
	p, err := ch.Presence()
	require.NoError(t, err)
	go func() { _ = ch.WaitLive(t.Context()) }()
	synctest.Wait()
	l.reply(l.turn("token"), `{"status":"ok","response":{"postgres_changes":[]}}`)
	return l, ch, p
}

// C74: what the socket has no room for is an error of the call, and nothing is
// kept to be sent later.
func TestC74SendReportsAFullBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ch, _ := joinedRoom(t, channel.AckBroadcasts(0))
		l.send = errors.New("full")
		require.ErrorIs(t, ch.Send(t.Context(), "e", 1), l.send)
		l.send, l.sent = nil, nil
		pause(time.Minute)
		require.Empty(t, l.sent)
	})
}

func TestSendBinaryKeepsNothingOfTheCallersBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ch, _ := joinedRoom(t)
		payload := []byte{1}
		require.NoError(t, ch.SendBinary(t.Context(), "e", payload))
		payload[0] = 2
		require.Equal(t, []byte{1}, l.sent[0].Payload)
		require.Equal(t, phoenix.UserPush, l.sent[0].Kind)
	})
}

// A presence message for which there was no room is sent when there is.
func TestTrackWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, p := joinedRoom(t)
		l.send = errors.New("full")
		done := make(chan error, 1)
		go func() { done <- p.Track(t.Context(), struct{}{}) }()
		pause(500 * time.Millisecond)
		require.Empty(t, done)
		l.mu.Lock()
		l.send, l.sent = nil, nil
		l.mu.Unlock()
		pause(time.Second)
		require.Len(t, l.sent, 1)
		l.reply(l.sent[0], `{"status":"ok","response":{}}`)
		require.NoError(t, <-done)
	})
}

// Wrong options are refused when the channel is made.
func TestBroadcastOptionsAreChecked(t *testing.T) {
	for _, opt := range []channel.Option{
		channel.AckBroadcasts(-1), channel.WithReplayOverlap(-1), channel.WithPresenceLimit(-1, 0), channel.WithPresenceLimit(1, 0),
		channel.ReplayBroadcasts(time.Time{}), // of a public channel
	} {
		_, err := channel.New(&link{t: t}, "room", opt)
		require.Error(t, err)
	}
}
