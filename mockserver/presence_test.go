package mockserver_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// metas are what presence messages have of a key.
type metas map[string]struct{ Metas []map[string]any }

// diff takes the next message, a diff of presence.
func (c *socket) diff() (joins, leaves metas) {
	c.t.Helper()
	m := c.next()
	require.Equal(c.t, "presence_diff", m.Event, "%v", m)
	require.Empty(c.t, m.JoinRef+m.Ref)
	var d struct{ Joins, Leaves metas }
	require.NoError(c.t, json.Unmarshal([]byte(m.Payload), &d))
	return d.Joins, d.Leaves
}

func (c *socket) track(ref uint64, topic, payload string) {
	c.t.Helper()
	c.send(1, ref, topic, "presence", `{"type":"presence","event":"track","payload":`+payload+`}`)
	require.Contains(c.t, c.next().Payload, `"ok"`)
}

// C63: the state once per join, then diffs, to a member with and one without
// presence enabled; an update is a join and a leave.
func TestC63StateAndDiffs(t *testing.T) {
	bothVersions(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		a := joined(t, s, v, "realtime:p", `{"presence":{"enabled":true,"key":"ann"}}`, "")
		require.Equal(t, "presence_state", a.next().Event)
		b := joined(t, s, v, "realtime:p", `{}`, "")

		a.track(2, "realtime:p", `{"n":1,"phx_ref":"mine"}`)
		joins, leaves := a.diff()
		first := joins["ann"].Metas[0]["phx_ref"]
		require.NotEqual(t, "mine", first)
		require.Empty(t, leaves)
		b.diff()
		a.track(3, "realtime:p", `{"phx_ref" : "mine", "n" : 1}`) // the same
		a.track(4, "realtime:p", `{"n":2}`)
		joins, leaves = a.diff()
		second := joins["ann"].Metas[0]
		require.Equal(t, map[string]any{"n": 2.0, "phx_ref": second["phx_ref"], "phx_ref_prev": first}, second)
		require.Equal(t, first, leaves["ann"].Metas[0]["phx_ref"])
		b.diff()

		c := joined(t, s, v, "realtime:p", `{"presence":{"enabled":true,"key":"ann"}}`, "")
		var state metas
		m := c.next()
		require.Equal(t, "presence_state", m.Event)
		require.NoError(t, json.Unmarshal([]byte(m.Payload), &state))
		require.Equal(t, metas{"ann": {Metas: []map[string]any{second}}}, state)
		c.track(2, "realtime:p", `{"n":3}`)
		a.diff()
		b.diff()
		require.Len(t, c.diffOf("ann"), 1)

		a.kill()
		_, leaves = b.diff()
		require.Equal(t, second["phx_ref"], leaves["ann"].Metas[0]["phx_ref"])
		c.diff()
		c.send(1, 3, "realtime:p", "phx_leave", `{}`)
		_, leaves = b.diff()
		require.Equal(t, 3.0, leaves["ann"].Metas[0]["n"])
		b.silent(time.Second)
		late := joined(t, s, v, "realtime:p", `{"presence":{"enabled":true}}`, "")
		require.Equal(t, "{}", late.next().Payload, "nothing is left behind")
	})
}

// diffOf is what the next diff has joined under the key.
func (c *socket) diffOf(key string) []map[string]any {
	c.t.Helper()
	joins, _ := c.diff()
	return joins[key].Metas
}

// C63: the sixth call in 30 s closes the channel, untrack and unknown ones
// included; another window begins behind it.
func TestC63ClientLimit(t *testing.T) {
	bubble(t, mockserver.Config{Limits: mockserver.RealisticLimits()}, func(t *testing.T, s *mockserver.Server) {
		c := joined(t, s, phoenix.V2, "realtime:p", `{"presence":{"key":"k"}}`, "")
		calls := []string{"TRACK", "untrack", "wat", "untrack", "untrack"}
		for range 2 {
			for _, event := range calls {
				c.send(1, 2, "realtime:p", "presence", `{"event":"`+event+`"}`)
			}
			c.send(1, 2, "realtime:p", "presence", `{}`) // is none
			time.Sleep(30*time.Second + time.Millisecond)
		}
		for range 2*len(calls) + 2 + 4 {
			require.NotEqual(t, "system", c.next().Event)
		}
		for range 6 {
			c.send(1, 3, "realtime:p", "presence", `{"event":"untrack"}`)
		}
		for range 5 {
			require.Contains(t, c.next().Payload, `"ok"`)
		}
		c.expect(`"1"  realtime:p system {"channel":"p","extension":"system","message":"Client presence rate limit exceeded","status":"error"}`,
			`"1" "1" realtime:p phx_close {}`)
	})
}

// C63: the limit of all presence events, and that of a payload.
func TestC63ProjectLimits(t *testing.T) {
	bubble(t, mockserver.Config{Limits: mockserver.Limits{PresenceEventsPerSecond: 1, PayloadKB: 1}}, func(t *testing.T, s *mockserver.Server) {
		c := joined(t, s, phoenix.V2, "realtime:p", `{"presence":{"enabled":true,"key":"k"}}`, "")
		c.next()
		c.send(1, 2, "realtime:p", "presence", `{"event":"track","payload":{"s":"`+strings.Repeat("x", 2000)+`"}}`)
		require.Contains(t, c.next().Payload, "Track message size exceeded")
		require.Equal(t, "phx_close", c.next().Event)

		d := joined(t, s, phoenix.V2, "realtime:p", `{}`, "")
		for n := range uint64(6) {
			d.track(n+2, "realtime:p", `{"n":`+string(rune('0'+n))+`}`)
			d.diff()
		}
		time.Sleep(5 * time.Second)
		d.send(1, 9, "realtime:p", "presence", `{"event":"track","payload":{}}`)
		require.Contains(t, d.next().Payload, "Too many presence messages per second")
		require.Equal(t, "phx_close", d.next().Event)
	})
}
