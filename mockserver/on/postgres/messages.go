package postgres

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// messagesPublication is the publication of realtime.messages.
const messagesPublication = "supabase_realtime_messages_publication"

// Messages implements project.Database.
func (db *Database) Messages(ctx context.Context, ready func(), deliver func(project.Message)) error {
	s, err := db.openStream(ctx, "supabase_realtime_messages_replication_slot", messagesPublication, func() {})
	if err != nil {
		return asError(err)
	}
	defer s.close()
	defer context.AfterFunc(ctx, func() { s.fail(errClosed) })()
	sweeping, stop := context.WithCancel(ctx)
	swept := make(chan struct{})
	go func() { // ends with sweeping
		defer close(swept)
		db.sweep(sweeping)
	}()
	defer func() { stop(); <-swept }()
	ready()
	for {
		taken, err := s.wait(math.MaxInt)
		if err != nil {
			return err
		}
		for _, c := range taken {
			if m, ok := message(c); ok {
				deliver(m)
			}
		}
	}
}

// sweepEvery is how often old messages are removed. The real server drops the
// partitions of days that are more than three days ago.
const sweepEvery = time.Hour

// sweep removes messages that nobody may have replayed any more, until ctx ends.
func (db *Database) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		_, _ = db.pool.Exec(ctx, `delete from realtime.messages
			where inserted_at < date_trunc('day', now() at time zone 'utc') - interval '3 days'`) // it is tried again
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// message reads a row of realtime.messages.
func message(c change) (m project.Message, ok bool) {
	field := map[string]value{}
	for i, column := range c.rel.Columns {
		field[column.Name] = c.new[i]
	}
	m = project.Message{
		ID: string(field["id"].text), Topic: string(field["topic"].text), Event: string(field["event"].text),
		Private: string(field["private"].text) == "t", Payload: field["payload"].text,
	}
	if field["binary_payload"].kind == pglogrepl.TupleDataTypeText {
		digits := strings.TrimPrefix(string(field["binary_payload"].text), `\x`)
		payload, err := hex.DecodeString(digits)
		m.Binary, m.Payload = true, payload
		return m, err == nil
	}
	return m, m.Payload != nil
}

// Replay implements project.Database.
func (db *Database) Replay(ctx context.Context, topic string, since time.Time, limit int) ([]project.Message, error) {
	found, err := db.pool.Query(ctx, `select id::text, topic, coalesce(event, ''), binary_payload is not null, coalesce(binary_payload, convert_to(payload::text, 'UTF8'))
		from (
			select * from realtime.messages
			where topic = $1 and inserted_at >= $2 and private and extension = 'broadcast' and (payload is not null or binary_payload is not null)
			order by inserted_at desc limit $3
		) newest order by inserted_at`, topic, since.UTC(), limit)
	if err != nil {
		return nil, asError(err)
	}
	messages, err := pgx.CollectRows(found, func(row pgx.CollectableRow) (m project.Message, err error) {
		m.Private = true
		return m, row.Scan(&m.ID, &m.Topic, &m.Event, &m.Binary, &m.Payload)
	})
	return messages, asError(err)
}

// errProbe rolls the question back: what is written for it is not to stay.
var errProbe = errors.New("postgres: only a question")

// Permits implements project.Database. As on the real server it is asked by a
// row that is written, and read as whom it is about. A role that does not exist,
// or has no right, may nothing.
func (db *Database) Permits(ctx context.Context, who project.Caller, a project.Access) (may bool, err error) {
	claims, err := json.Marshal(who.Claims)
	if err != nil {
		return false, err
	}
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if a.Write {
			may, err = mayInsert(ctx, tx, who, string(claims), a)
		} else {
			may, err = maySelect(ctx, tx, who, string(claims), a)
		}
		if err != nil {
			return err
		}
		return errProbe
	})
	switch {
	case errors.Is(err, errProbe):
		return may, nil
	case refusedRight(err):
		return false, nil
	}
	return false, asError(err)
}

// refusedRight reports whether PostgreSQL refused something for want of a
// right, or of the role.
func refusedRight(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "42501" || pg.Code == "22023")
}

func maySelect(ctx context.Context, tx pgx.Tx, who project.Caller, claims string, a project.Access) (may bool, err error) {
	var id string
	err = tx.QueryRow(ctx, "insert into realtime.messages (topic, extension, private) values ($1, $2, true) returning id::text", a.Topic, a.Extension).Scan(&id)
	if err != nil {
		return false, err
	}
	if err := act(ctx, tx, who, claims, a.Topic); err != nil {
		return false, err
	}
	err = tx.QueryRow(ctx, "select exists (select from realtime.messages where id = $1::text::uuid)", id).Scan(&may)
	return may, err
}

func mayInsert(ctx context.Context, tx pgx.Tx, who project.Caller, claims string, a project.Access) (bool, error) {
	if err := act(ctx, tx, who, claims, a.Topic); err != nil {
		return false, err
	}
	_, err := tx.Exec(ctx, "insert into realtime.messages (topic, extension, private) values ($1, $2, true)", a.Topic, a.Extension)
	return err == nil, err
}

// act makes the rest of a transaction somebody's, with the settings that
// policies read.
func act(ctx context.Context, tx pgx.Tx, who project.Caller, claims, topic string) error {
	if who.Role == "none" { // which SET ROLE takes for the superuser that the session is of
		return &pgconn.PgError{Code: "22023", Message: `role "none" does not exist`}
	}
	subject, _ := who.Claims["sub"].(string)
	_, err := tx.Exec(ctx, `select set_config('realtime.topic', $1, true), set_config('request.jwt.claims', $2, true),
		set_config('request.jwt.claim.sub', $3, true), set_config('request.jwt.claim.role', $4, true), set_config('role', $4, true)`,
		topic, claims, subject, who.Role)
	if err != nil {
		return fmt.Errorf("as role %q: %w", who.Role, err)
	}
	return nil
}
