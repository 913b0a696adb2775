package realtime

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/patience"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// at is a time in seconds.
func at(s float64) time.Time { return time.Unix(0, int64(s*1e9)) }

func TestHeartbeatDecisions(t *testing.T) {
	fresh := func() heart {
		h := heart{every: 25 * time.Second, timeout: 15 * time.Second}
		h.start(at(0))
		return h
	}
	requireDue := func(h heart, now float64, beat, dead bool) {
		t.Helper()
		b, d := h.due(at(now))
		require.Equal(t, beat, b, "beat")
		require.Equal(t, dead, d, "dead")
	}
	// wait looks at the heart as often as it wants, up to a time.
	wait := func(h *heart, until float64) {
		for next := h.next(); !next.After(at(until)); next = h.next() {
			if beat, dead := h.due(next); beat || dead {
				return
			}
		}
	}
	h := fresh()
	require.Equal(t, at(25), h.next())
	requireDue(h, 24, false, false)
	requireDue(h, 25, true, false)

	h.sent("1", 3, at(25))
	require.Equal(t, at(26), h.next(), "the wait is looked at every second")
	wait(&h, 39)
	requireDue(h, 39, false, false)
	requireDue(h, 40, false, true)

	sent, last := h.answered("1", at(26))
	require.True(t, last)
	require.Equal(t, at(25), sent, "what the server had sent by then has come")
	require.Equal(t, at(50), h.next())
	requireDue(h, 40, false, false)
	requireDue(h, 50, true, false)

	// Beats go on while an answer is awaited and excused; a later beat does
	// not make the wait for the first begin anew.
	h = fresh()
	h.sent("1", 0, at(25))
	h.excuse(at(48))
	wait(&h, 50)
	requireDue(h, 50, true, false)
	h.sent("2", 0, at(50))
	wait(&h, 62)
	requireDue(h, 62, false, false)
	requireDue(h, 63, false, true)

	// An answer to an earlier beat is a sign of life, and not the last answer.
	_, last = h.answered("1", at(62))
	require.False(t, last)
	requireDue(h, 63, false, false)
	wait(&h, 74)
	_, dead := h.due(at(76))
	require.False(t, dead)
	_, dead = h.due(at(77))
	require.True(t, dead)
	h.answered("2", at(77))
	requireDue(h, 78, true, false)
}

// A process that was stopped has not waited, and finds the answer in its
// buffers.
func TestHeartbeat_TimeInWhichTheProcessDidNotRunDoesNotCount(t *testing.T) {
	h := heart{every: 25 * time.Second, timeout: 15 * time.Second}
	h.start(at(0))
	h.sent("1", 0, at(25))
	h.due(at(26))
	_, dead := h.due(at(100)) // stopped in between
	require.False(t, dead)
	for s := 101.0; s < 115; s++ {
		_, dead = h.due(at(s))
		require.False(t, dead, "%v", s)
	}
	_, dead = h.due(at(115))
	require.True(t, dead, "the wait is bounded")
}

func TestGateDecisions(t *testing.T) {
	g := gate{probeAfter: probeAfter}
	for n := range 20 {
		g.request(fmt.Sprint(n), false)
		g.request(fmt.Sprint(n), false) // in line once
	}
	for n := range maxJoins {
		w, ok := g.next()
		require.True(t, ok)
		require.Equal(t, fmt.Sprint(n), w.topic, "in line")
		g.sent(w, phoenix.NewRef(uint64(n)), at(float64(n)))
	}
	_, ok := g.next()
	require.False(t, ok, "so many at once and no more")
	require.Equal(t, at(0), g.since, "the first one's turn is the first")

	require.False(t, g.answered(phoenix.NewRef(99), at(5)), "no join's")
	require.True(t, g.answered(phoenix.NewRef(0), at(5)))
	w, ok := g.next()
	require.True(t, ok)
	require.Equal(t, "8", w.topic)
	g.forget("9")
	g.sent(w, phoenix.NewRef(8), at(6))

	// The second one's turn began with the answer to the first.
	require.Equal(t, at(45), g.due(40*time.Second))
	_, ok = g.overdue(at(44), 40*time.Second)
	require.False(t, ok)
	join, ok := g.overdue(at(45), 40*time.Second)
	require.True(t, ok)
	require.Equal(t, "1", join.topic)
	_, ok = g.overdue(at(84), 40*time.Second)
	require.False(t, ok, "and the third one's with the end of the second")
	g.hold(at(84))
	_, ok = g.overdue(at(123), 40*time.Second)
	require.False(t, ok)
	join, ok = g.overdue(at(124), 40*time.Second)
	require.True(t, ok)
	require.Equal(t, "2", join.topic)

	w, ok = g.next()
	require.True(t, ok)
	require.Equal(t, "10", w.topic, "9 has been forgotten")
	require.True(t, g.busy())
}

