package channel

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

func newQueue(bounds Queue) *inbox[cdc.Change] {
	return newInbox(changeTraits, bounds, func(cdc.Gap) {})
}

// push returns whether the change is in the inbox, and not lost.
func push(q *inbox[cdc.Change], ctx context.Context, c cdc.Change) bool {
	before := q.pushed
	q.push(ctx, &c, sizeOf(&c), time.Now())
	return q.pushed > before
}

func take(q *inbox[cdc.Change]) (c cdc.Change, ok bool, err error) {
	taken, err := q.take()
	if taken == nil {
		return c, false, err
	}
	return *taken, true, nil
}

func pop(ctx context.Context, q *inbox[cdc.Change]) (c cdc.Change, err error) {
	taken, err := q.pop(ctx)
	if taken != nil {
		c = *taken
	}
	return c, err
}

func change(n byte) cdc.Change {
	return cdc.Change{Op: cdc.Insert, Record: json.RawMessage{n}}
}

// drain takes what is there without waiting: changes by their number, gaps as
// they are.
func drain(t *testing.T, q *inbox[cdc.Change]) (got []any) {
	t.Helper()
	for {
		c, ok, _ := take(q)
		switch {
		case !ok:
			return got
		case c.Gap != nil:
			got = append(got, *c.Gap)
		default:
			got = append(got, c.Record[0])
		}
	}
}

func TestQueueKeepsOrder(t *testing.T) {
	q := newQueue(Queue{Changes: 1000, Bytes: 1 << 20})
	for n := range byte(200) {
		require.True(t, push(q, t.Context(), change(n)))
		if n%3 == 0 {
			c, ok, err := take(q)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, n/3, c.Record[0])
		}
	}
	require.Len(t, drain(t, q), 133)
	require.Less(t, len(q.items), 200, "taken items are let go")
}

// TestSeveralAtOnce: a consumer takes a few changes at a time, and a gap by
// itself, so that one that waits can still become longer.
func TestSeveralAtOnce(t *testing.T) {
	q := newQueue(Queue{Changes: 160, Bytes: 16_000})
	for n := range byte(30) {
		push(q, t.Context(), change(n))
	}
	_, ok, err := take(q)
	require.True(t, ok)
	require.NoError(t, err)
	require.Equal(t, 20, len(q.items)-q.head)
	for n := range byte(2) {
		q.open(cdc.Gap{Since: time.Unix(int64(n), 0), Reason: cdc.Disconnected})
		q.restore(cdc.Gap{Until: time.Unix(int64(10+n), 0)}, NoReplay)
	}
	push(q, t.Context(), change(30))
	got := drain(t, q)
	require.Len(t, got, 31)
	require.Equal(t, cdc.Gap{Since: time.Unix(0, 0), Until: time.Unix(11, 0), Reason: cdc.Disconnected}, got[29])
	require.Equal(t, byte(30), got[30])

	large := cdc.Change{Op: cdc.Insert, Record: make(json.RawMessage, 600)}
	for range 20 {
		push(q, t.Context(), large)
	}
	_, _, err = take(q)
	require.NoError(t, err)
	require.Equal(t, 18*600, q.bytes, "two are a sixteenth of the bytes")
	drain(t, q)
	require.Zero(t, q.bytes)
	require.Zero(t, len(q.items)-q.head)
}

func TestOverflowIsOneGapWhereItHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(Queue{Changes: 2, Bytes: 1 << 20})
		require.True(t, push(q, t.Context(), change(1)))
		require.True(t, push(q, t.Context(), change(2)))
		since := time.Now()
		require.False(t, push(q, t.Context(), change(3)))
		time.Sleep(time.Second)
		c, _, _ := take(q)
		require.Equal(t, byte(1), c.Record[0])
		require.False(t, push(q, t.Context(), change(4)), "the gap goes on until the consumer has caught up")
		got := drain(t, q)
		require.Equal(t, []any{byte(2), cdc.Gap{Since: since, Until: time.Now(), Reason: cdc.Overflow, Lost: 2}}, got)
		require.True(t, push(q, t.Context(), change(5)))
		require.Equal(t, []any{byte(5)}, drain(t, q))
	})
}

func TestQueueIsBoundedByBytes(t *testing.T) {
	q := newQueue(Queue{Changes: 100, Bytes: 10})
	big := cdc.Change{Op: cdc.Update, Record: make([]byte, 100), OldRecord: make([]byte, 100)}
	require.True(t, push(q, t.Context(), big), "a single change is always taken: it could not pass otherwise")
	require.False(t, push(q, t.Context(), change(1)))
	c, _, _ := take(q)
	require.Len(t, c.Record, 100)
	c, _, _ = take(q)
	require.Equal(t, 1, c.Gap.Lost)
	require.True(t, push(q, t.Context(), change(2)))
	require.Equal(t, 1, q.bytes)
}

func TestBlockWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(Queue{Changes: 1, Bytes: 1 << 20, Full: Block})
		require.True(t, push(q, t.Context(), change(1)))
		pushed := make(chan bool, 1)
		go func() { pushed <- push(q, t.Context(), change(2)) }()
		synctest.Wait()
		require.Empty(t, pushed)
		require.Equal(t, []any{byte(1)}, drain(t, q))
		require.True(t, <-pushed)
		require.Equal(t, []any{byte(2)}, drain(t, q))
	})
}

func TestBlockEndsWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(Queue{Changes: 1, Bytes: 1 << 20, Full: Block})
		require.True(t, push(q, t.Context(), change(1)))
		ctx, cancel := context.WithCancel(t.Context())
		pushed := make(chan bool, 1)
		go func() { pushed <- push(q, ctx, change(2)) }()
		synctest.Wait()
		cancel()
		require.False(t, <-pushed)
	})
}

func TestGapOpensAndCloses(t *testing.T) {
	q := newQueue(Queue{Changes: 10, Bytes: 1 << 20})
	since, until := time.Unix(10, 0), time.Unix(20, 0)
	lost := cdc.Gap{Since: since, Reason: cdc.Disconnected}
	whole := cdc.Gap{Since: since, Until: until, Reason: cdc.Disconnected}

	push(q, t.Context(), change(1))
	q.open(lost)
	require.Equal(t, []any{byte(1), lost}, drain(t, q), "the consumer knows at once")
	q.open(cdc.Gap{Since: until, Reason: cdc.Crashed}) // while it is open: the same gap
	q.restore(cdc.Gap{Until: until, Reason: cdc.Started}, NoReplay)
	require.Equal(t, []any{whole}, drain(t, q))

	q.open(lost)
	q.restore(cdc.Gap{Until: until}, NoReplay)
	require.Equal(t, []any{whole}, drain(t, q), "what was not taken needs no open form")

	q.open(lost)
	push(q, t.Context(), change(2)) // came before the server confirmed the subscription
	q.restore(cdc.Gap{Until: until}, NoReplay)
	require.Equal(t, []any{lost, byte(2), whole}, drain(t, q))
}

func TestAGapThatOpensAgainIsOpen(t *testing.T) {
	q := newQueue(Queue{Changes: 10, Bytes: 1 << 20})
	q.restore(cdc.Gap{Until: time.Unix(1, 0), Reason: cdc.Started}, NoReplay)
	q.open(cdc.Gap{Since: time.Unix(2, 0), Reason: cdc.Disconnected})
	require.Equal(t, []any{cdc.Gap{Reason: cdc.Started}}, drain(t, q))
	q.restore(cdc.Gap{Until: time.Unix(3, 0)}, NoReplay)
	require.Equal(t, []any{cdc.Gap{Until: time.Unix(3, 0), Reason: cdc.Started}}, drain(t, q))
}

func TestGapsThatNobodyTakesAreOne(t *testing.T) {
	q := newQueue(Queue{Changes: 10, Bytes: 1 << 20})
	q.restore(cdc.Gap{Until: time.Unix(1, 0), Reason: cdc.Started}, NoReplay)
	for n := range int64(10_000) {
		q.open(cdc.Gap{Since: time.Unix(n, 0), Reason: cdc.Disconnected})
		q.restore(cdc.Gap{Until: time.Unix(n+1, 0)}, NoReplay)
		q.restore(cdc.Gap{Since: time.Unix(n, 0), Until: time.Unix(n+2, 0), Reason: cdc.Resubscribed}, NoReplay)
	}
	require.Equal(t, []any{cdc.Gap{Until: time.Unix(10_001, 0), Reason: cdc.Started}}, drain(t, q))
}

// A connection that is lost while the queue overflows, and back before or
// after the consumer has caught up.
func TestOverflowAndDisconnectionOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, back := range []string{"before", "after"} {
			q := newQueue(Queue{Changes: 1, Bytes: 1 << 20})
			since := time.Now()
			push(q, t.Context(), change(1))
			push(q, t.Context(), change(2)) // overflows
			time.Sleep(time.Second)
			q.open(cdc.Gap{Since: time.Now(), Reason: cdc.Disconnected})
			if back == "before" {
				q.restore(cdc.Gap{Until: time.Now()}, NoReplay)
				push(q, t.Context(), change(3)) // still overflowing
				time.Sleep(time.Second)
				require.Equal(t, []any{byte(1), cdc.Gap{Since: since, Until: time.Now(), Reason: cdc.Overflow, Lost: 2}}, drain(t, q))
			} else {
				require.Equal(t, []any{byte(1), cdc.Gap{Since: since, Reason: cdc.Overflow, Lost: 1}}, drain(t, q), "open: the connection is down")
				time.Sleep(time.Second)
				q.restore(cdc.Gap{Until: time.Now()}, NoReplay)
				require.Equal(t, []any{cdc.Gap{Since: since, Until: time.Now(), Reason: cdc.Overflow, Lost: 1}}, drain(t, q))
			}
			push(q, t.Context(), change(4))
			require.Equal(t, []any{byte(4)}, drain(t, q))
		}
	})
}

