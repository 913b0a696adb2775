package enrich

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// move is one thing that happens to a join of streams: an event of a side, some
// time in which nothing comes, the end of a side.
type move struct {
	side int
	id   int
	key  int
	at   int64 // seconds
	wait time.Duration
	end  bool
}

// plan is a join and what happens to it.
type plan struct {
	kind   Kind
	window Window
	grace  time.Duration
	idle   time.Duration
	moves  []move
}

// randomPlan has few different times, so that there are ties, events out of
// order, behind the grace and behind the close of their windows, and pauses in
// which one side or both are idle.
func randomPlan(r *rand.Rand) plan {
	seconds := func(least, n int) time.Duration { return time.Duration(least+r.IntN(n)) * time.Second }
	p := plan{kind: Kind(1 + r.IntN(3)), grace: seconds(0, 6), idle: seconds(5, 30)}
	switch r.IntN(4) {
	case 0:
		p.window = Tumbling(seconds(1, 12))
	case 1:
		every := seconds(1, 6)
		p.window = Sliding(every+seconds(0, 10), every)
	case 2:
		gap := seconds(1, 8)
		p.window = Session(gap, gap+seconds(0, 20))
	default:
		p.window = Interval(seconds(0, 8), seconds(0, 8))
	}
	n, at := 5+r.IntN(40), int64(r.IntN(3)*100-100)
	for id := range n {
		m := move{side: r.IntN(2), id: id, key: r.IntN(3), wait: time.Duration(r.IntN(1500)) * time.Millisecond}
		if r.IntN(12) == 0 {
			m.wait = seconds(0, 60)
		}
		at += int64(m.wait / time.Second)
		if r.IntN(4) == 0 {
			at += int64(r.IntN(4))
		}
		m.at = at - int64(r.IntN(4)*r.IntN(4))
		m.end = id > n/2 && r.IntN(30) == 0
		p.moves = append(p.moves, m)
	}
	return p
}

// event is what the joins are given.
type event struct {
	id, key int
	at      int64
}

func keyAndTime(e event) (int, time.Time) { return e.key, time.Unix(e.at, 0) }

// actual is what the join makes of a plan: a line for each output.
func actual(p plan) []string {
	var out []string
	m := newMatcher(Streams[int, event, event]{Kind: p.kind, Window: p.window, Left: keyAndTime, Right: keyAndTime,
		Grace: p.grace, Idle: p.idle, MaxPending: 1 << 30,
		LateLeft: func(e event) { out = append(out, fmt.Sprint("late left ", e.id)) }, LateRight: func(e event) { out = append(out, fmt.Sprint("late right ", e.id)) },
	}, func(p Pair[int, event, event]) bool {
		out = append(out, line(p.Left, p.Right, p.Start.UnixMicro(), p.End.UnixMicro()))
		return true
	})
	now := moment(0)
	over := [2]bool{}
	for _, v := range p.moves {
		// The timer of a run comes in the meantime, at any time.
		for until := now + v.wait; ; {
			end, ok := m.windows.next()
			if !ok {
				now = until
				break
			}
			wake := m.time.when(end+m.time.grace, now)
			if wake > until {
				now = until
				break
			}
			before := m.held
			now = wake
			_ = m.tick(now)
			if m.held == before && wake >= until {
				break
			}
		}
		switch {
		case over[v.side]:
		case v.end:
			over[v.side] = true
			_ = m.end(v.side, now)
		case v.side == 0:
			_ = m.left(event{v.id, v.key, v.at}, now)
		default:
			_ = m.right(event{v.id, v.key, v.at}, now)
		}
	}
	_ = m.end(0, now)
	_ = m.end(1, now)
	if m.held != 0 {
		out = append(out, fmt.Sprint("held for ever: ", m.held))
	}
	slices.Sort(out)
	return out
}

func line(l, r *event, start, end int64) string {
	name := func(e *event) string {
		if e == nil {
			return "-"
		}
		return fmt.Sprint(e.id)
	}
	return fmt.Sprintf("%s %s [%v %v]", name(l), name(r), start/1e6, end/1e6)
}

// expected is the same by brute force: of all events, those that were not late
// when they came are compared with each other, window by window.
func expected(p plan) []string {
	var out []string
	var events [2][]event        // that were not late
	windows := map[int][]int64{} // of an event: the starts of aligned windows that it came into
	var all [2][]int64
	var cameAt [2]time.Duration
	var first *move
	var firstAt, clock time.Duration
	over := [2]bool{}
	mark := int64(-1 << 50) // µs
	const us = int64(1e6)
	grace := p.grace.Microseconds()
	watermark := func() int64 {
		least := int64(1 << 60)
		for s := range 2 {
			latest, came := int64(-1<<50), firstAt
			if len(all[s]) > 0 {
				latest, came = slices.Max(all[s])*us, cameAt[s]
			} else if first != nil {
				latest = first.at * us
			}
			idle := first != nil && clock-came >= p.idle
			switch {
			case over[s]:
				continue
			case idle:
				latest += (clock - came).Microseconds()
			case len(all[s]) == 0:
				latest = -1 << 50
			}
			least = min(least, latest)
		}
		mark = max(mark, least)
		return mark
	}
	for i := range p.moves {
		v := p.moves[i]
		clock += v.wait
		if over[v.side] {
			continue
		}
		if v.end {
			watermark() // as far as it came before
			over[v.side] = true
			continue
		}
		watermark() // the side may have been idle until now
		if first == nil {
			first, firstAt = &p.moves[i], clock
		}
		all[v.side] = append(all[v.side], v.at)
		cameAt[v.side] = clock
		w := watermark()
		late := v.at*us < w-grace
		if p.window.kind == windowAligned {
			late = true
			size, every := p.window.a.Microseconds(), p.window.b.Microseconds()
			for start := (v.at*us/every - size/every - 2) * every; start <= v.at*us; start += every {
				if v.at*us < start+size && start+size+grace > w {
					windows[v.id] = append(windows[v.id], start)
					late = false
				}
			}
		}
		if late {
			out = append(out, fmt.Sprintf("late %s %d", [2]string{"left", "right"}[v.side], v.id))
			continue
		}
		events[v.side] = append(events[v.side], event{v.id, v.key, v.at})
	}
	switch p.window.kind {
	case windowAligned:
		out = append(out, expectAligned(p, events, windows)...)
	case windowInterval:
		out = append(out, expectIntervals(p, events)...)
	default:
		out = append(out, expectSessions(p, events)...)
	}
	slices.Sort(out)
	return out
}

