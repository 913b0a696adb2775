package channel_test

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// Whatever cannot be read is a gap in every stream that it may have been for.
func TestUnreadable_IsAGap(t *testing.T) {
	const channelsOwn = "[]" // a payload that is none
	malformed := func(event string) func(l *link, join phoenix.Message) {
		return func(l *link, _ phoenix.Message) {
			l.handler.Malformed(&phoenix.MalformedError{Topic: "realtime:room", Event: event, Err: errors.New("no JSON")}, time.Now())
		}
	}
	payload := func(event, payload string) func(l *link, join phoenix.Message) {
		return func(l *link, join phoenix.Message) {
			l.receive(phoenix.Message{Topic: join.Topic, Event: event, Payload: []byte(payload)})
		}
	}
	for name, c := range map[string]struct {
		send                        func(l *link, join phoenix.Message)
		changes, broadcasts, roster bool
	}{
		"frame":                {malformed(""), true, true, true},
		"frame of a change":    {malformed("postgres_changes"), true, false, false},
		"frame of a broadcast": {malformed("broadcast"), false, true, false},
		"frame of a diff":      {malformed("presence_diff"), false, false, true},
		"frame of a state":     {malformed("presence_state"), false, false, true},
		"change":               {payload("postgres_changes", channelsOwn), true, false, false},
		"broadcast":            {payload("broadcast", channelsOwn), false, true, false},
		"diff":                 {payload("presence_diff", channelsOwn), false, false, true},
		"state":                {payload("presence_state", channelsOwn), false, false, true},
		"meta":                 {payload("presence_diff", `{"joins":{"k":{"metas":[{"phx_ref":1}]}},"leaves":{}}`), false, false, true},
	} {
		bubble(t, func(t *testing.T) {
			l := &link{t: t}
			ch, err := channel.New(l, "room")
			require.NoError(t, err)
			sub, err := ch.Subscribe(channel.Binding{Table: "orders"})
			require.NoError(t, err)
			listener, err := ch.Listen()
			require.NoError(t, err)
			p, err := ch.Presence()
			require.NoError(t, err)
			var ofChanges, ofBroadcasts, ofRoster []cdc.Gap
			keep := func(to *[]cdc.Gap, g *cdc.Gap) {
				if g != nil {
					*to = append(*to, *g)
				}
			}
			go func() {
				for v := range sub.Changes(t.Context()) {
					keep(&ofChanges, v.Gap)
				}
			}()
			go func() {
				for v := range listener.Broadcasts(t.Context()) {
					keep(&ofBroadcasts, v.Gap)
				}
			}()
			go func() {
				for v := range p.Changes(t.Context()) {
					keep(&ofRoster, v.Gap)
				}
			}()
			synctest.Wait()
			join := l.live("t")
			state := phoenix.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: phoenix.EventPresenceState, Payload: []byte(`{}`)}
			l.receive(state)
			pause(time.Minute)
			l.notices = nil
			for range 100 {
				c.send(l, join)
				synctest.Wait()
			}
			for _, of := range []struct {
				gaps []cdc.Gap
				want bool
				n    int
			}{{ofChanges, c.changes, 101}, {ofBroadcasts, c.broadcasts, 101}, {ofRoster, c.roster, 2}} {
				if !of.want {
					require.Len(t, of.gaps, 1, name)
					continue
				}
				require.Len(t, of.gaps, of.n, name)
				require.Equal(t, cdc.Undecodable, of.gaps[1].Reason, name)
				require.Equal(t, time.Now(), of.gaps[1].Since, name)
			}
			dropped := 0
			for _, n := range l.notices {
				if n.Dropped != nil {
					dropped++
				}
			}
			require.Equal(t, 1, dropped, "a flood is not one of notices: %s", name)
			require.Equal(t, channel.Live, ch.Status().State)
			_, current := p.State()
			require.Equal(t, !c.roster, current, name)
			l.receive(state)
			synctest.Wait()
			_, current = p.State()
			require.True(t, current, name)
			leave(t, ch)
		})
	}
}

// What cannot be read about the join itself may have been its end, after which
// nothing comes: the channel joins anew.
func TestUnreadable_OfTheJoinItself(t *testing.T) {
	for name, send := range map[string]func(s *subject, join phoenix.Message){
		"frame of a system message": func(s *subject, _ phoenix.Message) { s.malformed(phoenix.EventSystem) },
		"frame of a phx_close":      func(s *subject, _ phoenix.Message) { s.malformed(phoenix.EventClose) },
		"frame of a phx_error":      func(s *subject, _ phoenix.Message) { s.malformed(phoenix.EventError) },
		"system message": func(s *subject, join phoenix.Message) {
			s.receive(phoenix.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: phoenix.EventSystem, Payload: []byte(`["error"]`)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := start(t)
				join := s.live("t")
				s.requireGap(cdc.Started, false)
				pause(time.Minute)
				send(s, join)
				require.Equal(t, time.Now(), s.requireGap(cdc.Undecodable, true).Since)
				status := s.ch.Status()
				require.Equal(t, channel.Degraded, status.State)
				require.Error(t, status.Reason)
				pause(time.Minute)
				s.live("t")
				s.requireGap(cdc.Undecodable, false)
				s.requireState(channel.Live)
				leave(t, s.ch)
			})
		})
	}
	bubble(t, func(t *testing.T) { // one of an earlier join says nothing of this one
		s := start(t)
		s.live("t")
		s.requireGap(cdc.Started, false)
		s.receive(phoenix.Message{JoinRef: phoenix.NewRef(999), Topic: "realtime:room", Event: phoenix.EventSystem, Payload: []byte(`["error"]`)})
		s.requireNothing()
		s.requireState(channel.Live)
		leave(t, s.ch)
	})
}

