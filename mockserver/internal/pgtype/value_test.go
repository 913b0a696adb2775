package pgtype

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testColumn is a column of a type that testdata/values.jsonl names. The enum,
// domain and composite are those of the recorded database.
func testColumn(typ string) Column {
	c := Column{Name: "c", Type: typ}
	switch strings.Trim(typ, "[]_") {
	case "mood":
		c.Enum = []string{"sad", "ok", "happy"}
	case "posint":
		c.Domain = "int4"
	case "pair":
		c.Composite = []Column{{Name: "a", Type: "int4"}, {Name: "b", Type: "text"}}
	}
	return c
}

func mustType(t testing.TB, typ string) Type {
	t.Helper()
	parsed, err := ParseType(testColumn(typ))
	require.NoError(t, err)
	return parsed
}

// recordedValue is a line of testdata/values.jsonl: what PostgreSQL 15.18 made
// of a text put into a column of that type.
type recordedValue struct {
	Type, Input, Text, JSON   string
	Code, Error, Detail, Line string
}

func recordedValues(t testing.TB) []recordedValue {
	t.Helper()
	f, err := os.Open("testdata/values.jsonl")
	require.NoError(t, err)
	defer f.Close()
	var values []recordedValue
	for in := bufio.NewScanner(f); in.Scan(); {
		var v recordedValue
		require.NoError(t, json.Unmarshal(in.Bytes(), &v))
		v.Line = in.Text()
		values = append(values, v)
	}
	return values
}

func TestValuesAreThoseOfPostgreSQL(t *testing.T) {
	for _, v := range recordedValues(t) {
		typ := mustType(t, v.Type)
		datum, err := typ.Parse(v.Input)
		if v.Code != "" {
			var refused *Error
			if !errors.As(err, &refused) {
				t.Errorf("%s\n  not refused: %v", v.Line, datum)
				continue
			}
			if refused.Code != v.Code || refused.Message != v.Error {
				t.Errorf("%s\n  got %s %s", v.Line, refused.Code, refused.Message)
			}
			if v.Detail != "" && refused.Detail != v.Detail && !typ.isJSON() {
				t.Errorf("%s\n  got detail %s", v.Line, refused.Detail)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s\n  refused: %v", v.Line, err)
			continue
		}
		if got := typ.Text(datum); got != v.Text {
			t.Errorf("%s\n  got text %q", v.Line, got)
		}
		if got := string(typ.JSON(datum)); got != v.JSON {
			t.Errorf("%s\n  got json %s", v.Line, got)
		}
	}
}

// requireRoundTrip wants the output text of a datum to be read back as the
// same datum, and so does its Go value.
func requireRoundTrip(t testing.TB, typ Type, v any) {
	t.Helper()
	text := typ.Text(v)
	again, err := typ.Parse(text)
	require.NoError(t, err, "%s %q", typ.Name(), text)
	require.Equal(t, text, typ.Text(again))
	require.IsType(t, v, again)
	if n, ok := typ.Compare(v, again); ok {
		require.Zero(t, n, "%s %q", typ.Name(), text)
	}
	fromGo, err := typ.Datum(typ.GoValue(v))
	require.NoError(t, err, "%s %q", typ.Name(), text)
	require.Equal(t, text, typ.Text(fromGo), "from the Go value %#v", typ.GoValue(v))
	require.True(t, json.Valid(typ.JSON(v)), "%s", typ.JSON(v))
}

func TestValuesRoundTrip(t *testing.T) {
	for _, v := range recordedValues(t) {
		typ := mustType(t, v.Type)
		if datum, err := typ.Parse(v.Input); err == nil {
			requireRoundTrip(t, typ, datum)
		}
	}
}

// fuzzedTypes are the types of FuzzValue: everything that is more than text.
var fuzzedTypes = []string{
	"bool", "int2", "int4", "int8", "oid", "numeric", "numeric(5,2)", "numeric(3,-2)", "float4", "float8",
	"varchar(3)", "char(3)", "name", "char", "uuid", "bytea", "bit(4)", "varbit", "json", "jsonb",
	"timestamp", "timestamptz", "timestamptz(3)", "date", "time", "timetz", "mood", "posint", "pair",
	"int4[]", "text[]", "jsonb[]", "bytea[]", "pair[]", "timestamptz[]", "numeric[]", "timetz[]",
}

// Whatever text is put into a column is refused with an *Error or read back
// from its output as the same value.
func FuzzValue(f *testing.F) {
	for _, v := range recordedValues(f) {
		f.Add(v.Input)
	}
	f.Add("\x00")
	f.Add("\xff")
	f.Add(`"\ud800\u0041"`)
	var types []Type
	for _, name := range fuzzedTypes {
		types = append(types, mustType(f, name))
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, typ := range types {
			v, err := typ.Parse(text)
			if err != nil {
				var refused *Error
				require.ErrorAs(t, err, &refused)
				continue
			}
			requireRoundTrip(t, typ, v)
		}
		_, err := mustType(t, "pair[]").FromJSON(json.RawMessage(text)) // must not panic
		_ = err
	})
}

