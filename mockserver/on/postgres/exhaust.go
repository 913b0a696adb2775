package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// tooManyConnections is the SQLSTATE of a connection for which there is no room.
const tooManyConnections = "53300"

// exhaustPause is how long it takes to notice that another client has given up
// a connection.
const exhaustPause = 5 * time.Millisecond

// Exhaust implements project.Database.
func (db *Database) Exhaust(ctx context.Context) error {
	cfg := db.pool.Config().ConnConfig.Copy()
	cfg.RuntimeParams["application_name"] = "gapless exhausts connections"
	var taken []*pgx.Conn
	defer func() {
		for _, conn := range taken {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
			_ = conn.Close(end)
			cancel()
		}
	}()
	for ctx.Err() == nil {
		conn, err := pgx.ConnectConfig(ctx, cfg)
		var pg *pgconn.PgError
		switch {
		case err == nil:
			taken = append(taken, conn)
		case errors.As(err, &pg) && pg.Code == tooManyConnections:
			if len(taken) > 0 {
				db.endOwn(ctx, taken[0])
			}
			wait(ctx, exhaustPause)
		case ctx.Err() == nil: // it is away
			return err
		}
	}
	return nil
}

// endOwn ends the connections of the server, those that stream the log, too.
func (db *Database) endOwn(ctx context.Context, conn *pgx.Conn) {
	_, _ = conn.Exec(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1",
		db.pool.Config().ConnConfig.RuntimeParams["application_name"]) // it is tried again
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
