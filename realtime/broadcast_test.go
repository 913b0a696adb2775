package realtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// project is a mock server in memory whose clients are users.
type project struct {
	t   *testing.T
	srv *mockserver.Server
}

func newProject(t *testing.T, cfg mockserver.Config) project {
	t.Helper()
	cfg.InMemory, cfg.JWTSecret = true, "secret"
	return project{t, mockserver.Start(t, cfg)}
}

// user makes a client of that user.
func (p project) user(sub, vsn string) *realtime.Client {
	p.t.Helper()
	return open(p.t, realtime.Options{URL: p.srv.URL(), Key: p.srv.AnonKey(), HTTPClient: p.srv.HTTPClient(), ProtocolVersion: vsn,
		Token: func(context.Context) (string, time.Time, error) {
			return p.srv.UserToken(sub, time.Hour), time.Time{}, nil
		},
	})
}

// ears takes the broadcasts of a listener as they come.
type ears struct {
	t    *testing.T
	got  chan channel.Broadcast
	errs chan error
}

func listen(t *testing.T, ch *channel.Channel, events ...string) *ears {
	t.Helper()
	l, err := ch.Listen(events...)
	require.NoError(t, err)
	return hear(t, l)
}

func hear(t *testing.T, l *channel.Listener) *ears {
	e := &ears{t, make(chan channel.Broadcast, 1000), make(chan error, 1)}
	go func() {
		for b, err := range l.Broadcasts(t.Context()) {
			if err != nil {
				e.errs <- err
				return
			}
			e.got <- b
		}
	}()
	return e
}

func (e *ears) next() channel.Broadcast {
	e.t.Helper()
	select {
	case b := <-e.got:
		return b
	case err := <-e.errs:
		require.FailNow(e.t, "the stream ended", err)
	case <-time.After(time.Hour):
		require.FailNow(e.t, "no broadcast")
	}
	return channel.Broadcast{}
}

func (e *ears) gap(reason cdc.GapReason, open bool) channel.Broadcast {
	e.t.Helper()
	b := e.next()
	require.NotNil(e.t, b.Gap, "%s", b.Payload)
	require.Equal(e.t, reason, b.Gap.Reason)
	require.Equal(e.t, open, b.Gap.Open())
	return b
}

func (e *ears) nothing() {
	e.t.Helper()
	synctest.Wait()
	require.Empty(e.t, e.got)
}

func room(t *testing.T, c *realtime.Client, opts ...channel.Option) *channel.Channel {
	t.Helper()
	ch, err := c.Channel("room", opts...)
	require.NoError(t, err)
	return ch
}

// Broadcasts between clients of both versions: JSON and binary, self and ack.
func TestBroadcastsBetweenClients(t *testing.T) {
	for _, vsn := range []string{"1.0.0", "2.0.0"} {
		t.Run(vsn, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := newProject(t, mockserver.Config{})
				sender := room(t, p.user("a", vsn), channel.SelfBroadcasts(), channel.AckBroadcasts(0))
				own := listen(t, sender)
				v2, v1 := room(t, p.user("b", "2.0.0")), room(t, p.user("c", "1.0.0"))
				others, err := v2.Listen("other") // before the channel joins
				require.NoError(t, err)
				b, c, some := listen(t, v2, "x", "bin"), listen(t, v1), hear(t, others)
				for _, e := range []*ears{own, b, c, some} {
					e.gap(cdc.Started, false)
				}
				payload := json.RawMessage(`{"n":12345678901234567890,"s":"é"}`)
				require.NoError(t, sender.Send(t.Context(), "x", payload))
				for _, e := range []*ears{own, b, c} {
					require.Equal(t, channel.Broadcast{Event: "x", Payload: payload}, e.next())
				}
				require.NoError(t, sender.Send(t.Context(), "other", []int{1, 2}))
				require.Equal(t, channel.Broadcast{Event: "other", Payload: json.RawMessage(`[1,2]`)}, some.next())
				c.next()
				own.next()
				err = sender.SendBinary(t.Context(), "bin", []byte{0, 0xff})
				if vsn == "1.0.0" {
					require.ErrorIs(t, err, channel.ErrBinary)
					return
				}
				require.NoError(t, err)
				require.Equal(t, channel.Broadcast{Event: "bin", Binary: []byte{0, 0xff}}, own.next())
				require.Equal(t, channel.Broadcast{Event: "bin", Binary: []byte{0, 0xff}}, b.next())
				c.nothing()
				require.NoError(t, sender.Leave(t.Context()))
				require.ErrorIs(t, <-own.errs, channel.ErrClosed)
				require.ErrorIs(t, sender.Send(t.Context(), "x", 1), channel.ErrClosed)
				_, err = sender.Listen()
				require.ErrorIs(t, err, channel.ErrClosed)
			})
		})
	}
}

