// Command mockserver serves the tables of a schema file as a Supabase project
// would, on one address: the REST API, sign-in, and Realtime with
// postgres_changes, broadcast and presence. It keeps everything in memory.
//
//	go run github.com/gapless-go/gapless/mockserver/cmd/mockserver -schema schema.json
//
// The schema file is described at mockserver.LoadSchema. Without one it is
// mockserver.Demo: tables customers, orders and todos, and two users,
// ann@example.com and ben@example.com, whose password is "password".
//
// Below /mock/v1/ a test in any language asks for faults and changes rows; see
// package mockserver.
//
// The command prints the URLs, the keys and a token for each user, and serves
// until it is interrupted. A browser that opens the project URL finds the
// inspector: sockets, frames as they pass, tables, and buttons for faults.
//
//	go run github.com/gapless-go/gapless/mockserver/cmd/mockserver -proxy https://abc.supabase.co -record session.jsonl
//
// is no server of its own but a proxy before one, which writes down what passes
// until it is interrupted, without keys and tokens. And
//
//	go run github.com/gapless-go/gapless/mockserver/cmd/mockserver -play session.jsonl
//
// plays the server's side of such a file, once, to a client that behaves as the
// recorded one did. It ends with status 0 when that is done, or with status 1
// and the first difference. -speed 1 takes the time that the recording took.
//
//	go run github.com/gapless-go/gapless/mockserver/cmd/mockserver -postgres
//
// serves a real PostgreSQL in the place of tables in memory; -postgres -h has
// the flags. That is another command, which is built when it is asked for: see
// postgres.go.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gapless-go/gapless/mockserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run serves until ctx ends, and returns the exit status.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	if rest, ok := forPostgres(args); ok {
		return servePostgres(ctx, rest, out, errOut)
	}
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
	flags.Bool("postgres", false, "serve a real PostgreSQL; see -postgres -h")
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
		err = serve(ctx, out, *schema, func(cfg *mockserver.Config) {
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

// serve serves the tables of a schema file until ctx ends.
func serve(ctx context.Context, out io.Writer, schema string, set func(*mockserver.Config)) error {
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
	announce(out, server, cfg.Users)
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

// tokenLifetime is how long the printed tokens are good for: a working day.
const tokenLifetime = 12 * time.Hour

func announce(out io.Writer, s *mockserver.Server, users []mockserver.User) {
	fmt.Fprintf(out, "project URL:     %s\n", s.URL())
	fmt.Fprintf(out, "websocket URL:   %s\n", s.WebsocketURL())
	fmt.Fprintf(out, "inspector:       %s/inspect/\n", s.URL())
	fmt.Fprintf(out, "publishable key: %s\n", s.PublishableKey())
	fmt.Fprintf(out, "secret key:      %s\n", s.SecretKey())
	fmt.Fprintf(out, "anon key:        %s\n", s.AnonKey())
	fmt.Fprintf(out, "service key:     %s\n", s.ServiceKey())
	for _, u := range users {
		name := u.Email
		if name == "" {
			name = u.Phone
		}
		fmt.Fprintf(out, "token of %s: %s\n", name, token(s, u))
	}
}

// token makes a token as signing in would.
func token(s *mockserver.Server, u mockserver.User) string {
	role := u.Role
	if role == "" {
		role = "authenticated"
	}
	now := time.Now()
	claims := mockserver.Claims{}
	maps.Copy(claims, u.Claims)
	maps.Copy(claims, mockserver.Claims{
		"sub": u.ID, "role": role, "aud": "authenticated", "email": u.Email, "phone": u.Phone,
		"iat": now.Unix(), "exp": now.Add(tokenLifetime).Unix(),
	})
	return s.Sign(claims)
}
