package postgres_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache/sql"
	"github.com/gapless-go/gapless/mockserver/internal/pgtest"
)

const roles = `
create role anon;
create role authenticated;
create role service_role bypassrls;
create role owner;`

// project makes a database as a Supabase project has it, as far as the SQL of a
// table cache goes: with an owner who is no superuser, and who by default gives
// all that it makes to the API's roles.
const project = `
alter schema public owner to owner;
create schema shop authorization owner;
create schema extensions;
do $$ begin execute format('grant create on database %I to owner', current_database()); end $$;
create publication supabase_realtime;
alter publication supabase_realtime owner to owner;
grant usage on schema public, shop, extensions to anon, authenticated, service_role, owner;
alter default privileges for role owner in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges for role owner in schema public grant all on functions to anon, authenticated, service_role;
alter default privileges for role owner in schema shop grant all on tables to anon, authenticated, service_role;`

// cacheDB is a database with a connection to it.
type cacheDB struct {
	testing.TB
	conn *pgx.Conn
}

// cacheCluster is a cluster with the roles of a project.
type cacheCluster struct {
	url string
	n   *int
}

func newCacheCluster(tb testing.TB) cacheCluster {
	c := cacheCluster{pgtest.Start(tb).URL(), new(int)}
	c.connect(tb, c.url).run(roles)
	return c
}

func (c cacheCluster) connect(tb testing.TB, url string) cacheDB {
	conn, err := pgx.Connect(context.Background(), url)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return cacheDB{tb, conn}
}

// project makes a project in a database of its own.
func (c cacheCluster) project(tb testing.TB) cacheDB {
	*c.n++
	name := fmt.Sprintf("project%d", *c.n)
	c.connect(tb, c.url).run("create database " + name)
	d := c.connect(tb, strings.Replace(c.url, "/postgres?", "/"+name+"?", 1))
	require.Equal(tb, name, d.ask("select current_database()"))
	d.run(project)
	return d
}

// installed makes a project that install.sql was applied to.
func (c cacheCluster) installed(tb testing.TB) cacheDB {
	d := c.project(tb)
	require.NoError(tb, d.apply("install.sql"))
	return d
}

// The tests share a cluster, which takes seconds to start.
func TestCacheSQL(t *testing.T) {
	t.Parallel()
	c := newCacheCluster(t)
	for name, test := range map[string]func(*testing.T, cacheCluster){
		"applies twice": cacheSQLAppliesTwice, "keeps marks when applied again": cacheSQLKeepsMarks, "upgrades": cacheSQLUpgrades,
		"leaves another's table alone": cacheSQLLeavesOthersAlone, "is for who signed in": cacheSQLRights, "reach": cacheSQLReach, "marks": cacheSQLMarks,
		"takes nothing for SQL": cacheSQLTakesNothingForSQL, "equals the mock": cacheSQLEqualsTheMock,
		"plans": cacheSQLPlans, "order": cacheSQLOrder, "finds changes": cacheSQLFindsChanges, "marks in order": cacheSQLMarksInOrder,
	} {
		t.Run(name, func(t *testing.T) { test(t, c) })
	}
}

// run runs statements as the superuser.
func (d cacheDB) run(statements string) {
	d.Helper()
	_, err := d.conn.Exec(context.Background(), statements)
	require.NoError(d, err)
}

// owned runs statements as the owner of the project.
func (d cacheDB) owned(statements string) {
	d.Helper()
	require.NoError(d, d.tryOwned(statements))
}

func (d cacheDB) tryOwned(statements string) error {
	_, err := d.conn.Exec(context.Background(), "set session authorization owner;"+statements)
	d.run("reset session authorization")
	return err
}

// apply applies a file of package cache/sql as the owner of the project.
func (d cacheDB) apply(name string) error {
	d.Helper()
	content, err := sql.Files.ReadFile(name)
	require.NoError(d, err)
	return d.tryOwned(string(content))
}

// ask runs a query that gives one text, as the superuser.
func (d cacheDB) ask(query string, args ...any) string {
	d.Helper()
	var answer *string
	require.NoError(d, d.conn.QueryRow(context.Background(), query, args...).Scan(&answer))
	if answer == nil {
		return "null"
	}
	return *answer
}

// as is on whose behalf a call is made: a role, and the subject of a token.
type as struct{ role, sub string }

var (
	ann = as{"authenticated", "11111111-1111-4111-8111-111111111111"}
	ben = as{"authenticated", "firebase|ben"}
)

