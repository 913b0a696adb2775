// Command search-sync keeps a search index in step with a table over Supabase
// Realtime. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/gapless-go/gapless/examples/internal/jobs"
	"github.com/gapless-go/gapless/examples/internal/site"
	"github.com/gapless-go/gapless/mockserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	s, err := parseFlags(os.Args[1:], os.Getenv, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		os.Exit(2)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if s.check {
		err = check(ctx, os.Stdout, checkOptions{settings: s, log: slog.New(slog.DiscardHandler)})
	} else {
		err = run(ctx, s, os.Stdout, log)
	}
	interrupted := ctx.Err() != nil
	stop()
	if err != nil && !interrupted {
		fmt.Fprintln(os.Stderr, "search-sync:", err)
		os.Exit(1)
	}
}

// run syncs and serves until ctx ends or something fails for good.
func run(ctx context.Context, s settings, out io.Writer, log *slog.Logger) error {
	l, err := site.Listen(s.addr)
	if err != nil {
		return err
	}
	defer l.Close()
	page := &Page{Log: log}
	work := []func(context.Context) error{}
	if s.project.URL == "" {
		d, err := newDemo(mockserver.Config{}, s.maxRows)
		if err != nil {
			return err
		}
		defer d.server.Close()
		s.project, s.settle, page.Demo = d.project(), 0, d
		work = append(work, func(ctx context.Context) error { return d.newWriter().Run(ctx, s.rate) })
	}
	f, err := follow(ctx, s, nil, log)
	if err != nil {
		return err
	}
	defer f.Close()
	page.Sync, page.Project = f.sync, s.project
	fmt.Fprintf(out, "search-sync: open http://%s\n", l.Addr())
	return jobs.Together(ctx, append(work, f.Run,
		func(ctx context.Context) error { return page.Serve(ctx, l) },
		func(ctx context.Context) error { return showProgress(ctx, out, f.sync.Status) })...)
}
