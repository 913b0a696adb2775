package channel_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// wideOrder is a row of twelve columns.
type wideOrder struct {
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

// wideFrame is an update of such a row as the server sends it.
func wideFrame(topic string, i, binding int) []byte {
	return fmt.Appendf(nil, `[null,null,"realtime:%s","postgres_changes",{"data":{"columns":[{"name": "id", "type": "int8"}, {"name": "sent_at", "type": "int8"}, `+
		`{"name": "status", "type": "text"}, {"name": "total", "type": "numeric"}, {"name": "currency", "type": "text"}, {"name": "quantity", "type": "int4"}, `+
		`{"name": "paid", "type": "bool"}, {"name": "note", "type": "text"}, {"name": "tags", "type": "_text"}, {"name": "address", "type": "jsonb"}, `+
		`{"name": "created_at", "type": "timestamptz"}, {"name": "updated_at", "type": "timestamptz"}],"commit_timestamp":"2025-11-19T00:22:40.%03dZ","errors":null,`+
		`"old_record":{"id": %d},"record":{"id": %d, "note": "leave it with the neighbour, door %d", "paid": %t, "tags": ["new", "gift"], "total": 1249.50, "status": "shipped", `+
		`"address": {"zip": "10115", "city": "Berlin"}, "sent_at": 1764028960877000001, "currency": "EUR", "quantity": %d, `+
		`"created_at": "2025-11-18T21:02:11.123456+00:00", "updated_at": "2025-11-19T00:22:40.87+00:00"},"schema":"public","table":"orders","type":"UPDATE"},"ids":[%d]}]`,
		topic, i%1000, i, i, i%100, i%2 == 0, i%10, binding)
}

// pipe is a channel on a link without a server, and its one consumer.
type pipe struct {
	*link
	decoder phoenix.Decoder
	sub     *channel.Subscription
}

func newPipe(t testing.TB) *pipe {
	l := &link{t: t}
	ch, err := channel.New(l, "room")
	require.NoError(t, err)
	sub, err := ch.Subscribe(channel.Binding{Table: "orders"})
	require.NoError(t, err)
	p := &pipe{link: l, sub: sub, decoder: phoenix.Decoder{Version: phoenix.V2, From: phoenix.FromServer}}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range sub.Changes(over) { // which attaches the channel
		require.ErrorIs(t, err, context.Canceled)
	}
	p.live("token")
	p.consume(t, 0)
	return p
}

// pass brings frames to the channel, and changes to the loop of a user.
func (p *pipe) pass(t testing.TB, frames ...[]byte) {
	for _, frame := range frames {
		m, err := p.decoder.Decode(false, frame)
		require.NoError(t, err)
		p.handler.Receive(t.Context(), m, time.Time{})
	}
	p.consume(t, len(frames))
}

// consume takes so many changes, and the gaps before them.
func (p *pipe) consume(t testing.TB, n int) {
	for change, err := range p.sub.Changes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if change.Gap == nil {
			e, err := cdc.As[wideOrder](change)
			if err != nil || e.New.Currency != "EUR" {
				t.Fatal(e, err)
			}
			n--
		}
		if n == 0 {
			return
		}
	}
}

// TestAllocationsOfAnEvent: from a frame to a row of twelve columns in the loop
// of a user there are four allocations: the rows of the change, and of the
// struct its text, tags and note. They are exact on any machine, and this fails
// when there are more.
func TestAllocationsOfAnEvent(t *testing.T) {
	p := newPipe(t)
	var frames [][]byte
	for i := range 32 {
		frames = append(frames, wideFrame("room", i, 7))
	}
	p.pass(t, frames...)
	perEvent := testing.AllocsPerRun(50, func() { p.pass(t, frames...) }) / float64(len(frames))
	t.Logf("%.2f allocations an event", perEvent)
	require.InDelta(t, 4, perEvent, 0.1)
}

func BenchmarkEvent(b *testing.B) {
	p := newPipe(b)
	var frames [][]byte
	for i := range 32 {
		frames = append(frames, wideFrame("room", i, 7))
	}
	b.ReportAllocs()
	for b.Loop() {
		p.pass(b, frames...)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/32, "ns/event")
}
