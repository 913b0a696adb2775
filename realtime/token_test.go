package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/realtime"
)

// accessToken reads the token of a join or an access_token message.
func accessToken(t *testing.T, m phoenix.Message) string {
	t.Helper()
	var payload struct {
		Token string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal(m.Payload, &payload))
	return payload.Token
}

// C19, C70: a fresh token goes to every joined channel before the old one expires,
// and into every later join.
func TestC19C70TokensAreRefreshedAndPushed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		source := &tokens{lifetime: time.Hour}
		o.Token = source.next
		c := open(t, o)
		a := subscribe(t, c, "a", channel.Private())
		conn := s.accept()
		joinA := conn.joinLive()
		requireStarted(t, a)
		b := subscribe(t, c, "b", channel.Private())
		joinB := conn.joinLive()
		requireStarted(t, b)
		require.Equal(t, 1, source.count())
		began := time.Now()
		require.Equal(t, token(1, began.Add(time.Hour)), accessToken(t, joinA))
		require.Equal(t, accessToken(t, joinA), accessToken(t, joinB))

		for n := range 24 {
			pushes := map[string]phoenix.Message{}
			for range 2 {
				push := conn.expect(phoenix.EventAccessToken)
				pushes[push.Topic] = push
			}
			require.Len(t, pushes, 2)
			old := began.Add(time.Hour)
			require.Less(t, time.Now(), old, "before the old one expires")
			require.InDelta(t, 5*time.Minute, time.Until(old), float64(time.Second), "five minutes ahead")
			require.Equal(t, joinA.JoinRef, pushes[joinA.Topic].JoinRef)
			require.Equal(t, n+2, source.count())
			began = time.Now()
			time.Sleep(3 * time.Second) // the server subscribes again
			conn.subscribed(joinA)
			conn.subscribed(joinB)
		}
		a.requireNothing(time.Minute)

		conn.subscribed(joinA) // unasked this time
		require.Equal(t, cdc.Resubscribed, a.requireGap().Reason)

		conn.kill()
		a.requireGap()
		conn = s.accept()
		join := conn.joinLive()
		require.Equal(t, token(25, began.Add(time.Hour)), accessToken(t, join))
		require.Equal(t, 25, source.count(), "a valid token is not fetched again")
		require.False(t, source.overlap)
	})
}

// Shorter-lived tokens are replaced in the last fifth of their life.
func TestShortTokens(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		source := &tokens{lifetime: time.Minute}
		o.Token = source.next
		c := open(t, o)
		sub := subscribe(t, c, "room")
		conn := s.accept()
		join := conn.joinLive()
		requireStarted(t, sub)
		began := time.Now()
		for range 100 {
			conn.expect(phoenix.EventAccessToken)
			time.Sleep(2 * time.Second)
			conn.subscribed(join)
		}
		require.InDelta(t, 100*48, time.Since(began).Seconds(), 150)
		sub.requireNothing(time.Second)
	})
}

// A join never carries an expired token, whatever the source is up to.
func TestC70NeverJoinsWithAnExpiredToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		source := &tokens{lifetime: time.Minute}
		o.Token = source.next
		c := open(t, o)
		sub := subscribe(t, c, "room")
		conn := s.accept()
		conn.joinLive()
		requireStarted(t, sub)
		source.setFail(errSource)
		conn.kill()
		sub.requireGap()
		conn = s.accept()
		join := conn.joinLive() // the token has some life in it yet
		sub.requireGap()
		time.Sleep(2 * time.Minute)
		conn.system(join, "system", "error", "Token has expired 0 seconds ago")
		conn.closeChannel(join)
		sub.requireGap()
		conn.quiet(10 * time.Minute)
		require.Equal(t, channel.Joining, sub.ch.Status().State)
		require.ErrorIs(t, sub.ch.Status().Reason, errSource)
		require.Less(t, source.count(), 100, "with backoff")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := sub.ch.WaitLive(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, errSource, "and it says why")
		source.setFail(nil)
		join = conn.joinLive()
		require.Equal(t, token(source.count(), time.Now().Add(time.Minute)), accessToken(t, join))
		require.False(t, sub.requireGap().Open())
	})
}

