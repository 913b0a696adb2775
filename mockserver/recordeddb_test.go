package mockserver_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver"
)

// recordedDatabase declares the tables, policies and publication of the
// recordings (see the schema there).
func recordedDatabase() mockserver.Config {
	columns := func(spec string) (columns []mockserver.Column) {
		for c := range strings.SplitSeq(spec, ", ") {
			name, typ, _ := strings.Cut(c, " ")
			columns = append(columns, mockserver.Column{Name: name, Type: typ})
		}
		return columns
	}
	full := columns("id int8, c_int2 int2, c_int4 int4, c_int8 int8, c_numeric numeric, c_numeric_p numeric(38,10), c_float4 float4, c_float8 float8, c_bool bool, " +
		"c_text text, c_varchar varchar(50), c_char char(5), c_uuid uuid, c_timestamptz timestamptz, c_timestamp timestamp, c_date date, c_time time, c_timetz timetz, c_interval interval, " +
		"c_jsonb jsonb, c_json json, c_bytea bytea, c_text_arr text[], c_int4_arr int4[], c_int8_arr int8[], c_uuid_arr uuid[], c_jsonb_arr jsonb[], c_int4_arr2 int4[][], c_enum mood, c_enum_arr mood[], c_domain posint, c_composite pair, " +
		"c_inet inet, c_cidr cidr, c_macaddr macaddr, c_int4range int4range, c_tstzrange tstzrange, c_tsvector tsvector, c_point point, c_box box, c_money money, c_bit bit(4), c_varbit varbit, c_xml xml, c_oid oid, c_name name, " +
		"c_gen int8, c_default text")
	full = append(full, mockserver.Column{Name: "Quoted Col", Type: "text"}, mockserver.Column{Name: "camelCol", Type: "int"})
	for i := range full {
		switch full[i].Type {
		case "mood", "mood[]":
			full[i].Enum = []string{"sad", "ok", "happy"}
		case "posint":
			full[i].Domain = "int"
		case "pair":
			full[i].Composite = columns("a int, b text")
		}
		if full[i].Name == "c_default" {
			full[i].Default = func() any { return "dflt" }
		}
	}
	own := func(claims mockserver.Claims, row mockserver.Row) bool {
		return claims["role"] == "authenticated" && row["owner"] != nil && row["owner"] == claims["sub"]
	}
	fullIdentity, id := mockserver.IdentityFull, []string{"id"}
	toasted := func(spec string) []mockserver.Column {
		c := columns(spec)
		c[len(c)-1].Toast = true
		return c
	}
	return mockserver.Config{
		Tables: []mockserver.Table{
			{Name: "t_full", Columns: full, PrimaryKey: id, ReplicaIdentity: fullIdentity},
			{Name: "t_def", Columns: full, PrimaryKey: id},
			{Name: "t_rls", Columns: columns("id int8, owner uuid, body text"), PrimaryKey: id, RLS: true, Select: own},
			{Name: "t_rls_full", Columns: columns("id int8, owner uuid, body text"), PrimaryKey: id, RLS: true, Select: own, ReplicaIdentity: fullIdentity},
			{Name: "t_colpriv", Columns: columns("id int8, a text, secret text"), PrimaryKey: id, ReplicaIdentity: fullIdentity,
				Grants: map[string][]string{"authenticated": {"id", "a"}}},
			{Name: "t_noperm", Columns: columns("id int8, a text"), PrimaryKey: id, Grants: map[string][]string{}},
			{Name: "t_nopk", Columns: columns("a int, b text")},
			{Name: "t_nopk_full", Columns: columns("a int, b text"), ReplicaIdentity: fullIdentity},
			{Name: "t_toast", Columns: toasted("id int8, n int, big text"), PrimaryKey: id},
			{Name: "t_toast_full", Columns: toasted("id int8, n int, big text"), PrimaryKey: id, ReplicaIdentity: fullIdentity},
			{Name: "t_items", Columns: columns("id int8, name text, qty int, price numeric, active bool, uid uuid, ts timestamptz, note text"), PrimaryKey: id, ReplicaIdentity: fullIdentity},
			{Name: "t_nopub", Columns: columns("id int8, a text"), PrimaryKey: id, Unpublished: true},
			{Name: "t_big", Columns: toasted("id int8, payload text"), PrimaryKey: id},
			{Name: "MixedCase", Columns: []mockserver.Column{{Name: "Id", Type: "int8"}, {Name: "camelName", Type: "text"}, {Name: "with space", Type: "text"}}, PrimaryKey: []string{"Id"}},
			{Name: "t_bc", Columns: columns("id int8, room text, body text"), PrimaryKey: id, Unpublished: true},
			{Schema: "other", Name: "things", Columns: columns("id int8, v text"), PrimaryKey: id},
		},
		Messages: mockserver.MessagePolicies{
			Read: func(topic, extension string, claims mockserver.Claims) bool {
				read := strings.HasPrefix(topic, "room:") || strings.HasPrefix(topic, "ro:") ||
					strings.HasPrefix(topic, "bconly:") && extension == mockserver.ExtensionBroadcast
				return read && claims["role"] == "authenticated"
			},
			Write: func(topic, _ string, claims mockserver.Claims) bool {
				return strings.HasPrefix(topic, "room:") && claims["role"] == "authenticated"
			},
		},
	}
}