// C5, C57: what is too large, for every server, for the project, or for the
// header of a frame.
func TestC5C57TooLarge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newProject(t, mockserver.Config{Limits: mockserver.Limits{PayloadKB: 256}})
		ch := room(t, p.user("a", "2.0.0"), channel.AckBroadcasts(0))
		var tooLarge *channel.PayloadTooLargeError
		require.ErrorAs(t, ch.SendBinary(t.Context(), "e", make([]byte, 300_000)), &tooLarge)
		require.Equal(t, channel.PayloadTooLargeError{Size: 300_000}, *tooLarge)
		require.ErrorAs(t, ch.SendBinary(t.Context(), "e", make([]byte, 5_000_000)), &tooLarge)
		require.Equal(t, channel.PayloadTooLargeError{Size: 5_000_000, Limit: 5_000_000}, *tooLarge)
		require.ErrorContains(t, ch.Send(t.Context(), strings.Repeat("é", 128), 1), "256 bytes")
		require.Error(t, ch.Send(t.Context(), "", 1))
		require.Error(t, ch.Send(t.Context(), "e", func() {}))
		require.NoError(t, ch.Send(t.Context(), strings.Repeat("é", 127), 1), "the socket lives")
	})
}

// C58: no answer, and an answer that the connection took with it, are an
// unknown outcome, which is neither sent nor failed.
func TestC58NoAnswerIsUnknown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newProject(t, mockserver.Config{Messages: mockserver.MessagePolicies{
			Write: func(string, string, mockserver.Claims) bool { return false },
		}})
		ch := room(t, p.user("a", "2.0.0"), channel.Private(), channel.AckBroadcasts(7*time.Second))
		before := time.Now()
		require.ErrorIs(t, ch.Send(t.Context(), "denied", 1), channel.ErrUnacknowledged)
		require.Equal(t, 7*time.Second, time.Since(before).Truncate(time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := ch.Send(ctx, "denied", 1)
		require.ErrorIs(t, err, channel.ErrUnacknowledged)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		go func() {
			time.Sleep(time.Second)
			p.srv.KillSockets()
		}()
		before = time.Now()
		require.ErrorIs(t, ch.Send(t.Context(), "lost", 1), channel.ErrUnacknowledged)
		require.Less(t, time.Since(before), 2*time.Second)

		p.srv.RefuseUpgrades(503, "", -1)
		p.srv.KillSockets()
		synctest.Wait()
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = ch.Send(ctx, "e", 1)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, channel.ErrUnacknowledged, "it was not sent")
	})
}

