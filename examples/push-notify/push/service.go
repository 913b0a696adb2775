package push

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/enrich/deliver"
	"github.com/gapless-go/gapless/examples/internal/jobs"
	"github.com/gapless-go/gapless/realtime"
)

// Project says which Supabase project. The key must be one that may read the
// tables order_events, customers and devices: the secret one, as a backend has.
type Project struct {
	URL, Key   string
	HTTPClient *http.Client // nil: http.DefaultClient
}

// Options are what a Service is made of. Project, Senders, Store and Log are
// required.
type Options struct {
	Project Project
	Senders Senders
	Store   deliver.Store[deliver.None]
	MaxAge  time.Duration
	Settle  time.Duration
	Every   time.Duration // between two readings of the outbox without a bell
	Log     *slog.Logger
	Live    bool // also tell of what triggers broadcast

	// hurry makes the client notice losses within seconds, for the check.
	hurry bool
	grace time.Duration // of the Notifier
}

// Service is a Notifier with its client and caches.
type Service struct {
	Notifier  Notifier
	live      *Live // nil: there is none
	client    *realtime.Client
	customers *cache.Table[int64, Customer]
	devices   *cache.Table[int64, Device]
}

const (
	// late is how old an event gets before a customer without a device has none.
	late = 30 * time.Second
	// staleIn is how long events wait for the caches to be as new as they are.
	// When Realtime is away for longer than that, they are sent to the devices
	// that were known before.
	staleIn = 30 * time.Second
)

// Open sets up everything, and connects to nothing.
func Open(o Options) (*Service, error) {
	options := realtime.Options{URL: o.Project.URL, Key: o.Project.Key, HTTPClient: o.Project.HTTPClient, Logger: o.Log}
	if o.hurry {
		options.Heartbeat, options.HeartbeatTimeout = time.Second, time.Second
		options.JoinTimeout, options.ConnectTimeout = 2*time.Second, 2*time.Second
		options.ReconnectMin, options.ReconnectMax = 20*time.Millisecond, time.Second
	}
	client, err := realtime.New(options)
	if err != nil {
		return nil, err
	}
	s := &Service{client: client}
	if err := s.connect(o); err != nil {
		_ = client.Close(context.Background())
		return nil, err
	}
	return s, nil
}

func (s *Service) connect(o Options) (err error) {
	// A canary finds losses of which nobody tells: here, of both caches.
	canary, lost := 10*time.Second, 10*time.Second
	if o.hurry {
		canary, lost = time.Second, 2*time.Second
	}
	marked := []cache.Option{cache.WithMarker(cache.NewMarker(s.client)), cache.WithCanary(canary, lost), cache.WithVerify(time.Hour)}
	if o.hurry {
		marked = append(marked, cache.WithSettle(slowest+100*time.Millisecond))
	}
	if s.customers, err = cache.New(s.client, "customers", func(c Customer) int64 { return c.ID }, marked...); err != nil {
		return err
	}
	if s.devices, err = cache.New(s.client, "devices", func(d Device) int64 { return d.ID }, marked...); err != nil {
		return err
	}
	byCustomer, err := cache.NewIndex(s.devices, func(d Device) []int64 { return []int64{d.CustomerID} })
	if err != nil {
		return err
	}
	bell, err := s.bell()
	if err != nil {
		return err
	}
	table := &Table{Client: s.client, Name: "order_events", PageSize: 500, Log: o.Log}
	s.Notifier = Notifier{
		Outbox:    &Outbox{Reader: table, Bell: bell, Fresh: s.fresh(o), Settle: o.Settle, Every: o.Every, Log: o.Log},
		Customers: s.customers, Devices: byCustomer, Senders: o.Senders, Store: o.Store,
		MaxAge: o.MaxAge, Late: min(late, o.MaxAge), Forget: table.Forget, Grace: o.grace, Log: o.Log,
	}
	if o.Live {
		return s.listen(o)
	}
	return nil
}

// listen sets up the broadcasts, which come by a private channel.
func (s *Service) listen(o Options) error {
	room, err := s.client.Channel(liveTopic, channel.Private())
	if err != nil {
		return err
	}
	arrivals, err := room.Listen("arriving")
	s.live = &Live{Listener: arrivals, Notifier: &s.Notifier, Log: o.Log}
	return err
}

// fresh waits until the caches have all that was committed with or before the
// events that were just read: one mark for a page of them. Without it, a device
// that came in the transaction of its first order would sometimes not be told.
func (s *Service) fresh(o Options) func(context.Context) error {
	patience := staleIn
	if o.hurry {
		patience = time.Hour // the check wants every device told
	}
	return func(ctx context.Context) error {
		waiting, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		err := jobs.Together(waiting, s.customers.CatchUp, s.devices.CatchUp)
		if waiting.Err() != nil && ctx.Err() == nil {
			s.Notifier.Counters.Behind.Add(1)
			o.Log.Warn("the caches are behind the events", "devices", s.devices.Phase(), "customers", s.customers.Phase())
			return nil
		}
		return err
	}
}

// bell is the stream of new rows of the outbox. Their columns do not matter, and
// a bell that is late rings once for many.
func (s *Service) bell() (*channel.Subscription, error) {
	room, err := s.client.Channel("order-events")
	if err != nil {
		return nil, err
	}
	return room.Subscribe(channel.Binding{Table: "order_events", Columns: []string{"id"}})
}

// Run notifies until ctx ends, or until the server refuses for good, and
// returns the reason. A Service is run once.
func (s *Service) Run(ctx context.Context) error {
	work := []func(context.Context) error{s.customers.Run, s.devices.Run}
	if s.live != nil {
		work = append(work, s.live.Run)
	}
	return jobs.Together(ctx, append(work, func(ctx context.Context) error {
		// Join waits for the customers, and nobody else for the devices.
		if err := s.devices.WaitSynced(ctx); err != nil {
			return err
		}
		return s.Notifier.Run(ctx)
	})...)
}

// Status is where the caches are that a Service rests on.
type Status struct{ Customers, Devices cache.Status }

// Status returns the present one.
func (s *Service) Status() Status { return Status{s.customers.Status(), s.devices.Status()} }

// Close ends the connection. Run must have returned.
func (s *Service) Close() error { return s.client.Close(context.Background()) }
