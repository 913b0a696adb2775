package deliver

import (
	"context"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Schema is the SQL of the tables that a Postgres needs, for migrations. They go
// into the first schema of the search path. It may be run any number of times.
//
//go:embed schema.sql
var Schema string

// Postgres is a Store in a PostgreSQL database. NewPostgres makes one. An effect
// that writes through the transaction that it is given is done once for each key,
// whatever happens: its mark is committed with it. Of an effect elsewhere, such as
// a request, the mark may be lost when the process ends behind it, or the commit
// fails; it is then done again.
//
// Several processes may share it, under one name or several.
type Postgres struct {
	db   *sql.DB
	name string
}

// NewPostgres makes a Store for a consumer of that name. The database is of any
// driver for PostgreSQL, and must have the tables of Schema. The role must be one
// that they belong to, or that no row level security holds up.
func NewPostgres(db *sql.DB, name string) *Postgres { return &Postgres{db, stored(name, 500)} }

// Once is as Store says: the key is marked first, in the transaction that the
// effect is given. A key that is there already is found by the number of rows
// that the mark has made, and not by an error, which might as well be one of the
// effect's own statements.
func (p *Postgres) Once(ctx context.Context, key string, effect func(context.Context, *sql.Tx) error) (before bool, err error) {
	return inTransaction(ctx, p.db, func(tx *sql.Tx) (bool, error) {
		if key == "" {
			return false, nil
		}
		return p.mark(ctx, tx, key)
	}, effect)
}

// inTransaction runs a mark and an effect in one transaction, unless the mark was
// there before.
func inTransaction(ctx context.Context, db *sql.DB, mark func(*sql.Tx) (before bool, err error), effect func(context.Context, *sql.Tx) error) (before bool, err error) {
	// The connection is kept behind the transaction, to see whether a commit that
	// failed was answered.
	conn, err := db.Conn(ctx)
	if err != nil {
		return false, &StoreError{"connect", err}
	}
	defer func() { _ = conn.Close() }()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return false, &StoreError{"begin", err}
	}
	defer func() { _ = tx.Rollback() }() // of a transaction that was committed it does nothing
	if before, err := mark(tx); before || err != nil {
		return before, err
	}
	if err := effect(ctx, tx); err != nil {
		return false, effectError(ctx, tx, err)
	}
	if err := tx.Commit(); err != nil {
		return false, commitError(ctx, conn, err)
	}
	return false, nil
}

// mark marks a key, unless it is marked or buried.
func (p *Postgres) mark(ctx context.Context, tx *sql.Tx, key string) (before bool, err error) {
	result, err := tx.ExecContext(ctx, `insert into deliver_done (consumer, key) select $1, $2
		where not exists (select from deliver_letter where consumer = $1 and key = $2) on conflict do nothing`, p.name, stored(key, maxKey))
	if err != nil {
		return false, judged("mark", err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return false, &StoreError{"mark", err}
	}
	return n == 0, nil
}

// effectError separates an effect that failed from a database that is gone, which
// says nothing against the value.
func effectError(ctx context.Context, tx *sql.Tx, err error) error {
	if state := sqlState(err); away(state) {
		return &StoreError{"effect", err}
	} else if state != "" {
		return err
	}
	// The effect may keep the server's words for itself.
	_, gone := tx.ExecContext(ctx, "select 1")
	switch {
	case gone == nil, errors.Is(gone, sql.ErrTxDone), sqlClass(gone) == "25": // such as that a statement has failed before
		return err
	}
	return &StoreError{"effect", err}
}

// commitError separates what the effect has done to the transaction (a constraint
// or a trigger that is checked at the commit, a failed statement that it took no
// notice of) from a failure of the database.
func commitError(ctx context.Context, conn *sql.Conn, err error) error {
	if sqlState(err) == "" && !errors.Is(err, sql.ErrTxDone) {
		// A driver's own word: the server has answered if the connection is whole.
		if _, gone := conn.ExecContext(ctx, "select 1"); gone != nil {
			return &StoreError{"commit", err}
		}
	}
	return judged("commit", err)
}

// judged is the error of a statement of ours: the store's if the database is away,
// or cannot be used as it is; the value's own otherwise.
func judged(op string, err error) error {
	state := sqlState(err)
	own := op == "commit" || sqlClass(err) == "22" || sqlClass(err) == "54" || sqlClass(err) == "40"
	if own && !away(state) {
		return fmt.Errorf("deliver: %s: %w", op, err)
	}
	return &StoreError{op, err}
}

// sqlState is the SQLSTATE of the error that a server gave; empty if none did.
func sqlState(err error) string {
	var state interface{ SQLState() string } // of pgx and of lib/pq
	if !errors.As(err, &state) {
		return ""
	}
	return state.SQLState()
}

// sqlClass is the class of that.
func sqlClass(err error) string {
	state := sqlState(err)
	return state[:min(2, len(state))]
}

// away reports whether an SQLSTATE says that the database cannot be used now: a
// lost connection, too few resources, an operator's intervention, a failing disk, a
// standby. A statement that was canceled (57014), as by a timeout, is not among
// them.
func away(state string) bool {
	switch state {
	case "57014":
		return false
	case "25006": // it is read only
		return true
	}
	switch state[:min(2, len(state))] {
	case "08", "53", "57", "58":
		return true
	}
	return false
}

// maxKey is for how many bytes the index over consumer and key has room.
const maxKey = 2000

// stored is the form of a text in the database, which keeps neither a NUL nor what
// is no UTF-8: such a text is written in hexadecimal behind \x. One that is longer
// than most (if that is not 0) is given by its digest.
func stored(s string, most int) string {
	if strings.HasPrefix(s, `\x`) || strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
		s = `\x` + hex.EncodeToString([]byte(s))
	}
	if most > 0 && len(s) > most {
		return fmt.Sprintf(`\sha256 %x`, sha256.Sum256([]byte(s)))
	}
	return s
}