// C57: a reply whose response is another text, or an object.
func TestC57OtherRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, realtime.Options{URL: projectURL, Key: anonKey, HTTPClient: s.client})
		ch := room(t, c, channel.AckBroadcasts(0))
		go func() {
			conn := s.accept()
			for m := range conn.in {
				response := `{"postgres_changes":[]}`
				status := "ok"
				if m.Event == phoenix.EventBroadcast {
					status, response = "error", map[string]string{"text": `"no"`, "object": `{"reason":"never"}`}[m.UserEvent]
				}
				conn.send(phoenix.Message{JoinRef: m.JoinRef, Ref: m.Ref, Topic: m.Topic, Event: phoenix.EventReply,
					Payload: fmt.Appendf(nil, `{"status":%q,"response":%s}`, status, response)})
				if m.UserEvent == "object" {
					return
				}
			}
		}()
		for event, reason := range map[string]string{"text": "no"} {
			var refused *channel.PushError
			require.ErrorAs(t, ch.Send(t.Context(), event, 1), &refused)
			require.Equal(t, channel.PushError{Topic: "room", Reason: reason}, *refused)
		}
		var refused *channel.PushError
		require.ErrorAs(t, ch.Send(t.Context(), "object", 1), &refused)
		require.Equal(t, "never", refused.Reason)
	})
}

// C61: what realtime.broadcast_changes sends decodes as a change, in either version.
func TestC61ChangesFromTheDatabase(t *testing.T) {
	for _, vsn := range []string{"1.0.0", "2.0.0"} {
		bubble(t, func(t *testing.T) {
			p := newProject(t, mockserver.Config{Tables: []mockserver.Table{{Name: "t", PrimaryKey: []string{"id"},
				Columns: []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "c", Type: "char(3)"}}}}})
			e := listen(t, room(t, p.user("a", vsn), channel.Private()))
			e.gap(cdc.Started, false)
			require.NoError(t, p.srv.BroadcastChanges("room", "changed", "UPDATE", "t", mockserver.Row{"id": 2, "c": "abc"}, mockserver.Row{"id": 1, "c": "abc"}))
			b := e.next()
			require.Equal(t, "changed", b.Event)
			require.NotEmpty(t, b.ID)
			c, err := b.Change()
			require.NoError(t, err)
			require.Equal(t, cdc.Update, c.Op)
			require.Equal(t, "t", c.Table)
			require.JSONEq(t, `{"id":2,"c":"abc"}`, string(c.Record))
			require.JSONEq(t, `{"id":1,"c":"abc"}`, string(c.OldRecord))
			_, err = channel.Broadcast{Payload: json.RawMessage(`{}`)}.Change()
			require.Error(t, err)
		})
	}
}

// C62: what the database sends while the connection is away comes by replay,
// each message once although the replay overlaps what came before; more than 25
// are possibly not all; what clients have sent is lost.
func TestC62ReplayAfterALoss(t *testing.T) {
	for _, vsn := range []string{"1.0.0", "2.0.0"} {
		bubble(t, func(t *testing.T) {
			p := newProject(t, mockserver.Config{})
			e := listen(t, room(t, p.user("a", vsn), channel.Private(), channel.ReplayBroadcasts(time.Time{})))
			require.Equal(t, channel.NoReplay, e.gap(cdc.Started, false).Replay)
			sent := 0
			send := func(n int) {
				for range n {
					sent++
					require.NoError(t, p.srv.RealtimeSend(map[string]int{"n": sent}, "e", "room", true))
				}
			}
			next := func(replayed bool) (n int) {
				b := e.next()
				require.Nil(t, b.Gap)
				require.Equal(t, replayed, b.Replayed)
				var payload struct{ N int }
				require.NoError(t, json.Unmarshal(b.Payload, &payload))
				return payload.N
			}
			send(3)
			for n := range 3 {
				require.Equal(t, n+1, next(false))
			}
			lose := func(n int) {
				p.srv.RefuseUpgrades(503, "", 2)
				p.srv.KillSockets()
				e.gap(cdc.Disconnected, true)
				send(n)
			}
			whole := map[string]channel.Replay{"1.0.0": channel.ReplayIncomplete, "2.0.0": channel.ReplayComplete}[vsn]
			lose(4)
			for n := range 4 {
				require.Equal(t, n+4, next(true))
			}
			require.Equal(t, whole, e.gap(cdc.Disconnected, false).Replay)
			lose(0)
			require.Equal(t, whole, e.gap(cdc.Disconnected, false).Replay)
			lose(30)
			for n := range 25 {
				require.Equal(t, sent-24+n, next(true))
			}
			require.Equal(t, channel.ReplayIncomplete, e.gap(cdc.Disconnected, false).Replay)
			send(1)
			require.Equal(t, sent, next(false))
			e.nothing()
		})
	}
}

