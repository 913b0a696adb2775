package mockserver

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gapless-go/gapless/internal/redact"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// The inspector over a backend's database. It sees what service_role sees.

const (
	// sqlLook is how long what was seen of the database is good for.
	sqlLook = 2 * time.Second
	// maxCounted is how many rows are counted. More are estimated.
	maxCounted = 100_000
)

// sqlTables is what was seen of the database.
type sqlTables struct {
	at      time.Time
	tables  []adminTable // the first 500; rows are estimated, -1 is unknown
	written uint64       // bytes of the log, which grow with every commit
}

const tablesQuery = `select coalesce(json_agg(t order by t.schema <> 'public', t.schema, t.name), '[]')::text,
		pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint::text
	from (
		select n.nspname as schema, c.relname as name, c.relrowsecurity as rls, c.reltuples::bigint as rows,
			case c.relreplident when 'd' then 'DEFAULT' when 'f' then 'FULL' when 'n' then 'NOTHING' else 'INDEX' end as replica_identity,
			exists (select from pg_publication_tables p
				where p.pubname = 'supabase_realtime' and p.schemaname = n.nspname and p.tablename = c.relname) as published,
			(select coalesce(json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull)
					order by a.attnum), '[]')
				from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
			(select coalesce(json_agg(a.attname order by array_position(i.indkey::int2[], a.attnum)), '[]')
				from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
				where i.indrelid = c.oid and i.indisprimary) as primary_key
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relkind in ('r', 'p') and n.nspname !~ '^pg_'
			and n.nspname not in ('information_schema', 'auth', 'realtime', 'extensions', 'storage', 'vault')
			and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
		order by n.nspname <> 'public', n.nspname, c.relname
		limit 500
	) t`

// asService runs f in a transaction that only reads.
func (i *inspector) asService(ctx context.Context, f func(context.Context, project.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, databasePatience)
	defer cancel()
	who := project.Request{Caller: project.Caller{Role: "service_role", Claims: Claims{"role": "service_role"}}, ReadOnly: true}
	return i.s.realtime.backend.As(ctx, who, func(tx project.Tx) error { return f(ctx, tx) })
}

// sqlTables returns what is known of the database, and looks at it if that is
// old. An error leaves what was seen before.
func (i *inspector) sqlTables(ctx context.Context) sqlTables {
	i.mu.Lock()
	defer i.mu.Unlock()
	if time.Since(i.seen.at) < sqlLook {
		return i.seen
	}
	err := i.asService(ctx, func(ctx context.Context, tx project.Tx) error {
		rows, _, err := tx.Query(ctx, tablesQuery)
		if err != nil {
			return err
		}
		i.seen.written, _ = strconv.ParseUint(string(rows[0][1]), 10, 64) // a number
		return json.Unmarshal(rows[0][0], &i.seen.tables)
	})
	i.seen.at = time.Now()
	if err != nil {
		i.s.log.Debug("the inspector could not look at the database", "error", err)
	}
	return i.seen
}

// sqlRows reads a part of a table in the order of its primary key.
func (i *inspector) sqlRows(ctx context.Context, name string, offset int) (answer inspectedRows, err error) {
	tables := i.sqlTables(ctx).tables
	at := slices.IndexFunc(tables, func(t adminTable) bool { return t.Schema+"."+t.Name == name || t.Schema == "public" && t.Name == name })
	if at < 0 {
		return answer, errNotFound
	}
	t := tables[at]
	answer.Rows = [][]*string{}
	for _, c := range t.Columns {
		answer.Columns = append(answer.Columns, c.Name)
	}
	from := quoteName(t.Schema, t.Name)
	err = i.asService(ctx, func(ctx context.Context, tx project.Tx) error {
		counted, _, err := tx.Query(ctx, fmt.Sprintf("select count(*) from (select from %s limit %d) t", from, maxCounted+1))
		if err != nil {
			return err
		}
		answer.Count, _ = strconv.Atoi(string(counted[0][0])) // a count
		if answer.Count > maxCounted {
			answer.Count = max(answer.Count, t.Rows)
		}
		rows, _, err := tx.Query(ctx, fmt.Sprintf("select row_to_json(t)::text from (select * from %s%s limit %d offset %d) t", from, keyOrder(t), maxInspectedRows, offset))
		for _, row := range rows {
			answer.Rows = append(answer.Rows, shownJSON(row[0], answer.Columns))
		}
		return err
	})
	return answer, err
}

func keyOrder(t adminTable) string {
	if len(t.PrimaryKey) == 0 {
		return ""
	}
	columns := make([]string, len(t.PrimaryKey))
	for i, name := range t.PrimaryKey {
		columns[i] = quoteName(name)
	}
	return " order by " + strings.Join(columns, ", ")
}

// shownJSON returns the values of a row as JSON text, without keys and tokens.
func shownJSON(row []byte, columns []string) []*string {
	var values map[string]json.RawMessage
	_ = json.Unmarshal(redact.Text(row), &values) // PostgreSQL, or this package, has written it
	shown := make([]*string, len(columns))
	for i, name := range columns {
		if text := string(values[name]); text != "null" && text != "" {
			shown[i] = &text
		}
	}
	return shown
}