func expectAligned(p plan, events [2][]event, windows map[int][]int64) (out []string) {
	size := p.window.a.Microseconds()
	alone := func(e event, others []event, start int64) bool {
		return !slices.ContainsFunc(others, func(o event) bool { return o.key == e.key && slices.Contains(windows[o.id], start) })
	}
	for _, l := range events[0] {
		for _, start := range windows[l.id] {
			for _, r := range events[1] {
				if l.key == r.key && slices.Contains(windows[r.id], start) {
					out = append(out, line(&l, &r, start, start+size))
				}
			}
			if p.kind != Inner && alone(l, events[1], start) {
				out = append(out, line(&l, nil, start, start+size))
			}
		}
	}
	for _, r := range events[1] {
		for _, start := range windows[r.id] {
			if p.kind == Outer && alone(r, events[0], start) {
				out = append(out, line(nil, &r, start, start+size))
			}
		}
	}
	return out
}

func expectIntervals(p plan, events [2][]event) (out []string) {
	before, after := int64(p.window.a/time.Second), int64(p.window.b/time.Second)
	const us = int64(1e6)
	near := func(l, r event) bool { return l.key == r.key && r.at >= l.at-before && r.at <= l.at+after }
	for _, l := range events[0] {
		found := false
		for _, r := range events[1] {
			if near(l, r) {
				found = true
				out = append(out, line(&l, &r, (l.at-before)*us, (l.at+after)*us))
			}
		}
		if !found && p.kind != Inner {
			out = append(out, line(&l, nil, (l.at-before)*us, (l.at+after)*us))
		}
	}
	for _, r := range events[1] {
		if p.kind == Outer && !slices.ContainsFunc(events[0], func(l event) bool { return near(l, r) }) {
			out = append(out, line(nil, &r, (r.at-after)*us, (r.at+before)*us))
		}
	}
	return out
}

func expectSessions(p plan, events [2][]event) (out []string) {
	gap, limit := int64(p.window.a/time.Second), int64(p.window.b/time.Second)
	const us = int64(1e6)
	for key := range 3 {
		var times []int64
		for _, side := range events {
			for _, e := range side {
				if e.key == key {
					times = append(times, e.at)
				}
			}
		}
		slices.Sort(times)
		for len(times) > 0 {
			start, last := times[0], times[0]
			for _, t := range times {
				if t < last+gap && t < start+limit {
					last = t
				}
			}
			end := min(last+gap, start+limit)
			within := func(e event) bool { return e.key == key && e.at >= start && e.at <= last }
			lefts, rights := filter(events[0], within), filter(events[1], within)
			for _, l := range lefts {
				for _, r := range rights {
					out = append(out, line(&l, &r, start*us, end*us))
				}
				if len(rights) == 0 && p.kind != Inner {
					out = append(out, line(&l, nil, start*us, end*us))
				}
			}
			for _, r := range rights {
				if len(lefts) == 0 && p.kind == Outer {
					out = append(out, line(nil, &r, start*us, end*us))
				}
			}
			times = slices.DeleteFunc(times, func(t int64) bool { return t <= last })
		}
	}
	return out
}

func filter(events []event, keep func(event) bool) (out []event) {
	for _, e := range events {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}

// The joins agree with brute force on random inputs: with late events, ties, idle
// sides and sides that end.
func TestWindowedJoinsAgreeWithBruteForce(t *testing.T) {
	const inputs = 10_000
	kinds := map[string]int{}
	for seed := range uint64(inputs) {
		p := randomPlan(rand.New(rand.NewPCG(seed, 1)))
		want, got := expected(p), actual(p)
		require.Equal(t, want, got, "seed %d: %+v", seed, p)
		for i, v := range p.moves {
			if v.wait >= p.idle {
				kinds["idle sides"]++
			}
			if slices.ContainsFunc(p.moves[:i], func(o move) bool { return o.side != v.side && o.key == v.key && o.at == v.at }) {
				kinds["ties"]++
			}
		}
		for _, s := range got {
			switch {
			case strings.HasPrefix(s, "late"):
				kinds["late"]++
			case strings.HasPrefix(s, "- "):
				kinds["left missing"]++
			case strings.Contains(s, " - "):
				kinds["right missing"]++
			default:
				kinds["pairs"]++
			}
		}
	}
	for _, kind := range []string{"late", "left missing", "right missing", "pairs", "idle sides", "ties"} {
		require.Greater(t, kinds[kind], inputs/4, "the inputs are to have %s: %v", kind, kinds)
	}
}

func FuzzWindowedJoins(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		p := randomPlan(rand.New(rand.NewPCG(a, b)))
		require.Equal(t, expected(p), actual(p), "%+v", p)
	})
}
