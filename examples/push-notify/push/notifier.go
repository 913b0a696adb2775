package push

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/enrich/deliver"
)

// Notifier sends a notification of each event to each device of its customer.
// All fields but Forget are required. It is run once.
type Notifier struct {
	Outbox    *Outbox
	Customers *cache.Table[int64, Customer]
	Devices   *cache.Index[int64, int64, Device] // by customer
	Senders   Senders
	Store     deliver.Store[deliver.None]
	// MaxAge is how old an event may be for somebody to want to hear of it.
	MaxAge time.Duration
	// Late is how old an event gets, while its customer or their devices are not
	// there, before it is for nobody.
	Late time.Duration
	// Forget, if set, removes a device that is gone.
	Forget func(context.Context, Device) error
	// Grace is for how long sending may go on when Run is to end; see
	// deliver.Consumer.
	Grace time.Duration
	Log   *slog.Logger

	Counters Counters
}

const (
	fetchIn  = 5 * time.Second  // a customer that the cache does not have
	sendIn   = 20 * time.Second // one try
	atOnce   = 8                // customers
	retryMin = 100 * time.Millisecond
	retryMax = 10 * time.Second
)

type enriched = enrich.Joined[Event, Customer]

// Run notifies until ctx ends, and returns its error, or until the outbox ends. A
// restart reads the events of MaxAge again: the Store knows those that were dealt
// with.
func (n *Notifier) Run(ctx context.Context) error {
	c := deliver.Consumer[enriched, deliver.None]{
		Store:  n.Store,
		Key:    func(e enriched) string { return e.Left.Key() },
		Handle: n.handle,
		// A customer's notifications come one after the other, so one of their
		// devices that cannot be reached holds up the others of the same customer.
		Lane:    func(e enriched) string { return strconv.FormatInt(e.Left.CustomerID, 10) },
		Workers: atOnce,
		Grace:   n.Grace,
		Retry:   deliver.Retry{Min: retryMin, Max: retryMax, Temporary: temporary},
		Failed: func(e enriched, attempt int, err error, buried bool) {
			if buried {
				n.Counters.Buried.Add(1)
			}
			n.Log.Debug("will try again", "event", e.Left.ID, "error", err, "buried", buried)
		},
	}
	return c.Run(ctx, n.enrich(n.Outbox.Events(n.MaxAge)))
}

// temporary tells what is tried until the event is too old: everything but a
// panic.
func temporary(err error) bool {
	var panicked *deliver.PanicError
	return !errors.As(err, &panicked)
}

// enrich adds the customer to each event. One that the cache does not have yet is
// read, and its events wait for that in line.
func (n *Notifier) enrich(events enrich.Stream[Event]) enrich.Stream[enriched] {
	return enrich.Join(events, enrich.Lookup[Event, int64, Customer]{
		Table: n.Customers,
		Key:   func(e Event) (int64, bool) { return e.CustomerID, true },
		Miss:  enrich.Fetch(fetchIn),
	})
}

var errNobody = errors.New("the customer has no device yet")

// handle tells all devices of one event.
func (n *Notifier) handle(ctx context.Context, _ deliver.None, e enriched) error {
	age := time.Since(e.Left.At)
	if age > n.MaxAge {
		n.Counters.TooOld.Add(1)
		return nil
	}
	customer, found := e.Right, e.Found
	if !found {
		customer, found = n.Customers.Get(e.Left.CustomerID)
	}
	devices := n.devices(e.Left.CustomerID)
	switch {
	case found && len(devices) > 0:
	case age < n.Late:
		return errNobody // maybe the caches are behind
	default:
		n.Counters.Nobody.Add(1)
		return nil
	}
	var failed []error
	for _, d := range devices {
		failed = append(failed, n.send(ctx, d, e.Left.notification(customer, n.MaxAge)))
	}
	return errors.Join(failed...)
}

// devices returns those of a customer as they are now.
func (n *Notifier) devices(customer int64) (all []Device) {
	for _, d := range n.Devices.Lookup(customer) {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b Device) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// send tells one device, unless that was done before: each device is remembered,
// so that one that fails does not have the others told again. A request that is
// under way when ctx ends is waited for, so that its end is known.
func (n *Notifier) send(ctx context.Context, d Device, what Notification) error {
	sender, ok := n.Senders[d.Kind]
	if !ok {
		n.Counters.Refused.Add(1)
		n.Log.Warn("no sender for a device", "device", d.ID, "kind", d.Kind)
		return nil
	}
	key := fmt.Sprintf("%s/%d", what.Key, d.ID)
	_, err := n.Store.Once(ctx, key, func(ctx context.Context, _ deliver.None) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		trying, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendIn)
		defer cancel()
		return n.judge(trying, d, key, sender.Send(trying, d, what))
	})
	return err
}

// judge says what is left of the result of a try: nil is that it is over.
func (n *Notifier) judge(ctx context.Context, d Device, key string, err error) error {
	switch {
	case err == nil:
		n.Counters.Sent.Add(1)
		return nil
	case errors.Is(err, ErrGone):
		n.Counters.Gone.Add(1)
		if n.Forget != nil {
			return n.Forget(ctx, d)
		}
		return nil
	case errors.Is(err, ErrRefused):
		n.Counters.Refused.Add(1)
		n.Log.Warn("a notification was refused", "device", d.ID, "key", key, "error", err)
		err := n.Store.Bury(ctx, deliver.Letter{Key: key, Reason: err.Error(), Attempts: 1, At: time.Now().UTC()})
		if err == nil {
			n.Counters.Buried.Add(1)
		}
		return err
	}
	n.Counters.Retried.Add(1)
	return err
}