func (l *link) malformed(event string) {
	l.handler.Malformed(&phoenix.MalformedError{Topic: "realtime:room", Event: event, Err: errors.New("no JSON")}, time.Now())
}

// An error of the subscription is one whatever its members are.
func TestSystem_AnErrorInAnotherShape(t *testing.T) {
	for _, payload := range []string{
		`{"extension":"postgres_changes","status":"error","message":{"reason":"Too many database timeouts"}}`,
		`{"extension":"postgres_changes","status":"error","message":null}`,
		`{"extension":"postgres_changes","status":"error","message":["Too many database timeouts"]}`,
		`{"extension":"postgres_changes","status":{"error":1},"message":"Too many database timeouts"}`,
		`{"extension":"postgres_changes","status":500,"message":"Too many database timeouts"}`,
		`{"extension":"postgres_changes","status":"error"}`,
		`{"extension":"postgres_changes"}`,
	} {
		bubble(t, func(t *testing.T) {
			s := start(t)
			join := s.live("t")
			s.requireGap(cdc.Started, false)
			s.receive(phoenix.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: phoenix.EventSystem, Payload: []byte(payload)})
			s.requireGap(cdc.SubscriptionFailed, true)
			s.requireState(channel.Degraded)
			var failed *channel.SubscribeError
			require.ErrorAs(t, s.ch.Status().Reason, &failed)
			leave(t, s.ch)
		})
	}
}

// A message of the database that cannot be read is not one that has come.
func TestUnreadable_LeavesAReplayIncomplete(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &link{t: t}
		ch, err := channel.New(l, "room", channel.Private(), channel.ReplayBroadcasts(time.UnixMilli(1234)))
		require.NoError(t, err)
		listener, err := ch.Listen()
		require.NoError(t, err)
		var got []channel.Broadcast
		go func() {
			for b := range listener.Broadcasts(t.Context()) {
				got = append(got, b)
			}
		}()
		synctest.Wait()
		join := l.turn("t")
		l.reply(join, `{"status":"ok","response":{"postgres_changes":[]}}`)
		l.receive(phoenix.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: "broadcast", Payload: []byte(`{"event":1}`)})
		l.system(join, "system", "ok", "Replication connection established")
		synctest.Wait()
		require.Len(t, got, 1)
		require.Equal(t, channel.ReplayIncomplete, got[0].Replay)
		l.receive(phoenix.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: "broadcast", Payload: []byte(`{"event":1}`)})
		synctest.Wait()
		require.Len(t, got, 2)
		require.Equal(t, channel.ReplayIncomplete, got[1].Replay)
		leave(t, ch)
	})
}

// A payload that others track may have a phx_ref, which the server writes behind
// its own.
func TestPresence_APayloadWithARef(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l, ch, p := joinedRoom(t)
		for _, theirs := range []string{`5`, `null`, `{"phx_ref":"x"}`, `"a"`, `""`} {
			l.receive(phoenix.Message{JoinRef: phoenix.NewRef(1), Topic: "realtime:room", Event: phoenix.EventPresenceState, Payload: []byte(
				`{"k":{"metas":[{"phx_ref":"a","x":1},{"phx_ref":"b","y":"phx_ref","phx_ref":` + theirs + `}]}}`)})
			state, current := p.State()
			require.True(t, current, theirs)
			require.Equal(t, map[string][]channel.PresenceMeta{"k": {
				{Ref: "a", Payload: json.RawMessage(`{"x":1}`)}, {Ref: "b", Payload: json.RawMessage(`{"y":"phx_ref"}`)}}}, state, theirs)
		}
		leave(t, ch)
	})
}

// A system message about something else, and the end of another join, end nothing.
func TestSystem_AboutSomethingElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		join := s.live("t")
		s.requireGap(cdc.Started, false)
		for _, payload := range []string{
			`{"extension":5,"status":"error","message":{}}`,
			`{"extension":"system","status":"ok","message":{"x":1}}`,
		} {
			s.receive(phoenix.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: phoenix.EventSystem, Payload: []byte(payload)})
		}
		s.end(phoenix.Message{JoinRef: `"999"`, Topic: join.Topic}, phoenix.EventClose)
		s.requireState(channel.Live)
		s.requireNothing()
	})
}
