package realtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/realtime"
)

// C22: the server takes what it cannot read for something else, so that mistakes
// are found here.
func TestC22TopicsAndBindingsAreChecked(t *testing.T) {
	c, err := realtime.New(realtime.Options{URL: projectURL, Key: anonKey})
	require.NoError(t, err)
	for topic, want := range map[string]string{
		"":                       "empty topic",
		"realtime:room":          "without the prefix",
		strings.Repeat("x", 247): "255",
	} {
		_, err := c.Channel(topic)
		require.ErrorContains(t, err, want)
	}
	_, err = c.Channel(strings.Repeat("x", 246))
	require.NoError(t, err)
	for _, opt := range []channel.Option{
		channel.WithQueue(channel.Queue{Changes: -1}), channel.WithQueue(channel.Queue{Full: 9}), channel.WithLiveTimeout(0),
	} {
		_, err := c.Channel("room", opt)
		require.Error(t, err)
	}
	ch, err := c.Channel("room")
	require.NoError(t, err)
	for name, b := range map[string]channel.Binding{
		"needs a schema or a table":  {},
		"leave the table empty":      {Schema: "public", Table: "*"},
		"a filter needs a table":     {Schema: "public", Filter: cdc.Eq("id", 1)},
		"needs a schema and a table": {Schema: "*", Table: "orders", Columns: []string{"id"}},
		"empty column name":          {Table: "orders", Columns: []string{""}},
		"unknown operation":          {Table: "orders", Op: 9},
		"1 to 100":                   {Table: "orders", Filter: cdc.In("id")},
		"reads like an array":        {Table: "orders", Filter: cdc.Eq("tags", "{cat}")},
	} {
		_, err := ch.Subscribe(b)
		var bad *channel.BindingError
		require.ErrorAs(t, err, &bad, name)
		require.ErrorContains(t, err, name)
	}
	_, err = ch.Subscribe()
	require.Error(t, err)
}

// C14: config is always there, well typed and without null; C44: fields that
// are not set are left out.
func TestC14JoinPayload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		ch, err := c.Channel("room:1", channel.Private())
		require.NoError(t, err)
		sub, err := ch.Subscribe(
			channel.Binding{Table: "orders", Op: cdc.Insert, Filter: cdc.And(cdc.Eq("status", "open"), cdc.Gt("total", 10)), Columns: []string{"status", "total"}},
			channel.Binding{Schema: "other"},
			channel.Binding{Schema: "*", Op: cdc.Delete})
		require.NoError(t, err)
		consumer := consume(t, ch, sub)
		conn := s.accept()
		join := conn.expect(phoenix.EventJoin)
		require.Equal(t, "realtime:room:1", join.Topic)
		require.Equal(t, join.Ref, join.JoinRef)
		require.JSONEq(t, `{"config":{"private":true,"broadcast":{"ack":false,"self":false},"postgres_changes":[
			{"event":"INSERT","schema":"public","table":"orders","filter":"status=eq.open,total=gt.10","select":["status","total"]},
			{"event":"*","schema":"other"},
			{"event":"DELETE","schema":"*"}]}}`, string(join.Payload))
		require.NotContains(t, string(join.Payload), "null")
		conn.acceptJoin(join)
		conn.subscribed(join)
		requireStarted(t, consumer)
		_, err = ch.Subscribe(orders)
		require.ErrorIs(t, err, channel.ErrJoined)
	})
}

// C23: the reply to the join is not readiness.
func TestC23JoinedIsNotLive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		var said []string
		o := s.options()
		o.Hooks.Joined = func(topic string) { said = append(said, "joined "+topic) }
		o.Hooks.Live = func(topic string) { said = append(said, "live "+topic) }
		c := open(t, o)
		sub := subscribe(t, c, "room")
		live := make(chan error, 1)
		go func() { live <- sub.ch.WaitLive(t.Context()) }()
		conn := s.accept()
		join := conn.expect(phoenix.EventJoin)
		require.Equal(t, channel.Joining, sub.ch.Status().State)
		conn.acceptJoin(join)
		sub.requireNothing(9 * time.Second)
		require.Equal(t, channel.Joined, sub.ch.Status().State)
		require.Empty(t, live)
		conn.insert(join, 1) // a warm server delivers what was committed before
		sub.requireChange(1)
		conn.subscribed(join)
		requireStarted(t, sub)
		require.NoError(t, <-live)
		require.Equal(t, channel.Status{State: channel.Live}, sub.ch.Status())
		synctest.Wait()
		require.Equal(t, []string{"joined room", "live room"}, said)
	})
}