// C62: a replay from a time of the caller's own, and where it cannot be.
func TestC62ReplayFromTheBeginning(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newProject(t, mockserver.Config{})
		require.NoError(t, p.srv.RealtimeSendBinary([]byte{1}, "old", "room", true))
		time.Sleep(time.Minute)
		since := time.Now()
		require.NoError(t, p.srv.RealtimeSendBinary([]byte{2}, "e", "room", true))
		e := listen(t, room(t, p.user("a", "2.0.0"), channel.Private(), channel.ReplayBroadcasts(since)))
		b := e.next()
		require.Equal(t, []byte{2}, b.Binary)
		require.True(t, b.Replayed)
		require.Equal(t, channel.ReplayComplete, e.gap(cdc.Started, false).Replay)
		_, err := p.user("b", "2.0.0").Channel("room", channel.ReplayBroadcasts(since))
		require.ErrorContains(t, err, "private")
	})
}

// C62: metadata that a client made up is not the server's: it neither counts
// as a replay nor makes a later message of that id a repetition.
func TestC62ForgedMetadata(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, realtime.Options{URL: projectURL, Key: anonKey, HTTPClient: s.client})
		e := listen(t, room(t, c))
		conn := s.accept()
		join := <-conn.in
		conn.acceptJoin(join)
		e.gap(cdc.Started, false)
		text := phoenix.Message{Topic: "realtime:room", Event: "broadcast", Payload: []byte(`{"event":"e","payload":1,"meta":{"id":"x","replayed":true}}`)}
		for range 2 {
			conn.send(text)
			require.Equal(t, channel.Broadcast{Event: "e", Payload: json.RawMessage("1"), ID: "x"}, e.next())
		}
		stored := phoenix.Message{Kind: phoenix.UserBroadcast, Topic: "realtime:room", UserEvent: "e", JSON: true, Payload: []byte(`{}`), Meta: []byte(`{"id":"x"}`)}
		conn.send(stored)
		require.Equal(t, json.RawMessage(`{}`), e.next().Payload)
		conn.send(stored)
		for _, bad := range []string{`[]`, `{"event":1}`, `null`} {
			conn.send(phoenix.Message{Topic: "realtime:room", Event: "broadcast", Payload: []byte(bad)})
			if bad != `null` {
				require.ErrorContains(t, e.gap(cdc.Undecodable, false).Gap.Err, "cannot be read")
			}
		}
		require.Equal(t, channel.Broadcast{}, e.next(), "of null, which has neither event nor payload")
		stored.Meta = []byte(`{`)
		conn.send(stored)
		e.gap(cdc.Undecodable, false)
		conn.send(phoenix.Message{Kind: phoenix.Broadcast, Topic: "realtime:room", Event: "broadcast", Payload: []byte{1}})
		e.gap(cdc.Undecodable, false)
		conn.send(phoenix.Message{Topic: "realtime:room", Event: "broadcast", Payload: []byte(`{"anything":true}`)})
		require.Equal(t, channel.Broadcast{}, e.next())
		e.nothing()
	})
}

