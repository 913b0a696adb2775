package channel_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
)

const (
	noPermission = `{"status":"error","response":{"reason":"Unauthorized: You do not have permissions to read from this Channel topic: room"}}`
	noTable      = "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given connect parameters: [event: *, schema: public, table: orders, filters: [], select: nil]"
	terminated   = "Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: [event: *, schema: public, table: orders, filters: [], select: nil]. Exception: FATAL 57P01 (admin_shutdown) terminating connection due to administrator command"
)

// What has worked is tried again, with the reason in Status and a notice, and
// is refused for good when that has persisted for minutes.
func TestRefusal_OfWhatWorked(t *testing.T) {
	for name, c := range map[string]struct {
		refuse func(s *subject)
		err    any
	}{
		"join": {func(s *subject) { s.reply(s.turn("t"), noPermission) }, new(*channel.JoinError)},
		"subscription": {func(s *subject) {
			j := s.turn("t")
			s.reply(j, okReply)
			s.system(j, "postgres_changes", "error", noTable)
		}, new(*channel.SubscribeError)},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := start(t, channel.Private())
				s.live("t")
				s.requireGap(cdc.Started, false)
				s.handler.Down(time.Now(), errors.New("lost"))
				s.handler.Up()
				s.requireGap(cdc.Disconnected, true)
				began, refusals := time.Now(), 0
				for s.ch.Status().State != channel.Closed {
					s.notices = nil
					c.refuse(s)
					refusals++
					if status := s.ch.Status(); status.State != channel.Closed {
						require.ErrorAs(t, status.Reason, c.err)
						require.ErrorAs(t, s.notices[len(s.notices)-1].Refused, c.err)
					}
					for range 100 { // until it is to join again
						if pause(time.Second); s.ch.Status().State == channel.Joining {
							break
						}
					}
				}
				require.GreaterOrEqual(t, refusals, 5)
				require.WithinRange(t, time.Now(), began.Add(3*time.Minute), began.Add(10*time.Minute))
				require.ErrorAs(t, <-s.ended, c.err)
			})
		})
	}
}

// A success in between makes the refusals before it count for nothing.
func TestRefusal_ThenWorksAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t, channel.Private())
		s.live("t")
		s.requireGap(cdc.Started, false)
		for range 20 {
			s.handler.Down(time.Now(), errors.New("lost"))
			s.handler.Up()
			s.requireGap(cdc.Disconnected, true)
			s.reply(s.turn("t"), noPermission)
			pause(time.Minute)
			s.live("t")
			s.requireGap(cdc.Disconnected, false)
			require.NoError(t, s.ch.Status().Reason)
		}
	})
}

func TestRefusal_OfWhatNeverWorkedOrIsNotToBeTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		s.reply(s.turn("t"), noPermission)
		var refused *channel.JoinError
		require.ErrorAs(t, <-s.ended, &refused)
		require.Equal(t, "Unauthorized", refused.Code)
	})
	bubble(t, func(t *testing.T) {
		l := &link{t: t, failFast: true}
		ch, err := channel.New(l, "room")
		require.NoError(t, err)
		go func() { _ = ch.WaitLive(t.Context()) }()
		synctest.Wait()
		l.reply(l.turn("t"), `{"status":"ok","response":{"postgres_changes":[]}}`)
		l.handler.Down(time.Now(), errors.New("lost"))
		l.handler.Up()
		l.reply(l.turn("t"), noPermission)
		require.Equal(t, channel.Closed, ch.Status().State)
	})
}

// A refusal that the server repeats is reported once.
func TestRefusal_RepeatedIsReportedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		join := s.live("t")
		s.requireGap(cdc.Started, false)
		s.notices = nil
		for range 1000 {
			s.system(join, "postgres_changes", "error", `{:error, "Too many database timeouts"}`)
		}
		require.Len(t, s.notices, 2, "a gap and a refusal")
		s.system(join, "postgres_changes", "error", `{:error, "something else"}`)
		require.Len(t, s.notices, 3)
	})
}

// A terminated connection is no wrong binding, though it was the first try.
func TestRefusal_ATerminatedConnectionPasses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		for range 10 {
			join := s.turn("t")
			s.reply(join, okReply)
			s.system(join, "postgres_changes", "error", terminated)
			require.ErrorContains(t, s.ch.Status().Reason, "57P01")
			pause(70 * time.Second)
			s.requireState(channel.Joining)
		}
		s.live("t")
		s.requireGap(cdc.Started, false)
	})
}

// What the server says reaches an error as one short line.
func TestRefusal_TextIsCleaned(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		long := make([]byte, 1<<20)
		for i := range long {
			long[i] = 'x'
		}
		s.reply(s.turn("t"), `{"status":"error","response":{"reason":"TenantNotFound: a\nb\u001b[31m`+string(long)+`"}}`)
		err := <-s.ended
		require.NotContains(t, err.Error(), "\n")
		require.NotContains(t, err.Error(), "\x1b")
		require.Less(t, len(err.Error()), 5000)
	})
}

// WaitLive, Send and Track say in one line why the channel is not live.
func TestChannel_LateErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		s.handler.Waiting(errors.New("dial tcp: refused"))
		ctx, cancel := contextIn(t, time.Second)
		defer cancel()
		for _, err := range []error{s.ch.WaitLive(ctx), s.ch.Send(ctx, "e", 1)} {
			require.ErrorIs(t, err, ctx.Err())
			require.ErrorContains(t, err, "dial tcp: refused")
			require.NotContains(t, err.Error(), "\n")
		}
	})
}

// A rejoin for want of a confirmation is a loss for all three streams.
func TestLoss_OfAnUnconfirmedJoin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &link{t: t}
		ch, err := channel.New(l, "room", channel.Private(), channel.ReplayBroadcasts(time.Time{}))
		require.NoError(t, err)
		_, err = ch.Subscribe(channel.Binding{Table: "orders"})
		require.NoError(t, err)
		listener, err := ch.Listen()
		require.NoError(t, err)
		presence, err := ch.Presence()
		require.NoError(t, err)
		var gaps []cdc.Gap
		var replays []channel.Replay
		go func() {
			for b := range listener.Broadcasts(t.Context()) {
				if b.Gap != nil {
					gaps, replays = append(gaps, *b.Gap), append(replays, b.Replay)
				}
			}
		}()
		synctest.Wait()
		join := l.turn("t")
		l.reply(join, okReply)
		l.system(join, "system", "ok", "Replication connection established")
		l.receive(phoenix.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: "presence_state", Payload: []byte(`{"k":{"metas":[{"phx_ref":"a"}]}}`)})
		_, current := presence.State()
		require.True(t, current)
		whole := time.Now()
		pause(3 * time.Minute)
		require.Equal(t, channel.Joining, ch.Status().State)
		_, current = presence.State()
		require.False(t, current)
		again := l.turn("t")
		require.Contains(t, string(again.Payload), `"replay":{"since":`)
		l.reply(again, okReply)
		l.system(again, "system", "ok", "Replication connection established")
		synctest.Wait()
		require.Len(t, gaps, 3)
		require.Equal(t, whole, gaps[1].Since)
		require.True(t, gaps[1].Open())
		require.Equal(t, cdc.Gap{Since: whole, Until: time.Now(), Reason: cdc.Closed, Err: gaps[1].Err}, gaps[2])
		require.Equal(t, channel.ReplayComplete, replays[2])
		go func() { _ = ch.Leave(t.Context()) }()
		pause(time.Minute)
	})
}
