package cache

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// Changes count in the order in which they come, whatever their commit times
// say. A time that goes back by more than clocks and commits do has the row read.
func TestC52CommitTimesAreNoCursor(t *testing.T) {
	c := newCore[int, string](nil, 0)
	c.begin(1)
	change := func(row string, committed int64) {
		c.apply(moment(time.Second), event[int, string]{op: cdc.Update, key: 1, old: 1, row: row, committed: committed}, true)
	}
	value := func() string {
		e, _ := c.rows.Peek(1)
		return e.value
	}
	change("first", 10_000)
	change("at the same time", 10_000)
	require.Equal(t, "at the same time", value())
	change("a little earlier", 9_100)
	require.Equal(t, "a little earlier", value())
	require.Empty(t, c.dirty)
	change("much earlier", 5_000)
	require.Equal(t, "much earlier", value())
	require.Contains(t, c.dirty, 1, "the row is read, as the order may be wrong")
	require.EqualValues(t, 1, c.counts.regressions)
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
