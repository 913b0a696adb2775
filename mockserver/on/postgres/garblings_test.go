package postgres_test

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/garblings"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

var update = flag.Bool("update", false, "write the tables of internal/garblings anew")

//go:embed testdata/garblings.sql
var garblingFunctions string

const tablesDir = "../../../internal/garblings/"

// The tables of garblings are those of this PostgreSQL, for every type that it
// has, and the mock server does as they say.
func TestGarblings(t *testing.T) {
	t.Parallel()
	conn := garblingDatabase(t)
	everyTypeHasValues(t, conn)
	var values []garblings.Value
	var filters []garblings.Filter
	for _, of := range slices.Sorted(maps.Keys(hostileValues)) {
		for _, shape := range shapesOf(of) {
			v, f := garble(t, conn, garblings.Column{Of: of, Shape: shape})
			values, filters = append(values, v...), append(filters, f...)
			sendsAs(t, conn, v, f)
		}
	}
	for file, table := range map[string]string{
		"values.tsv": garblings.FormatValues(values), "filters.tsv": garblings.FormatFilters(filters),
	} {
		if *update {
			require.NoError(t, os.WriteFile(tablesDir+file, []byte(table), 0o644))
			continue
		}
		kept, err := os.ReadFile(tablesDir + file)
		require.NoError(t, err)
		require.Equal(t, string(kept), table, "%s is out of date: run this test with -update", file)
	}
}

func garblingDatabase(t *testing.T) *pgx.Conn {
	conn, err := pgx.Connect(t.Context(), database(t))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	_, err = conn.Exec(t.Context(), userTypes+garblingFunctions+"set timezone = 'UTC'")
	require.NoError(t, err)
	return conn
}

// everyTypeHasValues fails for a type of the catalog that hostileValues does
// not have.
func everyTypeHasValues(t *testing.T, conn *pgx.Conn) {
	rows, err := conn.Query(t.Context(), `select typname from pg_type
		where typtype in ('b', 'e', 'r', 'm', 'd') and typsubscript <> 'array_subscript_handler'::regproc and typnamespace = 'pg_catalog'::regnamespace
			or typname in ('int2vector', 'oidvector')`)
	require.NoError(t, err)
	types, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Greater(t, len(types), 60)
	var known []string
	for of := range hostileValues {
		var name string
		require.NoError(t, conn.QueryRow(t.Context(), "select typname from pg_type where oid = $1::text::regtype", of).Scan(&name), of)
		known = append(known, name)
	}
	for _, name := range types {
		require.True(t, slices.Contains(known, name) || slices.Contains(withoutValues, name), "no values of type %s", name)
	}
}

func shapesOf(of string) []garblings.Shape {
	if of == "int2vector" || of == "oidvector" { // an array of them is not to be had
		return []garblings.Shape{garblings.Scalar, garblings.Domain, garblings.Composite}
	}
	return []garblings.Shape{garblings.Scalar, garblings.Array, garblings.Domain, garblings.DomainArray, garblings.DomainOverArray, garblings.Composite}
}

// ddl makes a table with a column of the type, and what the type is made of.
func ddl(c garblings.Column) string {
	create := fmt.Sprintf("create table %s (id int primary key, v %s);\n", tableOf(c), c.SQL())
	switch c.Shape {
	case garblings.Domain:
		return "create domain " + c.SQL() + " as " + c.Of + ";\n" + create
	case garblings.DomainOverArray:
		return "create domain " + c.SQL() + " as " + c.Of + "[];\n" + create
	case garblings.Composite:
		return "create type " + c.SQL() + " as (v " + c.Of + ");\n" + create
	}
	return create
}

func tableOf(c garblings.Column) string {
	return pgx.Identifier{string(c.Shape) + " " + c.Of}.Sanitize()
}

// dml inserts the values. Those of types that are made of another are made of
// its values, which are in a table already.
func dml(c garblings.Column) (statements []string) {
	into, from := "insert into "+tableOf(c), tableOf(garblings.Column{Of: c.Of, Shape: garblings.Scalar})
	switch c.Shape {
	case garblings.Scalar:
		for i, literal := range hostileValues[c.Of] {
			statements = append(statements, fmt.Sprintf("%s values (%d, '%s')", into, i+1, strings.ReplaceAll(literal, "'", "''")))
		}
		return statements
	case garblings.Array:
		return []string{
			into + " select id, array[v] from " + from,
			into + " values (101, '{}'), (102, '{NULL}')",
			into + " select 103, array[v, v] from " + from + " where id = 1",
			into + " select 104, array[array[v]] from " + from + " where id = 1",
			into + " select 105, array_fill(v, array[1], array[0]) from " + from + " where id = 1",
		}
	case garblings.DomainArray:
		return []string{into + " select id, array[v::" + strings.TrimSuffix(c.SQL(), "[]") + "] from " + from}
	case garblings.DomainOverArray:
		return []string{into + " select id, array[v] from " + from}
	case garblings.Composite:
		return []string{into + " select id, row(v)::" + c.SQL() + " from " + from}
	}
	return []string{into + " select id, v from " + from}
}

