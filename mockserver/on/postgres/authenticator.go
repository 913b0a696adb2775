package postgres

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// maxWeb is how many requests to the REST API the database works on at once:
// PostgREST's default.
const maxWeb = 10

// openWeb opens the sessions of the REST API. They log in as a role without
// rights that may act as the API's roles, so that a function which resets its
// role has none.
func (db *Database) openWeb(ctx context.Context) error {
	cfg := db.pool.Config()
	login, secret, err := db.authenticator(ctx)
	if err != nil {
		return fmt.Errorf("postgres: the login role of the REST API: %w", err)
	}
	cfg.ConnConfig.User, cfg.ConnConfig.Password = login, secret
	cfg.MinConns, cfg.MaxConns = 0, maxWeb
	// What a request sets for the session ends with the request.
	cfg.AfterRelease = func(conn *pgx.Conn) bool {
		ctx, cancel := context.WithTimeout(context.Background(), closePatience)
		defer cancel()
		_, err := conn.Exec(ctx, "discard all", pgx.QueryExecModeSimpleProtocol)
		return err == nil
	}
	// A connection is made now, so that a start fails that could answer no request.
	// The password is set where it is asked for and another one.
	if db.web, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return err
	}
	err = db.web.Ping(ctx)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && strings.HasPrefix(refused.Code, "28") {
		if err = db.setPassword(ctx, login, secret); err == nil {
			err = db.web.Ping(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("postgres: the REST API cannot log in as %s: %w", login, err)
	}
	return nil
}

// authenticator returns the login role and its password, which is the same for
// every server on the cluster that has the same superuser.
func (db *Database) authenticator(ctx context.Context) (login, secret string, err error) {
	var system string
	err = db.pool.QueryRow(ctx, `select rolname, (select system_identifier::text from pg_control_system()) from pg_roles
		where rolname in ('authenticator', 'mockserver_authenticator') and shobj_description(oid, 'pg_authid') = 'made by the mock server'
		order by rolname desc limit 1`).Scan(&login, &system)
	h := hmac.New(sha256.New, []byte(db.pool.Config().ConnConfig.Password))
	h.Write([]byte("mock server " + system))
	return login, hex.EncodeToString(h.Sum(nil)), err
}

func (db *Database) setPassword(ctx context.Context, login, secret string) error {
	_, err := db.pool.Exec(ctx, "alter role "+pgx.Identifier{login}.Sanitize()+" password '"+secret+"'") // hexadecimal digits
	return err
}