// C60: the client over HTTP.
func TestC60BroadcastOverHTTP(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newProject(t, mockserver.Config{
			Limits: mockserver.Limits{EventsPerSecond: 3, PayloadKB: 10},
			Messages: mockserver.MessagePolicies{Write: func(topic, _ string, claims mockserver.Claims) bool {
				return topic == "room" && claims["sub"] == "a"
			}},
		})
		a, b := p.user("a", "2.0.0"), p.user("b", "2.0.0")
		private, public := listen(t, room(t, a, channel.Private())), listen(t, room(t, b))
		private.gap(cdc.Started, false)
		public.gap(cdc.Started, false)
		type object = map[string]int
		require.NoError(t, a.Broadcast(t.Context(),
			realtime.BroadcastMessage{Topic: "room", Event: "one", Payload: object{"n": 1}, Private: true, ID: "11111111-1111-4111-8111-111111111111"},
			realtime.BroadcastMessage{Topic: "room", Event: "two", Payload: object{"n": 2}}))
		require.Equal(t, channel.Broadcast{Event: "one", Payload: json.RawMessage(`{"n":1}`), ID: "11111111-1111-4111-8111-111111111111"}, private.next())
		require.Equal(t, channel.Broadcast{Event: "two", Payload: json.RawMessage(`{"n":2}`)}, public.next())
		require.NoError(t, a.BroadcastSingle(t.Context(), realtime.BroadcastMessage{Topic: "room", Event: "a/b ü", Payload: []int{1}, Private: true}))
		require.Equal(t, channel.Broadcast{Event: "a/b ü", Payload: json.RawMessage(`{"_json":[1]}`)}, private.next())
		require.NoError(t, a.BroadcastSingle(t.Context(), realtime.BroadcastMessage{Topic: "room", Event: "bin", Binary: []byte{7}}))
		require.Equal(t, channel.Broadcast{Event: "bin", Binary: []byte{7}}, public.next())

		require.NoError(t, b.Broadcast(t.Context(), realtime.BroadcastMessage{Topic: "room", Event: "e", Payload: object{}, Private: true}), "accepted, and dropped")
		private.nothing()
		status := func(err error) *realtime.BroadcastError {
			var refused *realtime.BroadcastError
			require.ErrorAs(t, err, &refused)
			return refused
		}
		require.Equal(t, 403, status(b.BroadcastSingle(t.Context(), realtime.BroadcastMessage{Topic: "room", Event: "e", Private: true, Payload: object{}})).Status)
		large := strings.Repeat("x", 20_000)
		refused := status(a.Broadcast(t.Context(), realtime.BroadcastMessage{Topic: "room", Event: "e", Payload: object{}}, realtime.BroadcastMessage{Topic: "room", Event: "e", Payload: map[string]string{"s": large}}))
		require.Equal(t, 422, refused.Status)
		require.Equal(t, []map[string][]string{nil, {"payload": {"Payload size exceeds tenant limit"}}}, refused.Faults)
		require.ErrorContains(t, refused, "message 1")
		refused = status(a.BroadcastSingle(t.Context(), realtime.BroadcastMessage{Topic: "room", Event: "e", Payload: large}))
		require.ErrorContains(t, refused, "Payload size exceeds tenant limit")
		refused = status(a.Broadcast(t.Context(), slices.Repeat([]realtime.BroadcastMessage{{Topic: "room", Event: "e", Payload: object{}}}, 4)...))
		require.Equal(t, 429, refused.Status)
		require.ErrorContains(t, refused, "Too many messages to broadcast")

		require.NoError(t, a.Broadcast(t.Context()))
		for _, m := range []realtime.BroadcastMessage{
			{Event: "e", Payload: object{}}, {Topic: "room", Payload: object{}}, {Topic: "realtime:room", Event: "e", Payload: object{}},
			{Topic: "room", Event: "e", Payload: 1}, {Topic: "room", Event: "e", Binary: []byte{1}}, {Topic: strings.Repeat("x", 250), Event: "e", Payload: object{}},
			{Topic: "room", Event: "e", Payload: func() {}},
		} {
			require.Error(t, a.Broadcast(t.Context(), m), "%v", m)
		}
		require.NoError(t, a.Close(t.Context()))
		require.ErrorIs(t, a.Broadcast(t.Context(), realtime.BroadcastMessage{Topic: "room", Event: "e", Payload: object{}}), realtime.ErrClosed)
	})
}

