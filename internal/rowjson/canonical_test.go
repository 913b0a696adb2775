package rowjson

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/cputime"
)

func canonical(typ, raw string) string { return string(AppendCanonical(nil, typ, []byte(raw))) }

// TestCanonical has, for each type, groups of texts: those of a group are one
// value, those of different groups are not.
func TestCanonical(t *testing.T) {
	for typ, groups := range map[string][][]string{
		"int8":        {{"0", "-0"}, {"1"}, {"-1"}, {"9007199254740993"}, {"9007199254740992"}, {"null"}, {"9223372036854775807"}},
		"numeric":     {{"0", "0.00", "-0.0", "0e5"}, {"1", "1.00", "1e0", "10e-1", "0.1e1", "0.001E+3"}, {"-1", "-1.0"}, {"1.5", "1.50", "15e-1"}, {"100", "1e2", "1E+2", "100.000"}, {`"NaN"`}, {`"Infinity"`}, {`"-Infinity"`}, {"null"}, {"0.1"}, {"0.01", "0.010"}, {"1e400", "1" + strings.Repeat("0", 400)}, {"1e99999999999999999999"}, {"123456789.123456789", "123456789.1234567890"}},
		"float8":      {{"0", "-0", "0.0", "-0.0", "0e-3"}, {"0.1", "1e-1", "0.10"}, {"1e300", "1" + strings.Repeat("0", 300), "1E+300"}, {`"NaN"`}, {`"Infinity"`}, {`"-Infinity"`}, {"9007199254740993", "9007199254740992"}, {"null"}},
		"float4":      {{"0.1", "0.10000000149"}, {"16777216", "16777217"}, {"-0", "0"}},
		"bool":        {{"true"}, {"false"}, {"null"}},
		"oid":         {{`"42"`, "42"}, {`"43"`}},
		"text":        {{`"a"`, `"\u0061"`}, {`"A"`}, {`"1"`}, {`"1.0"`}, {`""`}, {"null"}, {`"null"`}, {`"\ud83d\ude00"`, `"😀"`}, {`"a "`}},
		"bpchar":      {{`"a"`, `"a   "`}, {`"b"`}, {`""`, `"  "`}},
		"mood":        {{`"a"`, `"\u0061"`}, {`"b"`}, {"1", "1.0"}, {`"1"`}, {"true"}, {`"t"`}},
		"uuid":        {{`"00000000-0000-0000-0000-000000000001"`}, {`"00000000-0000-0000-0000-000000000002"`}},
		"bytea":       {{`"dead"`, `"\\xdead"`, `"DEAD"`}, {`""`, `"\\x"`}, {`"00"`, `"\\x00"`}, {"null"}},
		"timestamptz": {{`"2024-02-29T12:00:00+00:00"`, `"2024-02-29 14:00:00+02"`, `"2024-02-29T12:00:00.000Z"`, `"2024-02-29T12:00:00\u002b00:00"`}, {`"2024-02-29T12:00:00.000001+00:00"`}, {`"infinity"`}, {`"-infinity"`}, {`"0044-03-15T00:00:00+00:00 BC"`}, {`"0044-03-15T00:00:00+00:00"`}, {`"294276-12-31T23:59:59.999999+00:00"`}, {"null"}},
		"timestamp":   {{`"2024-02-29T12:00:00"`, `"2024-02-29 12:00:00"`}, {`"2024-02-29T12:00:01"`}},
		"date":        {{`"2024-02-29"`}, {`"2024-03-01"`}, {`"infinity"`}},
		"interval":    {{`"30 days"`}, {`"1 mon"`}},
		"json": {{`{"a":1,"b":[1,2]}`, ` {"b": [1.0, 2], "a": 1}`[1:], `{"b":1,"a":7,"b":[1,2],"a":1.00}`}, {`{"a":1,"b":[2,1]}`}, {`{"a":1}`}, {`{}`}, {`[]`}, {`""`}, {`"a"`}, {"1", "1.0"}, {`"1"`}, {"null"}, {"true"}, {`[null]`}, {`{"a":null}`}, {`[[1],[2]]`}, {`[[1,2]]`}, {`["a","b"]`}, {`["a\",\"b"]`}, {"-0", "0"}, {"1e400", "1" + strings.Repeat("0", 400)},
			{`{"aa":{"y":1,"x":2},"b":3}`, `{"b":3,"aa":{"x":2,"y":1}}`}},
		"_int4":        {{"[1, 2]", "[1,2]"}, {"[2,1]"}, {"[[1,2]]"}, {"[]"}, {"[1,2,null]"}, {"null"}},
		"_numeric":     {{`[1.0,"NaN"]`, `[1,"NaN"]`}, {`[1,null]`}},
		"_text":        {{`["a","b"]`}, {`["a,b"]`}, {`["a","null"]`}, {`["a",null]`}},
		"_timestamptz": {{`["2024-02-29T12:00:00+00:00"]`, `["2024-02-29T13:00:00+01:00"]`}},
		"_bytea":       {{`["\\xdead"]`, `["dead"]`}},
		"_jsonb":       {{`[{"a":1,"b":2}]`, `[{"b":2,"a":1}]`}},
		"pair":         {{`{"a":1.50,"b":"x"}`, `{"b": "x", "a": 1.5}`}, {`{"a":1.5,"b":"y"}`}},
		"int4range":    {{`"[1,5)"`}, {`"[1,6)"`}, {`"empty"`}},
	} {
		seen := map[string]string{}
		for _, group := range groups {
			want := canonical(typ, group[0])
			for _, raw := range group {
				require.Equal(t, want, canonical(typ, raw), "%s: %s and %s", typ, group[0], raw)
			}
			require.NotContains(t, seen, want, "%s: %s", typ, group[0])
			seen[want] = group[0]
		}
	}
}

// TestCanonical_IsSelfDelimiting: forms that are joined say where each ends.
func TestCanonical_IsSelfDelimiting(t *testing.T) {
	require.NotEqual(t, canonical("text", `"a"`)+canonical("text", `"bc"`), canonical("text", `"ab"`)+canonical("text", `"c"`))
	require.NotEqual(t, canonical("int4", "1")+canonical("int4", "23"), canonical("int4", "12")+canonical("int4", "3"))
}

func TestCanonical_CostIsLinear(t *testing.T) {
	const levels = 9000
	deep := strings.Repeat(`{"b":1,"a":`, levels) + `"` + strings.Repeat("x", 1<<20) + `"` + strings.Repeat("}", levels)
	began := cputime.Used()
	_ = canonical("json", deep)
	require.Less(t, cputime.Used()-began, 5*time.Second)
	_ = canonical("numeric", strings.Repeat("0", 1)+"."+strings.Repeat("0", 1<<20)+"e-999999999999")
}

func FuzzCanonical(f *testing.F) {
	f.Add("json", []byte(`{"b":[1.50,{"a":"\ud83d"}],"a":1e5,"b":2}`))
	f.Add("numeric", []byte("-0012.500e-7"))
	f.Fuzz(func(t *testing.T, typ string, raw []byte) {
		c := Cursor{Text: raw}
		v := c.Value()
		if c.End() != nil {
			return
		}
		form := AppendCanonical(nil, typ, v)
		require.NotEmpty(t, form)
		require.LessOrEqual(t, len(form), 16*len(v)+16)
	})
}