// original is the text of a form that is no digest.
func original(s string) string {
	if digits, coded := strings.CutPrefix(s, `\x`); coded {
		if b, err := hex.DecodeString(digits); err == nil {
			return string(b)
		}
	}
	return s
}

// Position is as Store says.
func (p *Postgres) Position(ctx context.Context) (position string, err error) {
	err = p.db.QueryRowContext(ctx, `select position from deliver_position where consumer = $1`, p.name).Scan(&position)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", &StoreError{"read the position", err}
	}
	return original(position), nil
}

// SavePosition is as Store says.
func (p *Postgres) SavePosition(ctx context.Context, position string) error {
	_, err := p.db.ExecContext(ctx, `insert into deliver_position (consumer, position) values ($1, $2)
		on conflict (consumer) do update set position = excluded.position, at = now()`, p.name, stored(position, 0))
	if err != nil {
		return &StoreError{"save the position", err}
	}
	return nil
}

// Bury is as Store says. The letter of a key of more than 2,000 bytes has a digest
// for it.
func (p *Postgres) Bury(ctx context.Context, l Letter) error {
	err := p.bury(ctx, l, stored)
	if class := sqlClass(err); class == "22" || class == "54" {
		// A database of another encoding lacks a character.
		err = p.bury(ctx, l, func(s string, most int) string { return stored(strconv.QuoteToASCII(s), most) })
	}
	if err != nil {
		return &StoreError{"bury", err}
	}
	return nil
}

func (p *Postgres) bury(ctx context.Context, l Letter, form func(s string, most int) string) error {
	_, err := p.db.ExecContext(ctx, `insert into deliver_letter (consumer, key, position, reason, attempts, value, at) values ($1, $2, $3, $4, $5, $6, $7)
		on conflict (consumer, key) do update set position = excluded.position, reason = excluded.reason,
		attempts = excluded.attempts, value = excluded.value, at = excluded.at`,
		p.name, form(l.Key, maxKey), form(l.Position, 0), form(l.Reason, 0), l.Attempts, l.Value, l.At)
	return err
}

const letterColumns = `key, position, reason, attempts, value, at`

func scanLetter(scan func(...any) error) (l Letter, err error) {
	err = scan(&l.Key, &l.Position, &l.Reason, &l.Attempts, &l.Value, &l.At)
	l.Key, l.Position, l.Reason = original(l.Key), original(l.Position), original(l.Reason)
	return l, err
}

// Letters reads the letters, the oldest first.
func (p *Postgres) Letters(ctx context.Context) (letters []Letter, err error) {
	rows, err := p.db.QueryContext(ctx, `select `+letterColumns+` from deliver_letter where consumer = $1 order by at, key`, p.name)
	if err != nil {
		return nil, &StoreError{"read the letters", err}
	}
	defer rows.Close()
	for rows.Next() {
		l, err := scanLetter(rows.Scan)
		if err != nil {
			return nil, &StoreError{"read the letters", err}
		}
		letters = append(letters, l)
	}
	if err := rows.Err(); err != nil {
		return nil, &StoreError{"read the letters", err}
	}
	return letters, nil
}

// Retry removes a letter and returns it; false if there is none. Its key counts as
// new: its value is handled when it is delivered again.
// The letter is in no store then: a process that ends before it has handled the
// letter, or kept it elsewhere, loses it.
func (p *Postgres) Retry(ctx context.Context, key string) (Letter, bool, error) {
	row := p.db.QueryRowContext(ctx, `delete from deliver_letter where consumer = $1 and key = $2 returning `+letterColumns, p.name, stored(key, maxKey))
	l, err := scanLetter(row.Scan)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Letter{}, false, nil
	case err != nil:
		return Letter{}, false, &StoreError{"retry", err}
	}
	return l, true, nil
}

// Forget drops the marks that are older than that, and returns how many they
// were: a redelivery after that is done again. Keys that were buried stay
// remembered.
func (p *Postgres) Forget(ctx context.Context, older time.Duration) (int64, error) {
	result, err := p.db.ExecContext(ctx, `delete from deliver_done where consumer = $1 and at < now() - make_interval(secs => $2)`,
		p.name, older.Seconds())
	if err != nil {
		return 0, &StoreError{"forget", err}
	}
	return result.RowsAffected()
}