// userToken is a token of user 1 or 2 of the recordings.
func userToken(s *mockserver.Server, n int) string {
	sub := strings.Map(func(r rune) rune {
		if r == 'n' {
			return rune('0' + n)
		}
		return r
	}, "nnnnnnnn-nnnn-4nnn-8nnn-nnnnnnnnnnnn")
	return s.Sign(mockserver.Claims{"role": "authenticated", "sub": sub, "exp": 4102444800})
}

// sqlScript runs the simple statements of the recordings. Several of them in
// one string are one transaction, as they are for PostgreSQL.
func sqlScript(t *testing.T, s *mockserver.Server, sql string) {
	t.Helper()
	if table, ok := strings.CutPrefix(sql, "truncate "); ok {
		require.NoError(t, s.Truncate(table))
		return
	}
	statements := strings.Split(strings.TrimSuffix(strings.TrimPrefix(sql, "begin; "), "; commit"), "; ")
	require.NoError(t, s.Tx(func(tx *mockserver.Tx) error {
		for _, statement := range statements {
			if err := sqlStatement(t, tx, statement); err != nil {
				return err
			}
		}
		return nil
	}))
}

var (
	insertSQL = regexp.MustCompile(`^insert into ("?[\w.]+"?)\s*(?:\(([^)]*)\))? values \((.*)\)$`)
	updateSQL = regexp.MustCompile(`^update ([\w.]+) set (.*?)(?: where (\w+)=(\S+))?$`)
	deleteSQL = regexp.MustCompile(`^delete from ([\w.]+)(?: where (\w+)(?:=| in )\(?([\d,]+)\)?)?$`)
)

var sendSQL = regexp.MustCompile(`^select realtime\.(send|send_binary)\((.*), '(\w+)', '([\w:]+)', (true|false)\)$`)

// send translates the functions that broadcast. Like them it sends nothing of
// a payload that is no object.
func send(t *testing.T, tx *mockserver.Tx, m []string) error {
	t.Helper()
	private := m[5] == "true"
	if hexa, ok := strings.CutPrefix(m[2], `'\x`); ok {
		payload, err := hex.DecodeString(strings.TrimSuffix(hexa, `'::bytea`))
		require.NoError(t, err)
		return tx.RealtimeSendBinary(payload, m[3], m[4], private)
	}
	payload := strings.TrimSuffix(strings.TrimPrefix(m[2], "'"), "'::jsonb")
	if n, ok := strings.CutPrefix(m[2], "jsonb_build_object('n',"); ok {
		payload = `{"n":` + strings.TrimSuffix(n, ")") + `}`
	}
	if !strings.HasPrefix(payload, "{") {
		return nil
	}
	return tx.RealtimeSend(json.RawMessage(payload), m[3], m[4], private)
}

