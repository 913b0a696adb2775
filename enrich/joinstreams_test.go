package enrich_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/enrich"
)

// beat is an event of a stream in these tests: a key, a name and a second.
type beat struct {
	key, name string
	at        int
	gap       *cdc.Gap
}

type beats = enrich.Streams[string, beat, beat]

// noon is when second 0 is: not a time of this machine's clock.
var noon = time.Date(2020, 1, 1, 12, 0, 0, 0, time.UTC)

func beatTime(b beat) (string, time.Time) { return b.key, noon.Add(time.Duration(b.at) * time.Second) }

func beatGap(b beat) *cdc.Gap { return b.gap }

// duet is a join of two streams that are driven by hand.
type duet struct {
	t           testing.TB
	left, right *hand[beat]
	out         *outputs[enrich.Pair[string, beat, beat]]
	late        []string
	count       enrich.Counters
}

func play(t testing.TB, s beats) *duet {
	d := &duet{t: t, left: newHand[beat](), right: newHand[beat]()}
	s.Left, s.Right, s.LeftGap, s.RightGap, s.Counters = beatTime, beatTime, beatGap, beatGap, &d.count
	s.LateLeft = func(b beat) { d.late = append(d.late, "left "+b.name) }
	s.LateRight = func(b beat) { d.late = append(d.late, "right "+b.name) }
	if s.Idle == 0 {
		s.Idle = time.Hour
	}
	if s.MaxPending == 0 {
		s.MaxPending = 1000
	}
	d.out = collect(t, t.Context(), enrich.JoinStreams(d.left.stream, d.right.stream, s))
	return d
}

// l and r give events of the key k: a letter and a second, such as "a5".
func (d *duet) l(events ...string) *duet { return d.give(d.left, events) }
func (d *duet) r(events ...string) *duet { return d.give(d.right, events) }

func (d *duet) give(h *hand[beat], events []string) *duet {
	for _, e := range events {
		b := beat{key: "k", name: e[:1]}
		_, err := fmt.Sscan(e[1:], &b.at)
		require.NoError(d.t, err)
		h.values <- b
		synctest.Wait()
	}
	return d
}

// got is what has come out by now.
func (d *duet) got() (s string) {
	synctest.Wait()
	for len(d.out.values) > 0 {
		p := d.out.next()
		name := func(b *beat) string {
			if b == nil {
				return "-"
			}
			return b.name
		}
		s += name(p.Left) + name(p.Right)
		switch {
		case p.Gap != nil:
			s += "gap"
		case p.Incomplete:
			s += "?"
		}
		s += " "
	}
	return s
}

func TestOuterRowsComeOutOnceWhenTheWindowCloses(t *testing.T) {
	for name, c := range map[string]struct {
		window     enrich.Window
		closing    string // the events at whose time the windows of a1 and x2 close
		almost     string
		left, both string
	}{
		"tumbling": {enrich.Tumbling(10 * time.Second), "z13", "z12", "a- ", "a- -x "},
		"sliding":  {enrich.Sliding(10*time.Second, 5*time.Second), "z13", "z12", "a- a- ", "a- -x a- -x "},
		"session":  {enrich.Session(time.Second, time.Minute), "z6", "z4", "a- ", "a- -x "},
		"interval": {enrich.Interval(0, 5*time.Second), "z20", "z5", "a- ", "-x a- "},
	} {
		for _, kind := range []enrich.Kind{enrich.Inner, enrich.Left, enrich.Outer} {
			t.Run(name+" "+kind.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := play(t, beats{Kind: kind, Window: c.window, Grace: 3 * time.Second})
					d.left.values <- beat{key: "k", name: "a", at: 1}
					synctest.Wait()
					d.right.values <- beat{key: "other", name: "x", at: 2}
					far := func(e string) { // of other keys, so that they are no partners
						b := beat{name: e[:1]}
						_, err := fmt.Sscan(e[1:], &b.at)
						require.NoError(t, err)
						b.key = "far left"
						d.left.values <- b
						synctest.Wait()
						b.key = "far right"
						d.right.values <- b
					}
					far(c.almost)
					if name != "sliding" && name != "interval" {
						require.Equal(t, "", d.got())
					}
					far(c.closing)
					want := map[enrich.Kind]string{enrich.Inner: "", enrich.Left: c.left, enrich.Outer: c.both}[kind]
					got := d.got()
					for range 3 {
						far("z1000") // which closes nothing of them again
						far("z2000")
					}
					require.Equal(t, want, withoutZ(got))
				})
			})
		}
	}
}

