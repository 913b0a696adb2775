package postgres_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

type (
	col = mockserver.Column
	row = mockserver.Row
)

// texts are what a text column holds: whatever may be taken for something else
// on the way.
var texts = []string{
	"", "a", "A", "b", "aa", "é", "e\u0301", "日本", `"quoted"`, `it's`, `back\slash`, `{braces}`, "new\nline\ttab\r", "comma,", "'; drop table canary; --",
	"$1", "%I %s", "\x1f", "\x01", "\x7f", "NULL", "null", " space ", "a:b", "1:a", "-", "-1:a", "😀", "a%b", "a_b", "<&>", "\u2028",
}

// values are texts of values by type, in no order.
var values = map[string][]string{
	"int8":        {"0", "1", "-1", "10", "9", "100", "9007199254740993", "9223372036854775807", "-9223372036854775808"},
	"int4":        {"0", "1", "-1", "10", "9", "2147483647", "-2147483648"},
	"int2":        {"0", "1", "-1", "10", "9", "32767"},
	"bool":        {"true", "false"},
	"uuid":        {"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-4fff-8fff-ffffffffffff", "11111111-1111-4111-8111-111111111111", "aaaaaaaa-0000-4000-8000-000000000000", "AAAAAAAA-0000-4000-8000-000000000001"},
	"numeric":     {"0", "1.50", "1.5000001", "-3", "NaN", "Infinity", "-Infinity", "123456789012345678901234567890.5", "0.000000001", "10", "9"},
	"float8":      {"0", "1.5", "-3", "NaN", "Infinity", "1e300", "0.1", "1e-7", "123456789012345680000"},
	"timestamptz": {"2024-02-29 12:34:56.789+00", "2024-02-29 12:34:56.7+00", "2024-02-29 12:34:56+02", "1970-01-01 00:00:00+00", "infinity", "-infinity", "2024-01-01 00:00:00.000001+00"},
	"timestamp":   {"2024-02-29 12:34:56.789", "2024-02-29 12:34:56", "1999-12-31 23:59:59.999999", "infinity"},
	"date":        {"2024-02-29", "1970-01-01", "0999-01-01", "10000-01-01", "infinity"},
	"bytea":       {`\x`, `\x00`, `\xff`, `\xdeadbeef`, `\x00ff`, `\x5c78`},
	"text":        texts,
	"varchar(20)": append(slices.Clone(texts[:14]), texts[16:]...),
	"char(8)":     {"", "a", "ab", "b", "a b", "é"},
	"jsonb":       {`{}`, `{"b": 1, "a": [1, null, "x"]}`, `null`, `"text"`, `1.50`, `[]`, `true`, `1e2`},
	"json":        {`{}`, `{"b" :1,  "a":[1,null,"x"]}`, `null`, `"text"`, `1.50`},
	"text[]":      {`{}`, `{a,"b c",NULL}`, `{{1,2},{3,4}}`},
	"mood":        {"sad", "ok", "happy"},
}

// mixed are columns of every type, with names that need care.
var mixed = []col{
	{Name: "Select", Type: "text"}, {Name: "v", Type: "int8"}, {Name: "t1", Type: "timestamptz"}, {Name: "slot", Type: "numeric"},
	{Name: "place", Type: "float8"}, {Name: "it's", Type: "jsonb"}, {Name: `back\slash`, Type: "json"}, {Name: "tags", Type: "text[]"},
	{Name: "p", Type: "bool"}, {Name: "mood", Type: "mood", Enum: values["mood"]}, {Name: "é", Type: "char(8)"}, {Name: "g", Type: "timestamp"},
	{Name: "*", Type: "bytea"}, {Name: "of", Type: "uuid"}, {Name: "owner", Type: "text"},
}