func sqlStatement(t *testing.T, tx *mockserver.Tx, sql string) error {
	t.Helper()
	if m := sendSQL.FindStringSubmatch(sql); m != nil {
		return send(t, tx, m)
	}
	if m := seriesSQL.FindStringSubmatch(sql); m != nil {
		return insertSeries(tx, m[1], m[2])
	}
	if m := insertSQL.FindStringSubmatch(sql); m != nil {
		table := strings.Trim(m[1], `"`)
		columns := strings.Split(m[2], ",")
		if m[2] == "" {
			columns = columnsOf(t, table)
		}
		row := mockserver.Row{}
		for i, literal := range literals(m[3]) {
			row[columns[i]] = sqlValue(literal)
		}
		return tx.Insert(table, row)
	}
	if m := updateSQL.FindStringSubmatch(sql); m != nil {
		where := mockserver.Row{}
		if m[3] != "" {
			where[m[3]] = sqlValue(m[4])
		}
		set := mockserver.Row{}
		for _, assignment := range literals(m[2]) {
			column, value, _ := strings.Cut(assignment, "=")
			set[strings.TrimSpace(column)] = sqlValue(strings.TrimSpace(value))
		}
		_, err := tx.Update(m[1], set, where)
		return err
	}
	m := deleteSQL.FindStringSubmatch(sql)
	require.NotNil(t, m, "a statement that this test cannot read: %s", sql)
	if m[2] == "" {
		_, err := tx.Delete(m[1], nil)
		return err
	}
	for key := range strings.SplitSeq(m[3], ",") {
		if _, err := tx.Delete(m[1], mockserver.Row{m[2]: key}); err != nil {
			return err
		}
	}
	return nil
}

var seriesSQL = regexp.MustCompile(`^insert into t_items\(id\) select g from generate_series\((\d+),(\d+)\) g$`)

func insertSeries(tx *mockserver.Tx, from, to string) error {
	first, err := strconv.Atoi(from)
	if err != nil {
		return err
	}
	last, err := strconv.Atoi(to)
	for id := first; id <= last && err == nil; id++ {
		err = tx.Insert("t_items", mockserver.Row{"id": id})
	}
	return err
}

func columnsOf(t *testing.T, table string) (names []string) {
	t.Helper()
	for _, tab := range recordedDatabase().Tables {
		if tab.Name == table || tab.Schema+"."+tab.Name == table {
			for _, c := range tab.Columns {
				names = append(names, c.Name)
			}
		}
	}
	require.NotEmpty(t, names, table)
	return names
}

// literals splits at commas outside quotes and parentheses.
func literals(list string) (all []string) {
	quoted, depth, begin := false, 0, 0
	for i, r := range list + "," {
		switch {
		case r == '\'':
			quoted = !quoted
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && !quoted && depth == 0:
			all = append(all, strings.TrimSpace(list[begin:i]))
			begin = i + 1
		}
	}
	return all
}

var repeatSQL = regexp.MustCompile(`^repeat\('(\w+)',\s*(\d+)\)$`)

func sqlValue(literal string) any {
	if m := repeatSQL.FindStringSubmatch(literal); m != nil {
		var n int
		_, _ = fmt.Sscan(m[2], &n)
		return strings.Repeat(m[1], n)
	}
	switch {
	case literal == "null":
		return nil
	case strings.HasPrefix(literal, "'"):
		return strings.ReplaceAll(literal[1:len(literal)-1], "''", "'")
	}
	return literal
}

// everyType translates scenarios 02 and 03, whose statements use expressions.
// Values are given in PostgreSQL's output form where the mock keeps the text
// of a type as it is.
func everyType(table string) map[string]func(*testing.T, *mockserver.Server) {
	script, err := transcript.Load(map[string]string{"t_full": "02-private-postgres-changes-full.vsn1", "t_def": "03-private-postgres-changes-default.vsn1"}[table])
	if err != nil {
		panic(err)
	}
	var statements []string
	for _, l := range script.Lines {
		if l.Dir == "sql" {
			statements = append(statements, l.Frame)
		}
	}
	insert := func(rows ...mockserver.Row) func(*testing.T, *mockserver.Server) {
		return func(t *testing.T, s *mockserver.Server) { require.NoError(t, s.Insert(table, rows...)) }
	}
	moved := mockserver.Row{"id": 99, "c_text": "pk moved", "c_gen": 198}
	by := map[string]func(*testing.T, *mockserver.Server){
		statements[0]: insert(everyValue()),
		statements[1]: insert(mockserver.Row{"id": 1, "c_gen": 2}),
		statements[2]: insert(oddValues()...),
		"update " + table + " set id=99, c_text='pk moved' where id=3": func(t *testing.T, s *mockserver.Server) {
			_, err := s.Update(table, moved, mockserver.Row{"id": 3})
			require.NoError(t, err)
		},
		"alter table " + table + " add column c_added text default 'later'":    nil,
		"insert into " + table + "(id,c_added) values (50,'new column')":       nil,
		"update " + table + " set c_added='x' where id=50":                     nil,
		"alter table " + table + " drop column c_added":                        nil,
		"insert into " + table + "(id,c_added) values (51,'after the change')": nil,
	}
	return by
}