func TestOverflowBeforeTheStart(t *testing.T) {
	q := newQueue(Queue{Changes: 1, Bytes: 1 << 20})
	push(q, t.Context(), change(1))
	push(q, t.Context(), change(2))
	q.restore(cdc.Gap{Until: time.Now(), Reason: cdc.Started}, NoReplay)
	got := drain(t, q)
	require.Len(t, got, 2)
	gap := got[1].(cdc.Gap)
	require.Equal(t, cdc.Started, gap.Reason)
	require.True(t, gap.Since.IsZero())
	require.False(t, gap.Open())
}

func TestEndComesAfterWhatIsThere(t *testing.T) {
	over := errors.New("over")
	q := newQueue(Queue{Changes: 2, Bytes: 1 << 20})
	push(q, t.Context(), change(1))
	q.end(over)
	q.end(errors.New("later"))
	require.False(t, push(q, t.Context(), change(2)))
	c, err := pop(t.Context(), q)
	require.NoError(t, err)
	require.Equal(t, byte(1), c.Record[0])
	_, err = pop(t.Context(), q)
	require.ErrorIs(t, err, over)
}

func TestAnOverflowingStreamThatEndsNeverWasWholeAgain(t *testing.T) {
	over := errors.New("over")
	q := newQueue(Queue{Changes: 1, Bytes: 1 << 20})
	push(q, t.Context(), change(1))
	push(q, t.Context(), change(2))
	q.end(over)
	got := drain(t, q)
	require.Len(t, got, 2)
	gap := got[1].(cdc.Gap)
	require.True(t, gap.Open())
	require.Equal(t, 1, gap.Lost)
	_, err := pop(t.Context(), q)
	require.ErrorIs(t, err, over)
}

func TestPopWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(Queue{Changes: 2, Bytes: 1 << 20})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := pop(ctx, q)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		go func() {
			time.Sleep(time.Hour)
			push(q, t.Context(), change(1))
		}()
		c, err := pop(t.Context(), q)
		require.NoError(t, err)
		require.Equal(t, byte(1), c.Record[0])
	})
}

// Invariant behind all of the above: whatever is pushed comes out, in order,
// or a gap stands between its neighbours.
func FuzzQueueLosesNothingInSilence(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 1, 1, 2, 0, 3, 1, 1, 1}, false)
	f.Add([]byte{2, 0, 3, 0, 0, 0, 0, 1, 1, 1, 1, 4, 0}, false)
	f.Add([]byte{0, 0, 0, 0, 0, 1, 2, 1, 3, 1, 0, 0, 2, 0, 3, 1, 1, 4, 1, 1, 1, 1}, true)
	f.Fuzz(func(t *testing.T, script []byte, large bool) {
		if len(script) > 2000 {
			return
		}
		limit := 3
		if large { // several changes are taken at a time
			limit = 64
		}
		q := newQueue(Queue{Changes: limit, Bytes: 1 << 20})
		var pushed, last, openGaps int
		gap, offline := false, false
		take := func() {
			c, ok, _ := take(q)
			switch {
			case !ok:
			case c.Gap != nil:
				gap = true
				if c.Gap.Open() {
					openGaps++
				}
			default:
				n := int(c.Record[0]) | int(c.Record[1])<<8
				require.Greater(t, n, last, "order")
				require.True(t, n == last+1 || gap, "change %d after %d without a gap", n, last)
				last, gap = n, false
			}
		}
		for _, step := range script {
			switch step % 5 {
			case 0:
				pushed++
				if !offline {
					push(q, t.Context(), cdc.Change{Record: json.RawMessage{byte(pushed), byte(pushed >> 8)}})
				}
			case 1:
				take()
			case 2:
				q.open(cdc.Gap{Since: time.Unix(int64(pushed), 0), Reason: cdc.Disconnected})
				offline = true
			case 3:
				if offline {
					q.restore(cdc.Gap{Until: time.Unix(int64(pushed), 0), Reason: cdc.Disconnected}, NoReplay)
					offline = false
				}
			case 4:
				require.LessOrEqual(t, len(q.items)-q.head, 2*limit+1, "bounded")
			}
		}
		q.restore(cdc.Gap{Until: time.Now()}, NoReplay)
		for range limit + 20 {
			take()
		}
		pushed++
		push(q, t.Context(), cdc.Change{Record: json.RawMessage{byte(pushed), byte(pushed >> 8)}})
		take()
		require.Equal(t, pushed, last, "the queue works again once it has been emptied")
	})
}

