package mockserver

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/auth"
	"github.com/gapless-go/gapless/mockserver/internal/front"
	"github.com/gapless-go/gapless/mockserver/internal/inspect"
	"github.com/gapless-go/gapless/mockserver/internal/joint"
	"github.com/gapless-go/gapless/mockserver/internal/memdb"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/realtime"
	"github.com/gapless-go/gapless/mockserver/internal/rest"
)

// TB is what Start needs of a testing.TB. It is an interface of its own so that
// the command does not link package testing.
type TB interface {
	Helper()
	Cleanup(func())
	Fatal(args ...any)
}

// Server is a Supabase project: tables, the REST API for them, the Auth API
// for its users, and Realtime. It is safe for concurrent use. Close it when
// done.
type Server struct {
	db       *memdb.Database // in memory; empty where the project's is another one
	backend  project.Database
	verifier *auth.Verifier
	realtime *realtime.Server
	auth     *auth.API
	rest     rest.API
	tap      *inspect.Tap // nil: there is no inspector
	secret   string
	anonKey  string
	service  string // the service key
	log      *slog.Logger

	front front.Front
}

// Start is New for a test: the server is closed at the end of it, and an error
// is fatal to it.
func Start(tb TB, cfg Config) *Server {
	tb.Helper()
	s, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
		return nil
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// New starts a server. It listens when New returns. The error says what is
// wrong with cfg, naming table and column, or that the address cannot be
// listened on.
func New(cfg Config) (*Server, error) { return newServer(cfg, nil) }

func init() {
	joint.New = func(cfg any, db project.Database) (any, error) { return newOn(cfg.(Config), db) }
}

// newOn starts a server for the project of a database, which has the tables,
// functions, users and policies. Methods of Server that are about tables in memory
// find none.
func newOn(cfg Config, db project.Database) (*Server, error) {
	if cfg.Tables != nil || cfg.Functions != nil || cfg.Users != nil || cfg.Channels != nil || cfg.Messages.Read != nil || cfg.Messages.Write != nil {
		return nil, errors.New("mockserver: the database has the tables, functions, users and policies, and Config has some, too")
	}
	return newServer(cfg, db)
}

func newServer(cfg Config, other project.Database) (*Server, error) {
	if cfg.JWTSecret == "" {
		cfg.JWTSecret = auth.DefaultSecret
	}
	if cfg.TokenLifetime == 0 {
		cfg.TokenLifetime = time.Hour
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	db, err := memdb.New(memdb.Settings{Tables: cfg.Tables, Functions: cfg.Functions, Channels: cfg.Channels, Messages: cfg.Messages})
	if err != nil {
		return nil, err
	}
	s := &Server{
		db:       db,
		backend:  other,
		verifier: auth.NewVerifier(auth.Keys{Secret: cfg.JWTSecret, Public: cfg.Keys, Publishable: cfg.PublishableKey, Secure: cfg.SecretKey}),
		secret:   cfg.JWTSecret,
		log:      cfg.Logger,
	}
	if cfg.Inspector {
		s.tap = &inspect.Tap{}
	}
	s.anonKey, s.service = s.projectKey("anon"), s.projectKey("service_role")
	if other == nil {
		s.backend = db
	}
	if s.auth, err = auth.NewAPI(cfg.Users, cfg.TokenLifetime, s.verifier, s.backend, s.log); err != nil {
		return nil, err
	}
	if err := s.front.Listen(cfg.InMemory, cfg.Addr); err != nil {
		return nil, err
	}
	s.realtime = realtime.New(s.backend, s.verifier, realtime.Options{
		Timing: cfg.Timing, Limits: cfg.Limits, Log: s.log, Seed: cfg.Seed, Tap: s.tap,
	})
	if err := s.realtime.Begin(other != nil); err != nil {
		s.realtime.Close()
		_ = s.front.Listener.Close()
		return nil, err
	}
	s.rest = rest.API{
		DB: s.backend, Verifier: s.verifier, Log: s.log, URL: s.front.URL, Exposed: slices.Clone(cfg.ExposedSchemas), MaxRows: cfg.MaxRows,
		Away: s.realtime.Faults.WhyAway, Pause: s.realtime.Pause,
	}
	if len(s.rest.Exposed) == 0 {
		s.rest.Exposed = db.Schemas()
	}
	s.front.Serve(s.routes(cfg), s.log)
	return s, nil
}

// check refuses settings that could not be meant.
func (cfg Config) check() error {
	switch {
	case cfg.TokenLifetime < time.Second:
		return fmt.Errorf("mockserver: Config.TokenLifetime is %v, less than a second", cfg.TokenLifetime)
	case cfg.MaxRows < 0:
		return fmt.Errorf("mockserver: Config.MaxRows is %d", cfg.MaxRows)
	case cfg.InMemory && cfg.Addr != "":
		return errors.New("mockserver: Config.InMemory and Config.Addr are both set")
	}
	for name, key := range map[string][2]string{"PublishableKey": {cfg.PublishableKey, auth.PublishablePrefix}, "SecretKey": {cfg.SecretKey, auth.SecretPrefix}} {
		if key[0] != "" && (!strings.HasPrefix(key[0], key[1]) || key[0] == key[1]) {
			return fmt.Errorf("mockserver: Config.%s does not begin with %s", name, key[1])
		}
	}
	if err := cfg.Limits.Check(); err != nil {
		return err
	}
	for name, f := range cfg.Functions {
		if name == "" || f == nil {
			return fmt.Errorf("mockserver: Config.Functions[%q] has no name or is nil", name)
		}
	}
	for i, k := range cfg.Keys {
		if k.ID == "" {
			return fmt.Errorf("mockserver: Config.Keys[%d] has no ID", i)
		}
		switch k.Key.(type) {
		case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		default:
			return fmt.Errorf("mockserver: Config.Keys[%d].Key is a %T", i, k.Key)
		}
	}
	return nil
}

func (s *Server) routes(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", serveNothing)
	mux.Handle("/rest/v1/", &s.rest)
	mux.Handle("/auth/v1/", s.auth)
	s.realtime.Routes(mux)
	if cfg.Admin || cfg.Inspector {
		admin := &inspect.Admin{Server: inner{s}, DB: s.backend, Log: s.log}
		mux.Handle("/mock/v1/", front.OwnHost(s.front.URL, admin.Routes()))
	}
	if cfg.Inspector {
		inspector := &inspect.Inspector{Server: inner{s}, DB: s.backend, Tap: s.tap, Log: s.log}
		pages := front.OwnHost(s.front.URL, inspector.Routes())
		mux.Handle("/{$}", pages)
		mux.Handle("/inspect", pages)
		mux.Handle("/inspect/", pages)
		return s.logged(inspector.Noted(mux))
	}
	return s.logged(mux)
}

// serveNothing answers for what there is not, as a project's gateway does.
func serveNothing(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions {
		front.AllowAll(w, r)
		return
	}
	front.WriteJSON(w, http.StatusNotFound, map[string]string{"message": "no Route matched with those values"})
}

// logged tells the logger of each request: the path, which holds no keys, and
// not the query, which may.
func (s *Server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.log.LogAttrs(r.Context(), slog.LevelDebug, "request",
			slog.String("method", r.Method), slog.String("path", r.URL.Path))
		next.ServeHTTP(w, r)
	})
}

