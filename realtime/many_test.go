package realtime

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// many is a client with so many joined channels, of one subscription each, and
// no socket: what it receives is given to its session.
func many(b *testing.B, channels int) (*session, []*channel.Subscription) {
	client, err := New(Options{URL: "http://127.0.0.1:1", Key: "anon", ReconnectMin: 1 << 40, ReconnectMax: 1 << 40})
	require.NoError(b, err)
	b.Cleanup(func() { _ = client.Close(context.Background()) })
	over, cancel := context.WithCancel(context.Background())
	cancel()
	s := &session{client: client, wire: newWire(nil), decoder: phoenix.Decoder{Version: phoenix.V2, From: phoenix.FromServer}}
	var subscriptions []*channel.Subscription
	for i := range channels {
		room, err := client.Channel(fmt.Sprintf("room:%d", first+i))
		require.NoError(b, err)
		subscription, err := room.Subscribe(channel.Binding{Table: "orders"})
		require.NoError(b, err)
		for range subscription.Changes(over) { // which attaches the channel
		}
		a := client.router.handler(fmt.Sprintf("realtime:room:%d", first+i))
		join, ok := a.Join("")
		require.True(b, ok)
		for _, text := range []string{
			fmt.Sprintf(`[%s,%s,%q,"phx_reply",{"status":"ok","response":{"postgres_changes":[{"id":%d,"event":"*","schema":"public","table":"orders"}]}}]`, join.JoinRef, join.Ref, join.Topic, first+i),
			fmt.Sprintf(`[%s,null,%q,"system",{"extension":"postgres_changes","status":"ok","message":"Subscribed to PostgreSQL"}]`, join.JoinRef, join.Topic),
		} {
			s.take(b.Context(), false, []byte(text))
		}
		takeOne(b, subscription) // the gap that a stream starts with
		subscriptions = append(subscriptions, subscription)
	}
	return s, subscriptions
}

func takeOne(b *testing.B, s *channel.Subscription) {
	for change, err := range s.Changes(b.Context()) {
		if err == nil && change.Gap == nil {
			_, err = cdc.As[wideRow](change)
		}
		if err != nil {
			b.Fatal(err)
		}
		return
	}
}

// BenchmarkSubscriptions is the way of a change from its frame to the loop of
// the one subscription that it is for, among many of the client: of a busy one
// among many that are quiet, and of each in turn, whose memory is never at hand.
func BenchmarkSubscriptions(b *testing.B) {
	for _, c := range []struct{ of, busy int }{{1, 1}, {1000, 1}, {1000, 1000}, {10_000, 1}, {10_000, 10_000}} {
		b.Run(fmt.Sprintf("%d of %d", c.busy, c.of), func(b *testing.B) {
			s, subscriptions := many(b, c.of)
			n := c.busy
			const batch = 50
			frame, digits := change()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				for range batch {
					for _, at := range digits {
						strconv.AppendInt(frame[at:at], int64(first+i%n), 10)
					}
					s.take(b.Context(), false, frame)
					i++
				}
				for k := i - batch; k < i; k++ {
					takeOne(b, subscriptions[k%n])
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/event")
		})
	}
}

// first is the number of the first room, and the id of its binding. All have as
// many digits.
const first = 10_000

// wideRow is a row of twelve columns.
type wideRow struct {
	ID        int64
	SentAt    int64
	Status    string
	Total     json.Number
	Currency  string
	Quantity  int32
	Paid      bool
	Note      *string
	Tags      []string
	Address   json.RawMessage
	CreatedAt time.Time
	UpdatedAt time.Time
}

// change is a frame for the first room, and where in it the room's number
// stands. It is one for all, as those of a socket are in one buffer.
func change() (frame []byte, digits []int) {
	text := fmt.Sprintf(`[null,null,"realtime:room:%[1]d","postgres_changes",{"data":{"columns":[{"name": "id", "type": "int8"}, {"name": "sent_at", "type": "int8"}, `+
		`{"name": "status", "type": "text"}, {"name": "total", "type": "numeric"}, {"name": "currency", "type": "text"}, {"name": "quantity", "type": "int4"}, `+
		`{"name": "paid", "type": "bool"}, {"name": "note", "type": "text"}, {"name": "tags", "type": "_text"}, {"name": "address", "type": "jsonb"}, `+
		`{"name": "created_at", "type": "timestamptz"}, {"name": "updated_at", "type": "timestamptz"}],"commit_timestamp":"2025-11-19T00:22:40.877Z","errors":null,`+
		`"old_record":{"id": %[1]d},"record":{"id": %[1]d, "note": "leave it with the neighbour", "paid": true, "tags": ["new", "gift"], "total": 1249.50, "status": "shipped", `+
		`"address": {"zip": "12345", "city": "Berlin"}, "sent_at": 1764028960877, "currency": "EUR", "quantity": 3, `+
		`"created_at": "2025-11-18T21:02:11.123456+00:00", "updated_at": "2025-11-19T00:22:40.87+00:00"},"schema":"public","table":"orders","type":"UPDATE"},"ids":[%[1]d]}]`, first)
	for at := range text {
		if strings.HasPrefix(text[at:], fmt.Sprint(first)) {
			digits = append(digits, at)
		}
	}
	return []byte(text), digits
}
