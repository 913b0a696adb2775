package cache

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// Of a row that was read nobody knows since when it is so, whichever of the two
// clocks is ahead.
func TestHistory_IsExactByTheClockThatIsAhead(t *testing.T) {
	db := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) // the database's clock, now
	for _, machine := range []time.Time{db.Add(-10 * time.Minute), db, db.Add(10 * time.Minute)} {
		c := newCore[int, string](nil, 2*time.Second)
		c.history = &history[int, string]{keep: time.Hour.Milliseconds(), perKey: 10}
		now := moment(time.Hour)
		c.begin(now)
		c.wall = machine.UnixMilli()
		c.apply(now, event[int, string]{op: cdc.Insert, key: 2, old: 2, row: "x", committed: db.UnixMilli()}, false)
		r := c.startLoad(now + moment(3*time.Second))
		c.merge(r, []shown[int, string]{{key: 1, row: "since 11:55"}}, how{cause: CauseSnapshot})
		c.caughtUp()
		v := c.publish(Synced)
		require.NotEqual(t, Exact, v.AsOf(1, db.Add(-7*time.Minute)).Trust)
	}
}

// A row that changes all the time costs what is kept of it.
func TestHistory_OfAHotRowIsBounded(t *testing.T) {
	const keys, perKey = 5, 3
	c := newCore[int, int](nil, 2*time.Second)
	h := &history[int, int]{keep: (24 * time.Hour).Milliseconds(), perKey: perKey}
	c.history = h
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).UnixMilli()
	c.begin(moment(time.Hour))
	c.wall = at
	c.caughtUp()
	kept := func() (n int) {
		for _, p := range h.past.All() {
			n += len(p.versions) - 1
		}
		return n
	}
	change := func(k, row int, at int64) {
		c.apply(moment(time.Hour)+moment(row)*moment(time.Millisecond), event[int, int]{op: cdc.Update, key: k, old: k, row: row, committed: at}, false)
		c.net, c.puts = c.net[:0], c.puts[:0]
		require.Equal(t, kept(), h.live)
	}
	for i := range 20_000 {
		change(i%keys, i, at+int64(i))
		require.LessOrEqual(t, len(h.ages), 64+2*keys*perKey)
	}
	change(0, -1, at+20_000+h.keep+10) // so that all else is too old
	require.Equal(t, 1, h.past.Len())
	require.Len(t, h.ages, 1)
}
