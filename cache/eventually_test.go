package cache

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// An exhaustive model of one row that does not rest, and one read of it. The row
// has a column A, which each commit sets to its number, and a column C. Of a
// commit there are three kinds:
//
//	A  leaves C unchanged, and its event does not carry it, as of a value that is
//	   stored out of line
//	C  changes C, and its event carries it
//	G  changes C, and its event does not say how, as of a value that Realtime garbles
//
// A commit is in the log at w, visible to readers at vis, and its event comes at
// arr. The read is asked at t0, sees the table at s, and is answered at t1. Fair
// is: a commit is visible within the hole, an event comes within the lag, and
// the read is answered. Then a row of A and C is certain when the stream has passed
// the read, and one with G when it has been read once more at rest; before that it
// is as it was at the read or later, and never a mixture.
const modelHole, modelLag = 2, 2

// modelTime is until when there are commits and reads.
var modelTime = 4

type pair struct{ A, C int }

// busy is a schedule.
type busy struct {
	kinds       []byte
	w, vis, arr []int
	t0, s, t1   int
}

// schedules calls f with each schedule of n commits.
func schedules(n int, kinds string, f func(*busy)) {
	b := &busy{kinds: make([]byte, n), w: make([]int, n), vis: make([]int, n), arr: make([]int, n)}
	var commit func(i int)
	commit = func(i int) {
		if i == n {
			for b.t0 = 0; b.t0 <= modelTime; b.t0++ {
				for b.t1 = b.t0; b.t1 <= b.t0+1; b.t1++ {
					for b.s = b.t0; b.s <= b.t1; b.s++ {
						f(b)
					}
				}
			}
			return
		}
		least, before := 1, 0
		if i > 0 {
			least, before = max(b.w[i-1]+1, b.vis[i-1]), b.arr[i-1]
		}
		for _, kind := range []byte(kinds) {
			for w := least; w <= modelTime; w++ {
				for vis := w; vis <= w+modelHole; vis++ {
					for arr := max(w, before); arr <= w+modelLag; arr++ {
						b.kinds[i], b.w[i], b.vis[i], b.arr[i] = kind, w, vis, arr
						commit(i + 1)
					}
				}
			}
		}
	}
	commit(0)
}

// at is the row behind so many commits.
func (b *busy) at(version int) pair {
	p := pair{A: version}
	for i := range version {
		if b.kinds[i] != 'A' {
			p.C = i + 1
		}
	}
	return p
}

// last is how many of the times have come.
func last(times []int, t int) (n int) {
	for _, at := range times {
		if at <= t {
			n++
		}
	}
	return n
}

// rule is what a client does with the read.
type rule struct {
	name   string
	settle int // how far it looks back
	wait   int // for how long it waits behind the answer
	do     func(b *busy, r rule) (row pair, certain bool)
}

// ruleOf makes a rule of how the row is decided when the client waits no longer.
func simple(decide func(b *busy, r rule, events, read int) (row pair, certain bool)) func(*busy, rule) (pair, bool) {
	return func(b *busy, r rule) (pair, bool) { return decide(b, r, last(b.arr, b.t1+r.wait), last(b.vis, b.s)) }
}

func trustTheRead(b *busy, _ rule, _, read int) (pair, bool) { return b.at(read), true }

// skipTheTouched leaves a row alone that had an event since shortly before the read.
func skipTheTouched(b *busy, r rule, events, read int) (pair, bool) {
	for _, at := range b.arr[:events] {
		if at >= b.t0-r.settle {
			return pair{}, false
		}
	}
	return b.at(read), true
}

