package cache

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// Rows that change places in one transaction are read, and right whatever the order
// of its events; until then the rows are as they were.
func TestCore_RowsThatChangePlacesAreRead(t *testing.T) {
	type move struct{ from, to int }
	for name, moves := range map[string][]move{
		"two change places": {{1, 2}, {2, 1}},
		"all move up":       {{1, 2}, {2, 3}, {3, 4}},
		"all move down":     {{3, 2}, {2, 1}},
		"one removes":       {{1, 2}, {2, 0}}, // of which the second is a Delete of the row that was there
	} {
		t.Run(name, func(t *testing.T) {
			c := newCore[int, string](nil, time.Second)
			c.begin(1)
			for k, row := range map[int]string{1: "one", 2: "two", 3: "three"} {
				c.put(k, &entry[int, string]{value: row}, CauseSnapshot)
			}
			now := moment(time.Minute)
			asked := map[int]bool{}
			for _, m := range moves {
				e := event[int, string]{op: cdc.Update, key: m.to, old: m.from, row: "moved"}
				if m.to == 0 {
					e = event[int, string]{op: cdc.Delete, key: m.from, old: m.from}
				}
				c.apply(now, e, true)
				asked[e.key], asked[e.old] = true, true
			}
			require.Len(t, c.dirty, len(asked))
			for k, want := range map[int]string{1: "one", 2: "two", 3: "three"} {
				e, there := c.rows.Peek(k)
				require.True(t, there)
				require.Equal(t, want, e.value)
			}
			rd := c.request(now + 2*moment(time.Second))
			table := map[int]string{2: "one", 3: "two"}
			for k := range asked {
				if row, there := table[k]; there {
					c.merge(rd, []shown[int, string]{{key: k, row: row, raw: []byte("{}")}}, how{cause: CauseRepair})
				} else {
					c.absent(rd, []int{k}, how{cause: CauseRepair})
				}
			}
			require.Empty(t, c.dirty)
			for k := range asked {
				e, there := c.rows.Peek(k)
				want, exists := table[k]
				require.Equal(t, exists, there)
				if there {
					require.Equal(t, want, e.value)
				}
			}
		})
	}
}

// A read by a key, asked before another row came to it, says nothing of that row.
func TestCore_AReadFromBeforeAMoveIsOfAnotherRow(t *testing.T) {
	c := newCoreOfPairs(moment(time.Second))
	c.begin(1)
	now := moment(time.Minute)
	rd := c.request(now)
	c.apply(now+1, event[int, pair]{op: cdc.Update, key: 6, old: 3, partial: &partial{
		fields: map[string]json.RawMessage{"A": mustMarshal(1)}, left: []string{"C"}}}, true)
	c.merge(rd, []shown[int, pair]{{key: 6, row: pair{9, 9}, raw: mustMarshal(pair{9, 9})}}, how{cause: CauseRepair})
	require.NotNil(t, c.dirty[6])
	later := c.request(now + 2*moment(time.Second))
	c.merge(later, []shown[int, pair]{{key: 6, row: pair{1, 2}, raw: mustMarshal(pair{1, 2})}}, how{cause: CauseRepair})
	e, _ := c.rows.Peek(6)
	require.Equal(t, pair{1, 2}, e.value)
	require.Empty(t, c.dirty)
}

// A stream that is late goes on to be waited for, as long as marks or events from
// before them come; one that is silent is dead at the timeout, and the timeout
// grows while joining anew does not help.
func TestPassage_LateIsNotDead(t *testing.T) {
	const canary, timeout = time.Minute, 10 * time.Second
	written := time.UnixMilli(1_000_000)
	p := passage[int, int]{marked: true}
	now := moment(time.Hour)
	require.True(t, p.nextMark(now, canary, timeout).write)
	p.wrote(mark{1, written}, now, now, nil)
	require.True(t, p.came(1, now+1))
	require.Equal(t, canary-1, p.nextMark(now+2, canary, timeout).wait)

	p.wrote(mark{2, written}, now, now, nil)
	late := now + 8*moment(time.Second)
	p.event(late, written.UnixMilli()-1)
	require.False(t, p.nextMark(now+timeout, canary, timeout).dead, "an event from before the mark has come")
	p.event(late+1, written.UnixMilli()+1)
	require.True(t, p.nextMark(late+timeout, canary, timeout).dead, "an event from behind the mark is no progress")
	require.Equal(t, timeout-time.Second, p.nextMark(late+moment(time.Second), canary, timeout).wait)

	p.futile = 2
	require.False(t, p.nextMark(late+3*timeout, canary, timeout).dead)
	require.True(t, p.nextMark(late+4*timeout, canary, timeout).dead)
	require.True(t, p.came(2, late+4*timeout))
	require.Zero(t, p.futile)
}

func TestLateness_IsComparedWithTheQuickestEvent(t *testing.T) {
	var l lateness
	l.event(moment(10*time.Second), 1_000_000)
	require.Zero(t, l.by)
	l.event(moment(20*time.Second), 1_003_000)
	require.Equal(t, 7*time.Second, l.by)
	l.event(moment(21*time.Second), 1_011_000)
	require.Zero(t, l.by)
	l.event(moment(22*time.Second), 5_000)
	require.Equal(t, maxLateness, l.by, "a clock that was set back")
}

// A job that panics has ended, though it is among the held: dropping it and what
// is behind it ends the rest, and hides the panic behind no other.
func TestPassage_JobThatPanics(t *testing.T) {
	newHeld := func(job func()) *held { return &held{job: job, done: make(chan struct{})} }
	p := passage[int, int]{publish: func() {}, settle: time.Second}
	ran := newHeld(func() {})
	panics := newHeld(func() { panic("boom") })
	behind := newHeld(func() {})
	for _, h := range []*held{ran, panics, behind} {
		p.hold(h, 1)
	}
	require.PanicsWithValue(t, "boom", func() { p.release(moment(time.Minute)) })
	require.NotPanics(t, p.begin)
	for _, h := range []*held{ran, panics, behind} {
		<-h.done
	}
	require.Equal(t, errEpochOver, behind.err)
	require.NoError(t, ran.err)
}
