package mockserver

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// FuzzParseFilters holds that no filter makes the parser panic, and that what
// it reads is a filter that it would read again.
func FuzzParseFilters(f *testing.F) {
	for _, seed := range []string{
		"", "id=eq.1", "id=gt.1, id=lt.4", `t=in.(a,"b,c")`, `t=not.eq."a\"b"`, "a=eq.1,", "undefined", "=.", `t=eq.x"`, `t=eq."x`, `t=eq."x\`, "t=in.(", "t=in.)(", "t=is.null",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		filters, err := wire.ParseFilters(filter)
		if err != nil {
			require.Empty(t, filters)
			return
		}
		for _, read := range filters {
			require.Contains(t, wire.FilterOperators, read.Op)
			again, err := wire.ParseFilters(filterString(read))
			require.NoError(t, err)
			if plain := strings.TrimSpace(read.Column) == read.Column && !strings.ContainsAny(read.Column, `=,()."`); plain {
				require.Equal(t, []project.Filter{read}, again, "%q", filterString(read))
			}
		}
		_ = wire.InspectFilters(filters)
	})
}

// filterString writes the filter so that it can be read again.
func filterString(f project.Filter) string {
	op := f.Op
	if f.Negate {
		op = "not." + op
	}
	if f.Op == "in" {
		return f.Column + "=" + op + "." + "(" + f.Value[1:len(f.Value)-1] + ")"
	}
	quoted := regexp.MustCompile(`["\\]`).ReplaceAllString(f.Value, `\$0`)
	return f.Column + "=" + op + `."` + quoted + `"`
}

// FuzzJoin holds that no payload of a join makes the server panic, that the
// echo of its bindings is JSON, and that neither checking them nor a change
// that they are to match makes it panic.
func FuzzJoin(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `"x"`, `5`, `[]`, `{"config":null}`, `{"config":"x"}`, `{"config":{"broadcast":"x"}}`, `{"config":{"postgres_changes":[5]}}`,
		`{"config":{"postgres_changes":[null,{},{"id":7,"event":"insert","schema":"public","table":"t","filter":"id=eq.1","select":["id",1]}]}}`,
		`{"config":{"postgres_changes":[{"schema":"*","filter":"id=in.(1,2)","table":"%"}],"private":"TRUE","presence":{"enabled":true}},"access_token":"x"}`,
		`{"config":{"postgres_changes":[ {"schema" : "public","table":"t","filter":"name=match.(("} ]},"user_token":"sb_x"}`,
	} {
		f.Add([]byte(seed))
	}
	for _, filter := range []string{
		"id=in.({1,2},{3,null})", "a=in.(1,2)", "a=eq.{1}", "a=in.({1},{2})", "c=in.(abc,x)", "c=like.a%", "j=eq.{}", "j=in.(1)", "p=eq.x", "r=eq.(1)", "r=in.((1))", "n=gt.1e400", "raw=like.%", "ts=isdistinct.infinity",
	} {
		f.Add([]byte(`{"config":{"postgres_changes":[{"schema":"public","table":"t","filter":"` + filter + `"}]}}`))
	}
	db, err := newDatabase([]Table{{Name: "t", PrimaryKey: []string{"id"}, Columns: []pgtype.Column{
		{Name: "id", Type: "int8"}, {Name: "name", Type: "text"}, {Name: "a", Type: "int4[]"}, {Name: "c", Type: "char(3)"}, {Name: "j", Type: "jsonb"}, {Name: "p", Type: "point"},
		{Name: "r", Type: "pair", Composite: []pgtype.Column{{Name: "x", Type: "int4"}}}, {Name: "n", Type: "numeric"}, {Name: "raw", Type: "bytea"}, {Name: "ts", Type: "timestamptz"},
	}}})
	require.NoError(f, err)
	row, err := db.tables[0].newRow(Row{"id": 1, "name": "x", "a": "{{1,2}}", "c": "ab", "j": `{"a":[1]}`, "p": "(1,2)", "r": "(1)", "n": "NaN", "raw": `\x00`, "ts": "infinity"})
	require.NoError(f, err)
	empty, err := db.tables[0].newRow(Row{"id": 2})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, payload []byte) {
		if !json.Valid(payload) {
			return // the codec has seen to that
		}
		cfg, reason := parseJoin(payload)
		if reason != "" {
			return
		}
		require.True(t, json.Valid([]byte(cfg.echo())), "%s", cfg.echo())
		ch := &channel{conn: &conn{rt: &realtime{backend: db, ctx: t.Context()}}, config: cfg, who: bearer{claims: Claims{"role": "anon"}}}
		subs, err := ch.subscriptions()
		if err != nil {
			require.Empty(t, subs)
		}
		for _, s := range subs {
			table := db.tables[s.Table]
			for _, c := range []walChange{{table: table, op: "UPDATE", new: row, old: empty}, {table: table, op: "DELETE", old: row}} {
				if change, err := newChange(c); err == nil {
					_, _ = passes(s.State.([]predicate), change)
				}
			}
		}
	})
}

// Clients make up patterns: none takes long or panics.
func TestHostilePatterns(t *testing.T) {
	require.False(t, namePattern(strings.Repeat("%", 5000)+"x"+strings.Repeat("%_", 500)).Matches(strings.Repeat("y", 200)))
	require.True(t, namePattern(strings.Repeat("%", 5000)).Matches("y"))
	text, err := pgtype.ParseType(pgtype.Column{Type: "text"})
	require.NoError(t, err)
	table := &table{columns: []tableColumn{{Field: pgtype.Field{Name: "t", Type: text}}}, byName: map[string]int{"t": 0}}
	may := func(int) bool { return true }
	long, err := newPredicate(table, project.Filter{Column: "t", Op: "like", Value: strings.Repeat("%_", 2_000_000)}, may)
	require.NoError(t, err)
	_, err = long.matches([]byte(`"short"`))
	require.NoError(t, err)
	for _, pattern := range []string{strings.Repeat(".", 4_900_000), strings.Repeat("(a{1000}){1000}", 10), "("} {
		_, err = newPredicate(table, project.Filter{Column: "t", Op: "match", Value: pattern}, may)
		require.Error(t, err)
	}
}