func everyValue() mockserver.Row {
	return mockserver.Row{
		"id": 9007199254740993, "c_int2": 32767, "c_int4": -2147483648, "c_int8": 9223372036854775807,
		"c_numeric": "123456789012345678901234567890.123456789012345678901234567890", "c_numeric_p": "1234567890.0123456789",
		"c_float4": 1.5, "c_float8": 0.1, "c_bool": true, "c_text": "naïve \u2603 \U0001F600 \"quotes\" \\ back\nnew\tline 'single'",
		"c_varchar": "varchar", "c_char": "ab", "c_uuid": "6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11",
		"c_timestamptz": "2024-02-29 12:34:56.789012+02", "c_timestamp": "2024-02-29 12:34:56.789012", "c_date": "2024-02-29",
		"c_time": "12:34:56.789012", "c_timetz": "12:34:56+02", "c_interval": "1 year 2 mons 3 days 04:05:06.789",
		"c_jsonb": `{"b":1,"a":[1,2.50,"x",null,true],"n":9007199254740993,"u":"\u00e9\n"}`,
		"c_json":  `{"b":1, "a":  [1,2.50], "dup":1,"dup":2, "n":9007199254740993}`, "c_bytea": `\xdeadbeef00ff`,
		"c_text_arr": `{a,"b c","d\"e","f,g",NULL,""}`, "c_int4_arr": "{1,NULL,3}", "c_int8_arr": "{9007199254740993,-9223372036854775808}",
		"c_uuid_arr": "{6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11}", "c_jsonb_arr": `{"{\"x\":1}","[1,2]"}`, "c_int4_arr2": "{{1,2},{3,4}}",
		"c_enum": "happy", "c_enum_arr": "{sad,ok}", "c_domain": 7, "c_composite": "(1,two)", "c_inet": "192.168.1.5/24", "c_cidr": "10.0.0.0/8",
		"c_macaddr": "08:00:2b:01:02:03", "c_int4range": "[1,10)", "c_tstzrange": `["2024-01-01 00:00:00+00","2024-02-01 00:00:00+00")`,
		"c_tsvector": "'a' 'cat' 'fat' 'sat'", "c_point": "(1.5,-2)", "c_box": "(1,1),(0,0)", "c_money": "$12.34", "c_bit": "1010", "c_varbit": "10101",
		"c_xml": "<a>x</a>", "c_oid": "4294967295", "c_name": "nm", "Quoted Col": "q", "camelCol": 42, "c_gen": 18014398509481986,
	}
}

func oddValues() []mockserver.Row {
	return []mockserver.Row{
		{"id": 2, "c_int2": -32768, "c_int4": 2147483647, "c_numeric": "NaN", "c_float4": "-Infinity", "c_float8": "NaN", "c_bool": false, "c_text": "", "c_varchar": "",
			"c_timestamptz": "infinity", "c_timestamp": "-infinity", "c_date": "0044-03-15 BC", "c_interval": "-1 days +02:03:04", "c_jsonb": "null", "c_bytea": "",
			"c_text_arr": "{}", "c_int4_arr": "{}", "c_domain": 1, "c_int4range": "empty", "c_gen": 4},
		{"id": 3, "c_int2": 0, "c_int4": 0, "c_numeric": "Infinity", "c_float4": "Infinity", "c_float8": "Infinity", "c_text": "\x01ctl\x1f",
			"c_timestamptz": "1999-12-31 23:59:59.9999+00", "c_timestamp": "0001-01-01", "c_date": "infinity", "c_interval": "00:00:00", "c_jsonb": `"str"`, "c_bytea": `\x00`,
			"c_text_arr": "{{NULL}}", "c_int4range": "(,)", "c_gen": 6},
		{"id": 4, "c_int2": 1, "c_int4": 1, "c_numeric": "0.000000000000000000000000000001", "c_float4": "1e-45", "c_float8": "1.7976931348623157e308", "c_bool": true,
			"c_text": `{"json":"like"}`, "c_varchar": "[1]", "c_timestamptz": "2024-06-01 00:00:00-07", "c_timestamp": "2024-06-01 00:00:00", "c_date": "2024-06-01",
			"c_interval": "1 mon", "c_jsonb": "12345678901234567890.5", "c_text_arr": `{"{}","NULL"}`, "c_int4_arr": "{0}", "c_domain": 2, "c_int4range": "[3,4)", "c_gen": 8},
		{"id": 5, "c_int2": 1, "c_int4": 1, "c_numeric": "1.50", "c_float4": "1.1e-38", "c_float8": "5e-324", "c_bool": true, "c_text": "x",
			"c_timestamptz": "2024-06-01 00:00:00.1", "c_timestamp": "2024-06-01 00:00:00.100", "c_date": "2024-06-01", "c_interval": "1 year", "c_jsonb": "[]",
			"c_bytea": `\x`, "c_domain": 3, "c_gen": 10},
	}
}

