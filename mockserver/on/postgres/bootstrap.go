package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed sql/*.sql
var scripts embed.FS

// ErrNotLogical says that a database does not log what replication needs.
var ErrNotLogical = errors.New(`postgres: wal_level is not logical; set it ("alter system set wal_level = logical") and restart PostgreSQL`)

// ErrNoRight says that the role of the database URL may not do what a server
// does.
var ErrNoRight = errors.New("postgres: a superuser is needed, to make roles, act as them, and read the log")

// check refuses a database that a server cannot work on.
func check(ctx context.Context, conn *pgx.Conn) error {
	var version int
	var level string
	var super bool
	err := conn.QueryRow(ctx, `select current_setting('server_version_num')::int / 10000, current_setting('wal_level'),
		(select rolsuper from pg_roles where rolname = current_user)`).Scan(&version, &level, &super)
	switch {
	case err != nil:
		return fmt.Errorf("postgres: %w", err)
	case version < MinVersion:
		return fmt.Errorf("%w: the server is version %d", ErrTooOld, version)
	case !super:
		return ErrNoRight
	case level != "logical":
		return fmt.Errorf("%w: it is %s", ErrNotLogical, level)
	}
	return nil
}

// bootstrapLock is the key of the lock that keeps two servers from making one
// project at once.
const bootstrapLock = 0x6761706c657373

// lockRoles keeps servers on other databases of the cluster from changing the
// same roles at once: advisory locks are those of one database, and PostgreSQL
// lets the second of two changes of a role fail.
const lockRoles = "lock table pg_catalog.pg_authid in share row exclusive mode"

// bootstrap makes a project of the database: it runs those of the scripts that
// have not been run on it yet, all or none.
func bootstrap(ctx context.Context, conn *pgx.Conn) error {
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(bootstrapLock))
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `create schema if not exists realtime;
			create table if not exists realtime.mockserver_migrations (version int primary key, at timestamptz not null default now())`)
		if err != nil {
			return err
		}
		return migrate(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("postgres: the project's schemas cannot be made: %w", err)
	}
	return nil
}

func migrate(ctx context.Context, tx pgx.Tx) error {
	var done int
	if err := tx.QueryRow(ctx, "select coalesce(max(version), 0) from realtime.mockserver_migrations").Scan(&done); err != nil {
		return err
	}
	files, err := fs.Glob(scripts, "sql/*.sql") // sorted
	if err != nil {
		return err
	}
	for _, file := range files {
		number, _, _ := strings.Cut(strings.TrimPrefix(file, "sql/"), "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			return fmt.Errorf("%s: its name has no version", file)
		}
		if version <= done {
			continue
		}
		if _, err := tx.Exec(ctx, lockRoles); err != nil {
			return err
		}
		script, err := scripts.ReadFile(file)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, string(script)); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if _, err := tx.Exec(ctx, "insert into realtime.mockserver_migrations (version) values ($1)", version); err != nil {
			return err
		}
	}
	return nil
}