// A join whose answer does not come holds up the others until the server has
// answered something behind it, and may still be answered itself.
func TestGate_AJoinThatTheServerHasPassedHoldsUpNothing(t *testing.T) {
	const timeout = 40 * time.Second
	send := func(g *gate, ref phoenix.Ref, now float64) {
		w, ok := g.next()
		require.True(t, ok)
		g.sent(w, ref, at(now))
		g.write(ref)
	}
	g := gate{probeAfter: probeAfter}
	g.request("silent", true)
	g.request("other", true)
	send(&g, "1", 0)
	_, ok := g.next()
	require.False(t, ok, "failing joins go one at a time")
	require.Equal(t, at(8), g.probe(0))
	require.True(t, g.probe(1).IsZero(), "a heartbeat has gone out behind it")
	g.pass(0, at(8))
	require.True(t, g.busy(), "that heartbeat went out before it")
	g.pass(1, at(9))
	require.False(t, g.busy())
	send(&g, "2", 9)
	require.True(t, g.answered("2", at(10)))
	join, ok := g.overdue(at(40), timeout)
	require.True(t, ok)
	require.Equal(t, "silent", join.topic)
	require.True(t, join.passed, "which says nothing against the socket")

	// The answer to a later join passes the earlier ones, too, but for those
	// that have not been written.
	g = gate{probeAfter: probeAfter}
	g.request("a", false)
	g.request("b", false)
	g.request("c", false)
	send(&g, "1", 0)
	send(&g, "2", 0)
	w, _ := g.next()
	g.sent(w, "3", at(0))
	g.answered("2", at(1))
	require.True(t, g.busy())
	require.Equal(t, []bool{true, false}, []bool{g.sentOff[0].passed, g.sentOff[1].passed})
	require.True(t, g.answered("1", at(2)), "late")
}

func TestFailingJoinsGoOneAtATime(t *testing.T) {
	var g gate
	g.request("bad 1", true)
	g.request("bad 2", true)
	g.request("good", false)
	first, _ := g.next()
	require.Equal(t, "bad 1", first.topic)
	g.sent(first, "1", at(0))
	second, _ := g.next()
	require.Equal(t, "good", second.topic, "which does not wait for those that fail")
	g.sent(second, "2", at(0))
	_, ok := g.next()
	require.False(t, ok)
	g.answered("1", at(1))
	third, _ := g.next()
	require.Equal(t, "bad 2", third.topic)
	_, ok = g.overdue(at(100), time.Second)
	require.True(t, ok)
	require.False(t, g.busy())
	_, ok = g.overdue(at(1000), time.Second)
	require.False(t, ok, "nobody waits")
}

func TestRetryDecisions(t *testing.T) {
	passing, refused := errors.New("no route"), &ConnectError{Status: 401}
	start := func(strict bool) retrying {
		return retrying{min: time.Second, max: 30 * time.Second, patience: patience.Patience{Strict: strict}}
	}
	next := func(r *retrying, connected bool, lived time.Duration, err error, now float64) (giveUp bool) {
		wait, giveUp := r.next(connected, lived, err, at(now))
		require.Less(t, wait, 30*time.Second)
		return giveUp
	}

	r := start(false)
	require.True(t, next(&r, false, 0, refused, 0), "a client that never was connected believes at once")

	r = start(false)
	for range 100 {
		require.False(t, next(&r, false, 0, passing, 0))
	}
	require.Equal(t, 100, r.attempts)
	next(&r, true, time.Second, passing, 0)
	require.Equal(t, 101, r.attempts, "a socket that is lost at once is another failure")
	next(&r, true, steady, passing, 0)
	require.Equal(t, 1, r.attempts, "one that has lived is not")

	for n := range 100 { // a gateway that answers so for minutes
		require.False(t, next(&r, false, 0, refused, float64(n)))
	}
	require.False(t, next(&r, false, 0, passing, 170))
	require.True(t, next(&r, false, 0, refused, 180), "it persists")
	require.Zero(t, r.attempts)
	next(&r, true, time.Second, passing, 200)
	require.False(t, next(&r, false, 0, refused, 400), "counted from the last connection")

	r = start(true)
	next(&r, true, steady, passing, 0)
	require.True(t, next(&r, false, 0, refused, 1))

	for _, passes := range []error{&ConnectError{Status: 302}, &ConnectError{Status: 429}, &ConnectError{Status: 502}, &ConnectError{Status: 404, page: true}} {
		r = start(true)
		require.False(t, next(&r, false, 0, passes, 0), "%v", passes)
	}
}