// withoutZ leaves out the events that only move the time.
func withoutZ(s string) (out string) {
	for len(s) > 0 {
		if s[0] != 'z' && s[1] != 'z' {
			out += s[:3]
		}
		s = s[3:]
	}
	return out
}

// The watermark is that of the side that is behind.
func TestTheWatermarkIsTheEarlierSide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := play(t, beats{Kind: enrich.Left, Window: enrich.Tumbling(10 * time.Second)})
		d.l("a1", "b100", "c1000").r("x0")
		require.Equal(t, "ax ", d.got())
		require.Equal(t, "", d.r("y9").l("d2000").got()[3:], "a and y are a pair, and b waits for the right to be there")
		require.Equal(t, "b- ", d.r("z110").got())
	})
}

// A side that is silent goes on with the clock on the wall, whatever time it is
// there.
func TestAnIdleSideIsMovedByTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := play(t, beats{Kind: enrich.Outer, Window: enrich.Tumbling(10 * time.Second), Grace: time.Second, Idle: time.Minute})
		d.r("x5")
		d.l("a2")
		require.Equal(t, "ax ", d.got())
		time.Sleep(10 * time.Second)
		d.l("b12", "c30")
		require.Equal(t, "", d.got(), "the right may still say something")
		time.Sleep(49 * time.Second)
		require.Equal(t, "", d.got())
		time.Sleep(2 * time.Second)
		require.Equal(t, "b- ", d.got(), "a minute is over, and the right is taken to be at second 66, the left at 30")
		time.Sleep(time.Minute)
		require.Equal(t, "c- ", d.got())
		d.r("y31")
		require.Equal(t, []string{"right y"}, d.late)
		require.EqualValues(t, 1, d.count.Late.Load())
	})
}

// A side that never had an event counts from the first event of the other.
func TestASideWithoutAnyEventIsIdleToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := play(t, beats{Kind: enrich.Left, Window: enrich.Interval(0, 5*time.Second), Idle: time.Minute})
		d.l("a2")
		time.Sleep(59 * time.Second)
		require.Equal(t, "", d.got())
		time.Sleep(2 * time.Second)
		require.Equal(t, "a- ", d.got())
		require.Zero(t, d.count.Pending.Load())
	})
}

// A consumer that is slow makes no side idle: what waits to be taken counts
// before the clock does.
func TestASlowConsumerMakesNoSideIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left, right := newHand[beat](), newHand[beat]()
		go func() {
			for at := range 5 {
				left.values <- beat{key: "k", name: "a", at: at}
				right.values <- beat{key: "k", name: "x", at: at}
			}
			left.end <- nil
			right.end <- nil
		}()
		pairs := 0
		late := func(beat) { t.Error("late") }
		for _, err := range enrich.JoinStreams(left.stream, right.stream, beats{Kind: enrich.Outer, Window: enrich.Interval(0, 0),
			Left: beatTime, Right: beatTime, Idle: time.Second, MaxPending: 100, LateLeft: late, LateRight: late})(t.Context()) {
			require.NoError(t, err)
			time.Sleep(time.Minute)
			pairs++
		}
		require.Equal(t, 5, pairs)
	})
}

// An event is late when its window is closed, and makes no pair then.
func TestLateEventsAreToldAndMakeNoPairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := play(t, beats{Kind: enrich.Inner, Window: enrich.Tumbling(10 * time.Second), Grace: 2 * time.Second})
		d.l("a1", "b11").r("x2", "y11")
		require.Equal(t, "ax by ", d.got())
		require.Equal(t, "cx ", d.l("c3").got(), "out of order, and not late: within the grace")
		d.l("d12").r("z12")
		require.Equal(t, "dy bz dz ", d.got())
		require.Equal(t, "", d.l("e9").got())
		require.Equal(t, []string{"left e"}, d.late)
	})
}

