package realtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
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

// watcher adds up the changes of a presence.
type watcher struct {
	t       *testing.T
	changes chan channel.PresenceChange
	ended   chan error
	present map[string][]string // payloads by key
}

func watch(t *testing.T, p *channel.Presence) *watcher {
	w := &watcher{t, make(chan channel.PresenceChange, 1000), make(chan error, 1), map[string][]string{}}
	go func() {
		for change, err := range p.Changes(t.Context()) {
			if err != nil {
				w.ended <- err
				return
			}
			w.changes <- change
		}
	}()
	return w
}

// settle takes the changes that are there and returns their gaps.
func (w *watcher) settle() (gaps []cdc.Gap) {
	time.Sleep(10 * time.Millisecond) // the server takes half of one to begin with a channel
	synctest.Wait()
	for len(w.changes) > 0 {
		change := <-w.changes
		if change.Gap != nil {
			gaps = append(gaps, *change.Gap)
		}
		for key, metas := range change.Joined {
			for _, m := range metas {
				w.present[key] = append(w.present[key], string(m.Payload))
			}
		}
		for key, metas := range change.Left {
			for _, m := range metas {
				i := slices.Index(w.present[key], string(m.Payload))
				require.GreaterOrEqual(w.t, i, 0, "%s was not there: %s", key, m.Payload)
				if w.present[key] = slices.Delete(w.present[key], i, i+1); len(w.present[key]) == 0 {
					delete(w.present, key)
				}
			}
		}
	}
	return gaps
}

func presence(t *testing.T, c *realtime.Client, opts ...channel.Option) (*channel.Channel, *channel.Presence) {
	t.Helper()
	ch := room(t, c, opts...)
	p, err := ch.Presence()
	require.NoError(t, err)
	return ch, p
}

// C64: who comes, changes and goes, for two that see each other, in either version.
func TestC64TwoClients(t *testing.T) {
	for _, vsn := range []string{"1.0.0", "2.0.0"} {
		bubble(t, func(t *testing.T) {
			p := newProject(t, mockserver.Config{})
			_, ann := presence(t, p.user("a", vsn), channel.WithPresenceKey("ann"))
			bobRoom, bob := presence(t, p.user("b", vsn), channel.WithPresenceKey("bob"))
			a, b := watch(t, ann), watch(t, bob)
			require.Equal(t, []cdc.GapReason{cdc.Started}, reasonsOf(a.settle()))
			require.NoError(t, ann.Track(t.Context(), map[string]int{"n": 1}))
			require.NoError(t, bob.Track(t.Context(), struct{}{}))
			b.settle()
			require.NoError(t, ann.Track(t.Context(), map[string]int{"n": 2}))
			for _, w := range []*watcher{a, b} {
				w.settle()
				require.Equal(t, map[string][]string{"ann": {`{"n":2}`}, "bob": {`{}`}}, w.present)
			}
			state, current := bob.State()
			require.True(t, current)
			require.Equal(t, []string{"ann", "bob"}, slices.Sorted(maps.Keys(state)))
			require.NotEmpty(t, state["ann"][0].Ref)
			require.NoError(t, bob.Untrack(t.Context()))
			a.settle()
			require.Equal(t, map[string][]string{"ann": {`{"n":2}`}}, a.present)
			require.NoError(t, bob.Track(t.Context(), struct{}{}))
			require.NoError(t, bobRoom.Leave(t.Context()))
			a.settle()
			require.Equal(t, map[string][]string{"ann": {`{"n":2}`}}, a.present)
			require.ErrorIs(t, <-b.ended, channel.ErrClosed)
			_, current = bob.State()
			require.False(t, current)
			require.ErrorIs(t, bob.Track(t.Context(), struct{}{}), channel.ErrClosed)
			require.Error(t, ann.Track(t.Context(), 1))
			require.Error(t, ann.Track(t.Context(), func() {}))
		})
	}
}

func reasonsOf(gaps []cdc.Gap) (reasons []cdc.GapReason) {
	for _, g := range gaps {
		reasons = append(reasons, g.Reason)
	}
	return reasons
}

// C64: diffs that come before the state of the join wait for it, those of an
// earlier join's state do not count, and a slow consumer gets the sum.
func TestC64DiffsWaitForTheState(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, realtime.Options{URL: projectURL, Key: anonKey, HTTPClient: s.client})
		ch, p := presence(t, c)
		go func() { _ = ch.WaitLive(t.Context()) }()
		conn := s.accept()
		join := <-conn.in
		require.JSONEq(t, `{"enabled":true}`, string(configOf(t, join)["presence"]))
		conn.acceptJoin(join)
		send := func(joinRef phoenix.Ref, event, payload string) {
			conn.send(phoenix.Message{JoinRef: joinRef, Topic: "realtime:room", Event: event, Payload: []byte(payload)})
			synctest.Wait()
		}
		diff := func(joins, leaves string) { send("", "presence_diff", `{"joins":`+joins+`,"leaves":`+leaves+`}`) }
		one := func(ref string) string { return `{"k":{"metas":[{"phx_ref":"` + ref + `"}]}}` }
		diff(one("1"), `{}`)
		diff(one("2"), one("1"))
		diff(`{}`, one("9"))
		_, current := p.State()
		require.False(t, current)
		send(`"7"`, "presence_state", one("of another join"))
		_, current = p.State()
		require.False(t, current)
		send(join.JoinRef, "presence_state", one("9"))
		state, current := p.State()
		require.True(t, current)
		require.Equal(t, map[string][]channel.PresenceMeta{"k": {{Ref: "2", Payload: json.RawMessage(`{}`)}}}, state)
		for _, bad := range []string{`[]`, `{"joins":{"k":{"metas":[{}]}}}`, `{"joins":{"k":1}}`} {
			send("", "presence_diff", bad)
		}
		w := watch(t, p)
		w.settle()
		require.Equal(t, map[string][]string{"k": {`{}`}}, w.present)
	})
}