// An error after which the client tried again is not permanent; the one it gave
// up for is, and a wrapped one is taken apart.
func TestIsPermanent_OfARefusalIsWhetherTheClientGaveUp(t *testing.T) {
	refused := error(&ConnectError{Status: 401})
	require.False(t, IsPermanent(refused))
	require.True(t, IsPermanent(final(fmt.Errorf("wrapped: %w", refused))))
	require.False(t, IsPermanent(refused), "it stays as it was")
	require.NoError(t, Permanent(nil))
	require.NoError(t, final(nil))
}

// The monotonic clock of some systems stands still while they sleep: a token
// that expired meanwhile would count as valid for as long as that.
func TestToken_ExpiresByTheWallClock(t *testing.T) {
	a := &auth{events: newEvents(slog.New(slog.DiscardHandler), Hooks{}), clock: func() (time.Duration, bool) { return 0, true }}
	expiry := time.Now().Add(time.Hour)
	require.NotEqual(t, expiry, expiry.Round(0), "it has both clocks")
	a.settle(&tokenCall{done: make(chan struct{})}, "token", expiry, nil)
	require.Equal(t, expiry.Round(0), a.given)
}

func TestTokenDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var notified atomic.Int64
		a := &auth{ctx: t.Context(), notify: func() { notified.Add(1) }, events: newEvents(slog.New(slog.DiscardHandler), Hooks{}),
			clock: func() (time.Duration, bool) { return 0, true }}
		token, ok := a.valid(time.Now())
		require.True(t, ok)
		require.Empty(t, token)
		require.True(t, a.due(time.Now()).IsZero(), "without a source there is nothing to do")
		require.False(t, a.reject("", nil))

		give, lifetime, fail := "one", time.Hour, error(nil)
		a.source = func(context.Context) (string, time.Time, error) { return give, time.Now().Add(lifetime), fail }
		fetch := func() error { return a.begin().wait(t.Context()) }
		require.Equal(t, time.Now(), a.due(time.Now()))
		require.NoError(t, fetch())
		synctest.Wait()
		require.Equal(t, int64(1), notified.Load())
		require.Equal(t, time.Now().Add(55*time.Minute), a.due(time.Now()), "five minutes ahead")

		// Refused tokens: a token counts once, and a success in between starts
		// the count anew.
		for n := range 20 {
			require.True(t, a.reject(give, nil))
			require.True(t, a.reject(give, nil))
			_, ok = a.valid(time.Now())
			require.False(t, ok)
			give = fmt.Sprint(n)
			require.NoError(t, fetch())
			if n%2 == 1 {
				a.accepted()
			}
		}
		require.True(t, a.reject("a token of long ago", nil))

		// Failures wait, the more the longer, and a token that is good is used
		// meanwhile.
		fail = errSourceDown
		for range 20 {
			require.ErrorIs(t, fetch(), errSourceDown)
		}
		require.ErrorIs(t, a.failure(), errSourceDown)
		_, ok = a.valid(time.Now())
		require.True(t, ok)
		time.Sleep(time.Hour)
		require.ErrorIs(t, fetch(), errSourceDown)
		_, ok = a.valid(time.Now())
		require.False(t, ok)
		require.LessOrEqual(t, time.Until(a.due(time.Now())), 30*time.Second)
		require.True(t, a.due(time.Now()).After(time.Now()))

		fail = Permanent(errSourceDown)
		require.ErrorIs(t, fetch(), errSourceDown)
		require.True(t, IsPermanent(a.failure()))
		require.NoError(t, a.failure(), "told once: who comes later asks anew")

		fail, give, lifetime = nil, "short", 10*time.Second
		require.NoError(t, fetch())
		require.Equal(t, time.Now().Add(5*time.Second), a.due(time.Now()), "at the latest when it is used no more")
		time.Sleep(5 * time.Second)
		_, ok = a.valid(time.Now())
		require.False(t, ok)

		a.close()
		require.ErrorIs(t, fetch(), ErrClosed)
	})
}

var errSourceDown = errors.New("down")

func TestEarlierExpiryCounts(t *testing.T) {
	require.Equal(t, at(1), earlier(at(1), at(2)))
	require.Equal(t, at(1), earlier(at(2), at(1)))
	require.Equal(t, at(2), earlier(time.Time{}, at(2)))
	require.Equal(t, at(2), earlier(at(2), time.Time{}))
	require.True(t, earlier(time.Time{}, time.Time{}).IsZero())
	require.True(t, claimedExpiry("no token").IsZero())
	for exp, want := range map[string]time.Time{"1000": at(1000), "-1": at(-1), "1e19": {}, "1e300": {}, "9223372036854775807": {}, `"x"`: {}, "null": {}} {
		token := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":`+exp+`}`)) + ".AA"
		require.True(t, want.Equal(claimedExpiry(token)), "%s: %v", exp, claimedExpiry(token))
	}
	require.True(t, refreshTime(time.Time{}, at(0)).IsZero())
}