// Close ends every connection and goroutine of the server and waits for them.
// Sockets end without a close frame. It must not be called from a policy or a
// default. Twice is fine; the error is always nil.
func (s *Server) Close() error {
	s.front.Close(s.realtime.Close)
	return nil
}

// URL returns the URL of the project, without a slash at its end: the REST API
// is at URL()+"/rest/v1". A server in memory has one, too, which only
// HTTPClient reaches.
func (s *Server) URL() string { return s.front.URL }

// WebsocketURL returns the URL of Realtime's websocket, without an API key.
func (s *Server) WebsocketURL() string { return s.front.WebsocketURL() }

// HTTPClient returns a client that reaches the server, in memory too. It is
// the same each time; Close closes its idle connections.
func (s *Server) HTTPClient() *http.Client { return s.front.Client }

// Insert adds rows in a transaction of their own. A column that a row does not
// name gets its default.
//
// The changes that Insert, Update, Delete and Tx make come out of the socket
// when the Realtime server polls next. Their errors are *Error where
// PostgreSQL would refuse, and nothing is changed then.
func (s *Server) Insert(table string, rows ...memdb.Row) error {
	return s.db.Insert(table, rows...)
}

// Update sets columns of the rows whose columns equal those of where (nil
// finds NULL), of every row where it is empty, and returns how many they are.
// A row counts, and its change comes out of the socket, even if it is as it
// was. A change of the primary key is one UPDATE.
func (s *Server) Update(table string, set, where memdb.Row) (n int, err error) {
	return s.db.Update(table, set, where)
}

// Delete removes the rows whose columns equal those of where, every row where
// it is empty, and returns how many they were.
func (s *Server) Delete(table string, where memdb.Row) (n int, err error) {
	return s.db.Delete(table, where)
}

// Truncate removes all rows. As with a real server, nothing of it ever comes
// out of the socket.
func (s *Server) Truncate(table string) error {
	return s.db.Truncate(table)
}

// Tx runs f and commits what it did with its Tx in one transaction, with one
// commit timestamp. If f fails, or a statement of its Tx did, nothing is kept
// and the error is returned.
//
// Transactions do not wait for each other. One that meets a row which another
// has changed or removed since it began fails with the code 40001, as
// PostgreSQL's do at REPEATABLE READ; it may be tried again.
func (s *Server) Tx(f func(tx *memdb.Tx) error) error { return s.db.Run(f) }

// Rows returns the committed content of a table in the order of its primary
// key (without one, in that of insertion). The values are: nil, bool, int64
// (integers and oid), float64, json.Number (numeric; NaN and Infinity, too),
// []byte (bytea), time.Time in UTC (timestamp, timestamptz), json.RawMessage
// (json, jsonb), []any (arrays, nested where they have dimensions), and a
// string in PostgreSQL's output form for every other type and for infinite
// timestamps. Insert takes them back without loss.
func (s *Server) Rows(table string) ([]memdb.Row, error) {
	return s.db.Content(table)
}

// Sent returns the messages that clients have sent, in the order in which they
// were read. The server keeps the last ones only: up to 10,000 messages and
// 16 MB.
func (s *Server) Sent() []Frame { return s.realtime.Sent.All() }

// Connections returns the open sockets in the order in which they were opened,
// and what they have joined.
func (s *Server) Connections() []Connection { return s.realtime.Connections() }
