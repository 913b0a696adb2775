package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/internal/joint"
)

// Options says which database a project is on, and how the server behaves. The
// zero value is a private cluster for a test.
type Options struct {
	// DatabaseURL is a PostgreSQL to work on, as a superuser; empty: a private
	// cluster is started, and ended by Server.Close.
	DatabaseURL string
	// Cluster says how that is done.
	Cluster ClusterOptions
	// Schema is SQL that is run before the server starts, in a transaction, such
	// as the tables of the project and its policies.
	Schema string
	// Exact has values come out of the socket as they are: without it, they come
	// as garbled as those of the real server (char(n) and bit(n) cut to one
	// character, NaN and infinite numbers as null, bytea without \x).
	Exact bool
	// Config has the rest: address, keys, limits, timing. Tables, functions,
	// users and policies are the database's and must not be set. Nor may
	// InMemory: a database lives in real time.
	Config mockserver.Config
}

// Server is a Supabase project on PostgreSQL: the socket, REST API and sign-in
// of package mockserver, with its faults. Methods that are about tables in
// memory (Insert, Update, Delete, Tx, Rows …) find none: SQL is the way to
// write. It is safe for concurrent use. Close it in the end.
type Server struct {
	*mockserver.Server
	db      *Database
	cluster *Cluster // nil: the database is not ours
	url     string
}

// New starts a server. It has a replication slot when it returns, so that
// whatever is committed then is delivered. The error says if the database is
// too old (ErrTooOld), does not log enough (ErrNotLogical), if the URL's role
// may too little (ErrNoRight), or if PostgreSQL is not installed
// (ErrNoBinaries). Ctx bounds the start.
func New(ctx context.Context, opts Options) (_ *Server, err error) {
	if opts.Config.InMemory {
		return nil, errors.New("postgres: Config.InMemory is for virtual time, which a database does not have")
	}
	if opts.DatabaseURL != "" && opts.Config.JWTSecret == "" {
		// With the published secret any web page could sign itself into the database.
		opts.Config.JWTSecret = rand.Text() + rand.Text()
	}
	s := &Server{url: opts.DatabaseURL}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if s.url == "" {
		if s.cluster, err = StartCluster(ctx, opts.Cluster); err != nil {
			return nil, err
		}
		s.url = s.cluster.URL()
	}
	if s.db, err = open(ctx, s.url, opts.Exact); err != nil {
		return nil, err
	}
	if err = s.Apply(ctx, opts.Schema); err != nil {
		return nil, err
	}
	if opts.Schema != "" { // settings of the database are those of sessions that begin later
		s.db.pool.Reset()
		s.db.web.Reset()
	}
	server, err := joint.New(opts.Config, s.db)
	if err != nil {
		return nil, err
	}
	s.Server = server.(*mockserver.Server)
	return s, nil
}

// Start is New for a test: the server is closed at the end of it, and an error
// is fatal to it.
func Start(tb mockserver.TB, opts Options) *Server {
	tb.Helper()
	s, err := New(context.Background(), opts)
	if err != nil {
		tb.Fatal(err)
		return nil
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// Apply runs SQL as the superuser, in a transaction unless it has some of its
// own.
func (s *Server) Apply(ctx context.Context, sql string) error {
	if sql == "" {
		return nil
	}
	if _, err := s.db.pool.Exec(ctx, sql); err != nil {
		return fmt.Errorf("postgres: %w", located(err, sql))
	}
	return nil
}

// DatabaseURL returns the URL of the database, with the password if it has one.
func (s *Server) DatabaseURL() string { return s.url }

// Cluster returns the private cluster, for faults that are real: Crash, Stop
// and Start. It is nil where the database was given by its URL.
func (s *Server) Cluster() *Cluster { return s.cluster }

// Close ends every connection and goroutine of the server and waits for them,
// and then the private cluster. Twice is fine.
func (s *Server) Close() error {
	if s.Server != nil {
		_ = s.Server.Close() // its error is always nil
	}
	if s.db != nil {
		s.db.Close()
	}
	if s.cluster != nil {
		return s.cluster.Close()
	}
	return nil
}
