package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// subscribed is what the database keeps of a subscription.
type subscribed struct {
	id      string // of the binding, in realtime.subscription
	filters []*filter
	claims  string // JSON
	asWhom  string // equal for those who see the same rows
}

func stateOf(s *project.Subscription) *subscribed { return s.State.(*subscribed) }

// Subscribe implements project.Database.
func (db *Database) Subscribe(ctx context.Context, who project.Caller, b project.Binding) (subs []*project.Subscription, err error) {
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		subs, err = db.subscribe(ctx, tx, who, b)
		return err
	})
	return subs, asError(err)
}

// Unsubscribe implements project.Database.
func (db *Database) Unsubscribe(subs []*project.Subscription) { db.ledger.leave(subs) }

func (db *Database) subscribe(ctx context.Context, tx pgx.Tx, who project.Caller, b project.Binding) (subs []*project.Subscription, err error) {
	oids, err := published(ctx, tx, b.Schema, b.Table)
	if err != nil || len(oids) == 0 {
		return nil, err
	}
	claims, err := json.Marshal(who.Claims)
	if err != nil {
		return nil, err
	}
	var exists bool
	if err := tx.QueryRow(ctx, "select exists (select from pg_roles where rolname = $1)", who.Role).Scan(&exists); err != nil {
		return nil, err
	}
	if !exists {
		return nil, &project.Error{Code: "42704", Message: fmt.Sprintf("role %q does not exist", who.Role)}
	}
	tables, _, err := catalog(ctx, tx, oids, []string{who.Role})
	if err != nil {
		return nil, err
	}
	oids = slices.DeleteFunc(oids, func(oid uint32) bool { return tables[oid] == nil })
	id := uuid.NewString()
	for _, oid := range oids {
		t := tables[oid]
		s := &project.Subscription{Table: oid, Event: b.Event, Caller: who}
		state := &subscribed{id: id, claims: string(claims), asWhom: who.Role + "\x00" + string(claims)}
		if state.filters, err = checkFilters(ctx, tx, t, who.Role, b.Filters); err != nil {
			return nil, err
		}
		if s.Columns, err = t.selection(who.Role, b.Columns); err != nil {
			return nil, err
		}
		s.State = state
		subs = append(subs, s)
	}
	return subs, db.ledger.enter(ctx, tx, id, string(claims), b, oids)
}

// published returns the tables of the publication whose names fit. The names
// are LIKE patterns without an escape character, as on the real server.
func published(ctx context.Context, tx pgx.Tx, schema, name string) ([]uint32, error) {
	pattern := func(s string) string {
		if s == "*" {
			return "%"
		}
		return s
	}
	found, err := tx.Query(ctx, `select format('%I.%I', schemaname, tablename)::regclass::oid from pg_publication_tables
		where pubname = $1 and schemaname like $2 escape '' and tablename like $3 escape '' order by schemaname, tablename`,
		publication, pattern(schema), pattern(name))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, pgx.RowTo[uint32])
}

// selection checks the columns that a binding selects.
func (t *table) selection(role string, names []string) ([]string, error) {
	for _, name := range names {
		if i, ok := t.byName[name]; !ok || !t.may[role][i] {
			return nil, pgtype.Raise("invalid column for select %s", name)
		}
	}
	return slices.Sorted(slices.Values(names)), nil
}

func checkFilters(ctx context.Context, tx pgx.Tx, t *table, role string, filters []project.Filter) (checked []*filter, err error) {
	for _, f := range filters {
		i, ok := t.byName[f.Column]
		if !ok || !t.may[role][i] {
			return nil, pgtype.Raise("invalid column for filter %s", f.Column)
		}
		c := &filter{Filter: f, typ: t.columns[i].cast}
		if err := c.check(ctx, tx, &t.columns[i]); err != nil {
			return nil, err
		}
		checked = append(checked, c)
	}
	return checked, nil
}
