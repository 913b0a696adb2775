package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// glances are looks at tables with the eyes of subscribers: one for those who
// see the same.
type glances struct {
	at     map[glanceKey]*glance
	sorted []*glance
}

type glanceKey struct {
	table  uint32
	asWhom string
}

// glance is which rows of a table somebody sees, by their primary keys.
type glance struct {
	table        *table
	role, claims string
	sees         map[string]bool
}

func (g *glances) of(t *table, s *project.Subscription) *glance {
	key := glanceKey{t.oid, stateOf(s).asWhom}
	found := g.at[key]
	if found == nil {
		found = &glance{table: t, role: s.Caller.Role, claims: stateOf(s).claims, sees: map[string]bool{}}
		g.at[key] = found
		g.sorted = append(g.sorted, found)
	}
	return found
}

// want has the glance look for a row.
func (g *glance) want(key string) { g.sees[key] = false }

// key returns the primary key of the row that a change left, in a form that
// tells keys apart.
func (c *rowChange) key() string {
	if len(c.table.pk) == 1 {
		return string(c.text[c.table.pk[0]].text)
	}
	var b strings.Builder
	for _, i := range c.table.pk {
		fmt.Fprintf(&b, "%d:%s", len(c.text[i].text), c.text[i].text)
	}
	return b.String()
}

// columns takes a key apart again.
func (g *glance) columns(key string) []string {
	if len(g.table.pk) == 1 {
		return []string{key}
	}
	parts := make([]string, len(g.table.pk))
	for i := range parts {
		length, rest, _ := strings.Cut(key, ":")
		n := atoi(length)
		parts[i], key = rest[:n], rest[n:]
	}
	return parts
}

// look asks, as each of those whose glances they are, which of the rows there
// are. All of it is one message, and so one transaction, in which a role is set
// for what follows.
func (g *glances) look(ctx context.Context, conn *pgx.Conn) error {
	batch := &pgx.Batch{}
	for _, one := range g.sorted {
		one.queue(batch)
	}
	return conn.SendBatch(ctx, batch).Close()
}

// queue puts the questions of a glance into a batch.
func (g *glance) queue(batch *pgx.Batch) {
	columns := make([][]string, len(g.table.pk))
	keys := make([]string, 0, len(g.sees))
	for key := range g.sees {
		keys = append(keys, key)
		for i, part := range g.columns(key) {
			columns[i] = append(columns[i], part)
		}
	}
	args := make([]any, len(columns))
	for i := range columns {
		args[i] = columns[i]
	}
	batch.Queue("select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)", g.role, g.claims)
	batch.Queue(g.sql(), args...).Query(func(rows pgx.Rows) error {
		seen, err := pgx.CollectRows(rows, pgx.RowTo[int])
		for _, n := range seen {
			g.sees[keys[n-1]] = true
		}
		return err
	})
}

// sql returns the query for the rows whose keys are given as an array for each
// of their columns. OFFSET 0 keeps the look at a row what it is: by its key, and
// no join for which the policies would be asked about the whole table.
func (g *glance) sql() string {
	var params, names, equal []string
	for i, at := range g.table.pk {
		c := &g.table.columns[at]
		params = append(params, fmt.Sprintf("$%d::text[]", i+1))
		names = append(names, fmt.Sprintf("c%d", i+1))
		equal = append(equal, fmt.Sprintf("t.%s = k.c%d::%s", pgx.Identifier{c.name}.Sanitize(), i+1, c.exact))
	}
	return fmt.Sprintf("select k.n::int from unnest(%s) with ordinality k(%s, n), lateral (select from %s t where %s offset 0) seen",
		strings.Join(params, ", "), strings.Join(names, ", "), g.table.sqlName(), strings.Join(equal, " and "))
}