// C60: the HTTP API is beside the websocket, whatever the form of the URL, and
// the key goes there and nowhere else.
func TestC60WhereBroadcastsGo(t *testing.T) {
	for url, want := range map[string]string{
		"https://ref.supabase.co":               "https://ref.supabase.co/realtime/v1/api/broadcast",
		"wss://host/x/realtime/v1/websocket":    "https://host/x/realtime/v1/api/broadcast",
		"ws://host:4000/socket":                 "http://host:4000/api/broadcast",
		"ws://host:4000/socket/websocket?x=y#z": "http://host:4000/api/broadcast",
	} {
		var got *http.Request
		client := &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			got = r
			return &http.Response{StatusCode: 202, Body: http.NoBody, Request: r}, nil
		})}
		c := open(t, realtime.Options{URL: url, Key: anonKey, HTTPClient: client})
		require.NoError(t, c.Broadcast(t.Context(), realtime.BroadcastMessage{Topic: "t", Event: "e", Payload: struct{}{}}))
		require.Equal(t, want, got.URL.String())
		require.Equal(t, anonKey, got.Header.Get("apikey"))
	}
}

// N8: over HTTP the query says what is to be persisted.
func TestN8PersistOverHTTP(t *testing.T) {
	var got *http.Request
	client := &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		got = r
		return &http.Response{StatusCode: 202, Body: http.NoBody, Request: r}, nil
	})}
	c := open(t, realtime.Options{URL: "https://ref.supabase.co", Key: anonKey, HTTPClient: client})
	m := realtime.BroadcastMessage{Topic: "t", Event: "e", Payload: struct{}{}, Private: true, Persist: true}
	require.NoError(t, c.BroadcastSingle(t.Context(), m))
	require.Equal(t, "persist=true&private=true", got.URL.RawQuery)
	require.Error(t, c.Broadcast(t.Context(), m), "the batch endpoint refuses it")
	m.TTL = time.Hour
	require.NoError(t, c.BroadcastSingle(t.Context(), m))
	require.Equal(t, "3600", got.URL.Query().Get("persist[ttl]"))
	for _, bad := range []realtime.BroadcastMessage{
		{Persist: true}, {Private: true, TTL: time.Second}, {Private: true, Persist: true, TTL: -time.Second},
		{Private: true, Persist: true, TTL: time.Millisecond}, {Private: true, Persist: true, TTL: 73 * time.Hour},
	} {
		bad.Topic, bad.Event, bad.Payload = "t", "e", struct{}{}
		require.ErrorContains(t, c.BroadcastSingle(t.Context(), bad), "persisted", "%+v", bad)
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// C62: a server that began to deliver late, or does not say when, may have
// dropped what came between the replay and that.
func TestC62LateReplication(t *testing.T) {
	for _, late := range []time.Duration{0, time.Second, time.Hour} {
		bubble(t, func(t *testing.T) {
			s := newScript(t)
			c := open(t, realtime.Options{URL: projectURL, Key: anonKey, HTTPClient: s.client})
			e := listen(t, room(t, c, channel.Private(), channel.ReplayBroadcasts(time.UnixMilli(1234))))
			conn := s.accept()
			join := <-conn.in
			require.JSONEq(t, `{"ack":false,"self":false,"replay":{"since":1234,"limit":25},"replication_ready":true}`, string(configOf(t, join)["broadcast"]))
			conn.acceptJoin(join)
			began := time.Now()
			if late < time.Hour {
				time.Sleep(late)
				conn.system(join, "system", "ok", "Replication connection established")
			}
			want, within := channel.ReplayIncomplete, min(late, 5*time.Second)
			if late == 0 {
				want = channel.ReplayComplete
			}
			require.Equal(t, want, e.gap(cdc.Started, false).Replay)
			require.Equal(t, within, time.Since(began))
		})
	}
}

// C62: a replay is asked for by the server's clock, if that is known not to be
// this machine's.
func TestC62ReplayByTheServersClock(t *testing.T) {
	for ahead, counted := range map[time.Duration]time.Duration{
		time.Hour: time.Hour, -10 * time.Minute: -10 * time.Minute, time.Second: 0,
	} {
		bubble(t, func(t *testing.T) {
			s := newScript(t)
			s.refusing(func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
				return false
			})
			c := open(t, realtime.Options{URL: projectURL, Key: anonKey, HTTPClient: s.client})
			e := listen(t, room(t, c, channel.Private(), channel.ReplayBroadcasts(time.Time{})))
			conn := s.accept()
			join := <-conn.in
			require.JSONEq(t, `{"ack":false,"self":false,"replication_ready":true}`, string(configOf(t, join)["broadcast"]))
			conn.acceptJoin(join)
			conn.system(join, "system", "ok", "Replication connection established")
			require.Equal(t, channel.NoReplay, e.gap(cdc.Started, false).Replay)
			time.Sleep(time.Second)
			conn.kill()
			lost := e.gap(cdc.Disconnected, true).Gap.Since
			conn = s.accept()
			var config struct{ Replay struct{ Since int64 } }
			require.NoError(t, json.Unmarshal(configOf(t, <-conn.in)["broadcast"], &config))
			want := lost.Add(counted - time.Minute - 3*time.Second) // how far the two clocks may be misjudged
			require.WithinDuration(t, want, time.UnixMilli(config.Replay.Since), time.Second)
		})
	}
}

