package realtime

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

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
	h := fresh()
	require.Equal(t, at(25), h.next())
	requireDue(h, 24, false, false)
	requireDue(h, 25, true, false)

	h.sent("1", at(25))
	require.Equal(t, at(40), h.next(), "the answer is due before the next beat")
	requireDue(h, 39, false, false)
	requireDue(h, 40, false, true)

	h.answered("1", at(26))
	require.Equal(t, at(50), h.next())
	requireDue(h, 40, false, false)
	requireDue(h, 50, true, false)

	// Beats go on while an answer is awaited and excused; a later beat does
	// not make the wait for the first begin anew.
	h = fresh()
	h.sent("1", at(25))
	h.excuse(at(48))
	requireDue(h, 50, true, false)
	h.sent("2", at(50))
	require.Equal(t, at(63), h.next())
	requireDue(h, 63, false, true)

	// An answer to an earlier beat is a sign of life, and not the last answer.
	h.answered("1", at(62))
	requireDue(h, 63, false, false)
	requireDue(h, 77, true, true)
	h.answered("2", at(76))
	requireDue(h, 77, true, false)
}

func TestGateDecisions(t *testing.T) {
	var g gate
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
	_, ok = g.overdue(at(44), 40*time.Second)
	require.False(t, ok)
	topic, ok := g.overdue(at(45), 40*time.Second)
	require.True(t, ok)
	require.Equal(t, "1", topic)
	_, ok = g.overdue(at(84), 40*time.Second)
	require.False(t, ok, "and the third one's with the end of the second")
	g.hold(at(84))
	_, ok = g.overdue(at(123), 40*time.Second)
	require.False(t, ok)
	topic, ok = g.overdue(at(124), 40*time.Second)
	require.True(t, ok)
	require.Equal(t, "2", topic)

	w, ok = g.next()
	require.True(t, ok)
	require.Equal(t, "10", w.topic, "9 has been forgotten")
	require.True(t, g.busy())
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
	passing, final := errors.New("no route"), &ConnectError{Status: 401}
	start := func() retrying { return retrying{min: time.Second, max: 30 * time.Second} }

	r := start()
	_, giveUp := r.next(false, 0, final)
	require.True(t, giveUp, "a client that never was connected believes at once")

	r = start()
	for range 100 {
		wait, giveUp := r.next(false, 0, passing)
		require.False(t, giveUp)
		require.Less(t, wait, 30*time.Second)
	}
	require.Equal(t, 100, r.attempts)
	r.next(true, time.Second, passing)
	require.Equal(t, 101, r.attempts, "a socket that is lost at once is another failure")
	r.next(true, steady, passing)
	require.Equal(t, 1, r.attempts, "one that has lived is not")

	for range maxRefusals - 1 {
		_, giveUp = r.next(false, 0, final)
		require.False(t, giveUp)
	}
	r.next(true, time.Second, passing)
	for range maxRefusals - 1 {
		_, giveUp = r.next(false, 0, final)
		require.False(t, giveUp, "counted from the last connection")
	}
	r.next(false, 0, passing)
	for range maxRefusals - 1 {
		_, giveUp = r.next(false, 0, final)
		require.False(t, giveUp, "in a row")
	}
	_, giveUp = r.next(false, 0, final)
	require.True(t, giveUp)
	require.Zero(t, r.attempts)
}

func TestTokenDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var notified atomic.Int64
		a := &auth{ctx: t.Context(), notify: func() { notified.Add(1) }}
		token, ok := a.valid(time.Now())
		require.True(t, ok)
		require.Empty(t, token)
		require.True(t, a.due(time.Now()).IsZero(), "without a source there is nothing to do")
		require.False(t, a.reject(""))

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
			require.True(t, a.reject(give))
			require.True(t, a.reject(give))
			_, ok = a.valid(time.Now())
			require.False(t, ok)
			give = fmt.Sprint(n)
			require.NoError(t, fetch())
			if n%2 == 1 {
				a.accepted()
			}
		}
		require.True(t, a.reject("a token of long ago"))

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
	require.True(t, refreshTime(time.Time{}, at(0)).IsZero())
}
