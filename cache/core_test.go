package cache

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// C52: commit times are no cursor: what is committed at the same time counts in
// the order in which it comes. An event from before another one of its row was
// overtaken, or the clock was set back: nobody knows, and the row is read.
func TestC52CommitTimesAreNoCursor(t *testing.T) {
	c := newCore[int, string](nil, 0)
	c.begin(1)
	now := moment(time.Second)
	change := func(op cdc.Op, row string, committed int64) {
		now++
		c.apply(now, event[int, string]{op: op, key: 1, old: 1, row: row, committed: committed}, true)
	}
	value := func() string {
		e, there := c.rows.Peek(1)
		if !there {
			return "none"
		}
		return e.value
	}
	doubted := func(regressions int) {
		t.Helper()
		require.Contains(t, c.dirty, 1, "the row is read, as the order may be wrong")
		require.EqualValues(t, regressions, c.counts.regressions)
	}
	read := func(row string) {
		now += 10
		r := c.request(now)
		c.merge(r, []shown[int, string]{{key: 1, row: row}}, how{cause: CauseRepair})
		require.Empty(t, c.dirty)
	}
	change(cdc.Update, "first", 110_000)
	change(cdc.Update, "at the same time", 110_000)
	require.Equal(t, "at the same time", value())
	change(cdc.Update, "overtaken", 109_999)
	require.Equal(t, "at the same time", value())
	doubted(1)
	change(cdc.Update, "overtaken as well", 109_999)
	doubted(2)
	change(cdc.Update, "in order again", 110_001)
	require.Equal(t, "in order again", value())
	require.Empty(t, c.dirty)

	change(cdc.Delete, "", 120_000)
	require.Equal(t, "none", value())
	change(cdc.Update, "overtaken by the end of its row", 119_000)
	require.Equal(t, "none", value())
	doubted(3)
	read("read")
	change(cdc.Delete, "", 119_500)
	require.Equal(t, "read", value(), "overtaken by an event that a read has confirmed")
	doubted(4)
	read("read")

	change(cdc.Update, "by a clock that was set back", 120_000-clockStep-1)
	require.Equal(t, "read", value())
	doubted(5)
	read("by a clock that was set back")
	change(cdc.Update, "and goes on", 120_000-clockStep)
	require.Equal(t, "and goes on", value())
	require.Empty(t, c.dirty)
}

// A page that is merged ahead of the stream may show a row that came to its key by
// an event which is under way still. What an earlier event leaves out is not taken
// from that row, nor is what a move to another key does.
func TestAnEventIsNotCompletedFromARowReadAheadOfIt(t *testing.T) {
	for _, early := range []bool{true, false} {
		c := newCore[int, string](nil, 0)
		c.begin(1)
		rd := c.startLoad(2)
		rows := []shown[int, string]{{key: 4, row: "b"}, {key: 6, row: "a"}} // have changed places
		c.merge(rd, rows, how{cause: CauseResync, early: early})
		e, there := c.rows.Peek(6)
		require.True(t, there)
		require.Equal(t, !early, c.confirmed(e))
		c.apply(3, event[int, string]{op: cdc.Update, key: 6, old: 6, row: "c"}, false)
		e, _ = c.rows.Peek(6)
		require.True(t, c.confirmed(e), "the stream has brought it")
		c.caughtUp()
		e, _ = c.rows.Peek(4)
		require.True(t, c.confirmed(e), "the stream has passed the load")
		c.begin(4)
		require.False(t, c.confirmed(e), "it is from before the gap")
		c.merge(c.startLoad(5), rows, how{cause: CauseResync})
		require.True(t, c.confirmed(e), "what was ahead in another epoch does not count")
	}
}

// The core's memory does not grow with what has been: tombstones are forgotten
// when no read can bring the row back, and so are the places in a feed of
// changes that came to nothing.
func TestNothingGrowsWithTime(t *testing.T) {
	c := newCore[int, string](nil, time.Second)
	c.begin(1)
	f := newFeed[int](c.equal, feedOptions{})
	largest := 0
	for n := range 200_000 {
		now := moment(n) * time.Millisecond
		c.apply(now, event[int, string]{op: cdc.Insert, key: n, old: n, row: "a"}, true)
		f.add(pointers(c.net))
		c.net, c.puts = emptied(c.net), emptied(c.puts)
		c.apply(now, event[int, string]{op: cdc.Delete, key: n, old: n}, true)
		f.add(pointers(c.net))
		c.net, c.puts = emptied(c.net), emptied(c.puts)
		largest = max(largest, len(c.gone.at), len(c.gone.queue), len(f.keys), len(f.sums))
	}
	require.Zero(t, c.rows.Len())
	require.Less(t, largest, 2000)

	r := c.request(moment(200_000) * time.Millisecond) // holds the tombstones behind it
	for n := range 5000 {
		c.apply(moment(201_000+n)*time.Millisecond, event[int, string]{op: cdc.Delete, key: n, old: n}, true)
	}
	require.Greater(t, len(c.gone.at), 4000)
	r.over.Store(true)
	c.apply(moment(300_000)*time.Millisecond, event[int, string]{op: cdc.Delete, key: 1, old: 1}, true)
	require.LessOrEqual(t, len(c.gone.at), 1)
	c.request(moment(300_001) * time.Millisecond)
	require.Len(t, c.reads, 1)
}

func pointers[V any](list []V) (out []*V) {
	for i := range list {
		v := list[i]
		out = append(out, &v)
	}
	return out
}

func TestTheClockFindsASuspendedProcess(t *testing.T) {
	require.True(t, slept(time.Hour, 5*time.Second))
	require.True(t, slept(time.Minute, clockEvery))
	require.False(t, slept(20*time.Second, clockEvery), "a clock that is set right")
	require.False(t, slept(clockEvery, clockEvery))
	require.False(t, slept(-time.Hour, clockEvery), "a clock that is set back")
	start := time.Now()
	c := newClock(start)
	require.False(t, c.jumped(start.Add(time.Hour)), "both clocks went on")
	require.False(t, c.jumped(start.Add(2*time.Hour)))
}
