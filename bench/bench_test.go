package main

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func serverURL(t *testing.T, events, perSecond int) string {
	server := httptest.NewServer(pusher(events, perSecond))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http") + "/socket/websocket"
}

// TestClientsDoTheWork: a client that loses or rounds something is not to be
// compared with others.
func TestClientsDoTheWork(t *testing.T) {
	const events = 3000
	url := serverURL(t, events, 0)
	for _, c := range clients {
		if c.run == nil {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			m := &meter{want: events}
			require.NoError(t, c.run(url, m))
			require.Equal(t, events, m.got)
			if m.decodes {
				require.Equal(t, expected(events), m.sums)
			}
		})
	}
}

func TestPacedEventsCarryTheirTime(t *testing.T) {
	const events = 50
	url := serverURL(t, events, 1000)
	for _, run := range []func(string, *meter) error{goccyLoop, gaplessLoop} {
		m := &meter{want: events, latencies: []int64{}}
		require.NoError(t, run(url, m))
		require.Equal(t, expected(events), m.sums)
		require.Len(t, m.latencies, events)
		for _, l := range m.latencies {
			require.Positive(t, l)
		}
	}
}

// TestFrames: the digits are such that a float64 would lose some, and a frame
// is as large as those of such a table.
func TestFrames(t *testing.T) {
	lost := 0
	for i := range ringSize {
		require.True(t, json.Valid([]byte(frame(i))))
		require.InDelta(t, 1100, len(frame(i)), 120)
		if int64(float64(firstID+i)) != int64(firstID+i) {
			lost++
		}
	}
	require.Equal(t, ringSize/2, lost)
}