func TestTheFourWindows(t *testing.T) {
	for name, c := range map[string]struct {
		window enrich.Window
		want   string
	}{
		// Of a9 and x11 the windows are not the same, close as they are.
		"tumbling": {enrich.Tumbling(10 * time.Second), "bx "},
		"sliding":  {enrich.Sliding(10*time.Second, 5*time.Second), "bx ax "},
		"interval": {enrich.Interval(time.Second, 2*time.Second), "ax "},
		"session":  {enrich.Session(3*time.Second, time.Minute), "ax "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := play(t, beats{Kind: enrich.Inner, Window: c.window})
				d.l("a9", "b15").r("x11")
				d.left.end <- nil
				d.right.end <- nil
				require.Equal(t, c.want, d.got())
				require.NoError(t, d.out.ended())
			})
		})
	}
}

// A session ends at its longest, though events go on.
func TestASessionIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := play(t, beats{Kind: enrich.Outer, Window: enrich.Session(3*time.Second, 5*time.Second)})
		d.l("a0", "b2", "c4", "d6").r("x0", "y7")
		require.Equal(t, "ax bx cx ", d.got())
		d.left.end <- nil
		d.right.end <- nil
		require.Equal(t, "dy ", d.got())
	})
}

// With more events than are allowed the stream ends, or the earliest windows
// close early and say so.
func TestMaxPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := play(t, beats{Kind: enrich.Left, Window: enrich.Tumbling(10 * time.Second), MaxPending: 2})
		d.l("a1").r("x2").l("b2")
		require.Equal(t, "ax bx ", d.got())
		require.ErrorIs(t, d.out.ended(), enrich.ErrTooMany)
		require.Zero(t, d.count.Pending.Load())
	})
	for name, window := range map[string]enrich.Window{
		"tumbling": enrich.Tumbling(10 * time.Second), "interval": enrich.Interval(0, 9*time.Second), "session": enrich.Session(9*time.Second, time.Minute),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := play(t, beats{Kind: enrich.Outer, Window: window, MaxPending: 2, Full: cache.Evict})
				d.l("a1")
				d.right.values <- beat{key: "other", name: "x", at: 1}
				synctest.Wait()
				require.Equal(t, "", d.got())
				d.l("b2")
				early := d.got()
				require.Regexp(t, `^(a-\? |b-\? |-x\? )+$`, early)
				require.LessOrEqual(t, d.count.Pending.Load(), int64(2))
				require.Positive(t, d.count.Overflowed.Load())
				d.left.end <- nil
				d.right.end <- nil
				all := early + d.got()
				for _, once := range []string{"a-", "b-", "-x"} {
					require.Equal(t, 1, strings.Count(all, once), all)
				}
			})
		})
	}
}

// Of two streams of which one gives more than the other the faster one waits, so
// that what is held does not grow. A silent one is waited for until it is idle.
func TestTheSideThatIsAheadWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := play(t, beats{Kind: enrich.Left, Window: enrich.Interval(0, time.Second), MaxPending: 100, Idle: time.Minute})
		go func() {
			for at := range 1000 {
				d.left.values <- beat{key: "k", name: "a", at: at}
			}
			d.left.end <- nil
		}()
		synctest.Wait()
		require.EqualValues(t, 50, d.count.Pending.Load())
		require.Equal(t, "", d.got())
		time.Sleep(time.Minute)
		require.Equal(t, strings.Repeat("a- ", 59), d.got(), "a minute of the other side has passed")
		go func() {
			for at := range 100 {
				d.right.values <- beat{key: "k", name: "x", at: 10 * at}
			}
			d.right.end <- nil
		}()
		synctest.Wait()
		require.NoError(t, func() error { d.got(); return d.out.ended() }())
		require.Zero(t, d.count.Overflowed.Load())
	})
}

// A gap makes what overlaps it Incomplete, and nothing else; it is passed on in
// its place.
func TestAGapMakesWindowsIncomplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := play(t, beats{Kind: enrich.Left, Window: enrich.Tumbling(10 * time.Second)})
		gap := &cdc.Gap{Reason: cdc.Disconnected}
		d.l("a5").r("x6")
		require.Equal(t, "ax ", d.got())
		d.l("b15", "c25", "d45", "e55")
		d.r("y12")
		require.Equal(t, "by ", d.got())
		d.right.values <- beat{name: "g", gap: gap}
		require.Equal(t, "-ggap ", d.got())
		d.r("z42") // between 12 and 42 there may have been rights
		require.Equal(t, "c-? dz? ", d.got())
		d.l("f1000").r("w1000")
		require.Equal(t, "e- fw ", d.got())
		require.EqualValues(t, 2, d.count.Incomplete.Load())
	})
}