// in runs f in a transaction that PostgREST would make for the caller, and
// commits it unless f fails.
func (d cacheDB) in(caller as, f func(tx pgx.Tx) error) error {
	d.Helper()
	ctx := context.Background()
	claims := map[string]any{"role": caller.role}
	if caller.sub != "" {
		claims["sub"] = caller.sub
	}
	b, err := json.Marshal(claims)
	require.NoError(d, err)
	return pgx.BeginFunc(ctx, d.conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)", caller.role, string(b))
		require.NoError(d, err)
		return f(tx)
	})
}

var argumentTypes = map[string]string{
	"rel": "regclass", "key": "text[]", "cols": "text[]", "version": "text[]", "filter": "jsonb", "after": "text[]", "upto": "text[]",
	"lim": "integer", "seed": "bigint", "bits": "integer", "within_bits": "integer", "within": "integer[]", "mark": "uuid",
}

// call calls a function with arguments in JSON as PostgREST does, and returns
// its result without spaces, or the code of its error.
func (d cacheDB) call(caller as, function, args string) (result, code string) {
	d.Helper()
	var given map[string]json.RawMessage
	require.NoError(d, json.Unmarshal([]byte(args), &given), args)
	var declared, passed []string
	for _, name := range slices.Sorted(maps.Keys(given)) {
		declared = append(declared, name+" "+argumentTypes[name])
		passed = append(passed, fmt.Sprintf("%s => a.%s", name, name))
	}
	query := fmt.Sprintf("select public.%s(%s)::text from json_to_record($1::json) as a(%s)", function, strings.Join(passed, ", "), strings.Join(declared, ", "))
	err := d.in(caller, func(tx pgx.Tx) error {
		return tx.QueryRow(context.Background(), query, pgx.QueryExecModeExec, args).Scan(&result)
	})
	if err != nil {
		return "", sqlState(d, err)
	}
	return compact(d, result), ""
}

func sqlState(tb testing.TB, err error) string {
	var e *pgconn.PgError
	require.True(tb, errors.As(err, &e), "%v", err)
	return e.Code
}

func compact(tb testing.TB, text string) string {
	var b bytes.Buffer
	require.NoError(tb, json.Compact(&b, []byte(text)), text)
	return b.String()
}

// catalog is all that the SQL of a table cache leaves in a database.
const catalog = `
select string_agg(line, e'\n' order by line) from (
  select format('function %s %s %s', p.oid::regprocedure, pg_catalog.pg_get_functiondef(p.oid), p.proacl) from pg_proc p where p.pronamespace in (select oid from pg_namespace where nspname in ('public', 'gapless'))
  union all select format('table %s %s %s', c.oid::regclass, c.relacl, obj_description(c.oid)) from pg_class c where c.relnamespace in (select oid from pg_namespace where nspname in ('public', 'gapless'))
  union all select format('trigger %s', pg_get_triggerdef(oid)) from pg_trigger
  union all select format('policy %s %s %s', polname, polrelid::regclass, pg_get_expr(polqual, polrelid)) from pg_policy
  union all select format('published %s', tablename) from pg_publication_tables
  union all select format('schema %s %s', nspname, nspacl) from pg_namespace where nspname = 'gapless') as all_of(line)`

func cacheSQLAppliesTwice(t *testing.T, c cacheCluster) {
	d := c.project(t)
	require.Equal(t, "null", d.ask(catalog))
	require.NoError(t, d.apply("install.sql"))
	once := d.ask(catalog)
	require.Contains(t, once, "published rt_mark")
	require.Contains(t, once, "function rt_digest(")
	require.NoError(t, d.apply("install.sql"))
	require.Equal(t, once, d.ask(catalog))

	for range 2 {
		require.NoError(t, d.apply("uninstall.sql"))
		require.Equal(t, "null", d.ask(catalog))
	}
}

func cacheSQLKeepsMarks(t *testing.T, c cacheCluster) {
	d := c.installed(t)
	const id = "00000000-0000-4000-8000-000000000001"
	d.insertMark(ann, id)
	require.NoError(t, d.apply("install.sql"))
	require.Equal(t, "1", d.ask("select count(*)::text from rt_mark"))
}

func cacheSQLUpgrades(t *testing.T, c cacheCluster) {
	d := c.project(t)
	d.owned(`
		create function public.rt_chunk(rel regclass, pk text) returns json language sql as 'select null::json';
		comment on function public.rt_chunk is 'gapless cache, version 0';
		create function public.rt_digest(theirs point) returns json language sql as 'select null::json'`)
	require.NoError(t, d.apply("install.sql"))
	require.Equal(t, "1", d.ask("select count(*)::text from pg_proc where proname = 'rt_chunk'"), "a call must not be for either of two")
	require.Equal(t, "2", d.ask("select count(*)::text from pg_proc where proname = 'rt_digest'"), "a function of the project's own is not ours to drop")

	d.owned(`comment on function public.rt_describe(regclass) is 'gapless cache, version 2'`)
	require.ErrorContains(t, d.apply("install.sql"), "version 2 is installed, which is newer")
}