// L11: the server ends a channel because of its token; the client gets another.
func TestARefusedTokenIsReplaced(t *testing.T) {
	for _, message := range []string{"Token has expired 3 seconds ago", ":signature_error", "The token provided is not a valid JWT"} {
		bubble(t, func(t *testing.T) {
			s := newScript(t)
			o := s.options()
			source := &tokens{lifetime: time.Hour}
			o.Token = source.next
			c := open(t, o)
			sub := subscribe(t, c, "room")
			conn := s.accept()
			join := conn.joinLive()
			requireStarted(t, sub)
			conn.system(join, "system", "error", message)
			conn.closeChannel(join)
			gap := sub.requireGap()
			require.Equal(t, cdc.Closed, gap.Reason)
			require.ErrorContains(t, gap.Err, message)
			again := conn.joinLive()
			require.NotEqual(t, accessToken(t, join), accessToken(t, again))
			require.False(t, sub.requireGap().Open())
			require.Equal(t, 2, source.count())
		})
	}
	bubble(t, func(t *testing.T) { // at the join
		s := newScript(t)
		o := s.options()
		source := &tokens{lifetime: time.Hour}
		o.Token = source.next
		c := open(t, o)
		sub := subscribe(t, c, "room")
		conn := s.accept()
		first := conn.expect(phoenix.EventJoin)
		conn.refuseJoin(first, "JwtSignatureError: Failed to validate JWT signature")
		second := conn.joinLive()
		require.NotEqual(t, accessToken(t, first), accessToken(t, second))
		requireStarted(t, sub)
	})
	bubble(t, func(t *testing.T) { // and again and again: then it is for the caller
		s := newScript(t)
		o := s.options()
		source := &tokens{lifetime: time.Hour}
		o.Token = source.next
		c := open(t, o)
		sub := subscribe(t, c, "room")
		conn := s.accept()
		for range 3 {
			conn.refuseJoin(conn.expect(phoenix.EventJoin), "JwtSignatureError: Failed to validate JWT signature")
		}
		var refused *channel.JoinError
		require.ErrorAs(t, sub.requireEnd(), &refused)
		require.Equal(t, "JwtSignatureError", refused.Code)
		conn.quiet(time.Hour)
	})
}

// A token that arrives while a join is under way is pushed when that has its
// reply.
func TestATokenThatComesDuringAJoinIsPushedAfterIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		source := &tokens{lifetime: time.Minute}
		o.Token = source.next
		c := open(t, o)
		first := subscribe(t, c, "first")
		conn := s.accept()
		conn.joinLive()
		requireStarted(t, first)
		time.Sleep(30 * time.Second)
		second := subscribe(t, c, "second")
		join := conn.expect(phoenix.EventJoin)
		conn.expect(phoenix.EventAccessToken) // for the first
		conn.acceptJoin(join)
		began := time.Now()
		push := conn.expect(phoenix.EventAccessToken)
		require.Zero(t, time.Since(began))
		require.Equal(t, join.Topic, push.Topic)
		require.NotEqual(t, accessToken(t, join), accessToken(t, push))
		conn.subscribed(join) // for the join
		requireStarted(t, second)
		conn.subscribed(join) // for the token
		second.requireNothing(10 * time.Second)
	})
}

func TestAPermanentSourceErrorEndsTheChannels(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		source := &tokens{fail: realtime.Permanent(errSource)}
		o.Token = source.next
		c := open(t, o)
		for range 3 {
			sub := subscribe(t, c, "room")
			err := sub.requireEnd()
			require.ErrorIs(t, err, errSource)
			require.True(t, realtime.IsPermanent(err))
			require.False(t, realtime.IsPermanent(errSource))
			time.Sleep(time.Minute)
		}
		require.Equal(t, 3, source.count())
		source.setFail(nil)
		source.mu.Lock()
		source.lifetime = time.Hour
		source.mu.Unlock()
		sub := subscribe(t, c, "room")
		s.accept().joinLive()
		requireStarted(t, sub)
	})
}

func TestBadTokensOfASource(t *testing.T) {
	for name, c := range map[string]struct {
		give func(n int) (string, time.Time)
		want string
	}{
		"empty":               {func(int) (string, time.Time) { return "", time.Time{} }, "empty token"},
		"expired":             {func(n int) (string, time.Time) { return token(n, time.Now().Add(-time.Hour)), time.Time{} }, "expired token"},
		"says it has expired": {func(n int) (string, time.Time) { return token(n, time.Now().Add(time.Hour)), time.Now() }, "expired token"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScript(t)
				o := s.options()
				n := 0
				o.Token = func(context.Context) (string, time.Time, error) {
					n++
					text, expiry := c.give(n)
					return text, expiry, nil
				}
				client := open(t, o)
				sub := subscribe(t, client, "room")
				s.accept().quiet(time.Minute)
				require.ErrorContains(t, sub.ch.Status().Reason, c.want)
			})
		})
	}
}

