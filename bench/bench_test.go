package main

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func serverURL(t *testing.T, events, perSecond int) string {
	server := httptest.NewServer(pusher(newStream(events), perSecond))
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
		require.Len(t, m.latencies, events-deletes(events))
		for _, l := range m.latencies {
			require.Positive(t, l)
		}
	}
}

func deletes(events int) (n int) {
	for i := range events {
		if changeAt(i).op == "DELETE" {
			n++
		}
	}
	return n
}

// TestFrames_AreAsTablesHaveThem holds what a figure of this benchmark rests
// on: rows that differ, digits that a float64 would lose, and text of which a
// third or more is not plain ASCII without escapes.
func TestFrames_AreAsTablesHaveThem(t *testing.T) {
	const events = 20_000
	rows, odd, escaped, large := map[string]bool{}, 0, 0, 0
	tables := map[string]int{}
	for i := range events {
		c := changeAt(i)
		text, _ := c.frame()
		require.True(t, json.Valid([]byte(text)), text)
		tables[c.table.name]++
		_, row, _ := strings.Cut(text, `"record":`)
		rows[row] = true
		if strings.ContainsFunc(text, func(r rune) bool { return r > 127 }) {
			odd++
		}
		if strings.Contains(text, `\"`) {
			escaped++
		}
		if len(text) > 16<<10 {
			large++
		}
	}
	require.Len(t, rows, events-deletes(events)+1) // of a DELETE there is the old row alone
	require.Greater(t, odd, events/3)
	require.Greater(t, escaped, events/3)
	require.Greater(t, large, events/1000)
	for _, n := range tables {
		require.Greater(t, n, events/5)
	}
	for _, n := range []*table{&payments, &orders, &products} {
		t.Log(n.name, len(n.sent), "columns", tables[n.name], "changes")
	}
}