// cacheTables are tables whose rows the functions are asked for: with keys of
// every type, and of several columns, in another order than the table's.
func cacheTables(r *rand.Rand) (tables []mockserver.Table) {
	keys := [][]string{{"uuid", "int8"}, {"timestamptz", "bool", "text"}, {"varchar(20)", "numeric"}}
	for _, typ := range []string{"int8", "int2", "uuid", "text", "varchar(20)", "char(8)", "numeric", "timestamptz", "date", "bytea", "bool", "float8"} {
		keys = append(keys, []string{typ})
	}
	for n, key := range keys {
		t := mockserver.Table{Name: "By " + strings.Join(key, " and "), Columns: slices.Clone(mixed), RLS: n%2 == 0}
		if t.RLS {
			t.Select = func(claims mockserver.Claims, r row) bool { return r["owner"] != nil && r["owner"] == claims["sub"] }
		}
		for i, typ := range key {
			name := []string{"id", `we"ird, $1 %I`, "x"}[i]
			t.PrimaryKey = append(t.PrimaryKey, name)
			t.Columns = slices.Insert(t.Columns, r.IntN(3), col{Name: name, Type: typ, NotNull: true})
		}
		fill(r, &t)
		tables = append(tables, t)
	}
	return tables
}

// fill gives a table rows.
func fill(r *rand.Rand, t *mockserver.Table) {
	seen := map[string]bool{}
	for range 60 {
		fresh, key := row{}, ""
		for _, c := range t.Columns {
			fresh[c.Name] = values[c.Type][r.IntN(len(values[c.Type]))]
			if !c.NotNull && r.IntN(4) == 0 {
				fresh[c.Name] = nil
			}
		}
		fresh["owner"] = []any{ann.sub, ann.sub, ben.sub, nil}[r.IntN(4)]
		for _, name := range t.PrimaryKey {
			key += fmt.Sprintf("%q", fresh[name])
		}
		if !seen[key] {
			t.Rows = append(t.Rows, fresh)
		}
		seen[key] = true
	}
}

func identifier(name string) string { return pgx.Identifier{name}.Sanitize() }

func literal(v any) string {
	if v == nil {
		return "null"
	}
	return "'" + strings.ReplaceAll(v.(string), "'", "''") + "'"
}

func identifiers(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = identifier(name)
	}
	return strings.Join(quoted, ", ")
}

// create makes a table as it is in the mock.
func (d cacheDB) create(t mockserver.Table) {
	d.Helper()
	var columns, rows []string
	for _, c := range t.Columns {
		columns = append(columns, identifier(c.Name)+" "+c.Type)
	}
	for _, r := range t.Rows {
		var vals []string
		for _, c := range t.Columns {
			vals = append(vals, literal(r[c.Name])+"::"+c.Type)
		}
		rows = append(rows, "("+strings.Join(vals, ", ")+")")
	}
	name := identifier(t.Name)
	statements := fmt.Sprintf("create table %s (%s, primary key (%s)); insert into %s values %s;",
		name, strings.Join(columns, ", "), identifiers(t.PrimaryKey), name, strings.Join(rows, ", "))
	if t.RLS {
		statements += fmt.Sprintf("alter table %s enable row level security; create policy own on %s using (owner = current_setting('request.jwt.claims')::json ->> 'sub')", name, name)
	}
	d.owned(statements)
}

// callMaker makes up calls about a table.
type callMaker struct {
	*rand.Rand
	mockserver.Table
}

func (m callMaker) maybe(of int) bool { return m.IntN(of) == 0 }

func (m callMaker) column() col { return m.Columns[m.IntN(len(m.Columns))] }

func (m callMaker) columnNames() []string {
	names := []string{}
	for range m.IntN(4) {
		names = append(names, m.column().Name)
	}
	return names
}

// bound is the key of a row.
func (m callMaker) bound() (key []any) {
	r := m.Rows[m.IntN(len(m.Rows))]
	for _, name := range m.PrimaryKey {
		key = append(key, r[name])
	}
	return key
}

func (m callMaker) filter() []any {
	all := []any{}
	for range 1 + m.IntN(2) {
		c := m.column()
		value := func() string { return values[c.Type][m.IntN(len(values[c.Type]))] }
		ops := []string{"eq", "neq", "lt", "lte", "gt", "gte", "isdistinct", "in", "is"}
		if c.Name == "owner" || c.Type == "json" {
			c = col{Name: c.Name, Type: "text"}
			ops = []string{"is"}
		}
		if c.Type == "text" && c.Name != "owner" && len(ops) > 1 || c.Type == "varchar(20)" {
			ops = append(ops, "like", "ilike")
		}
		op := ops[m.IntN(len(ops))]
		given := []string{}
		switch op {
		case "is":
			given = append(given, "null")
			if c.Type == "bool" {
				given[0] = []string{"null", "true", "false", "unknown"}[m.IntN(4)]
			}
		case "in":
			for range m.IntN(4) {
				given = append(given, value())
			}
		case "like", "ilike":
			given = append(given, []string{"%", "a%", "%A%", "_", "%\n%", `%\%%`, "*", `\\%`}[m.IntN(8)])
		default:
			given = append(given, value())
		}
		all = append(all, map[string]any{"column": c.Name, "op": op, "values": given, "not": m.maybe(3)})
	}
	return all
}