// Broadcasts through an hour of trouble: every message from the database comes
// once, and one is missing only if it was sent inside a gap that says that this
// may be.
func TestBroadcastsThroughTrouble(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newProject(t, mockserver.Config{Seed: 7})
		l, err := room(t, p.user("a", "2.0.0"), channel.Private(), channel.ReplayBroadcasts(time.Time{}),
			channel.WithReplayOverlap(5*time.Second), channel.WithQueue(channel.Queue{Changes: 50})).Listen()
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		seen, sent := map[int]int{}, map[int]time.Time{}
		var doubtful []cdc.Gap // that do not say that everything came
		whole := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for b, err := range l.Broadcasts(ctx) {
				var payload struct{ N int }
				switch {
				case err != nil:
					return
				case b.Gap == nil:
					require.NoError(t, json.Unmarshal(b.Payload, &payload))
					seen[payload.N]++
				case b.Gap.Open():
				case b.Replay == channel.ReplayComplete:
					whole++
				default:
					doubtful = append(doubtful, *b.Gap)
				}
				if payload.N%500 == 499 {
					time.Sleep(2 * time.Minute) // slow now and then
				}
			}
		}()
		time.Sleep(time.Second)
		const last = 3600
		for n := 1; n <= last; n++ {
			sent[n] = time.Now()
			require.NoError(t, p.srv.RealtimeSend(map[string]int{"n": n}, "e", "room", true))
			time.Sleep(time.Second)
			switch {
			case n%97 == 0:
				p.srv.KillSockets()
			case n%131 == 0:
				p.srv.CrashChannels()
			case n%211 == 0:
				p.srv.RefuseUpgrades(503, "", n%7)
				p.srv.KillSockets()
			}
		}
		time.Sleep(10 * time.Minute)
		cancel()
		<-done
		missing := 0
		for n := 1; n <= last; n++ {
			require.LessOrEqual(t, seen[n], 1, "%d comes twice", n)
			if seen[n] == 0 {
				missing++
				require.True(t, slices.ContainsFunc(doubtful, func(g cdc.Gap) bool {
					return !sent[n].Before(g.Since) && !sent[n].After(g.Until)
				}), "%d is missing, and no gap says so", n)
			}
		}
		require.Greater(t, whole, 50)
		require.Positive(t, missing, "some gaps are longer than a replay")
		require.Less(t, missing, last/4)
	})
}
