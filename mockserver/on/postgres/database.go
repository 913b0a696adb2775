package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// publication is the one whose tables Realtime tells of.
const publication = "supabase_realtime"

// logged is the publication from which the log is read; see 005_publication.sql.
const logged = "supabase_realtime_mockserver"

// Database is a project on a PostgreSQL: what the mock server's socket, REST
// API and sign-in ask. It is safe for concurrent use. Close it in the end.
type Database struct {
	pool   *pgxpool.Pool // of the superuser
	web    *pgxpool.Pool // of the REST API, see openWeb
	exact  bool          // values are not as the real server garbles them
	ledger *ledger
	logs   sync.WaitGroup // logs that are open
}

// session is how our sessions write values: as those of the real server do. The
// time zone is the database's.
var session = map[string]string{
	"DateStyle": "ISO", "IntervalStyle": "postgres", "extra_float_digits": "1",
	"bytea_output": "hex", "client_encoding": "UTF8", "search_path": `"$user", public, extensions`,
}

// open connects, checks the database and makes a project of it.
func open(ctx context.Context, url string, exact bool) (*Database, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err) // pgx leaves the password out
	}
	for name, value := range session {
		cfg.ConnConfig.RuntimeParams[name] = value
	}
	delete(cfg.ConnConfig.RuntimeParams, "timezone")                                           // that of $PGTZ
	cfg.ConnConfig.RuntimeParams["application_name"] = "gapless mockserver " + rand.Text()[:8] // Exhaust finds ours by it
	// Statements are not prepared: tables may change under them.
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	db := &Database{pool: pool, exact: exact}
	if err = db.prepare(ctx); err == nil {
		db.ledger, err = openLedger(ctx, pool)
	}
	if err == nil {
		err = db.openWeb(ctx)
	}
	if err != nil {
		if db.web != nil {
			db.web.Close()
		}
		pool.Close()
		return nil, err
	}
	return db, nil
}

func (db *Database) prepare(ctx context.Context) error {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	defer conn.Release()
	if err := check(ctx, conn.Conn()); err != nil {
		return err
	}
	return bootstrap(ctx, conn.Conn())
}

// unavailable reports whether there is no connection, or was none any more.
func unavailable(err error) bool {
	var refused *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &refused) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded)
}

// goesAway reports whether a SQLSTATE says that a server ends a connection:
// admin_shutdown, crash_shutdown, cannot_connect_now, database_dropped.
func goesAway(code string) bool { return strings.HasPrefix(code, "57P0") }

// Close ends the connections and waits for those who use one.
func (db *Database) Close() {
	db.logs.Wait()
	db.ledger.close()
	db.web.Close()
	db.pool.Close()
}

// Publication implements project.Database.
func (db *Database) Publication(ctx context.Context) (tables string, err error) {
	// By their OIDs, which a table that was dropped and made again has another one of.
	err = db.pool.QueryRow(ctx, `select coalesce(string_agg(c.oid::text, ' ' order by c.oid), '')
		from pg_publication_tables p join pg_namespace n on n.nspname = p.schemaname join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
		where p.pubname = $1`, publication).Scan(&tables)
	return tables, asError(err)
}

// asError makes what PostgreSQL says a *project.Error, and that it says nothing
// project.ErrUnavailable.
func asError(err error) error {
	var pg *pgconn.PgError
	switch isPg := errors.As(err, &pg); {
	case unavailable(err), isPg && goesAway(pg.Code):
		return fmt.Errorf("%w: %v", project.ErrUnavailable, err) // pgx leaves the password out
	case !isPg:
		return err
	}
	return &project.Error{Code: pg.Code, Message: pg.Message, Detail: pg.Detail, Hint: pg.Hint}
}