// playCore gives the schedule to the core of this package.
func playCore(b *busy, r rule) (pair, bool) {
	c := newCoreOfPairs(moment(r.settle))
	const start = moment(10)
	c.begin(start)
	next := 0
	events := func(until int) {
		for ; next < len(b.arr) && b.arr[next] <= until; next++ {
			b.event(c, next, start+moment(b.arr[next]))
		}
	}
	read := func(asked, decided, version int) {
		events(asked - 1)
		rd := c.request(start + moment(asked))
		events(decided)
		row := b.at(version)
		c.merge(rd, []shown[int, pair]{{key: 1, row: row, raw: mustMarshal(row)}}, how{cause: CauseRepair})
	}
	read(b.t0, b.t1+r.wait, last(b.vis, b.s))
	e, there := c.rows.Peek(1)
	d := c.dirty[1]
	if d == nil || !there {
		return e.value, d == nil
	}
	// In doubt: the row is as it was at the read, and nobody waits for it that
	// called before the read. At rest, the next read makes it certain.
	if e.value != b.at(e.value.A) || e.value.A < last(b.vis, b.t0) || d.first < start+moment(b.t0) {
		return pair{-1, -1}, true
	}
	rest := modelTime + max(modelHole, modelLag) + modelHole + 2
	read(rest, rest+1, len(b.arr))
	if e, _ := c.rows.Peek(1); c.dirty[1] != nil || e.value != b.at(len(b.arr)) {
		return pair{-1, -1}, false
	}
	return b.at(last(b.arr, b.t1+r.wait)), true
}

func newCoreOfPairs(settle moment) *core[int, pair] {
	c := newCore[int, pair](nil, settle)
	c.row = func(_ []cdc.Column, fields map[string]json.RawMessage) (p pair, err error) {
		return p, json.Unmarshal(mustMarshal(fields), &p)
	}
	return &c
}

// event applies a commit's event as the runner does.
func (b *busy) event(c *core[int, pair], i int, now moment) {
	e := event[int, pair]{op: cdc.Update, key: 1, old: 1, row: b.at(i + 1)}
	part := &partial{fields: map[string]json.RawMessage{"A": mustMarshal(i + 1)}}
	switch b.kinds[i] {
	case 'A':
		before, there := c.rows.Peek(1)
		if _, doubted := c.dirty[1]; there && !doubted && c.confirmed(before) {
			e.row = pair{i + 1, before.value.C}
			break
		}
		part.left = []string{"C"}
		e.partial = part
	case 'G':
		part.unsaid = []string{"C"}
		e.partial = part
	}
	c.apply(now, e, false)
}

func mustMarshal(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// busyModel counts what a rule does wrong: rows that never were, rows older than
// what the stream has brought, and rows left in doubt though the read was answered.
func busyModel(r rule, kinds string) (total, torn, older, doubt int) {
	for n := 1; n <= 5-len(kinds); n++ {
		schedules(n, kinds, func(b *busy) {
			total++
			row, certain := r.do(b, r)
			switch events := last(b.arr, b.t1+r.wait); {
			case !certain:
				doubt++
			case row.A < 0 || row != b.at(row.A):
				torn++
			case row.A < events:
				older++
			}
		})
	}
	return total, torn, older, doubt
}

func TestModel_ABusyRowIsMadeCertain(t *testing.T) {
	for _, c := range []struct {
		rule
		kinds              string
		torn, older, doubt bool
	}{
		{rule: rule{"trust every read, at once", 0, 0, simple(trustTheRead)}, kinds: "AC", older: true},
		{rule: rule{"skip what the stream touched", modelHole, 0, simple(skipTheTouched)}, kinds: "AC", doubt: true},
		{rule: rule{"this package, without waiting for the stream", modelHole, 0, playCore}, kinds: "AC", torn: true},
		{rule: rule{"this package, without looking back", 0, modelLag, playCore}, kinds: "AC", older: true},
		{rule: rule{"this package", modelHole, modelLag, playCore}, kinds: "AC"},
		{rule: rule{"this package, garbled, without looking back", 0, modelLag, playCore}, kinds: "ACG", torn: true, older: true},
		{rule: rule{"this package, garbled", modelHole, modelLag, playCore}, kinds: "ACG"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			total, torn, older, doubt := busyModel(c.rule, c.kinds)
			said := fmt.Sprintf("%d schedules: %d torn, %d older than the stream, %d left in doubt", total, torn, older, doubt)
			t.Log(said)
			require.Greater(t, total, 1000)
			require.Equal(t, []bool{c.torn, c.older, c.doubt}, []bool{torn > 0, older > 0, doubt > 0}, said)
		})
	}
}
