package deliver

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"time"
)

// Schema is the SQL of the tables that a Postgres needs, for migrations. They go
// into the first schema of the search path. It may be run any number of times.
//
//go:embed schema.sql
var Schema string

// Postgres is a Store in a PostgreSQL database. NewPostgres makes one. An effect
// that writes through the transaction that it is given is done once for each key,
// whatever happens: its mark is committed with it. Of an effect elsewhere, such as
// a request, the mark may be lost when the process ends behind it; it is then done
// again.
//
// Several processes may share it, under one name or several.
type Postgres struct {
	db   *sql.DB
	name string
}

// NewPostgres makes a Store for a consumer of that name. The database is of any
// driver for PostgreSQL, and must have the tables of Schema. The role must be one
// that they belong to, or that no row level security holds up.
func NewPostgres(db *sql.DB, name string) *Postgres { return &Postgres{db, name} }

// Once is as Store says: the key is marked first, in the transaction that the
// effect is given. A key that is there already is found by the number of rows
// that the mark has made, and not by an error, which might as well be one of the
// effect's own statements.
func (p *Postgres) Once(ctx context.Context, key string, effect func(context.Context, *sql.Tx) error) (before bool, err error) {
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return false, &StoreError{"begin", err}
	}
	defer func() { _ = tx.Rollback() }() // of a transaction that was committed it does nothing
	if key != "" {
		before, err := p.mark(ctx, tx, key)
		if before || err != nil {
			return before, err
		}
	}
	if err := effect(ctx, tx); err != nil {
		return false, p.effectError(ctx, tx, err)
	}
	if err := tx.Commit(); err != nil {
		return false, p.commitError(err)
	}
	return false, nil
}

func (p *Postgres) mark(ctx context.Context, tx *sql.Tx, key string) (before bool, err error) {
	result, err := tx.ExecContext(ctx, `insert into deliver_done (consumer, key) values ($1, $2) on conflict do nothing`, p.name, key)
	if err != nil {
		return false, &StoreError{"mark", err}
	}
	n, err := result.RowsAffected()
	if err != nil {
		return false, &StoreError{"mark", err}
	}
	return n == 0, nil
}

// effectError tells an effect that failed from a database that is gone, which
// says nothing against the value.
func (p *Postgres) effectError(ctx context.Context, tx *sql.Tx, err error) error {
	_, gone := tx.ExecContext(ctx, "select 1")
	if gone == nil || errors.Is(gone, sql.ErrTxDone) {
		return err
	}
	// In a transaction that a statement has failed in, the server says so.
	if class := sqlClass(gone); class == "25" {
		return err
	}
	return &StoreError{"effect", err}
}

// sqlClass is the class of the error that a server gave; empty if none did.
func sqlClass(err error) string {
	var state interface{ SQLState() string } // of pgx and of lib/pq
	if !errors.As(err, &state) || len(state.SQLState()) < 2 {
		return ""
	}
	return state.SQLState()[:2]
}

// commitError tells a constraint that is checked at the commit, which is the
// effect's doing, from a failure of the database.
func (p *Postgres) commitError(err error) error {
	if sqlClass(err) == "23" {
		return fmt.Errorf("deliver: commit: %w", err)
	}
	return &StoreError{"commit", err}
}

// Position is as Store says.
func (p *Postgres) Position(ctx context.Context) (position string, err error) {
	err = p.db.QueryRowContext(ctx, `select position from deliver_position where consumer = $1`, p.name).Scan(&position)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", &StoreError{"read the position", err}
	}
	return position, nil
}

// SavePosition is as Store says.
func (p *Postgres) SavePosition(ctx context.Context, position string) error {
	return p.exec(ctx, "save the position", `insert into deliver_position (consumer, position) values ($1, $2)
		on conflict (consumer) do update set position = excluded.position, at = now()`, p.name, position)
}

// Bury is as Store says.
func (p *Postgres) Bury(ctx context.Context, l Letter) error {
	return p.exec(ctx, "bury", `insert into deliver_letter (consumer, key, position, reason, attempts, value, at) values ($1, $2, $3, $4, $5, $6, $7)
		on conflict (consumer, key) do update set position = excluded.position, reason = excluded.reason,
		attempts = excluded.attempts, value = excluded.value, at = excluded.at`,
		p.name, l.Key, l.Position, l.Reason, l.Attempts, l.Value, l.At)
}

// Letters reads the letters, the oldest first.
func (p *Postgres) Letters(ctx context.Context) (letters []Letter, err error) {
	rows, err := p.db.QueryContext(ctx, `select key, position, reason, attempts, value, at from deliver_letter where consumer = $1 order by at, key`, p.name)
	if err != nil {
		return nil, &StoreError{"read the letters", err}
	}
	defer rows.Close()
	for rows.Next() {
		var l Letter
		if err := rows.Scan(&l.Key, &l.Position, &l.Reason, &l.Attempts, &l.Value, &l.At); err != nil {
			return nil, &StoreError{"read the letters", err}
		}
		letters = append(letters, l)
	}
	if err := rows.Err(); err != nil {
		return nil, &StoreError{"read the letters", err}
	}
	return letters, nil
}

// Forget drops the marks that are older than that, and returns how many they
// were: a redelivery after that is done again.
func (p *Postgres) Forget(ctx context.Context, older time.Duration) (int64, error) {
	result, err := p.db.ExecContext(ctx, `delete from deliver_done where consumer = $1 and at < now() - make_interval(secs => $2)`,
		p.name, older.Seconds())
	if err != nil {
		return 0, &StoreError{"forget", err}
	}
	return result.RowsAffected()
}

func (p *Postgres) exec(ctx context.Context, op, query string, args ...any) error {
	if _, err := p.db.ExecContext(ctx, query, args...); err != nil {
		return &StoreError{op, err}
	}
	return nil
}