func cacheSQLLeavesOthersAlone(t *testing.T, c cacheCluster) {
	d := c.project(t)
	d.owned(`create table public.rt_mark (id int)`)
	require.ErrorContains(t, d.apply("install.sql"), "a table public.rt_mark of another origin")
	require.NoError(t, d.apply("uninstall.sql"))
	require.Equal(t, "rt_mark", d.ask("select to_regclass('public.rt_mark')::text"))

	d.owned(`drop table public.rt_mark; create schema gapless`)
	require.ErrorContains(t, d.apply("install.sql"), "a schema gapless of another origin")
	require.NoError(t, d.apply("uninstall.sql"))
	require.Equal(t, "gapless", d.ask("select to_regnamespace('gapless')::text"))
}

func cacheSQLRights(t *testing.T, c cacheCluster) {
	d := c.installed(t)
	d.owned("create table t (id int primary key); insert into t values (1)")
	anon, service := as{role: "anon"}, as{role: "service_role"}
	calls := map[string]string{"rt_describe": `{"rel": "t"}`, "rt_chunk": `{"rel": "t", "key": ["id"]}`, "rt_digest": `{"rel": "t", "key": ["id"]}`, "rt_keys": `{"rel": "t", "key": ["id"]}`}
	check := func(caller as, want string) {
		t.Helper()
		for function, args := range calls {
			_, code := d.call(caller, function, args)
			require.Equal(t, want, code, function)
		}
	}
	check(ann, "")
	check(service, "")
	check(anon, "42501")
	require.Equal(t, "0", d.ask("select count(*)::text from pg_proc where pronamespace in ('public'::regnamespace, 'gapless'::regnamespace) and prosecdef"))

	require.NoError(t, d.apply("anon.sql"))
	check(anon, "")
	_, code := d.call(anon, "rt_chunk", `{"rel": "t", "key": ["id"], "mark": "00000000-0000-4000-8000-000000000001"}`)
	require.Equal(t, "42501", code, "no marks without a token")
	require.NoError(t, d.apply("install.sql"))
	check(anon, "42501")
}

// The functions are no way around the list of schemas that the API exposes.
func cacheSQLReach(t *testing.T, c cacheCluster) {
	d := c.installed(t)
	d.owned(`
		create table shop.published (id int primary key); create table shop.kept_back (id int primary key); create table here (id int primary key);
		create table here_for_others (id int primary key); revoke all on here_for_others from authenticated;
		alter publication supabase_realtime add table shop.published`)
	for rel, want := range map[string]string{
		"here": "", "public.here": "", "here_for_others": "42501", "shop.published": "", "shop.kept_back": "42501",
		"pg_catalog.pg_proc": "42501", "pg_class": "42501", "information_schema.columns": "42501", "gapless.none": "42P01", "99999999": "42501",
	} {
		for function, args := range map[string]string{"rt_describe": "", "rt_chunk": `, "key": ["id"]`, "rt_digest": `, "key": ["id"]`, "rt_keys": `, "key": ["id"]`} {
			_, code := d.call(ann, function, `{"rel": "`+rel+`"`+args+`}`)
			require.Equal(t, want, code, "%s %s", function, rel)
		}
	}
}

// insertMark makes a mark.
func (d cacheDB) insertMark(caller as, id string) {
	d.Helper()
	require.NoError(d, d.in(caller, func(tx pgx.Tx) error {
		_, err := tx.Exec(context.Background(), "insert into public.rt_mark (id) values ($1)", id)
		return err
	}))
}