func TestColumnTypes(t *testing.T) {
	for spelled, want := range map[string]string{
		"int8": "int8", "BIGINT": "int8", "bigserial": "int8", "int": "int4", "double  precision": "float8",
		"numeric(12,2)": "numeric", "decimal ( 5 )": "numeric", "character varying(50)": "varchar", "char": "bpchar", `"char"`: "char",
		"timestamp with time zone": "timestamptz", "timestamp(3) with time zone": "timestamptz", "time(0) without time zone": "time",
		"bit": "bit", "bit varying(5)": "varbit", "interval day to second": "interval", "text[]": "_text", "_text": "_text",
		"int4[][3]": "_int4", "varchar(5)[]": "_varchar", "pg_catalog.int8": "int8", "public.citext": "citext", `public."Odd Type"`: "Odd Type",
		"vector(3)": "vector", "regclass": "regclass", "tstzrange": "tstzrange",
	} {
		typ, err := ParseType(Column{Type: spelled})
		require.NoError(t, err, spelled)
		require.Equal(t, want, typ.Name(), spelled)
	}
	for spelled, want := range map[string]string{
		"": "no name", "[]": "no name", "varchar(0)": "bad modifier", "varchar(x)": "bad modifier", "numeric(1001)": "bad modifier",
		"numeric(5,2000)": "bad modifier", "timestamptz(7)": "bad modifier", "int8(5)": "bad modifier", "varchar(1,2)": "bad modifier", "numeric((1)": "cannot be read",
	} {
		_, err := ParseType(Column{Type: spelled})
		require.ErrorContains(t, err, want, spelled)
	}
	mood, err := ParseType(Column{Type: "public.mood[]", Enum: []string{"sad", "ok"}})
	require.NoError(t, err)
	item, ok := mood.Elem()
	require.True(t, ok)
	require.Equal(t, "_mood", mood.Name())
	require.Equal(t, "mood", item.Name())
	posint := mustType(t, "posint")
	base := posint.Base()
	require.Equal(t, "posint", posint.Name())
	require.Equal(t, "int4", base.Name())
	_, ok = posint.Elem()
	require.False(t, ok)
}

