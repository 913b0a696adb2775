package mockserver

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/stretchr/testify/require"
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
		filters, err := parseFilters(filter)
		if err != nil {
			require.Empty(t, filters)
			return
		}
		for _, read := range filters {
			require.Contains(t, filterOps, read.op)
			again, err := parseFilters(read.String())
			require.NoError(t, err)
			if plain := strings.TrimSpace(read.column) == read.column && !strings.ContainsAny(read.column, `=,()."`); plain {
				require.Equal(t, []changeFilter{read}, again, "%q", read.String())
			}
		}
		_ = inspectFilters(filters)
	})
}

// String writes the filter so that it can be read again.
func (f changeFilter) String() string {
	op := f.op
	if f.negate {
		op = "not." + op
	}
	if f.op == "in" {
		return f.column + "=" + op + "." + "(" + f.value[1:len(f.value)-1] + ")"
	}
	quoted := regexp.MustCompile(`["\\]`).ReplaceAllString(f.value, `\$0`)
	return f.column + "=" + op + `."` + quoted + `"`
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
		ch := &channel{conn: &conn{rt: &realtime{db: db}}, config: cfg, who: bearer{claims: Claims{"role": "anon"}}}
		subs, err := ch.subscriptions()
		if err != nil {
			require.Empty(t, subs)
		}
		for _, s := range subs {
			for _, c := range []walChange{{table: s.table, op: "UPDATE", new: row, old: empty}, {table: s.table, op: "DELETE", old: row}} {
				if change, err := newChange(c); err == nil {
					_, _ = s.passes(change)
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
	long, err := newPredicate(table, changeFilter{column: "t", op: "like", value: strings.Repeat("%_", 2_000_000)}, may)
	require.NoError(t, err)
	_, err = long.matches([]byte(`"short"`))
	require.NoError(t, err)
	for _, pattern := range []string{strings.Repeat(".", 4_900_000), strings.Repeat("(a{1000}){1000}", 10), "("} {
		_, err = newPredicate(table, changeFilter{column: "t", op: "match", value: pattern}, may)
		require.Error(t, err)
	}
}
