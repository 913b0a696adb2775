package push

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gapless-go/gapless/enrich/deliver"
	"github.com/gapless-go/gapless/examples/internal/jobs"
	"github.com/gapless-go/gapless/examples/internal/site"
	"github.com/gapless-go/gapless/examples/push-notify/relay"
	"github.com/gapless-go/gapless/mockserver"
)

// Main is the program, with further senders by the kinds of their devices. It
// returns the exit code.
func Main(args []string, more Senders) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := ParseFlags(args, os.Getenv, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if s.Check {
		err = Check(ctx, os.Stdout, s.CheckOptions)
	} else {
		err = Run(ctx, s, os.Stdout, more, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "push-notify:", err)
		return 1
	}
	return 0
}

// remembered is how many sent notifications and dealt with events a file holds.
const remembered = 1_000_000

// Run notifies until ctx ends or something fails for good.
func Run(ctx context.Context, s Settings, out io.Writer, more Senders, log *slog.Logger) error {
	senders := Senders{"terminal": NewTerminal(out)}
	var demo *shown
	if s.Project.URL == "" {
		var err error
		if demo, err = show(&s, log); err != nil {
			return err
		}
		defer demo.Close()
	}
	store, err := deliver.OpenFile(s.Store, remembered)
	if err != nil {
		return err
	}
	defer store.Close()
	if s.Ntfy.URL != "" {
		senders["ntfy"] = &s.Ntfy
	}
	if s.WebPush.PrivateKey != "" {
		senders["webpush"] = &s.WebPush
	}
	for kind, sender := range more {
		senders[kind] = sender
	}
	service, err := Open(Options{
		Project: s.Project, Senders: senders, Store: store, MaxAge: s.MaxAge, Settle: s.Settle, Every: 10 * time.Second, Log: log, Live: true,
	})
	if err != nil {
		return err
	}
	defer service.Close()
	work := []func(context.Context) error{service.Run}
	if demo != nil {
		fmt.Fprintf(out, "push-notify: open %s\n", demo.page.Origin)
		work = append(work, func(ctx context.Context) error { return demo.Run(ctx, service, s.Rate) })
	}
	return jobs.Together(ctx, work...)
}

// shown is the demo with its page.
type shown struct {
	demo     *Demo
	page     Page
	listener net.Listener
	folder   string
}

// show starts the demo, and has the settings be for it.
func show(s *Settings, log *slog.Logger) (d *shown, err error) {
	d = &shown{}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	if d.listener, err = site.Listen(s.Addr); err != nil {
		return d, err
	}
	if d.folder, err = os.MkdirTemp("", "push-notify"); err != nil {
		return d, err
	}
	if d.demo, err = NewDemo(mockserver.Config{}); err != nil {
		return d, err
	}
	s.Project = d.demo.Project()
	s.WebPush.Client, s.WebPush.Services = http.DefaultClient, nil // its page decides who may subscribe
	if s.Store == "" {
		s.Store = filepath.Join(d.folder, "sent")
	}
	if s.WebPush.PrivateKey == "" {
		s.WebPush.Contact = "push-notify@example.com"
		if s.WebPush.PrivateKey, s.WebPush.PublicKey, err = VAPIDKeys(); err != nil {
			return d, err
		}
	}
	origin := "http://" + d.listener.Addr().String()
	d.page = Page{
		Origin: origin, Relay: relay.New(origin), PublicKey: s.WebPush.PublicKey,
		Shop: d.demo.NewShop("terminal"), Break: func() { d.demo.Server.Restart(breakFor) }, Log: log,
	}
	return d, d.page.Shop.Do(func(shop *Shop) error { return shop.Welcome(1) })
}

// Run serves the page and takes orders until ctx ends.
func (d *shown) Run(ctx context.Context, service *Service, rate float64) error {
	d.page.Service = service
	return jobs.Together(ctx,
		func(ctx context.Context) error { return d.page.Shop.Run(ctx, rate, (*Shop).Trade) },
		func(ctx context.Context) error { return d.page.Serve(ctx, d.listener) })
}

// Close ends what there is of the demo.
func (d *shown) Close() {
	if d.listener != nil {
		_ = d.listener.Close()
	}
	if d.demo != nil {
		d.demo.Close()
	}
	if d.folder != "" {
		_ = os.RemoveAll(d.folder)
	}
}