func newBroadcastInbox(bounds Queue) *inbox[Broadcast] {
	return newInbox(broadcastTraits, bounds, func(cdc.Gap) {})
}

func pushBroadcast(q *inbox[Broadcast], event string) bool {
	before := q.pushed
	q.push(context.Background(), &Broadcast{Event: event, Payload: json.RawMessage("1234567890")}, 10, time.Now())
	return q.pushed > before
}

func drainBroadcasts(q *inbox[Broadcast]) (got []Broadcast) {
	for {
		b, _ := q.take()
		if b == nil {
			return got
		}
		got = append(got, *b)
	}
}

// C74: what does not fit is a gap where it was dropped, and counted.
func TestC74CastQueueOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, limits := range []Queue{{Changes: 2, Bytes: 1000}, {Changes: 1000, Bytes: 20}} {
			q := newBroadcastInbox(limits)
			require.True(t, pushBroadcast(q, "a"))
			require.True(t, pushBroadcast(q, "b"))
			since := time.Now()
			time.Sleep(time.Second)
			require.False(t, pushBroadcast(q, "c"))
			b, _ := q.take()
			require.Equal(t, "a", b.Event)
			require.False(t, pushBroadcast(q, "d"), "until the consumer is there, or there would be two gaps")
			got := drainBroadcasts(q)
			require.Len(t, got, 2)
			require.Equal(t, cdc.Gap{Since: since.Add(time.Second), Until: time.Now(), Reason: cdc.Overflow, Lost: 2}, *got[1].Gap)
			require.Equal(t, ReplayIncomplete, got[1].Replay)
			require.True(t, pushBroadcast(q, "e"))
		}
	})
}

func TestCastQueueTakesOneThatIsTooLargeAlone(t *testing.T) {
	q := newBroadcastInbox(Queue{Changes: 10, Bytes: 5})
	require.True(t, pushBroadcast(q, "a"))
	require.False(t, pushBroadcast(q, "b"))
}

func TestCastQueueGaps(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	q := newBroadcastInbox(Queue{Changes: 2, Bytes: 1000})
	q.restore(cdc.Gap{Until: at(1), Reason: cdc.Started}, NoReplay)
	q.open(cdc.Gap{Since: at(2), Reason: cdc.Disconnected})
	q.restore(cdc.Gap{Since: at(2), Until: at(3), Reason: cdc.Disconnected}, ReplayComplete)
	require.Equal(t, []Broadcast{{Gap: &cdc.Gap{Until: at(3), Reason: cdc.Started}, Replay: ReplayComplete}}, drainBroadcasts(q),
		"gaps that nobody has taken, and nothing between them, are one")

	q.open(cdc.Gap{Since: at(4), Reason: cdc.Crashed})
	require.True(t, pushBroadcast(q, "replayed"))
	q.restore(cdc.Gap{Since: at(4), Until: at(5), Reason: cdc.Crashed}, ReplayIncomplete)
	require.True(t, pushBroadcast(q, "x"), "gaps do not count as values")
	require.False(t, pushBroadcast(q, "y"))
	require.Len(t, drainBroadcasts(q), 5)

	require.True(t, pushBroadcast(q, "a"))
	require.True(t, pushBroadcast(q, "b"))
	require.False(t, pushBroadcast(q, "c"))
	q.open(cdc.Gap{Since: at(6), Reason: cdc.Disconnected})
	got := drainBroadcasts(q)
	require.True(t, got[2].Gap.Open(), "the connection is lost, too")
	q.restore(cdc.Gap{Since: at(6), Until: at(7), Reason: cdc.Disconnected}, NoReplay)
	require.Equal(t, []Broadcast{{Gap: &cdc.Gap{Since: got[2].Gap.Since, Until: at(7), Reason: cdc.Overflow, Lost: 1}, Replay: ReplayIncomplete}}, drainBroadcasts(q),
		"the end of what the consumer has the beginning of")

	q.end(errors.New("over"))
	b, err := q.take()
	require.Nil(t, b)
	require.EqualError(t, err, "over")
	require.False(t, pushBroadcast(q, "a"), "nobody wants it")
}