// transactions translates what of scenario 20 is not simple.
var transactions = map[string]func(*testing.T, *mockserver.Server){
	"insert into t_items(id,name) select g, 'row '||g from generate_series(1,1000) g": func(t *testing.T, s *mockserver.Server) {
		rows := make([]mockserver.Row, 1000)
		for i := range rows {
			rows[i] = mockserver.Row{"id": i + 1, "name": fmt.Sprint("row ", i+1)}
		}
		require.NoError(t, s.Insert("t_items", rows...))
	},
	"update t_items set id=id+5000 where id in (1,2)": func(t *testing.T, s *mockserver.Server) {
		require.NoError(t, s.Tx(func(tx *mockserver.Tx) error {
			if _, err := tx.Update("t_items", mockserver.Row{"id": 5001}, mockserver.Row{"id": 1}); err != nil {
				return err
			}
			_, err := tx.Update("t_items", mockserver.Row{"id": 5002}, mockserver.Row{"id": 2})
			return err
		}))
	},
	"insert into t_def(id,c_text) values (1,'a')": func(t *testing.T, s *mockserver.Server) {
		require.NoError(t, s.Insert("t_def", mockserver.Row{"id": 1, "c_text": "a", "c_gen": 2}))
	},
	"update t_def set id=2 where id=1": func(t *testing.T, s *mockserver.Server) {
		_, err := s.Update("t_def", mockserver.Row{"id": 2, "c_gen": 4}, mockserver.Row{"id": 1})
		require.NoError(t, err)
	},
	"update t_items set name=name where id=3":                                                         updateItem("row 3"),
	"insert into t_items(id,name) values (3,'ups') on conflict (id) do update set name=excluded.name": updateItem("ups"),
	"begin; insert into t_items(id) values (3001); savepoint s; insert into t_items(id) values (3002); rollback to s; insert into t_items(id) values (3003); commit": insertItems(3001, 3003),
	"begin; insert into t_items(id) values (3101); rollback": func(t *testing.T, s *mockserver.Server) {
		undone := fmt.Errorf("rollback")
		require.ErrorIs(t, s.Tx(func(tx *mockserver.Tx) error {
			require.NoError(t, tx.Insert("t_items", mockserver.Row{"id": 3101}))
			return undone
		}), undone)
	},
	"T1 committed": insertItems(4001, 4003),
	"begin; insert into t_items(id) values (1); truncate t_items; insert into t_items(id) values (2); commit": insertItems(1, 2),
}

func updateItem(name string) func(*testing.T, *mockserver.Server) {
	return func(t *testing.T, s *mockserver.Server) {
		_, err := s.Update("t_items", mockserver.Row{"name": name}, mockserver.Row{"id": 3})
		require.NoError(t, err)
	}
}

func insertItems(ids ...int) func(*testing.T, *mockserver.Server) {
	return func(t *testing.T, s *mockserver.Server) {
		require.NoError(t, s.Tx(func(tx *mockserver.Tx) error {
			for _, id := range ids {
				if err := tx.Insert("t_items", mockserver.Row{"id": id}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

// Every table of the recordings that a scenario uses is declared.
func TestRecordedDatabaseIsDeclared(t *testing.T) {
	declared := map[string]bool{}
	for _, table := range recordedDatabase().Tables {
		declared[table.Name] = true
	}
	var missing []string
	for _, m := range regexp.MustCompile(`create table (?:\w+\.)?"?(\w+)"?`).FindAllStringSubmatch(transcript.Schema(), -1) {
		if !declared[m[1]] && !strings.HasPrefix(m[1], "b_") && m[1] != "t_bc" {
			missing = append(missing, m[1])
		}
	}
	require.Empty(t, missing, "%v", slices.Sorted(maps.Keys(declared)))
}
