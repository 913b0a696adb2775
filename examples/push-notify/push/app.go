package push

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gapless-go/gapless/enrich/deliver"
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
	var jobs []func(context.Context) error
	if s.Project.URL == "" {
		d, err := NewDemo(mockserver.Config{})
		if err != nil {
			return err
		}
		defer d.Close()
		s.Project = d.Project()
		folder, err := os.MkdirTemp("", "push-notify")
		if err != nil {
			return err
		}
		defer os.RemoveAll(folder)
		if s.Store == "" {
			s.Store = filepath.Join(folder, "sent")
		}
		shop := d.NewShop("terminal")
		jobs = append(jobs, func(ctx context.Context) error { return shop.Run(ctx, s.Rate, (*Shop).Trade) })
	}
	store, err := deliver.OpenFile(s.Store, remembered)
	if err != nil {
		return err
	}
	defer store.Close()
	senders := Senders{"terminal": NewTerminal(out)}
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
	return Together(ctx, append(jobs, service.Run)...)
}
