package command

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/gapless-go/gapless/mockserver"
)

// inMemory serves a project whose tables are in memory, a recording proxy or a
// recording until ctx ends, and returns the exit status.
func inMemory(ctx context.Context, args []string, out, errOut io.Writer) int {
	flags := flag.NewFlagSet("mockserver", flag.ContinueOnError)
	flags.SetOutput(errOut)
	schema := flags.String("schema", "", "`file` with tables and users in JSON; none: a small demo")
	addr := flags.String("addr", "127.0.0.1:54321", "TCP `address` to listen on")
	secret := flags.String("secret", "", "the JWT `secret` of the project; none: that of $MOCKSERVER_SECRET, or Supabase's local one")
	limits := flags.Bool("limits", false, "limit rates, sizes and numbers as a self-hosted project does")
	proxy := flags.String("proxy", "", "`URL` of a project: pass everything on to it and record it")
	record := flags.String("record", "", "`file` to record to, which must not exist")
	recorded := flags.String("play", "", "recorded `file` to serve")
	speed := flags.Float64("speed", 0, "with -play: 1 for the times of the recording, 2 for half of them; 0: no waits")
	verbose := flags.Bool("v", false, "log requests and messages")
	flags.Bool("postgres", false, "serve a real PostgreSQL; see -postgres -h") // taken before
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(errOut, "mockserver: what is %q? There are only flags; see -h.\n", flags.Arg(0))
		return 2
	}
	log := slog.New(slog.DiscardHandler)
	if *verbose {
		log = slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var err error
	switch {
	case (*proxy == "") != (*record == ""):
		err = errors.New("mockserver: -proxy and -record belong together")
	case *recorded != "" && *proxy != "":
		err = errors.New("mockserver: -play and -proxy do not go together")
	case *recorded != "":
		err = play(ctx, out, *recorded, mockserver.PlayerConfig{Name: filepath.Base(*recorded), Speed: *speed, Addr: *addr, Logger: log})
	case *proxy != "":
		err = passOn(ctx, out, *record, mockserver.RecorderConfig{Upstream: *proxy, Addr: *addr, Logger: log})
	default:
		err = serveTables(ctx, out, *schema, func(cfg *mockserver.Config) {
			cfg.Addr, cfg.JWTSecret, cfg.Inspector, cfg.Logger = *addr, cmp.Or(*secret, os.Getenv("MOCKSERVER_SECRET")), true, log
			if *limits {
				cfg.Limits = mockserver.RealisticLimits()
			}
		})
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	return 0
}

// serveTables serves the tables of a schema file until ctx ends.
func serveTables(ctx context.Context, out io.Writer, schema string, set func(*mockserver.Config)) error {
	cfg, err := load(schema)
	if err != nil {
		return err
	}
	set(&cfg)
	server, err := mockserver.New(cfg)
	if err != nil {
		return err
	}
	defer server.Close()
	announce(out, server, "", cfg.Users...)
	<-ctx.Done()
	return nil
}

// load reads the schema file, or the demo.
func load(path string) (mockserver.Config, error) {
	if path == "" {
		return mockserver.Demo(), nil
	}
	if info, err := os.Stat(path); filepath.Ext(path) == ".sql" || err == nil && info.IsDir() {
		return mockserver.Config{}, fmt.Errorf("mockserver: -schema %s: tables in memory are described in JSON; SQL needs -postgres", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return mockserver.Config{}, fmt.Errorf("mockserver: %w", err)
	}
	defer f.Close()
	return mockserver.LoadSchema(f)
}
