package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

// changesOf returns what subscribers of everything get of statements, until the row
// of a table that ends them: operation, table, old and new row.
func changesOf(t *testing.T, schema, token string, statements ...string) (got []string) {
	t.Helper()
	s := startProject(t, schema+"; create table last (id int primary key); alter publication supabase_realtime add table last", mockserver.Fast())
	if token != "" {
		token = s.UserToken(token, time.Hour)
	}
	c := open(t, s)
	c.subscribed("1", "realtime:a", `[{"schema":"public"}]`, token)
	return c.afterEach(s, statements...)
}

func (c *socket) afterEach(s *postgres.Server, statements ...string) (got []string) {
	for _, statement := range append(statements, "insert into last values (1)") {
		write(c.t, s, statement)
	}
	for {
		data := c.change().Data
		if data.Table == "last" {
			return got
		}
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", data.Type, data.Table, data.OldRecord, data.Record)))
	}
}

// Of the publication the real server takes the tables and the actions alone.
func TestPublication_OptionsHaveNoEffect(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		schema     string
		statements []string
		want       []string
	}{
		"columns": {`create table m (id int primary key, name text, pin text); alter publication supabase_realtime add table m (id, name)`,
			[]string{`insert into m values (1, 'Ada', '1234')`, `update m set pin = '4321'`},
			[]string{`INSERT m  {"id": 1, "pin": "1234", "name": "Ada"}`, `UPDATE m {"id": 1} {"id": 1, "pin": "4321", "name": "Ada"}`}},
		"rows": {`create table m (id int primary key, total int); alter publication supabase_realtime add table m where (id > 10)`,
			[]string{`insert into m values (1, 5), (20, 500)`, `update m set id = 21 where id = 1`, `delete from m where id = 21`},
			[]string{`INSERT m  {"id": 1, "total": 5}`, `INSERT m  {"id": 20, "total": 500}`, `UPDATE m {"id": 1} {"id": 21, "total": 5}`, `DELETE m {"id": 21}`}},
		"set later": {`create table m (id int primary key, total int); alter publication supabase_realtime add table m; alter publication supabase_realtime set table m (id) where (id > 10)`,
			[]string{`insert into m values (1, 5)`}, []string{`INSERT m  {"id": 1, "total": 5}`}},
		"the root": {`create table m (id int, day int, primary key (id, day)) partition by list (day); create table m_1 partition of m for values in (1);
			alter publication supabase_realtime add table m; alter publication supabase_realtime set (publish_via_partition_root = true)`,
			[]string{`insert into m values (1, 1)`, `insert into m_1 values (2, 1)`}, nil},
		"partitions": {`create table m (id int, day int, primary key (id, day)) partition by list (day); create table m_1 partition of m for values in (1);
			alter publication supabase_realtime add table m`,
			[]string{`insert into m values (1, 1)`}, []string{`INSERT m_1  {"id": 1, "day": 1}`}},
		"actions": {`create table m (id int primary key); alter publication supabase_realtime add table m; alter publication supabase_realtime set (publish = 'insert, delete')`,
			[]string{`insert into m values (1)`, `update m set id = 2`, `delete from m`}, []string{`INSERT m  {"id": 1}`, `DELETE m {"id": 2}`}},
		"children are not parents": {`create table m (id int primary key); create table child (primary key (id)) inherits (m); alter publication supabase_realtime add table only m`,
			[]string{`insert into child values (1)`, `insert into m values (2)`}, []string{`INSERT m  {"id": 2}`}},
		"all tables": {`drop publication supabase_realtime; create publication supabase_realtime for all tables; create table "it'sM" (id int primary key)`,
			[]string{`insert into "it'sM" values (1)`}, []string{`INSERT it'sM  {"id": 1}`}},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "all tables" {
				s := startProject(t, c.schema+"; create table last (id int primary key)", mockserver.Fast())
				socket := open(t, s)
				socket.subscribed("1", "realtime:a", `[{"schema":"public"}]`, "")
				require.Equal(t, c.want, socket.afterEach(s, c.statements...))
				return
			}
			require.Equal(t, c.want, changesOf(t, c.schema, "", c.statements...))
		})
	}
}