// The order is that of PostgreSQL's btree operators, least first.
func TestOrderOfValues(t *testing.T) {
	for typ, ordered := range map[string][]string{
		"int8":         {"-9223372036854775808", "-1", "9007199254740992", "9007199254740993"},
		"numeric":      {"-Infinity", "-1.50", "0", "0.1", "1e20", "100000000000000000001", "Infinity", "NaN"},
		"float8":       {"-Infinity", "-1", "0", "1", "Infinity", "NaN"},
		"bool":         {"f", "t"},
		"text":         {"", "A", "a", "aa", "é"},
		"char(3)":      {"a", "b"},
		"mood":         {"sad", "ok", "happy"},
		"bytea":        {`\x`, `\x00`, `\x01`, `\x0100`},
		"timestamptz":  {"-infinity", "0044-03-15 BC", "2024-01-01 00:00:00+02", "2024-01-01 00:00:00+00", "infinity"},
		"date":         {"-infinity", "0044-03-15 BC", "2024-01-01", "infinity"},
		"timetz":       {"10:00:00+02", "10:00:00+01:00:01", "10:00:00+01", "09:00:00+00", "10:00:00+00"},
		"int4[]":       {"{}", "{1}", "{1,2}", "{1,NULL}", "{2}", "{{2},{3}}", "{NULL}"},
		"pair":         {"(1,a)", "(1,b)", "(1,)", "(2,a)", "(,a)"},
		"jsonb":        {"null", `"a"`, `"b"`, "1", "2", "false", "true", "[1]", "[2]", "[0,0]", `{"a":1}`, `{"a":2}`, `{"b":0}`, `{"a":1,"b":0}`},
		"uuid":         {"00000000-0000-0000-0000-000000000000", "6F1E3C56-4F0A-4A43-9A0D-6F6C3B1F2D11", "ffffffff-0000-0000-0000-000000000000"},
		"posint":       {"2", "10"},
		"numeric(9,1)": {"9.94", "9.95"},
	} {
		parsed := mustType(t, typ)
		require.True(t, parsed.Comparable(), typ)
		var datums []any
		for _, s := range ordered {
			v, err := parsed.Parse(s)
			require.NoError(t, err)
			datums = append(datums, v)
		}
		for i, a := range datums {
			for j, b := range datums {
				n, ok := parsed.Compare(a, b)
				require.True(t, ok)
				require.Equal(t, cmp.Compare(i, j), n, "%s: %s and %s", typ, ordered[i], ordered[j])
			}
		}
	}
	for _, equal := range [][3]string{{"jsonb", "1", "1.0"}, {"numeric", "1", "1.000"}, {"char(5)", "a", "a  "}, {"float8", "0", "-0"}} {
		typ := mustType(t, equal[0])
		a, _ := typ.Parse(equal[1])
		b, _ := typ.Parse(equal[2])
		n, _ := typ.Compare(a, b)
		require.Zero(t, n, "%v", equal)
	}
	for _, unordered := range []string{"json", "point", "xml", "json[]"} {
		typ := mustType(t, unordered)
		require.False(t, typ.Comparable(), unordered)
		_, ok := typ.Compare(Array{}, Array{})
		require.False(t, ok, unordered)
	}
}

type (
	named      string
	namedBytes []byte
)

type stringer struct{ s string }

func (s stringer) String() string { return s.s }

