package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// table is a table as the catalogue has it at the moment of a poll.
type table struct {
	oid          uint32
	schema, name string
	rls          bool
	keyOnly      bool     // the replica identity is full for the sake of a generated key
	columns      []column // in the order of their numbers
	byName       map[string]int
	pk           []int // in the order of the key
	sent         *wire.Table
	may          map[string][]bool
}

// column is a column of a table.
type column struct {
	name      string
	typname   string // of pg_type, a domain's own
	typ       uint32
	base      uint32 // of a domain: the type behind it; otherwise typ
	cast      string // the type in SQL, without a length: char is one character
	exact     string // the type in SQL, of any length
	kind      kind
	generated string // the expression of a stored generated column
	keyPart   int    // its place in the primary key, from 1; 0: none
}

// sqlName is the table's name in SQL.
func (t *table) sqlName() string { return pgx.Identifier{t.schema, t.name}.Sanitize() }

// catalogQuery describes tables, and what roles may read of them. Its types
// are those of SQL: format_type without a length says "character", which
// means char(1), and with an unknown one bpchar.
const catalogQuery = `
with recursive domains as (
	select t.oid, t.oid as base, t.typbasetype, t.typtype from pg_type t
	where t.oid in (select atttypid from pg_attribute where attrelid = any($1) and attnum > 0)
	union all
	select d.oid, t.oid, t.typbasetype, t.typtype from domains d join pg_type t on t.oid = d.typbasetype where d.typtype = 'd'
)
select pg_current_snapshot()::text, c.oid, n.nspname, c.relname, c.relrowsecurity,
	c.relreplident = 'f' and exists (select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
		where r.prrelid = c.oid and p.pubname = 'supabase_realtime_mockserver_keys'),
	a.attname, t.typname, t.oid, b.oid, format_type(t.oid, null), format_type(t.oid, -1),
	b.typtype = 'c' or b.typcategory = 'A' or
		b.oid >= 16384 and exists (select from pg_cast where castsource = b.oid and casttarget = 'json'::regtype and castmethod = 'f'),
	case when a.attgenerated = 's' then pg_get_expr(d.adbin, d.adrelid) else '' end,
	coalesce(array_position(i.indkey::int2[], a.attnum), -1) + 1,
	array(select has_column_privilege(r, c.oid, a.attnum, 'select') from unnest($2::text[]) r)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
join domains o on o.oid = t.oid and o.typtype <> 'd'
join pg_type b on b.oid = o.base
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
left join pg_index i on i.indrelid = c.oid and i.indisprimary
where c.oid = any($1)
order by c.oid, a.attnum`

// rows is what a query is asked of: a connection or a transaction.
type rows interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// catalog reads tables by their OIDs, and returns the snapshot in which it did;
// empty: there were none. Those that are gone are left out.
func catalog(ctx context.Context, db rows, oids []uint32, roles []string) (tables map[uint32]*table, snapshot string, err error) {
	// The planning of the query takes many times as long as the query.
	found, err := db.Query(ctx, catalogQuery, pgx.QueryExecModeCacheStatement, oids, roles)
	if err != nil {
		return nil, "", err
	}
	defer found.Close()
	tables = map[uint32]*table{}
	for found.Next() {
		var t table
		var c column
		var bySQL bool
		var may []bool
		err := found.Scan(&snapshot, &t.oid, &t.schema, &t.name, &t.rls, &t.keyOnly, &c.name, &c.typname, &c.typ, &c.base, &c.cast, &c.exact,
			&bySQL, &c.generated, &c.keyPart, &may)
		if err != nil {
			return nil, "", err
		}
		c.kind = kindOf(c.base, bySQL)
		if tables[t.oid] == nil {
			t.byName, t.may = map[string]int{}, map[string][]bool{}
			tables[t.oid] = &t
		}
		tables[t.oid].add(c, roles, may)
	}
	for _, t := range tables {
		t.finish()
	}
	return tables, snapshot, found.Err()
}

func (t *table) add(c column, roles []string, may []bool) {
	t.byName[c.name] = len(t.columns)
	t.columns = append(t.columns, c)
	for i, role := range roles {
		t.may[role] = append(t.may[role], may[i])
	}
}

// finish puts the columns in the orders in which they are needed.
func (t *table) finish() {
	sent := make([]wire.Column, len(t.columns))
	for i, c := range t.columns {
		sent[i] = wire.Column{Name: c.name, Type: c.typname, SQLType: c.cast, Key: c.keyPart > 0}
		if c.keyPart > 0 {
			t.pk = append(t.pk, i)
		}
	}
	slices.SortFunc(t.pk, func(a, b int) int { return cmp.Compare(t.columns[a].keyPart, t.columns[b].keyPart) })
	t.sent = wire.NewTable(t.schema, t.name, sent)
}

// fullName is the table's name for messages.
func (t *table) fullName() string { return fmt.Sprintf("%s.%s", t.schema, t.name) }