// The old key is in the change also where it is generated, and nothing else of the
// old row is, unless that was asked for. Who sees the row is asked for by the key.
func TestPublication_GeneratedKeys(t *testing.T) {
	t.Parallel()
	const table = `create table m (label text not null, slug text generated always as (lower(label)) stored primary key, n int);
		alter publication supabase_realtime add table m; insert into m (label, n) values ('Go', 1)`
	statements := []string{`update m set n = 2`, `update m set label = 'Rust'`, `delete from m`}
	require.Equal(t, []string{
		`UPDATE m {"slug": "go"} {"n": 2, "slug": "go", "label": "Go"}`,
		`UPDATE m {"slug": "go"} {"n": 2, "slug": "rust", "label": "Rust"}`,
		`DELETE m {"slug": "rust"}`,
	}, changesOf(t, table, "", statements...))

	for _, full := range []string{
		table + "; alter table m replica identity full",
		strings.Replace(table, "alter pub", "alter table m replica identity full; alter pub", 1),
	} {
		require.Equal(t, []string{
			`UPDATE m {"n": 1, "slug": "go", "label": "Go"} {"n": 2, "slug": "go", "label": "Go"}`,
			`UPDATE m {"n": 2, "slug": "go", "label": "Go"} {"n": 2, "slug": "rust", "label": "Rust"}`,
			`DELETE m {"n": 2, "slug": "rust", "label": "Rust"}`,
		}, changesOf(t, full, "", statements...))
	}

	require.Equal(t, []string{
		`UPDATE m {"id": 1, "slug": "go"} {"n": 2, "id": 1, "slug": "go", "label": "Go"}`,
		`UPDATE m {"id": 1, "slug": "go"} {"n": 2, "id": 1, "slug": "rust", "label": "Rust"}`,
		`DELETE m {"id": 1, "slug": "rust"}`,
	}, changesOf(t, `create table m (id int default 1, label text not null, slug text generated always as (lower(label)) stored, n int, primary key (id, slug));
		insert into m (label, n) values ('Go', 1); alter publication supabase_realtime add table m`, "", statements...))

	// Who sees the row is asked for when it is delivered.
	s := startProject(t, table+`; alter table m enable row level security; create policy p on m to authenticated using (label = 'Go')`, mockserver.Fast())
	c := open(t, s)
	c.subscribed("1", "realtime:a", `[{"schema":"public"}]`, s.UserToken(benchUser, time.Hour))
	write(t, s, statements[0])
	require.Equal(t, `{"n": 2, "slug": "go", "label": "Go"}`, string(c.change().Data.Record))
	write(t, s, statements[1])
	write(t, s, statements[2])
	got := c.change().Data
	require.Equal(t, `DELETE {"slug": "rust"}`, got.Type+" "+string(got.OldRecord))
}

// Times are sent in the time zone that the database is set to.
func TestTimeZoneOfTheDatabase(t *testing.T) {
	t.Parallel()
	const berlin = `do $$ begin execute format('alter database %I set timezone = ''Europe/Berlin''', current_database()); end $$`
	const table = `; create table m (id int primary key, at timestamptz); alter publication supabase_realtime add table m`
	require.Equal(t, []string{`INSERT m  {"at": "2026-07-01T14:00:00+02:00", "id": 1}`},
		changesOf(t, berlin+table, "", `insert into m values (1, '2026-07-01T12:00:00Z')`))
	s := startProject(t, berlin+table+`; insert into m values (1, '2026-07-01T12:00:00Z')`, mockserver.Fast())
	api{t: t, s: s}.do("GET", "/rest/v1/m", "").want(t, 200, `[{"id":1,"at":"2026-07-01T14:00:00+02:00"}]`)
}