// call makes up one. The mark is there in both databases.
func (m callMaker) call(mark string) (function string, args map[string]any) {
	function = []string{"rt_chunk", "rt_digest", "rt_keys"}[m.IntN(3)]
	args = map[string]any{"rel": identifier(m.Name), "key": m.PrimaryKey}
	add := func(name string, of int, value func() any) {
		if m.maybe(of) {
			args[name] = value()
		}
	}
	add("filter", 3, func() any { return m.filter() })
	add("after", 2, func() any { return m.bound() })
	add("upto", 3, func() any { return m.bound() })
	add("lim", 2, func() any { return 1 + m.IntN(len(m.Rows)+3) })
	add("mark", 3, func() any { return mark })
	if function == "rt_chunk" {
		add("cols", 2, func() any { return m.columnNames() })
		return function, args
	}
	add("version", 1, func() any { return m.columnNames() })
	add("seed", 2, func() any { return m.Int64() - m.Int64() })
	if m.maybe(2) {
		bits := m.IntN(6)
		args["within_bits"], args["within"] = bits, []int{m.IntN(1 << bits), m.IntN(1 << bits), m.IntN(1 << bits)}
	}
	if function == "rt_digest" {
		add("bits", 1, func() any { return m.IntN(32) })
	}
	return function, args
}

// callMock calls a function of the mock as cacheDB.call does one of PostgreSQL.
func callMock(t *testing.T, s *mockserver.Server, caller as, function, args string) (result, code string) {
	t.Helper()
	answer := requestMock(t, s, caller, "rpc/"+function, args)
	var refused struct{ Code string }
	if json.Unmarshal([]byte(answer), &refused) == nil && refused.Code != "" {
		return "", refused.Code
	}
	return compact(t, answer), ""
}

func requestMock(t *testing.T, s *mockserver.Server, caller as, path, body string) string {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, s.URL()+"/rest/v1/"+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("apikey", s.AnonKey())
	request.Header.Set("Authorization", "Bearer "+s.UserToken(caller.sub, time.Hour))
	answer, err := s.HTTPClient().Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return string(content)
}

// What the mock server answers is, byte for byte, what PostgreSQL answers.
// GAPLESS_SEED makes up other rows and calls.
func cacheSQLEqualsTheMock(t *testing.T, c cacheCluster) {
	const mark = "00000000-0000-4000-8000-000000000001"
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("GAPLESS_SEED"), "20240229"), 10, 64)
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(seed, seed))
	cfg := mockserver.Config{InMemory: true, Tables: cacheTables(r)}
	mockserver.InstallCache(&cfg)
	s := mockserver.Start(t, cfg)
	d := c.installed(t)
	d.owned("create type mood as enum ('sad', 'ok', 'happy'); alter default privileges for role owner grant usage on types to public")
	d.insertMark(ann, mark)
	require.Empty(t, requestMock(t, s, ann, "rt_mark", `{"id": "`+mark+`"}`))
	answers := 0
	for _, table := range cfg.Tables {
		if table.Name == "rt_mark" {
			continue
		}
		d.create(table)
		d.owned("alter publication supabase_realtime add table " + identifier(table.Name))
		same := func(function string, args map[string]any) {
			t.Helper()
			b, err := json.Marshal(args)
			require.NoError(t, err)
			want, wantCode := d.call(ann, function, string(b))
			got, code := callMock(t, s, ann, function, string(b))
			require.Equal(t, wantCode, code, "%s %s", function, b)
			require.Equal(t, want, got, "%s %s", function, b)
			if len(got) > 60 {
				answers++
			}
		}
		same("rt_describe", map[string]any{"rel": identifier(table.Name)})
		same("rt_chunk", map[string]any{"rel": identifier(table.Name), "key": table.PrimaryKey})
		m := callMaker{r, table}
		for range 60 {
			same(m.call(mark))
		}
	}
	require.Greater(t, answers, 300, "most of the answers have rows in them")
}