func configOf(t *testing.T, join phoenix.Message) map[string]json.RawMessage {
	t.Helper()
	var payload struct{ Config map[string]json.RawMessage }
	require.NoError(t, json.Unmarshal(join.Payload, &payload))
	return payload.Config
}

// C65: however often the caller tracks, the server does not close the channel,
// and the last payload is what others see; calls that another one overtakes are
// settled with it.
func TestC65Throttle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newProject(t, mockserver.Config{Limits: mockserver.RealisticLimits()})
		ch, ann := presence(t, p.user("a", "2.0.0"), channel.WithPresenceKey("ann"))
		_, other := presence(t, p.user("b", "2.0.0"))
		b := watch(t, other)
		require.NoError(t, ch.WaitLive(t.Context()))
		results := make(chan error, 1000)
		for n := range 300 {
			go func() { results <- ann.Track(t.Context(), map[string]int{"n": n}) }()
			time.Sleep(500 * time.Millisecond)
		}
		go func() { results <- ann.Untrack(t.Context()) }()
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, ann.Track(t.Context(), map[string]int{"n": 1000}))
		for range 301 {
			require.NoError(t, <-results)
		}
		require.Empty(t, ch.Status().Reason)
		require.Empty(t, reasonsOf(b.settle())[1:], "nobody was closed")
		require.Equal(t, map[string][]string{"ann": {`{"n":1000}`}}, b.present)
		calls := 0
		for _, f := range p.srv.Sent() {
			if f.Event == phoenix.EventPresence {
				calls++
			}
		}
		require.LessOrEqual(t, calls, 5*(150/30+2))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 6 {
			if err := ann.Track(ctx, map[string]int{"n": calls}); err != nil {
				require.ErrorIs(t, err, context.DeadlineExceeded)
			}
			calls++
		}
		time.Sleep(time.Minute)
		b.settle()
		require.Equal(t, map[string][]string{"ann": {fmt.Sprintf(`{"n":%d}`, calls-1)}}, b.present, "wanted is wanted, though nobody waits")
	})
}

// C66: the payload is tracked again after every rejoin, and the changes of the
// roster say that they may be out of date, and then what was missed.
func TestC66TracksAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newProject(t, mockserver.Config{Limits: mockserver.RealisticLimits()})
		_, ann := presence(t, p.user("a", "2.0.0"), channel.WithPresenceKey("ann"))
		_, bob := presence(t, p.user("b", "2.0.0"), channel.WithPresenceKey("bob"))
		w := watch(t, bob)
		require.NoError(t, ann.Track(t.Context(), struct{}{}))
		for _, lose := range []func(){p.srv.KillSockets, p.srv.CrashChannels, func() { p.srv.CloseChannels("Too many messages per second") }} {
			w.settle()
			require.Equal(t, map[string][]string{"ann": {`{}`}}, w.present)
			lose()
			synctest.Wait()
			time.Sleep(time.Minute)
			gaps := w.settle()
			require.NotEmpty(t, gaps)
			require.False(t, gaps[len(gaps)-1].Open())
			require.Equal(t, map[string][]string{"ann": {`{}`}}, w.present)
		}
		p.srv.RefuseUpgrades(503, "", -1)
		p.srv.KillSockets()
		synctest.Wait()
		gaps := w.settle()
		require.Len(t, gaps, 1)
		require.True(t, gaps[0].Open())
		_, current := bob.State()
		require.False(t, current)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, ann.Untrack(ctx), context.DeadlineExceeded)
		p.srv.RefuseUpgrades(503, "", 0)
		time.Sleep(time.Minute)
		require.Equal(t, []cdc.GapReason{cdc.Disconnected}, reasonsOf(w.settle()))
		require.Empty(t, w.present, "an Untrack that nobody waited for counts, too")
		require.NoError(t, ann.Untrack(t.Context()))
	})
}

// What a policy forbids, and what is not answered.
func TestPresenceRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newProject(t, mockserver.Config{Messages: mockserver.MessagePolicies{
			Write: func(string, string, mockserver.Claims) bool { return false },
		}})
		_, ann := presence(t, p.user("a", "2.0.0"), channel.Private())
		var refused *channel.PushError
		require.ErrorAs(t, ann.Track(t.Context(), struct{}{}), &refused)

		s := newScript(t)
		c := open(t, realtime.Options{URL: projectURL, Key: anonKey, HTTPClient: s.client})
		ch, mute := presence(t, c)
		go func() { _ = ch.WaitLive(t.Context()) }()
		conn := s.accept()
		conn.acceptJoin(<-conn.in)
		require.ErrorIs(t, mute.Track(t.Context(), struct{}{}), channel.ErrUnacknowledged)
		_, err := ch.Presence()
		require.NoError(t, err, "the same each time")
		other := room(t, open(t, realtime.Options{URL: p.srv.URL(), Key: p.srv.AnonKey(), HTTPClient: p.srv.HTTPClient()}))
		require.NoError(t, other.WaitLive(t.Context()))
		_, err = other.Presence()
		require.ErrorIs(t, err, channel.ErrJoined)
	})
}
