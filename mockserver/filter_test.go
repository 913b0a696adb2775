package mockserver_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// things has a column of each kind that filters treat in a way of its own.
var things = mockserver.Table{
	Name: "things",
	Columns: []mockserver.Column{
		{Name: "id", Type: "int8"}, {Name: "t", Type: "text"}, {Name: "v", Type: "varchar(20)"}, {Name: "n", Type: "numeric(12,2)"}, {Name: "f", Type: "float8"},
		{Name: "b", Type: "bool"}, {Name: "c", Type: "char(3)"}, {Name: "u", Type: "uuid"}, {Name: "ts", Type: "timestamptz"}, {Name: "d", Type: "date"},
		{Name: "bits", Type: "bit(3)"}, {Name: "raw", Type: "bytea"}, {Name: "e", Type: "mood", Enum: []string{"sad", "ok", "happy"}}, {Name: "j", Type: "jsonb"}, {Name: "a", Type: "int4[]"},
		{Name: "p", Type: "point"}, {Name: "s", Type: "text"},
	},
	PrimaryKey: []string{"id"},
	Grants:     map[string][]string{"anon": {"id", "t", "v", "n", "f", "b", "c", "u", "ts", "d", "bits", "raw", "e", "j", "a", "p"}},
}

// C43: the grammar and the operators, on rows that do and do not pass.
func TestC43Filters(t *testing.T) {
	rows := map[string]mockserver.Row{
		"null":  {"id": 1},
		"alpha": {"id": 2, "t": "alpha", "v": "alpha", "n": "10.50", "f": 1.5, "b": true, "c": "abc", "u": "11111111-1111-4111-8111-111111111111", "ts": "2024-05-01", "d": "2024-05-01", "bits": "101", "raw": `\x6162`, "e": "ok"},
		"odd":   {"id": 3, "t": `a,b"c\d (x)`, "n": "NaN", "f": "NaN", "b": false, "c": "xyz", "ts": "infinity", "d": "0044-03-15 BC", "bits": "011", "e": "happy"},
		"lines": {"id": 4, "t": "Alpha\nbeta", "n": -1, "f": "-Infinity", "e": "sad"},
		"empty": {"id": 5, "t": "", "v": "", "n": 0},
	}
	for filter, want := range map[string]string{
		``: "null alpha odd lines empty", `   `: "null alpha odd lines empty",
		`id=eq.2`: "alpha", `id=neq.2`: "null odd lines empty", `id=lt.3`: "null alpha", `id=lte.3`: "null alpha odd", `id=gt.3`: "lines empty", `id=gte.3`: "odd lines empty",
		`id=in.(2,4)`: "alpha lines", `id=in.( 2 , "4" )`: "alpha lines", `id=in.()`: "", `id=in.(2,null)`: "alpha", `id=not.in.(2,null)`: "", `id=not.in.(2,3)`: "null lines empty",
		`id=gt.1,id=lt.4`: "alpha odd", ` id=gt.1 , id=lt.4 `: "alpha odd", `id=not.eq.2,id=not.lt.3`: "odd lines empty",
		`t=eq.alpha`: "alpha", `t=eq.`: "empty", `t=eq."alpha"`: "alpha", `t=eq."a,b\"c\\d (x)"`: "odd", `t=in.("a,b\"c\\d (x)",alpha)`: "alpha odd", `t=eq."al"pha`: "", `t=eq.al"pha`: "",
		`t=neq.alpha`: "odd lines empty", `t=not.eq.alpha`: "odd lines empty", `t=not.neq.alpha`: "alpha",
		`t=like.al%`: "alpha", `t=like.a_pha`: "alpha", `t=like.a*`: "", `t=like.%beta`: "lines", `t=ilike.AL%`: "alpha lines", `t=not.like.a%`: "lines empty", `t=like.a\%`: "", `t=like.A%b_t_`: "lines", `t=neq.x),id=eq.2`: "alpha",
		`t=match.^a`: "alpha odd", `t=match.l.*b`: "lines", `t=imatch.^AL`: "alpha lines", `t=not.imatch.^al`: "odd empty",
		`t=is.null`: "null", `t=not.is.null`: "alpha odd lines empty", `b=is.true`: "alpha", `b=is.false`: "odd", `b=is.unknown`: "null lines empty", `b=not.is.true`: "null odd lines empty",
		`t=isdistinct.alpha`: "null odd lines empty", `t=not.isdistinct.alpha`: "alpha", `t=isdistinct.null`: "null alpha odd lines empty",
		`v=eq.alpha`: "alpha", `n=eq.10.5`: "alpha", `n=gte.10.505`: "", `n=lt.1`: "lines empty", `n=is.null`: "null odd", `f=gt.1`: "alpha", `f=is.null`: "null odd lines empty",
		`b=eq.true`: "alpha", `b=neq.t`: "odd", `u=eq.11111111-1111-4111-8111-111111111111`: "alpha", `ts=gt.2024-01-01T00:00:00Z`: "alpha odd", `d=lt.2024-01-01`: "odd", `e=gt.sad`: "alpha odd",
		`c=eq.axx`: "alpha", `c=eq.x`: "odd", `bits=eq.111`: "alpha", `raw=eq.6162`: "alpha", `raw=eq.\x6162`: "", // compared as they come out of the socket
		`e=in.(ok,happy)`: "alpha odd", `j=is.null`: "null alpha odd lines empty", `p=is.null`: "null alpha odd lines empty",
	} {
		bubble(t, mockserver.Config{Tables: []mockserver.Table{things}}, func(t *testing.T, s *mockserver.Server) {
			c := open(t, s, phoenix.V2)
			c.subscribed(1, "realtime:a", `[{"schema":"public","table":"things","filter":`+string(mustJSON(t, filter))+`}]`, "")
			var got []string
			for _, name := range []string{"null", "alpha", "odd", "lines", "empty"} {
				require.NoError(t, s.Insert("things", rows[name]))
				time.Sleep(time.Second)
				c.mu.Lock()
				if len(c.frames) > 0 {
					got = append(got, name)
				}
				c.frames = nil
				c.mu.Unlock()
			}
			require.Equal(t, want, strings.Join(got, " "), filter)
		})
	}
}