// The same with subscriptions, whose gap comes from a lost connection. Their first
// windows are incomplete, as nobody knows what was before.
func TestAGapOfASubscriptionMakesWindowsIncomplete(t *testing.T) {
	inWorld(t, func(w *world) {
		ch, err := w.client.Channel("users as a stream")
		require.NoError(w, err)
		sub, err := ch.Subscribe(channel.Binding{Table: "users"})
		require.NoError(w, err)
		users := enrich.Events[user](sub.Changes, nil)
		out := collect(w, w.ctx, enrich.JoinStreams(w.clicks(), users, enrich.Streams[int64, clickEvent, cdc.Event[user]]{
			Kind: enrich.Left, Window: enrich.Interval(time.Minute, time.Minute), Grace: time.Second, Idle: 10 * time.Second, MaxPending: 100,
			Left:    func(c clickEvent) (int64, time.Time) { return *c.New.UserID, c.Committed },
			Right:   func(u cdc.Event[user]) (int64, time.Time) { return u.New.ID, u.Committed },
			LeftGap: enrich.GapOf[click], RightGap: enrich.GapOf[user],
		}))
		require.NotNil(w, out.next().Gap)
		require.NotNil(w, out.next().Gap)
		pair := func(id int64) enrich.Pair[int64, clickEvent, cdc.Event[user]] {
			w.insertClick(id, id)
			w.insertUser(id, "somebody")
			p := out.next()
			require.NotNil(w, p.Left)
			require.NotNil(w, p.Right)
			return p
		}
		require.True(w, pair(1).Incomplete)
		time.Sleep(time.Hour)
		pair(2)
		time.Sleep(time.Hour)
		require.False(w, pair(3).Incomplete)

		time.Sleep(time.Hour)
		w.server.KillSockets()
		for gaps := 0; gaps < 4; { // each side tells of the gap when it opens and when it closes
			if out.next().Gap != nil {
				gaps++
			}
		}
		require.True(w, pair(5).Incomplete)
		time.Sleep(time.Hour)
		pair(6)
		time.Sleep(time.Hour)
		require.False(w, pair(7).Incomplete)
	})
}

func TestAnErrorOfEitherSideEndsAJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		for nth := range 2 {
			d := play(t, beats{Kind: enrich.Left, Window: enrich.Tumbling(time.Second)})
			d.l("a1").r("x1")
			require.Equal(t, "ax ", d.got())
			[]*hand[beat]{d.left, d.right}[nth].end <- broken
			require.ErrorIs(t, d.out.ended(), broken)
		}
	})
}

func TestJoinStreamsRefusesBadSettings(t *testing.T) {
	good := beats{Kind: enrich.Inner, Window: enrich.Tumbling(time.Second), Left: beatTime, Right: beatTime, Idle: time.Second, MaxPending: 1}
	for field, spoil := range map[string]func(s *beats){
		"Kind":        func(s *beats) { s.Kind = 0 },
		"Window":      func(s *beats) { s.Window = enrich.Window{} },
		"Window ":     func(s *beats) { s.Window = enrich.Tumbling(0) },
		"Window  ":    func(s *beats) { s.Window = enrich.Sliding(time.Second, time.Minute) },
		"Window   ":   func(s *beats) { s.Window = enrich.Session(time.Minute, time.Second) },
		"Window    ":  func(s *beats) { s.Window = enrich.Interval(-1, time.Second) },
		"Left, Right": func(s *beats) { s.Right = nil },
		"Grace":       func(s *beats) { s.Grace = -1 },
		"Idle":        func(s *beats) { s.Idle = 0 },
		"MaxPending":  func(s *beats) { s.MaxPending = 0 },
		"Full":        func(s *beats) { s.Full = cache.Conflate },
	} {
		s := good
		spoil(&s)
		in := newHand[beat]()
		err := collect(t, t.Context(), enrich.JoinStreams(in.stream, in.stream, s)).ended()
		var bad *enrich.ConfigError
		require.ErrorAs(t, err, &bad, field)
		require.Contains(t, field, bad.Field)
		require.Zero(t, in.pulled.Load())
	}
}
