package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// maxCounted is how many rows are counted. More are estimated.
const maxCounted = 100_000

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

// asService runs f in a transaction that only reads, and sees what service_role
// sees.
func (db *Database) asService(ctx context.Context, f func(context.Context, transaction) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	who := project.Caller{Role: "service_role", Claims: map[string]any{"role": "service_role"}}
	return db.as(ctx, who, true, nil, func(tx transaction) error { return f(ctx, tx) })
}

// Tables implements project.Database. The number is that of bytes of the log.
func (db *Database) Tables(ctx context.Context) (tables []project.Table, written uint64, err error) {
	err = db.asService(ctx, func(ctx context.Context, tx transaction) error {
		rows, _, err := tx.Query(ctx, tablesQuery)
		if err != nil {
			return err
		}
		written, _ = strconv.ParseUint(string(rows[0][1]), 10, 64) // a number
		return json.Unmarshal(rows[0][0], &tables)
	})
	return tables, written, err
}

// Rows implements project.Database.
func (db *Database) Rows(ctx context.Context, t project.Table, offset, limit int) (rows [][]byte, count int, err error) {
	from := quoteName(t.Schema, t.Name)
	err = db.asService(ctx, func(ctx context.Context, tx transaction) error {
		counted, _, err := tx.Query(ctx, fmt.Sprintf("select count(*) from (select from %s limit %d) t", from, maxCounted+1))
		if err != nil {
			return err
		}
		count, _ = strconv.Atoi(string(counted[0][0])) // a count
		if count > maxCounted {
			count = max(count, t.Rows)
		}
		found, _, err := tx.Query(ctx, fmt.Sprintf("select row_to_json(t)::text from (select * from %s%s limit %d offset %d) t", from, keyOrder(t), limit, offset))
		rows = texts(found)
		return err
	})
	return rows, count, err
}

func keyOrder(t project.Table) string {
	if len(t.PrimaryKey) == 0 {
		return ""
	}
	columns := make([]string, len(t.PrimaryKey))
	for i, name := range t.PrimaryKey {
		columns[i] = quoteName(name)
	}
	return " order by " + strings.Join(columns, ", ")
}