// C43: what the server says of bindings that it cannot take. It does not try
// again.
func TestC43BadBindings(t *testing.T) {
	const parse = "Error parsing `filter` params: "
	const refused = "Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: [event: *, schema: public, table: things, filters: [%s], select: nil]. Exception: ERROR "
	invalid := func(tuple, condition string) string { return fmt.Sprintf(refused, tuple) + condition }
	numbers := strings.Repeat("1,", 100) + "1"
	on := func(filter string) string {
		return `{"schema":"public","table":"things","filter":` + string(mustJSON(t, filter)) + `}`
	}
	for _, c := range []struct{ binding, want string }{
		{on(`undefined`), parse + `["undefined"]`},
		{on(`id=eq`), parse + `["eq"]`},
		{on(`id=foo.1`), parse + `["foo", "1"]`},
		{on(`id=not.foo.1`), parse + `["foo", "1"]`},
		{on(`id=eq.1,`), parse + "filter must not contain empty segments (check for extra commas)"},
		{on(`id=in.1`), parse + "`in` filter value must be wrapped by parentheses"},
		{on(`nope=eq.1`), invalid(`{"nope", "eq", "1", false}`, "P0001 (raise_exception) invalid column for filter nope")},
		{on(`id=gt.1,"t=eq.a,id=eq.2`), invalid(`{"id", "gt", "1", false}, {"\"t", "eq", "a", false}, {"id", "eq", "2", false}`, `P0001 (raise_exception) invalid column for filter "t`)},
		{on(`nope=eq.1,id=eq.2,id=eq.3,id=eq.4`), invalid("\n  {\"nope\", \"eq\", \"1\", false},\n  {\"id\", \"eq\", \"2\", false},\n  {\"id\", \"eq\", \"3\", false},\n  {\"id\", \"eq\", \"4\", false}\n", "P0001 (raise_exception) invalid column for filter nope")},
		{on(`s=eq.1`), invalid(`{"s", "eq", "1", false}`, "P0001 (raise_exception) invalid column for filter s")},
		{on(`id=not.eq.x`), invalid(`{"id", "eq", "x", true}`, `22P02 (invalid_text_representation) invalid input syntax for type bigint: "x"`)},
		{on(`id=eq.99999999999999999999`), invalid(`{"id", "eq", "99999999999999999999", false}`, `22003 (numeric_value_out_of_range) value "99999999999999999999" is out of range for type bigint`)},
		{on(`ts=eq.soon`), invalid(`{"ts", "eq", "soon", false}`, `22007 (invalid_datetime_format) invalid input syntax for type timestamp with time zone: "soon"`)},
		{on(`e=eq.angry`), invalid(`{"e", "eq", "angry", false}`, `22P02 (invalid_text_representation) invalid input value for enum mood: "angry"`)},
		{on(`id=in.(1,x)`), invalid(`{"id", "in", "{1,x}", false}`, `22P02 (invalid_text_representation) invalid input syntax for type bigint: "x"`)},
		{on(`id=in.(1,)`), invalid(`{"id", "in", "{1,}", false}`, `22P02 (invalid_text_representation) malformed array literal: "{1,}"`)},
		{on(`id=in.(` + numbers + `)`), invalid("\n  {\"id\", \"in\",\n   \"{"+numbers+"}\",\n   false}\n", "P0001 (raise_exception) too many values for `in` filter. Maximum 100")},
		{on(`id=like.1%`), invalid(`{"id", "like", "1%", false}`, "P0001 (raise_exception) operator like requires a text-compatible column type, got bigint")},
		{on(`v=ilike.x`), invalid(`{"v", "ilike", "x", false}`, "P0001 (raise_exception) operator ilike requires a text-compatible column type, got character varying")},
		{on(`v=match.x`), invalid(`{"v", "match", "x", false}`, "P0001 (raise_exception) operator match requires a text-compatible column type, got character varying")},
		{on(`t=is.NULL`), invalid(`{"t", "is", "NULL", false}`, "P0001 (raise_exception) invalid value for is filter: must be null, true, false, or unknown")},
		{on(`t=is.true`), invalid(`{"t", "is", "true", false}`, "P0001 (raise_exception) is true filter requires a boolean column, got text")},
		{on(`id=isdistinct.null`), invalid(`{"id", "isdistinct", "null", false}`, `22P02 (invalid_text_representation) invalid input syntax for type bigint: "null"`)},
		{`{"schema":"public","table":"nope"}`, "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given connect parameters: [event: *, schema: public, table: nope, filters: [], select: nil]"},
		{`{"event":"*"}`, "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: %{\"event\" => \"*\"}"},
		{`{"schema":"public","table":null}`, "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: %{\"schema\" => \"public\", \"table\" => nil}"},
		{`{"schema":"public","table":"things","filter":null}`, "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: %{\"filter\" => nil, \"schema\" => \"public\", \"table\" => \"things\"}"},
		{`{"schema":"public","table":"things","select":["id","s"]}`, "Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: [event: *, schema: public, table: things, filters: [], select: [\"id\", \"s\"]]. Exception: ERROR P0001 (raise_exception) invalid column for select s"},
		{`{"schema":"public","table":"things","select":["a column whose name is long","another column whose name is long","a third one"]}`, "Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: [event: *, schema: public, table: things, filters: [], select: [\"a column whose name is long\", \"another column whose name is long\",\n \"a third one\"]]. Exception: ERROR P0001 (raise_exception) invalid column for select a column whose name is long"},
		{`{"schema":"public","table":"things","select":"id"}`, "Error parsing `select` params: expected a list of column name strings, e.g. select: [\"col1\", \"col2\"]"},
		{`{"schema":"public","select":["id"]}`, "Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name."},
	} {
		bubble(t, mockserver.Config{Tables: []mockserver.Table{things}}, func(t *testing.T, s *mockserver.Server) {
			sock := open(t, s, phoenix.V2)
			sock.join(1, "realtime:a", `{"postgres_changes":[{"schema":"public","table":"things"},`+c.binding+`]}`, "")
			require.Contains(t, sock.next().Payload, `"ok"`)
			require.JSONEq(t, string(mustJSON(t, map[string]string{
				"extension": "postgres_changes", "status": "error", "channel": "a", "message": c.want,
			})), sock.next().Payload)
			require.NoError(t, s.Insert("things", mockserver.Row{"id": 1}))
			sock.silent(30 * time.Second) // the good binding is not in force either
		})
	}
}

// A comparison that PostgreSQL has no operator for passes the check of the
// subscription and makes the poll fail: what it read is lost for everybody.
func TestPoisonFilterLosesChanges(t *testing.T) {
	bubble(t, mockserver.Config{Tables: []mockserver.Table{things, orders}}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:good", ordersBinding, "")
		c.subscribed(2, "realtime:poison", `[{"schema":"public","table":"things","filter":"p=eq.(1,2)"}]`, "")
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1}))
		require.NoError(t, s.Insert("things", mockserver.Row{"id": 1, "p": "(1,2)"}))
		c.silent(10 * time.Second)
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 2}))
		got, _ := c.change()
		require.Contains(t, string(got.Data.Record), `"id":2`)
	})
}
