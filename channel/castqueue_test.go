package channel

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

func cast(event string) Broadcast {
	return Broadcast{Event: event, Payload: json.RawMessage("1234567890")}
}

func (q *castQueue) drain() (got []Broadcast) {
	for {
		b, ok, _ := q.take()
		if !ok {
			return got
		}
		got = append(got, b)
	}
}

// C74: what does not fit is a gap where it was dropped, and counted.
func TestC74CastQueueOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, limits := range []Queue{{Changes: 2, Bytes: 1000}, {Changes: 1000, Bytes: 20}} {
			q := newCastQueue(limits)
			require.True(t, q.push(cast("a")))
			require.True(t, q.push(cast("b")))
			since := time.Now()
			time.Sleep(time.Second)
			require.False(t, q.push(cast("c")))
			b, _, _ := q.take()
			require.Equal(t, "a", b.Event)
			require.False(t, q.push(cast("d")), "until the consumer is there, or there would be two gaps")
			got := q.drain()
			require.Len(t, got, 2)
			require.Equal(t, cdc.Gap{Since: since.Add(time.Second), Until: time.Now(), Reason: cdc.Overflow, Lost: 2}, *got[1].Gap)
			require.Equal(t, ReplayIncomplete, got[1].Replay)
			require.True(t, q.push(cast("e")))
		}
	})
}

func TestCastQueueTakesOneThatIsTooLargeAlone(t *testing.T) {
	q := newCastQueue(Queue{Changes: 10, Bytes: 5})
	require.True(t, q.push(cast("a")))
	require.False(t, q.push(cast("b")))
}

func TestCastQueueGaps(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	q := newCastQueue(Queue{Changes: 2, Bytes: 1000})
	q.gap(cdc.Gap{Until: at(1), Reason: cdc.Started}, NoReplay)
	q.gap(cdc.Gap{Since: at(2), Reason: cdc.Disconnected}, NoReplay)
	q.gap(cdc.Gap{Since: at(2), Until: at(3), Reason: cdc.Disconnected}, ReplayComplete)
	require.Equal(t, []Broadcast{{Gap: &cdc.Gap{Until: at(3), Reason: cdc.Started}, Replay: ReplayComplete}}, q.drain(),
		"gaps that nobody has taken, and nothing between them, are one")

	q.gap(cdc.Gap{Since: at(4), Reason: cdc.Crashed}, NoReplay)
	require.True(t, q.push(cast("replayed")))
	q.gap(cdc.Gap{Since: at(4), Until: at(5), Reason: cdc.Crashed}, ReplayIncomplete)
	require.False(t, q.push(cast("x")))
	require.Len(t, q.drain(), 4)

	require.True(t, q.push(cast("a")))
	require.True(t, q.push(cast("b")))
	require.False(t, q.push(cast("c")))
	q.gap(cdc.Gap{Since: at(6), Reason: cdc.Disconnected}, NoReplay)
	got := q.drain()
	require.True(t, got[2].Gap.Open(), "the connection is lost, too")
	q.gap(cdc.Gap{Since: at(6), Until: at(7), Reason: cdc.Disconnected}, NoReplay)
	require.Equal(t, []Broadcast{{Gap: &cdc.Gap{Since: got[2].Gap.Since, Until: at(7), Reason: cdc.Overflow, Lost: 1}, Replay: ReplayIncomplete}}, q.drain(),
		"the end of what the consumer has the beginning of")

	q.end(errors.New("over"))
	_, ok, err := q.take()
	require.False(t, ok)
	require.EqualError(t, err, "over")
	require.True(t, q.push(cast("a")), "nobody wants it")
}

func TestIDRingForgetsTheOldest(t *testing.T) {
	var r idRing
	for n := range keptIDs {
		require.True(t, r.add(string(rune(n))))
	}
	require.False(t, r.add(string(rune(0))))
	require.True(t, r.add("one more"))
	require.Len(t, r.ids, keptIDs)
	require.True(t, r.add(string(rune(0))))
}
