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

// N8: what is to be persisted says so in the metadata, and its id comes with the
// acknowledgement. N9: by a replay it comes again, and is told once.
func TestSendPersisted(t *testing.T) {
	for ttl, meta := range map[time.Duration]string{0: `{"persist":true}`, time.Hour: `{"persist":{"ttl":3600}}`, 72 * time.Hour: `{"persist":{"ttl":259200}}`} {
		synctest.Test(t, func(t *testing.T) {
			l, ch, _ := joinedRoom(t, channel.Private(), channel.AckBroadcasts(0), channel.ReplayBroadcasts(time.Now()))
			l.sent = nil
			type outcome struct {
				id  string
				err error
			}
			done := make(chan outcome, 1)
			send := func() {
				go func() {
					id, err := ch.SendPersisted(t.Context(), "e", 1, ttl)
					done <- outcome{id, err}
				}()
				synctest.Wait()
			}
			send()
			require.Equal(t, meta, string(l.sent[0].Meta))
			require.Equal(t, phoenix.UserPush, l.sent[0].Kind)
			require.True(t, l.sent[0].JSON)
			l.reply(l.sent[0], `{"status":"ok","response":{"id":"an id"}}`)
			require.Equal(t, outcome{"an id", nil}, <-done)
			send()
			l.reply(l.sent[1], `{"status":"ok","response":{}}`)
			require.Equal(t, outcome{"", channel.ErrNotPersisted}, <-done)
			send()
			l.reply(l.sent[2], `{"status":"error","response":{"error":"unauthorized"}}`)
			got := <-done
			var refused *channel.PushError
			require.ErrorAs(t, got.err, &refused)
			require.Equal(t, "unauthorized", refused.Reason)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		_, private, _ := joinedRoom(t, channel.Private(), channel.AckBroadcasts(0))
		for _, ttl := range []time.Duration{-1, time.Millisecond, 1500 * time.Millisecond, 72*time.Hour + time.Second} {
			_, err := private.SendPersisted(t.Context(), "e", 1, ttl)
			require.ErrorContains(t, err, "persisted for")
		}
		_, unacknowledged, _ := joinedRoom(t, channel.Private())
		_, public, _ := joinedRoom(t, channel.AckBroadcasts(0))
		for _, ch := range []*channel.Channel{unacknowledged, public} {
			_, err := ch.SendPersisted(t.Context(), "e", 1, 0)
			require.ErrorContains(t, err, "needs Private, AckBroadcasts")
		}
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
