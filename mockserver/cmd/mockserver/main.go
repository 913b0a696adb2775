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
// until it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
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
	flags := flag.NewFlagSet("mockserver", flag.ContinueOnError)
	flags.SetOutput(errOut)
	schema := flags.String("schema", "", "`file` with tables and users in JSON; none: a small demo")
	addr := flags.String("addr", "127.0.0.1:54321", "TCP `address` to listen on")
	secret := flags.String("secret", mockserver.DefaultSecret, "the JWT `secret` of the project")
	limits := flags.Bool("limits", false, "limit rates, sizes and numbers as a self-hosted project does")
	verbose := flags.Bool("v", false, "log requests and messages")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(errOut, "mockserver: what is %q? There are only flags; see -h.\n", flags.Arg(0))
		return 2
	}
	cfg, err := load(*schema)
	if err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	cfg.Addr, cfg.JWTSecret, cfg.Admin = *addr, *secret, true
	if *limits {
		cfg.Limits = mockserver.RealisticLimits()
	}
	if *verbose {
		cfg.Logger = slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	server, err := mockserver.New(cfg)
	if err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	defer server.Close()
	announce(out, server, cfg.Users)
	<-ctx.Done()
	return 0
}

// load reads the schema file, or the demo.
func load(path string) (mockserver.Config, error) {
	if path == "" {
		return mockserver.Demo(), nil
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
	fmt.Fprintf(out, "project URL:   %s\n", s.URL())
	fmt.Fprintf(out, "websocket URL: %s\n", s.WebsocketURL())
	fmt.Fprintf(out, "anon key:      %s\n", s.AnonKey())
	fmt.Fprintf(out, "service key:   %s\n", s.ServiceKey())
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
