package command

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
	"time"

	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

//go:embed demo.sql
var demo string

// settings are what the flags say.
type settings struct {
	options      postgres.Options
	schema, user string
}

// onPostgres serves a project on a real PostgreSQL until ctx ends, and returns the
// exit status.
func onPostgres(ctx context.Context, args []string, out, errOut io.Writer) int {
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
	users, err := prepare(starting, server, set)
	if err != nil {
		return err
	}
	announce(out, server.Server, server.DatabaseURL(), users...)
	<-ctx.Done()
	return nil
}

// prepare applies the schema, and makes the user if there is one.
func prepare(ctx context.Context, server *postgres.Server, set settings) ([]mockserver.User, error) {
	var err error
	switch {
	case set.schema != "":
		err = server.Migrate(ctx, set.schema)
	case set.options.DatabaseURL == "":
		err = server.MigrateText(ctx, "demo.sql", demo)
	}
	if err != nil || set.user == "" {
		return nil, err
	}
	user := mockserver.User{Email: set.user, Password: "password"}
	user.ID, err = server.AddUser(ctx, user)
	return []mockserver.User{user}, err
}