func TestGoValues(t *testing.T) {
	berlin := time.FixedZone("", 2*3600)
	at := time.Date(2024, 2, 29, 12, 34, 56, 789012345, berlin)
	seven := 7
	for _, c := range []struct {
		typ  string
		in   any
		want string // "NULL": nil
	}{
		{"int8", nil, "NULL"}, {"int8", (*int)(nil), "NULL"}, {"int8", &seven, "7"}, {"int2", uint8(200), "200"}, {"int8", int64(math.MinInt64), "-9223372036854775808"},
		{"numeric", uint64(math.MaxUint64), "18446744073709551615"}, {"numeric", json.Number("1.50"), "1.50"}, {"numeric", "1.50", "1.50"},
		{"numeric", new(big.Int).Exp(big.NewInt(10), big.NewInt(40), nil), "10000000000000000000000000000000000000000"}, {"numeric", (*big.Int)(nil), "NULL"},
		{"numeric", 0.1, "0.1"}, {"float4", float32(0.1), "0.1"}, {"float8", math.Inf(-1), "-Infinity"}, {"bool", true, "t"},
		{"text", named("n"), "n"}, {"text", stringer{"s"}, "s"}, {"text", &stringer{"p"}, "p"}, {"text", 5, "5"}, {"text", []byte("raw"), "raw"}, {"text", []byte(nil), "NULL"},
		{"bytea", []byte{0xde, 0xad}, `\xdead`}, {"bytea", []byte{}, `\x`}, {"bytea", `\xdead`, `\xdead`},
		{"timestamptz", at, "2024-02-29 10:34:56.789012+00"}, {"timestamp", at, "2024-02-29 12:34:56.789012"}, {"date", at, "2024-02-29"}, {"time", at, "12:34:56.789012"}, {"timetz", at, "12:34:56.789012+02"},
		{"timestamptz", &at, "2024-02-29 10:34:56.789012+00"}, {"timestamptz", (*time.Time)(nil), "NULL"}, {"bytea", namedBytes{1}, `\x01`}, {"jsonb", json.RawMessage(nil), "NULL"},
		{"text", at, "2024-02-29 10:34:56.789012+00"}, {"jsonb", at, `"2024-02-29T12:34:56.789012345+02:00"`}, {"timestamptz", time.Time{}, "0001-01-01 00:00:00+00"},
		{"interval", 90 * time.Minute, "01:30:00"}, {"interval", -1500 * time.Millisecond, "-00:00:01.5"}, {"int8", time.Second, "1000000000"},
		{"jsonb", map[string]any{"b": 1, "a": nil}, `{"a": null, "b": 1}`}, {"json", json.RawMessage(`{"b": 1}`), `{"b": 1}`}, {"jsonb", json.RawMessage("null"), "null"}, {"jsonb", `"text"`, `"text"`},
		{"jsonb", []int{1, 2}, "[1, 2]"}, {"jsonb", struct{ A int }{1}, `{"A": 1}`}, {"jsonb", map[string]any{"a": 1}, `{"a": 1}`}, {"int8", json.RawMessage("7"), "7"}, {"int8", json.RawMessage(`"7"`), "7"}, {"int8", json.RawMessage("null"), "NULL"},
		{"int4[]", []int{1, 2}, "{1,2}"}, {"int4[]", []*int{&seven, nil}, "{7,NULL}"}, {"int4[]", [][]int{{1}, {2}}, "{{1},{2}}"}, {"int4[]", []int(nil), "NULL"}, {"int4[]", [2]int{1, 2}, "{1,2}"}, {"int4[]", [][]int{{}, {}}, "{}"},
		{"text[]", []any{"a,b", nil, "NULL"}, `{"a,b",NULL,"NULL"}`}, {"bytea[]", [][]byte{{1}}, `{"\\x01"}`}, {"jsonb[]", []any{json.RawMessage("[1]"), json.RawMessage("null")}, `{[1],"null"}`}, {"uuid[]", []string{"6F1E3C56-4F0A-4A43-9A0D-6F6C3B1F2D11"}, "{6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11}"},
		{"pair", map[string]any{"a": 1, "b": "x"}, "(1,x)"}, {"pair", map[string]any{"a": 1}, "(1,)"}, {"pair", "(1,x)", "(1,x)"},
		{"int4[]", json.RawMessage("[[1],[null]]"), "{{1},{NULL}}"}, {"pair[]", json.RawMessage(`[{"a":1,"b":"x","c":true},null]`), `{"(1,x)",NULL}`}, {"text", json.RawMessage(`{"a": 1}`), `{"a": 1}`},
	} {
		typ := mustType(t, c.typ)
		v, err := typ.Datum(c.in)
		require.NoError(t, err, "%s %v", c.typ, c.in)
		if c.want == "NULL" {
			require.Nil(t, v, "%s %v", c.typ, c.in)
			continue
		}
		require.NotNil(t, v, "%s %v", c.typ, c.in)
		require.Equal(t, c.want, typ.Text(v), "%s %v", c.typ, c.in)
	}
	for _, c := range []struct {
		typ, want string
		in        any
	}{
		{"int8", "type func()", func() {}}, {"int8", "type []int", []int{1}}, {"int8", "map[string]int", map[string]int{}}, {"int2", "out of range", 70000},
		{"jsonb", "has no JSON", map[string]any{"f": func() {}}}, {"int4[]", "matching dimensions", [][]int{{1}, {2, 3}}}, {"int4[]", "matching dimensions", json.RawMessage("[[1],[2,3]]")},
		{"int4[]", "malformed JSON array", json.RawMessage("[[1],2]")}, {"timestamptz", "out of range", time.Date(300000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"jsonb", "year outside of range", time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)}, {"int4[]", "exceeds the maximum", json.RawMessage("[[[[[[[1]]]]]]]")}, {"text", "low surrogate", json.RawMessage(`"\ud800"`)},
	} {
		_, err := mustType(t, c.typ).Datum(c.in)
		require.ErrorContains(t, err, c.want, "%s %v", c.typ, c.in)
	}
}
