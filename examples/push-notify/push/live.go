package push

import (
	"context"
	"encoding/json"
	"iter"
	"log/slog"
	"time"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/enrich"
)

// Live tells of what is worth hearing at once or never, such as a courier at the
// door: a trigger broadcasts the change, and it goes straight to the devices.
// There is no outbox: it is at most once, what is lost is not told, and what
// fails is not tried again.
type Live struct {
	Listener *channel.Listener
	Notifier *Notifier // for its customers, devices and senders
	Log      *slog.Logger
}

const (
	liveTopic   = "couriers"
	liveKey     = "live-" // and the id of the broadcast
	liveMaxAge  = time.Minute
	rememberFor = 10 * time.Minute
	rememberMax = 10_000
)

// live is a broadcast change.
type live struct {
	Event
	id string
}

// Run tells until ctx ends or the channel does.
func (l *Live) Run(ctx context.Context) error {
	fresh := enrich.Dedup(l.arrivals, func(e live) (string, bool) { return e.id, e.id != "" }, rememberFor, rememberMax, nil)
	joined := enrich.Join(fresh, enrich.Lookup[live, int64, Customer]{
		Table: l.Notifier.Customers, Miss: enrich.Drop(),
		Key: func(e live) (int64, bool) { return e.CustomerID, true },
	})
	done := enrich.Parallel(joined, atOnce, func(e enrich.Joined[live, Customer]) int64 { return e.Left.CustomerID }, l.tell)
	for _, err := range done(ctx) {
		if err != nil {
			return err
		}
	}
	return nil
}

// arrivals is the stream of changes that were broadcast.
func (l *Live) arrivals(ctx context.Context) iter.Seq2[live, error] {
	return func(yield func(live, error) bool) {
		for b, err := range l.Listener.Broadcasts(ctx) {
			if err != nil {
				yield(live{}, err)
				return
			}
			if b.Gap != nil {
				l.Log.Debug("arrivals may be missing", "gap", b.Gap)
				continue
			}
			e, err := arrival(b)
			if err != nil {
				l.Log.Warn("a broadcast is not what a trigger sends", "error", err)
			} else if !yield(e, nil) {
				return
			}
		}
	}
}

func arrival(b channel.Broadcast) (live, error) {
	c, err := b.Change()
	if err != nil {
		return live{}, err
	}
	var order struct {
		ID         int64  `json:"id"`
		CustomerID int64  `json:"customer_id"`
		Status     string `json:"status"`
	}
	err = json.Unmarshal(c.Record, &order)
	return live{Event{CustomerID: order.CustomerID, OrderID: order.ID, Status: order.Status, At: time.Now()}, b.ID}, err
}

// tell sends to every device, once.
func (l *Live) tell(ctx context.Context, e enrich.Joined[live, Customer]) (struct{}, error) {
	what := e.Left.notification(e.Right, liveMaxAge)
	what.Key = liveKey + e.Left.id
	for _, d := range l.Notifier.devices(e.Left.CustomerID) {
		sender, ok := l.Notifier.Senders[d.Kind]
		if !ok {
			continue
		}
		sending, cancel := context.WithTimeout(ctx, sendIn)
		err := sender.Send(sending, d, what)
		cancel()
		if err != nil {
			l.Log.Warn("an arrival was not told", "device", d.ID, "error", err)
			continue
		}
		l.Notifier.Counters.Sent.Add(1)
	}
	return struct{}{}, nil
}