// garble makes a column of a type and its values, and asks what becomes of
// them.
func garble(t *testing.T, conn *pgx.Conn, c garblings.Column) (values []garblings.Value, filters []garblings.Filter) {
	for _, statement := range append([]string{ddl(c)}, dml(c)...) {
		_, err := conn.Exec(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	require.NoError(t, conn.QueryRow(t.Context(), "select typname from pg_type where oid = $1::text::regtype", c.SQL()).Scan(&c.Name), c.SQL())
	rows, err := conn.Query(t.Context(), "select format('%s', v), to_json(v)::text, wire(format('%s', v), $1::text::regtype), is_same(to_json(v)::text, wire(format('%s', v), $1::text::regtype)) from "+
		tableOf(c)+" order by id", c.SQL())
	require.NoError(t, err)
	var outputs, wires []string
	var same bool
	v := garblings.Value{Column: c}
	_, err = pgx.ForEachRow(rows, []any{&v.Output, &v.REST, &v.Wire, &same}, func() error {
		v.Garbling = garbling(v, same)
		values, outputs, wires = append(values, v), append(outputs, v.Output), append(wires, v.Wire)
		return nil
	})
	require.NoError(t, err, c.SQL())
	rows, err = conn.Query(t.Context(), "select op, verdict, coalesce(example, '') from verdicts($1, $2, $3::text::regtype, $3)", outputs, wires, c.SQL())
	require.NoError(t, err)
	f := garblings.Filter{Column: c}
	_, err = pgx.ForEachRow(rows, []any{&f.Operator, &f.Verdict, &f.Example}, func() error {
		filters = append(filters, f)
		return nil
	})
	require.NoError(t, err, c.SQL())
	return values, filters
}

// sendsAs fails unless the mock server sends values, and decides about filters, as
// the tables say that a real server does.
func sendsAs(t *testing.T, conn *pgx.Conn, values []garblings.Value, filters []garblings.Filter) {
	c := values[0].Column
	trial, err := postgres.NewTrial(t.Context(), conn, tableOf(c))
	require.NoError(t, err)
	var wires []string
	for _, v := range values {
		wire, err := trial.Wire(t.Context(), v.Output)
		if v.Garbling == garblings.Lost {
			var pg *pgconn.PgError
			require.ErrorAs(t, err, &pg, "%+v", v)
			require.Equal(t, v.Wire, "!"+pg.Code, "%+v", v)
			continue
		}
		require.NoError(t, err, "%+v", v)
		require.Equal(t, v.Wire, wire, "%+v", v)
		wires = append(wires, wire)
	}
	if c.Shape != garblings.Scalar && c.SQL() != "text[]" && c.SQL() != "integer[]" || c.Of == "regclass" {
		return // regclass has a cast from text, which the mock server's query uses, besides its input
	}
	for _, f := range filters {
		at := slices.IndexFunc(values, func(v garblings.Value) bool { return v.Output == f.Example })
		value := values[max(0, at)].Output
		switch f.Operator {
		case "is":
			value = "null"
		case "in":
			require.NoError(t, conn.QueryRow(t.Context(), "select array[$1]::text", value).Scan(&value))
		case "like", "ilike":
			if strings.HasSuffix(value, `\`) {
				continue
			}
		}
		passes, err := trial.Filter(t.Context(), f.Operator, value, wires)
		switch f.Verdict {
		case garblings.Refused:
			require.ErrorIs(t, err, postgres.ErrFilterRefused, "%+v", f)
		case garblings.Poisons:
			require.Error(t, err, "%+v", f)
			if f.Operator != "in" { // a list of arrays is taken only if its text is one of elements
				require.NotErrorIs(t, err, postgres.ErrFilterRefused, "%+v", f)
			}
		default:
			require.NoError(t, err, "%+v", f)
			var want []bool
			require.NoError(t, conn.QueryRow(t.Context(), "select array(select passes(w, $1::text::regtype, $2, $3) = 'true' from unnest($4::text[]) with ordinality u(w, n) order by n)",
				c.SQL(), f.Operator, value, wires).Scan(&want))
			require.Equal(t, want, passes, "%+v on %q", f, wires)
		}
	}
}

// garbling names what became of a value. Same says that jsonb takes REST's JSON
// and Realtime's for the same.
func garbling(v garblings.Value, same bool) garblings.Garbling {
	compact := strings.NewReplacer(" ", "", "\n", "")
	switch {
	case v.Wire[0] == '!':
		return garblings.Lost
	case !same && v.Wire == "null":
		return garblings.Null
	case !same && v.Name == "bytea":
		return garblings.Hex
	case !same:
		return garblings.Cut
	case strings.HasPrefix(v.Output, "[") && v.Shape == garblings.Array && strings.Contains(v.Output, "]="):
		return garblings.Bounds
	case v.Of == "json" && compact.Replace(v.REST) != compact.Replace(v.Wire):
		return garblings.Normalized
	case isJSON(v.Of) && strings.Contains(v.REST, "null") && v.Output != "{NULL}":
		return garblings.JSONNull
	case strings.Contains(v.REST, "-0") && !strings.Contains(v.Wire, "-"):
		return garblings.Zero
	}
	return garblings.None
}

func isJSON(of string) bool { return of == "json" || of == "jsonb" }