// A server that never confirms the subscription is joined anew.
func TestAMissingConfirmationIsNotWaitedForForEver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		sub := subscribe(t, c, "room", channel.WithLiveTimeout(20*time.Second))
		conn := s.accept()
		first := conn.expect(phoenix.EventJoin)
		conn.acceptJoin(first)
		began := time.Now()
		second := conn.expect(phoenix.EventJoin)
		require.InDelta(t, 20, time.Since(began).Seconds(), 2)
		conn.acceptJoin(second)
		conn.closeChannel(first) // the server ends the first one now
		conn.subscribed(second)
		requireStarted(t, sub)
	})
}

// C16: the echoed bindings must be those that were sent.
func TestC16MismatchedBindings(t *testing.T) {
	for name, echo := range map[string]string{
		"none":         `[]`,
		"no id":        `[{"event":"*","schema":"public","table":"orders"}]`,
		"other table":  `[{"id":1,"event":"*","schema":"public","table":"users"}]`,
		"other event":  `[{"id":1,"event":"INSERT","schema":"public","table":"orders"}]`,
		"a filter":     `[{"id":1,"event":"*","schema":"public","table":"orders","filter":"id=eq.1"}]`,
		"a selection":  `[{"id":1,"event":"*","schema":"public","table":"orders","select":["id"]}]`,
		"too many":     `[{"id":1,"event":"*","schema":"public","table":"orders"},{"id":2,"event":"*","schema":"public","table":"orders"}]`,
		"not an array": `{}`,
		"a big id":     `[{"id":1e400,"event":"*","schema":"public","table":"orders"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScript(t)
				c := open(t, s.options())
				sub := subscribe(t, c, "room")
				conn := s.accept()
				join := conn.expect(phoenix.EventJoin)
				conn.reply(join, "ok", map[string]any{"postgres_changes": json.RawMessage(echo)})
				conn.expect(phoenix.EventLeave)
				var mismatch *channel.MismatchError
				require.ErrorAs(t, sub.requireEnd(), &mismatch)
				require.Equal(t, "room", mismatch.Topic)
			})
		})
	}
}

// C21, C24: refused joins.
func TestC24RefusedJoins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		sub := subscribe(t, c, "room")
		conn := s.accept()
		began := time.Now()
		for n := range 10 {
			reason := []string{"UnableToConnectToProject: x", "a text without a code", "NewCode: never heard of"}[n%3]
			conn.refuseJoin(conn.expect(phoenix.EventJoin), reason)
			synctest.Wait()
			require.ErrorContains(t, sub.ch.Status().Reason, reason)
		}
		require.Greater(t, time.Since(began), 30*time.Second, "with growing waits")
		join := conn.joinLive()
		requireStarted(t, sub)
		conn.insert(join, 1)
		sub.requireChange(1)
	})
	for _, reason := range []string{
		"Unauthorized: You do not have permissions to read from this Channel topic: room",
		"PrivateOnly: This project only allows private channels",
		"ChannelRateLimitReached: Too many channels",
		"InvalidJWTToken: Token has expired 5 seconds ago", // without a token source nothing can be done
		"JwtSignerError: Failed to generate JWT signer, check your JWT secret or JWKS configuration",
	} {
		bubble(t, func(t *testing.T) {
			s := newScript(t)
			c := open(t, s.options())
			sub := subscribe(t, c, "room")
			conn := s.accept()
			conn.refuseJoin(conn.expect(phoenix.EventJoin), reason)
			var refused *channel.JoinError
			require.ErrorAs(t, sub.requireEnd(), &refused)
			code, _, _ := strings.Cut(reason, ":")
			require.Equal(t, channel.JoinError{Topic: "room", Code: code, Reason: reason}, *refused)
			require.ErrorAs(t, sub.ch.WaitLive(t.Context()), &refused)
			conn.quiet(time.Hour)
			_ = subscribe(t, c, "room") // the topic is free again
			conn.expect(phoenix.EventJoin)
		})
	}
}

// C13: joins that keep failing go one at a time, so that they do not stall the
// socket together.
func TestC13FailingJoinsAreSerialised(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		for _, topic := range []string{"a", "b", "c", "d"} {
			subscribe(t, c, topic)
		}
		conn := s.accept()
		for range 4 {
			conn.refuseJoin(conn.expect(phoenix.EventJoin), "UnableToConnectToProject: x") // healthy so far: all at once
		}
		conn.setMute(true)           // the server answers nothing else while it works on a join
		time.Sleep(20 * time.Second) // every one has been waited out
		for range 10 {
			join := conn.expect(phoenix.EventJoin)
			conn.quiet(5 * time.Second)
			conn.refuseJoin(join, "UnableToConnectToProject: x")
		}
	})
}

// A join that is never answered holds up the other channels for seconds, not
// for Options.JoinTimeout.
func TestJoins_OneWithoutAnAnswerHoldsUpTheOthersForSeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		subs := map[string]*consumer{}
		for _, topic := range []string{"silent", "a", "b", "c"} {
			subs["realtime:"+topic] = subscribe(t, c, topic)
		}
		conn := s.accept()
		for range 4 {
			conn.refuseJoin(conn.expect(phoenix.EventJoin), "UnableToConnectToProject: x")
		}
		time.Sleep(20 * time.Second)
		live := 0
		for began := time.Now(); live < 3; {
			join := conn.expect(phoenix.EventJoin)
			require.Less(t, time.Since(began), 15*time.Second)
			if join.Topic != "realtime:silent" {
				conn.acceptJoin(join)
				conn.subscribed(join)
				requireStarted(t, subs[join.Topic])
				live++
			}
		}
		require.Equal(t, 1, s.dialed())
	})
}

func TestOneChannelPerTopic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		first := subscribe(t, c, "room")
		conn := s.accept()
		conn.joinLive()
		requireStarted(t, first)
		second := subscribe(t, c, "room")
		require.ErrorIs(t, second.requireEnd(), realtime.ErrTopicInUse)
	})
}

// C18: what belongs to an earlier join is ignored.
func TestC18OldJoinsAreIgnored(t *testing.T) {
	for _, vsn := range []string{"1.0.0", "2.0.0"} {
		bubble(t, func(t *testing.T) {
			s := newScript(t)
			o := s.options()
			o.ProtocolVersion = vsn
			c := open(t, o)
			sub := subscribe(t, c, "room")
			conn := s.accept()
			old := conn.joinLive()
			requireStarted(t, sub)
			conn.crashChannel(old)
			require.Equal(t, cdc.Crashed, sub.requireGap().Reason)
			current := conn.joinLive()
			require.False(t, sub.requireGap().Open())
			conn.closeChannel(old)
			conn.crashChannel(old)
			conn.reply(old, "error", map[string]any{"reason": "Unauthorized: late"})
			conn.reply(phoenix.Message{Topic: old.Topic, Ref: phoenix.NewRef(99999)}, "error", "nobody asked")
			conn.insert(current, 1)
			sub.requireChange(1)
			require.Equal(t, channel.Live, sub.ch.Status().State)
		})
	}
}

// C27, L8: "Subscribed" again, unasked.
func TestC27UnpromptedSubscribedIsAGap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		sub := subscribe(t, c, "room")
		conn := s.accept()
		join := conn.joinLive()
		requireStarted(t, sub)
		conn.insert(join, 1)
		sub.requireChange(1)
		last := time.Now()
		time.Sleep(time.Minute)
		conn.subscribed(join)
		gap := sub.requireGap()
		require.Equal(t, cdc.Gap{Since: last, Until: time.Now(), Reason: cdc.Resubscribed}, gap)
		conn.insert(join, 2)
		sub.requireChange(2)
	})
}

// C28: errors of the subscription, final ones and others.
func TestC28SubscriptionErrors(t *testing.T) {
	for _, message := range []string{
		"Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given connect parameters: [event: INSERT, schema: public, table: x, filters: [], select: nil]",
		"Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: […]. Exception: ERROR",
		"Error parsing `filter` params: filter must not contain empty segments (check for extra commas)",
		"Error parsing `select` params: x",
		"Column selection is not supported for wildcard subscriptions. x",
		"No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: %{}",
	} {
		bubble(t, func(t *testing.T) {
			s := newScript(t)
			c := open(t, s.options())
			sub := subscribe(t, c, "room")
			conn := s.accept()
			join := conn.expect(phoenix.EventJoin)
			conn.acceptJoin(join)
			conn.system(join, "postgres_changes", "error", message)
			var refused *channel.SubscribeError
			require.ErrorAs(t, sub.requireEnd(), &refused)
			require.Equal(t, channel.SubscribeError{Topic: "room", Message: message}, *refused)
			conn.expect(phoenix.EventLeave)
			conn.quiet(time.Hour)
		})
	}
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		sub := subscribe(t, c, "room")
		conn := s.accept()
		join := conn.joinLive()
		requireStarted(t, sub)
		conn.system(join, "postgres_changes", "error", `{:error, "Too many database timeouts"}`)
		gap := sub.requireGap()
		require.True(t, gap.Open())
		require.Equal(t, cdc.SubscriptionFailed, gap.Reason)
		require.ErrorContains(t, gap.Err, "Too many database timeouts")
		require.Equal(t, channel.Degraded, sub.ch.Status().State)
		for range 5 { // the server tries again by itself
			time.Sleep(8 * time.Second)
			conn.system(join, "postgres_changes", "error", `{:error, "Too many database timeouts"}`)
		}
		conn.subscribed(join)
		require.False(t, sub.requireGap().Open())
		require.Equal(t, channel.Live, sub.ch.Status().State)
		conn.insert(join, 1)
		sub.requireChange(1)
		conn.quiet(time.Hour) // it never had to join again
	})
}

// C38, C39, C40: dispatch.
func TestC38C39C40Dispatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		ch, err := c.Channel("room")
		require.NoError(t, err)
		all, err := ch.Subscribe(
			channel.Binding{Table: "order_x"},                 // 100
			channel.Binding{Table: "order_x", Op: cdc.Insert}, // 101
			channel.Binding{Table: "order_x"})                 // 102
		require.NoError(t, err)
		deletes, err := ch.Subscribe(channel.Binding{Schema: "public", Op: cdc.Delete}) // 103
		require.NoError(t, err)
		everything, err := ch.Subscribe(channel.Binding{Schema: "*"}) // 104
		require.NoError(t, err)
		a, d, e := consume(t, ch, all), consume(t, ch, deletes), consume(t, ch, everything)
		conn := s.accept()
		join := conn.joinLive()
		requireStarted(t, a)
		requireStarted(t, d)
		requireStarted(t, e)

		// An id repeated in ids is delivered once for its binding; those that
		// are not in ids, or of another event, are not.
		conn.change(join.Topic, "public", "order_x", "UPDATE", 1, 102, 101, 102, 102, 103)
		require.Equal(t, 2, a.requireChange(1).Binding)
		// One change comes once for each binding.
		conn.change(join.Topic, "public", "order_x", "INSERT", 2, 101, 100)
		require.Equal(t, 0, a.requireChange(2).Binding)
		require.Equal(t, 1, a.requireChange(2).Binding)
		// The server matches names with LIKE, and ids may collide.
		conn.change(join.Topic, "public", "orderax", "INSERT", 3, 100, 104)
		conn.change(join.Topic, "other", "order_x", "INSERT", 4, 100)
		require.Equal(t, 0, e.requireChange(3).Binding)
		// Unknown ids are ignored.
		conn.change(join.Topic, "public", "order_x", "INSERT", 5, 99, 7)
		conn.change(join.Topic, "other", "t", "DELETE", 6, 103)
		conn.change(join.Topic, "public", "t", "DELETE", 7, 103, 104)
		require.Equal(t, 0, d.requireChange(7).Binding)
		require.Equal(t, 0, e.requireChange(7).Binding)
		// Bindings with different selections bring one change twice.
		conn.change(join.Topic, "public", "order_x", "UPDATE", 8, 100)
		conn.change(join.Topic, "public", "order_x", "UPDATE", 8, 102)
		require.Equal(t, 0, a.requireChange(8).Binding)
		require.Equal(t, 2, a.requireChange(8).Binding)
		a.requireNothing(time.Minute)
		d.requireNothing(time.Minute)
		e.requireNothing(time.Minute)
	})
}

// C72: a leave ends with the reply, with the close, or with a timeout.
func TestC72Leave(t *testing.T) {
	for name, answer := range map[string]func(c *conn, join, leave phoenix.Message){
		"reply":   func(c *conn, _, leave phoenix.Message) { c.reply(leave, "ok", map[string]any{}) },
		"close":   func(c *conn, join, _ phoenix.Message) { c.closeChannel(join) },
		"silence": func(*conn, phoenix.Message, phoenix.Message) {},
		"loss":    func(c *conn, _, _ phoenix.Message) { c.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScript(t)
				c := open(t, s.options())
				sub := subscribe(t, c, "room")
				conn := s.accept()
				join := conn.joinLive()
				requireStarted(t, sub)
				left := make(chan error, 1)
				go func() { left <- sub.ch.Leave(t.Context()) }()
				leave := conn.expect(phoenix.EventLeave)
				require.Equal(t, join.JoinRef, leave.JoinRef)
				began := time.Now()
				answer(conn, join, leave)
				require.NoError(t, <-left)
				require.LessOrEqual(t, time.Since(began), 10*time.Second)
				require.ErrorIs(t, sub.requireEnd(), channel.ErrClosed)
				require.NoError(t, sub.ch.Leave(t.Context()), "twice is fine")
				require.ErrorIs(t, sub.ch.WaitLive(t.Context()), channel.ErrClosed)
				if name != "loss" {
					_ = subscribe(t, c, "room")
					conn.expect(phoenix.EventJoin)
				}
			})
		})
	}
	bubble(t, func(t *testing.T) { // bounded by its context, and over even so
		s := newScript(t)
		c := open(t, s.options())
		sub := subscribe(t, c, "room")
		s.accept().joinLive()
		requireStarted(t, sub)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, sub.ch.Leave(ctx), context.DeadlineExceeded)
		require.ErrorIs(t, sub.requireEnd(), channel.ErrClosed)
	})
	bubble(t, func(t *testing.T) { // before the join has an answer, and before there is a join
		s := newScript(t)
		c := open(t, s.options())
		sub := subscribe(t, c, "room")
		conn := s.accept()
		join := conn.expect(phoenix.EventJoin)
		go func() { _ = sub.ch.Leave(t.Context()) }()
		leave := conn.expect(phoenix.EventLeave)
		conn.acceptJoin(join)
		conn.subscribed(join)
		conn.reply(leave, "ok", map[string]any{})
		conn.closeChannel(join)
		require.ErrorIs(t, sub.requireEnd(), channel.ErrClosed)
		idle, err := c.Channel("idle")
		require.NoError(t, err)
		require.NoError(t, idle.Leave(t.Context()))
		conn.quiet(time.Minute)
	})
}

// C73: phx_close after a system error, phx_close without one, phx_error.
func TestC73RecoversFromEveryEndOfAChannel(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(c *conn, join phoenix.Message)
		reason cdc.GapReason
		err    string
	}{
		"rate limit": {func(c *conn, join phoenix.Message) {
			c.system(join, "system", "error", "Too many messages per second")
			c.closeChannel(join)
		}, cdc.Closed, "Too many messages per second"},
		"database": {func(c *conn, join phoenix.Message) {
			c.system(join, "system", "error", "Realtime was unable to connect to the project database")
			c.closeChannel(join)
		}, cdc.Closed, "unable to connect to the project database"},
		"no reason": {func(c *conn, join phoenix.Message) { c.closeChannel(join) }, cdc.Closed, "without a reason"},
		"crash":     {func(c *conn, join phoenix.Message) { c.crashChannel(join) }, cdc.Crashed, "crashed"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScript(t)
				client := open(t, s.options())
				sub := subscribe(t, client, "room")
				conn := s.accept()
				join := conn.joinLive()
				requireStarted(t, sub)
				for n := range 5 {
					conn.insert(join, n)
					sub.requireChange(n)
					time.Sleep(time.Minute)
					at := time.Now()
					c.end(conn, join)
					gap := sub.requireGap()
					// The stream was surely whole when the reader began to wait, after the
					// answer to the last heartbeat.
					require.WithinRange(t, gap.Since, at.Add(-25*time.Second), at)
					require.Equal(t, cdc.Gap{Since: gap.Since, Reason: c.reason, Err: gap.Err}, gap)
					require.ErrorContains(t, gap.Err, c.err)
					require.Equal(t, channel.Degraded, sub.ch.Status().State)
					join = conn.joinLive()
					whole := sub.requireGap()
					require.Equal(t, gap.Since, whole.Since)
					require.Equal(t, time.Now(), whole.Until)
					require.Less(t, time.Since(at), 2*time.Second, "it was live for long: it joins again soon")
				}
			})
		})
	}
	bubble(t, func(t *testing.T) { // permissions: for good only if that persists
		s := newScript(t)
		c := open(t, s.options())
		sub := subscribe(t, c, "room")
		conn := s.accept()
		join := conn.joinLive()
		requireStarted(t, sub)
		conn.system(join, "system", "error", "You no longer have permission to read from this Channel topic: room")
		conn.closeChannel(join)
		gap := sub.requireGap()
		require.True(t, gap.Open())
		began := time.Now()
		for sub.ch.Status().State != channel.Closed { // as a database that restarts makes the server say, too
			conn.refuseJoin(conn.expect(phoenix.EventJoin), "Unauthorized: You do not have permissions to read from this Channel topic: room")
			synctest.Wait()
		}
		require.WithinRange(t, time.Now(), began.Add(3*time.Minute), began.Add(6*time.Minute))
		var refused *channel.JoinError
		require.ErrorAs(t, sub.requireEnd(), &refused)
		conn.quiet(time.Hour)
	})
}

// A channel that is ended as soon as it is live waits longer each time.
func TestAFlappingChannelBacksOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		sub := subscribe(t, c, "room")
		conn := s.accept()
		var last time.Duration
		for n := range 40 {
			began := time.Now()
			conn.crashChannel(conn.joinLive())
			if n > 30 {
				last = max(last, time.Since(began))
			}
			sub.requireGap()
		}
		require.Greater(t, last, 20*time.Second)
	})
}

// C25, C26: what the server says before it goes is no error of the channel.
func TestC26ServerRequestedDisconnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		sub := subscribe(t, c, "room")
		conn := s.accept()
		join := conn.joinLive()
		requireStarted(t, sub)
		conn.send(phoenix.Message{Topic: join.Topic, Event: phoenix.EventSystem,
			Payload: []byte(`{"extension":"system","status":"ok","message":"Server requested disconnect"}`)})
		conn.shut(1012)
		gap := sub.requireGap()
		require.Equal(t, cdc.Disconnected, gap.Reason)
		require.ErrorContains(t, gap.Err, "1012")
		s.accept().joinLive()
		require.False(t, sub.requireGap().Open())
	})
}

// Two iterations of one subscription, one after the other and at once.
func TestIterationsFollowEachOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		ch, err := c.Channel("room")
		require.NoError(t, err)
		sub, err := ch.Subscribe(orders)
		require.NoError(t, err)
		go func() {
			conn := s.accept()
			join := conn.joinLive()
			for n := range 4 {
				conn.insert(join, n)
			}
		}()
		var got int
		for range 2 {
			n := 0
			for change, err := range sub.Changes(t.Context()) {
				require.NoError(t, err)
				if change.Gap == nil {
					got++
				}
				for _, err := range sub.Changes(t.Context()) {
					require.ErrorIs(t, err, channel.ErrBusy)
				}
				if n++; n == 3 && got < 4 {
					break
				}
				if got == 4 {
					break
				}
			}
		}
		require.Equal(t, 4, got)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, err := range sub.Changes(ctx) {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
	})
}

// What was queued when a channel ended comes first, to whoever iterates then, and
// the reason after it.
func TestEndedStreams_DeliverWhatWasQueuedFirst(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(t *testing.T, c *realtime.Client, ch *channel.Channel, conn *conn, join phoenix.Message)
		want error
	}{
		"left": {func(t *testing.T, _ *realtime.Client, ch *channel.Channel, conn *conn, _ phoenix.Message) {
			left := make(chan error, 1)
			go func() { left <- ch.Leave(t.Context()) }()
			conn.reply(conn.expect(phoenix.EventLeave), "ok", map[string]any{})
			require.NoError(t, <-left)
		}, channel.ErrClosed},
		"client closed": {func(t *testing.T, c *realtime.Client, _ *channel.Channel, _ *conn, _ phoenix.Message) {
			closeClient(t, c)
		}, realtime.ErrClosed},
		"contradicted": {func(t *testing.T, _ *realtime.Client, ch *channel.Channel, conn *conn, join phoenix.Message) {
			conn.crashChannel(join)
			conn.reply(conn.expect(phoenix.EventJoin), "ok", map[string]any{"postgres_changes": []any{}})
			conn.expect(phoenix.EventLeave)
		}, new(channel.MismatchError)},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScript(t)
				c := open(t, s.options())
				ch, err := c.Channel("room")
				require.NoError(t, err)
				sub, err := ch.Subscribe(orders)
				require.NoError(t, err)
				l, err := ch.Listen()
				require.NoError(t, err)
				go func() { _ = ch.WaitLive(t.Context()) }()
				conn := s.accept()
				join := conn.joinLive()
				for n := range 3 {
					conn.insert(join, n)
					conn.send(phoenix.Message{Topic: join.Topic, Event: phoenix.EventBroadcast, Payload: fmt.Appendf(nil, `{"event":"%d","payload":{}}`, n)})
				}
				synctest.Wait()
				end.do(t, c, ch, conn, join)
				synctest.Wait()
				requireReason := func(err error) {
					t.Helper()
					if mismatch, ok := end.want.(*channel.MismatchError); ok {
						require.ErrorAs(t, err, &mismatch)
					} else {
						require.ErrorIs(t, err, end.want)
					}
				}
				changes, ended := 0, false
				for change, err := range sub.Changes(t.Context()) {
					require.False(t, ended)
					if ended = err != nil; ended {
						requireReason(err)
					} else if change.Gap == nil {
						require.JSONEq(t, fmt.Sprintf(`{"id":%d}`, changes), string(change.Record))
						changes++
					}
				}
				require.Equal(t, 3, changes)
				require.True(t, ended)
				broadcasts := 0
				for b, err := range l.Broadcasts(t.Context()) {
					if err != nil {
						requireReason(err)
					} else if b.Gap == nil {
						require.Equal(t, fmt.Sprint(broadcasts), b.Event)
						broadcasts++
					}
				}
				require.Equal(t, 3, broadcasts)
				for _, err := range sub.Changes(t.Context()) { // and again
					requireReason(err)
				}
			})
		})
	}
}

// A slow consumer, both policies. Heartbeats go on in either.
func TestASlowConsumerOverflowsIntoAGap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		var dropped int
		var gaps []cdc.Gap
		o.Hooks.Dropped = func(topic string, err error) { dropped++ }
		o.Hooks.Gap = func(topic string, g cdc.Gap) { gaps = append(gaps, g) }
		c := open(t, o)
		slow := subscribe(t, c, "slow", channel.WithQueue(channel.Queue{Changes: 10}))
		conn := s.accept()
		slowJoin := conn.joinLive()
		requireStarted(t, slow)
		fast := subscribe(t, c, "fast")
		fastJoin := conn.joinLive()
		requireStarted(t, fast)
		slow.pause()
		for n := range 100 {
			conn.insert(slowJoin, n)
			conn.insert(fastJoin, n)
			fast.requireChange(n)
		}
		time.Sleep(time.Hour)
		require.Equal(t, 1, s.dialed())
		slow.unpause()
		for n := range 11 { // the one in the consumer's hand, and ten
			slow.requireChange(n)
		}
		gap := slow.requireGap()
		require.Equal(t, cdc.Overflow, gap.Reason)
		require.Equal(t, 89, gap.Lost)
		require.False(t, gap.Open())
		conn.insert(slowJoin, 100)
		slow.requireChange(100)
		synctest.Wait() // for the hooks
		require.Zero(t, dropped)
		require.Len(t, gaps, 2, "an overflow is reported when it begins and when it is over, with the number")
		require.True(t, gaps[0].Open())
		require.Equal(t, gap, gaps[1])
	})
}

func TestASlowConsumerMayBlockTheSocket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		slow := subscribe(t, c, "slow", channel.WithQueue(channel.Queue{Changes: 1, Full: channel.Block}))
		conn := s.accept()
		join := conn.joinLive()
		requireStarted(t, slow)
		slow.pause()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for n := range 100 {
				conn.insert(join, n)
			}
		}()
		time.Sleep(time.Hour)
		select {
		case <-sent:
			require.FailNow(t, "the socket was read")
		default:
		}
		require.InDelta(t, 3600/25, conn.beats(), 3, "heartbeats do not wait for a consumer")
		require.Equal(t, 1, s.dialed(), "and their missing answers are excused")
		slow.unpause()
		for n := range 100 {
			slow.requireChange(n)
		}
		<-sent
	})
}

// A join whose answer waits unread behind a consumer that blocks is no join
// without an answer, and neither is a heartbeat.
func TestWhatNobodyReadsIsNotOverdue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		ch, err := c.Channel("slow", channel.WithQueue(channel.Queue{Changes: 1, Full: channel.Block}))
		require.NoError(t, err)
		sub, err := ch.Subscribe(orders)
		require.NoError(t, err)
		const rows = 100
		go func() {
			conn := s.accept()
			join := conn.joinLive()
			for n := range rows / 2 {
				conn.insert(join, n)
			}
			other := conn.expect(phoenix.EventJoin)
			conn.acceptJoin(other)
			conn.subscribed(other)
			for n := range rows / 2 {
				conn.insert(join, rows/2+n)
			}
		}()
		next, stop := iter.Pull2(sub.Changes(t.Context()))
		defer stop()
		change, err, _ := next()
		require.NoError(t, err)
		require.Equal(t, cdc.Started, change.Gap.Reason)
		other := subscribe(t, c, "other")
		for n := range rows {
			time.Sleep(time.Minute + 1300*time.Millisecond) // at every moment between two heartbeats
			change, err, _ := next()
			require.NoError(t, err)
			require.Nil(t, change.Gap)
			require.JSONEq(t, fmt.Sprintf(`{"id":%d}`, n), string(change.Record))
		}
		requireStarted(t, other)
		require.Equal(t, 1, s.dialed())
	})
}

// Nor is one that is read late because much came before it.
func TestWhatHasJustBeenReadIsNotOverdue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		slow := subscribe(t, c, "slow", channel.WithQueue(channel.Queue{Changes: 1, Full: channel.Block}))
		conn := s.accept()
		began := time.Now()
		join := conn.joinLive()
		requireStarted(t, slow)
		conn.setMute(true)
		slow.pause()
		for n := range 3 { // in the consumer's hand, in the queue, and in the reader's hand
			conn.insert(join, n)
		}
		// The heartbeat was sent after 25 s. Its answer has been excused every
		// 15 s, the last time after 50 s.
		time.Sleep(time.Until(began.Add(64900 * time.Millisecond)))
		slow.unpause()
		for n := range 3 {
			slow.requireChange(n)
		}
		time.Sleep(time.Second)
		conn.release()
		time.Sleep(time.Minute)
		require.Equal(t, 1, s.dialed())
	})
}