func cacheSQLMarks(t *testing.T, c cacheCluster) {
	d := c.installed(t)
	d.owned("create table t (id int primary key)")
	const id = "00000000-0000-4000-8000-000000000001"
	d.insertMark(ann, id)
	require.Equal(t, ann.sub, d.ask("select owner from rt_mark"))
	marked := func(caller as, want string) {
		t.Helper()
		got, code := d.call(caller, "rt_chunk", `{"rel": "t", "key": ["id"], "mark": "`+id+`"}`)
		require.Empty(t, code)
		require.Equal(t, `{"last":null,"rows":[],"seq":`+want+`}`, got)
	}
	marked(ann, "1")
	marked(ann, "2")
	marked(ben, "null")
	marked(as{role: "authenticated"}, "null")

	update := func(caller as, set string) (n int64, err error) {
		err = d.in(caller, func(tx pgx.Tx) error {
			tag, err := tx.Exec(context.Background(), "update public.rt_mark set "+set)
			n = tag.RowsAffected()
			return err
		})
		return n, err
	}
	n, err := update(ann, "seq = 1000, at = 'infinity', owner = 'firebase|ben', id = gen_random_uuid()")
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	marked(ann, "4")
	require.Equal(t, "true", d.ask("select (at < now() + interval '1 minute')::text from rt_mark"))

	n, err = update(ben, "seq = 1")
	require.NoError(t, err)
	require.Zero(t, n)
	err = d.in(ben, func(tx pgx.Tx) error {
		_, err := tx.Exec(context.Background(), "insert into public.rt_mark (owner) values ($1)", ann.sub)
		return err
	})
	require.Equal(t, "42501", sqlState(t, err), "a mark of somebody else")

	d.insertMark(ben, "00000000-0000-4000-8000-000000000002")
	d.run("alter table rt_mark disable trigger count_mark; update rt_mark set at = now() - interval '25 hours'; alter table rt_mark enable trigger count_mark")
	d.insertMark(ann, "00000000-0000-4000-8000-000000000003")
	require.Equal(t, "00000000-0000-4000-8000-000000000002 00000000-0000-4000-8000-000000000003",
		d.ask("select string_agg(id::text, ' ' order by id) from rt_mark"), "her own that she left behind is gone")
}

// What a caller sends is a value, wherever it is sent.
func cacheSQLTakesNothingForSQL(t *testing.T, c cacheCluster) {
	d := c.installed(t)
	d.owned(`
		create table t (id int primary key, a text); insert into t values (1, 'a'), (2, 'b');
		create table canary (id int); insert into canary values (1)`)
	for _, hostile := range []string{
		`'; drop table canary; --`, `"; drop table canary; --`, `1); drop table canary; --`, `\'; drop table canary; --`, `$$; drop table canary; --`,
		`a" is null or true or "a`, `' or '' = '`, `t; drop table canary`, `%s`, `%1$s`, `%I`, `{}`, `{"a","b"}`, `x.a`, `\`, `''`, `(select 1)`, `$1`,
		`1::regclass::text`, `pg_sleep(9)`, "a\nb", `operator(public.=)`,
	} {
		quoted, err := json.Marshal(hostile)
		require.NoError(t, err)
		for args, codes := range map[string]string{
			`{"rel": %s, "key": ["id"]}`:                                                              "42P01 42602 22P02 42601 0A000 3F000",
			`{"rel": "t", "key": [%s]}`:                                                               "42703",
			`{"rel": "t", "key": ["id"], "after": [%s]}`:                                              "22P02",
			`{"rel": "t", "key": ["id"], "upto": [%s]}`:                                               "22P02",
			`{"rel": "t", "key": ["id"], "filter": [{"column": %s, "op": "eq", "values": ["1"]}]}`:    "42703",
			`{"rel": "t", "key": ["id"], "filter": [{"column": "id", "op": %s, "values": ["1"]}]}`:    "22023",
			`{"rel": "t", "key": ["id"], "filter": [{"column": "id", "op": "is", "values": [%s]}]}`:   "22023",
			`{"rel": "t", "key": ["id"], "filter": [{"column": "id", "op": "in", "values": [%s]}]}`:   "22P02",
			`{"rel": "t", "key": ["id"], "filter": [{"column": "id", "op": "eq", "values": [%s]}]}`:   "22P02",
			`{"rel": "t", "key": ["id"], "filter": %s}`:                                               "22023",
			`{"rel": "t", "key": ["id"], "filter": [%s]}`:                                             "22023",
			`{"rel": "t", "key": ["id"], "filter": [{"column": "a", "op": "eq", "values": [%s]}]}`:    "",
			`{"rel": "t", "key": ["id"], "filter": [{"column": "a", "op": "in", "values": [%s]}]}`:    "",
			`{"rel": "t", "key": ["id"], "filter": [{"column": "a", "op": "ilike", "values": [%s]}]}`: " 22025",
			`{"rel": "t", "key": ["id"], "filter": [{"column": "a", "op": "match", "values": [%s]}]}`: " 2201B",
		} {
			args = strings.ReplaceAll(args, "%s", string(quoted))
			for _, function := range []string{"rt_chunk", "rt_digest", "rt_keys"} {
				result, code := d.call(ann, function, args)
				require.Contains(t, strings.Split(codes, " "), code, "%s %s: %s", function, args, result)
			}
		}
		_, code := d.call(ann, "rt_chunk", `{"rel": "t", "key": ["id"], "cols": [`+string(quoted)+`]}`)
		require.Equal(t, "42703", code, hostile)
		_, code = d.call(ann, "rt_keys", `{"rel": "t", "key": ["id"], "version": [`+string(quoted)+`]}`)
		require.Equal(t, "42703", code, hostile)
	}
	require.Equal(t, "1", d.ask("select count(*)::text from canary"))
}
