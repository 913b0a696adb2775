// Command mockserver serves a Supabase project on a real PostgreSQL, on one
// address: the REST API, sign-in, and Realtime with postgres_changes, broadcast
// and presence.
//
//	go run github.com/gapless-go/gapless/mockserver/postgres/cmd/mockserver -schema migrations/
//
// It starts a PostgreSQL of its own from the binaries on the machine, in a
// temporary directory or, to keep what is in it, in that of -dir; or it works on
// the one of -db, as a superuser, whose wal_level must be logical. It makes of
// the database what a project has: the roles anon, authenticated and
// service_role, the schemas auth and realtime, the publication
// supabase_realtime.
//
// -schema is a file of SQL or a directory of them, each of which is applied
// once. Without it a new private database gets the tables customers, orders and
// todos. -user is somebody who may sign in, with the password "password".
//
// The command prints the URLs, the database's too, the keys and a token of the
// user, and serves until it is interrupted. Below /mock/v1/ a test in any
// language asks for faults, and a browser that opens the project URL finds the inspector;
// see package mockserver.
package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/postgres"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

//go:embed demo.sql
var demo string

// settings are what the flags say.
type settings struct {
	options      postgres.Options
	schema, user string
}

// run serves until ctx ends, and returns the exit status.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	set, err := parse(args, errOut)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if err := serve(ctx, out, set); err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	return 0
}

func parse(args []string, errOut io.Writer) (settings, error) {
	flags := flag.NewFlagSet("mockserver -postgres", flag.ContinueOnError)
	flags.SetOutput(errOut)
	var s settings
	o := &s.options
	flags.StringVar(&s.schema, "schema", "", "`file` of SQL, or a directory of them; none: a small demo")
	flags.StringVar(&s.user, "user", "", "`email` of a user to make; none: ann@example.com on a private database")
	flags.StringVar(&o.DatabaseURL, "db", "", "`URL` of a PostgreSQL to work on, also as $MOCKSERVER_DB; none: a private one is started")
	flags.StringVar(&o.Cluster.Dir, "dir", "", "`directory` of the private PostgreSQL; none: a temporary one")
	flags.StringVar(&o.Cluster.BinDir, "pg-bin", "", "`directory` of initdb and postgres; none: the newest that is found")
	flags.StringVar(&o.Cluster.Addr, "pg-addr", "127.0.0.1:54322", "TCP `address` of the private PostgreSQL")
	flags.StringVar(&o.Cluster.Password, "pg-password", "", "`password` of the private PostgreSQL; none: that of $MOCKSERVER_PG_PASSWORD, or \"postgres\"")
	flags.StringVar(&o.Config.Addr, "addr", "127.0.0.1:54321", "TCP `address` to listen on")
	flags.StringVar(&o.Config.JWTSecret, "secret", "", "the JWT `secret` of the project; none: that of $MOCKSERVER_SECRET, or with -db a random one, or Supabase's local one")
	flags.BoolVar(&o.Exact, "exact", false, "values as they are, and not as garbled as the real server's")
	fast := flags.Bool("fast", false, "changes at once, and not within half a second as with the real server")
	limits := flags.Bool("limits", false, "limit rates, sizes and numbers as a self-hosted project does")
	verbose := flags.Bool("v", false, "log requests and messages")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(errOut, "mockserver: what is %q? There are only flags; see -h.\n", flags.Arg(0))
		return s, errors.New("an argument that is no flag")
	}
	o.DatabaseURL = cmp.Or(o.DatabaseURL, os.Getenv("MOCKSERVER_DB"))
	o.Cluster.Password = cmp.Or(o.Cluster.Password, os.Getenv("MOCKSERVER_PG_PASSWORD"), "postgres")
	o.Config.JWTSecret = cmp.Or(o.Config.JWTSecret, os.Getenv("MOCKSERVER_SECRET"))
	if *fast {
		o.Config.Timing = mockserver.Fast()
	}
	if *limits {
		o.Config.Limits = mockserver.RealisticLimits()
	}
	if *verbose {
		o.Config.Logger = slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	o.Config.Inspector = true
	return s, nil
}

// startPatience bounds the start, which recovers a database that crashed.
const startPatience = 2 * time.Minute

func serve(ctx context.Context, out io.Writer, set settings) error {
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	server, err := postgres.New(starting, set.options)
	if err != nil {
		return err
	}
	defer server.Close()
	if set.user == "" && set.options.DatabaseURL == "" {
		set.user = "ann@example.com"
	}
	user, err := prepare(starting, server, set)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "project URL:     %s\n", server.URL())
	fmt.Fprintf(out, "websocket URL:   %s\n", server.WebsocketURL())
	fmt.Fprintf(out, "inspector:       %s/inspect/\n", server.URL())
	fmt.Fprintf(out, "database URL:    %s\n", server.DatabaseURL())
	fmt.Fprintf(out, "publishable key: %s\n", server.PublishableKey())
	fmt.Fprintf(out, "secret key:      %s\n", server.SecretKey())
	fmt.Fprintf(out, "anon key:        %s\n", server.AnonKey())
	fmt.Fprintf(out, "service key:     %s\n", server.ServiceKey())
	if user != "" {
		fmt.Fprintf(out, "token of %s: %s\n", set.user, user)
	}
	<-ctx.Done()
	return nil
}

// tokenLifetime is how long the printed token is good for: a working day.
const tokenLifetime = 12 * time.Hour

// prepare applies the schema, makes the user and returns a token of the user's.
func prepare(ctx context.Context, server *postgres.Server, set settings) (token string, err error) {
	switch {
	case set.schema != "":
		err = server.Migrate(ctx, set.schema)
	case set.options.DatabaseURL == "":
		err = server.MigrateText(ctx, "demo.sql", demo)
	}
	if err != nil || set.user == "" {
		return "", err
	}
	id, err := server.AddUser(ctx, mockserver.User{Email: set.user, Password: "password"})
	if err != nil {
		return "", err
	}
	now := time.Now()
	return server.Sign(mockserver.Claims{
		"sub": id, "role": "authenticated", "aud": "authenticated", "email": set.user,
		"iat": now.Unix(), "exp": now.Add(tokenLifetime).Unix(),
	}), nil
}
