package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gapless-go/gapless/enrich/deliver"
	"github.com/gapless-go/gapless/examples/internal/jobs"
	"github.com/gapless-go/gapless/mockserver"
)

// CheckOptions are what Check is told. The zero value is not valid.
type CheckOptions struct {
	For    time.Duration // how long there are orders and faults
	Faults int
	Seed   uint64

	// For tests:
	server mockserver.Config
	tamper func(Sender) Sender // makes the sender wrong
	forget bool                // loses the file at restarts
}

const (
	checkRate     = 60               // orders' changes a second
	checkPatience = 90 * time.Second // longer than a channel waits for its subscription to be confirmed, a minute
	checkMaxAge   = 5 * time.Minute
	slowest       = 400 * time.Millisecond // commit
	runs          = 5                      // of the service
	crashed       = 2                      // which of them ends without marking what it did
)

// Check has the demo take orders while the connection is broken in random ways,
// the sender fails every tenth time, and the service is stopped and started
// again, once by a crash. It then looks at every event: whether each device of
// the customer was told once, in the order of the events, and nobody of what was
// too old; and at what was broadcast: whether nobody was told of it twice, or of
// what was not so. It prints what happened. Its error is nil only if all is as it
// should be.
func Check(ctx context.Context, out io.Writer, o CheckOptions) error {
	folder, err := os.MkdirTemp("", "push-notify")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	o.server.Timing = mockserver.Fast()
	d, err := NewDemo(o.server)
	if err != nil {
		return err
	}
	defer d.Close()
	c := &checking{CheckOptions: o, demo: d, file: filepath.Join(folder, "sent"), sent: newLedger()}
	return c.run(ctx, out)
}

// checking is a Check at work.
type checking struct {
	CheckOptions
	demo   *Demo
	file   string
	sent   *ledger
	faults []mockserver.ScheduledFault
	slow   int // commits

	restarts int // asked for
	fell     int // services that a fault ended for good
	retried  uint64
	tooOld   uint64
}

func (c *checking) run(ctx context.Context, out io.Writer) error {
	faults, err := mockserver.RandomFaults(c.Seed, c.Faults, c.For)
	if err != nil {
		return err
	}
	// Commits that others see late come from slowly, which has others wait for the
	// customer's row meanwhile, as a database would.
	c.faults = slices.DeleteFunc(faults, func(f mockserver.ScheduledFault) bool { return f.Name == "hide-commits" })
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	shop := c.demo.NewShop("ledger")
	for range names {
		if err := shop.Welcome(1 + rand.IntN(2)); err != nil {
			return err
		}
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer stop(nil)
	running.Go(func() {
		if err := c.disturb(ctx, shop); err != nil {
			stop(err)
		}
	})
	if err := c.serve(ctx); err != nil {
		return err
	}
	return c.report(out)
}

// disturb takes orders and plays faults for a while, and heals the server. Then
// there are more orders until one that was broadcast has been told since, which
// shows that the way of those has healed, too.
func (c *checking) disturb(ctx context.Context, shop *Shop) error {
	writing, cancel := context.WithTimeout(ctx, c.For)
	defer cancel()
	n := 0
	change := func(s *Shop) error { n++; return c.change(s, n) }
	err := jobs.Together(writing,
		func(ctx context.Context) error { return shop.Run(ctx, checkRate, change) },
		func(ctx context.Context) error { return c.demo.Server.Play(ctx, c.faults) })
	c.demo.Server.Heal()
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		before, healing := c.sent.heard(), time.Now()
		err = shop.Run(ctx, checkRate, func(s *Shop) error {
			if c.sent.heard() > before || time.Since(healing) > checkPatience/2 {
				return errHeard
			}
			return change(s)
		})
	}
	c.sent.calm()
	if ctx.Err() != nil || errors.Is(err, errHeard) {
		return nil
	}
	return err
}

// errHeard is that the shop has done enough.
var errHeard = errors.New("a broadcast was told")

// change is what the shop does nth: now and then there is a new customer, or an
// event that comes too late for anybody to care.
func (c *checking) change(s *Shop, n int) error {
	switch {
	case n%10 == 0:
		return c.slowly(s)
	case n%41 == 0:
		return s.Welcome(1 + rand.IntN(2))
	case n%25 == 0:
		return c.demo.Server.Insert("order_events", mockserver.Row{
			"customer_id": 1, "order_id": 1, "status": "forgotten", "at": time.Now().Add(-2 * checkMaxAge)})
	}
	return s.Step()
}

// slowly changes something in a transaction that is visible to others only a
// while behind its commit, or, as others see it, that takes that long. The
// customer's row is locked until then.
func (c *checking) slowly(s *Shop) error {
	d := rand.N(slowest)
	c.demo.Server.HideCommits(d, 1)
	customer, err := s.step()
	if customer == 0 {
		c.demo.Server.HideCommits(0, 0)
		return err
	}
	c.slow++
	s.locked[customer] = time.Now().Add(d)
	return err
}

// serve runs the service, one process after the other, until all is sent.
func (c *checking) serve(ctx context.Context) error {
	deadline := time.Now().Add(c.For + checkPatience)
	for run := 0; ; run++ {
		stop := time.Now().Add(c.For / runs)
		if run >= runs-1 {
			stop = deadline
		}
		err := c.serveOnce(ctx, stop, run >= crashed && !c.sent.lastWords())
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errAll):
			return nil
		case !time.Now().Before(deadline):
			return nil // the report says what is missing
		case err != nil: // whoever runs it starts it again
			c.fell++
			run--
			time.Sleep(100 * time.Millisecond)
		default:
			c.restarts++
		}
		if c.forget {
			_ = os.Remove(c.file)
		}
	}
}

// errAll is that everything has been sent.
var errAll = errors.New("all events were sent")

// serveOnce is one life of the service. Nil: it was stopped.
func (c *checking) serveOnce(ctx context.Context, until time.Time, crash bool) error {
	file, err := deliver.OpenFile(c.file, 100_000)
	if err != nil {
		return err
	}
	defer file.Close()
	store := &mortal{Store: file, sent: c.sent}
	var sender Sender = &flaky{to: c.sent}
	if c.tamper != nil {
		sender = c.tamper(sender)
	}
	var grace time.Duration
	if crash {
		grace = -1
	}
	s, err := Open(Options{
		grace:   grace,
		Project: c.demo.Project(), Senders: Senders{"ledger": sender}, Store: store, MaxAge: checkMaxAge,
		Settle: time.Second, Every: time.Second, Log: slog.New(slog.DiscardHandler), Live: true, hurry: true,
	})
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	store.dead.Store(crash) // from its beginning: it tells one customer or a few
	err = c.watch(ctx, until, ended, crash)
	stop(nil)
	if err == nil || errors.Is(err, errAll) {
		<-ended
	}
	c.retried += s.Notifier.Counters.Retried.Load()
	c.tooOld += s.Notifier.Counters.TooOld.Load()
	return err
}

// watch waits for the time, for the end of the service, or until all is sent
// that was to be; and for a crash, until it has left something unmarked.
func (c *checking) watch(ctx context.Context, until time.Time, ended <-chan error, crash bool) error {
	for time.Now().Before(until) && (!crash || !c.sent.lastWords()) {
		select {
		case err := <-ended:
			return fmt.Errorf("the service has ended: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
		if !c.sent.isCalm() {
			continue
		}
		v, err := c.verdict()
		if err != nil || len(v.missing) == 0 {
			return errors.Join(err, errAll)
		}
	}
	return nil
}