// A source that gives the refused token again is not believed.
func TestTheRefusedTokenAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		same := token(1, time.Now().Add(time.Hour))
		o.Token = func(context.Context) (string, time.Time, error) { return same, time.Time{}, nil }
		c := open(t, o)
		sub := subscribe(t, c, "room")
		conn := s.accept()
		conn.refuseJoin(conn.expect(phoenix.EventJoin), "JwtSignatureError: Failed to validate JWT signature")
		conn.quiet(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, err := range []error{sub.ch.Status().Reason, sub.ch.WaitLive(ctx)} {
			require.ErrorContains(t, err, "has refused this token")
			require.ErrorContains(t, err, "Failed to validate JWT signature", "the server's words")
		}
	})
}

// 8.4: an sb_… key is the gateway's business: it is the apikey and nothing else.
func TestSbKeysAreNeverSentAsTokens(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		o.Key = "sb_publishable_abc"
		o.Token = func(context.Context) (string, time.Time, error) { return "sb_publishable_abc", time.Time{}, nil }
		c := open(t, o)
		sub := subscribe(t, c, "room")
		conn := s.accept()
		join := conn.joinLive()
		requireStarted(t, sub)
		require.NotContains(t, string(join.Payload), "sb_")
		require.NotContains(t, string(join.Payload), "access_token")
		require.Equal(t, "sb_publishable_abc", s.dials[0].URL.Query().Get("apikey"))
		conn.quiet(time.Hour)
	})
}

func TestTokenIsSharedAndSingleFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		source := &tokens{lifetime: time.Hour, delay: 10 * time.Second}
		o.Token = source.next
		c := open(t, o)
		sub := subscribe(t, c, "room")
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				got, err := c.Token(t.Context())
				require.NoError(t, err)
				require.NotEmpty(t, got)
			})
		}
		conn := s.accept()
		join := conn.joinLive()
		requireStarted(t, sub)
		all.Wait()
		require.Equal(t, 1, source.count())
		got, err := c.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, accessToken(t, join), got)
	})
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		source := &tokens{lifetime: time.Hour, delay: time.Hour}
		o.Token = source.next
		c := open(t, o)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Token(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		closeClient(t, c) // waits for the source, whose context has ended
		_, err = c.Token(t.Context())
		require.ErrorIs(t, err, realtime.ErrClosed)
	})
	c, err := realtime.New(realtime.Options{URL: projectURL, Key: anonKey})
	require.NoError(t, err)
	got, err := c.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, anonKey, got)
}

// A source that hangs holds up neither the heartbeat nor the channels whose
// token is good.
func TestAHangingSourceHoldsUpNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		source := &tokens{lifetime: 10 * time.Minute}
		o.Token = source.next
		c := open(t, o)
		sub := subscribe(t, c, "room")
		conn := s.accept()
		conn.joinLive()
		requireStarted(t, sub)
		source.mu.Lock()
		source.delay = 20 * time.Second
		source.mu.Unlock()
		time.Sleep(8*time.Minute + 5*time.Second) // the refresh is under way
		other := subscribe(t, c, "other")
		began := time.Now()
		conn.joinLive()
		requireStarted(t, other)
		require.Zero(t, time.Since(began))
		require.Equal(t, 2, source.count())
		synctest.Wait()
	})
}

// Secrets stay out of what is printed.
func TestSecretsAreNotPrinted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		var log safeBuffer
		o.Logger = log.logger()
		secret := token(1, time.Now().Add(time.Hour))
		o.Token = func(context.Context) (string, time.Time, error) { return secret, time.Time{}, nil }
		c := open(t, o)
		sub := subscribe(t, c, "room")
		conn := s.accept()
		join := conn.joinLive()
		requireStarted(t, sub)
		conn.system(join, "system", "error", "Too many messages per second")
		conn.closeChannel(join)
		sub.requireGap()
		conn.kill()
		_ = s.ln.Close()
		time.Sleep(10 * time.Minute)
		err := errors.Join(sub.ch.Status().Reason, c.Connect(expired(t)))
		text := log.String() + err.Error()
		require.Contains(t, text, "dial")
		require.NotContains(t, text, anonKey)
		require.NotContains(t, text, secret)
	})
}

func expired(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
