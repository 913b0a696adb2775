package cdc_test

import (
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/garblings"
)

// userMade are the types of the tables that PostgreSQL does not bring. Their
// names say nothing of what they are made of.
var userMade = []string{"mood", "pair", "kept", "textrange", "textmultirange", "citext", "hstore"}

// known reports whether the name of a column's type says what it is made of.
func known(c garblings.Column) bool {
	return c.Shape == garblings.Array || c.Shape == garblings.DomainArray || c.Shape == garblings.Scalar && (c.Of == "citext" || c.Of == "hstore" || !slices.Contains(userMade, c.Of))
}

// Caveat agrees with what becomes of each value of each type, and no value
// that it does not warn of is garbled.
func TestGarblings_Caveat(t *testing.T) {
	seen := map[cdc.Caveat]map[string]bool{}
	for _, v := range garblings.Values() {
		c := cdc.Column{Name: "v", Type: v.Name}
		if seen[c.Caveat()] == nil {
			seen[c.Caveat()] = map[string]bool{}
		}
		switch v.Garbling {
		case garblings.Cut:
			require.Equal(t, cdc.Truncated, c.Caveat(), "%+v", v)
		case garblings.Null:
			require.Equal(t, cdc.NullOrNaN, c.Caveat(), "%+v", v)
		case garblings.JSONNull:
			if known(v.Column) && v.Shape != garblings.DomainArray {
				require.Equal(t, cdc.NullOrJSONNull, c.Caveat(), "%+v", v)
			}
		case garblings.Hex, garblings.Bounds, garblings.Zero, garblings.Normalized, garblings.None, garblings.Lost:
			continue // not for a program to act on
		default:
			t.Errorf("%q is no garbling", v.Garbling)
		}
		seen[c.Caveat()][v.Name] = true
	}
	// And it warns of no type of which no value is garbled so.
	for _, v := range garblings.Values() {
		if caveat := (cdc.Column{Type: v.Name}).Caveat(); caveat != cdc.Intact {
			require.True(t, seen[caveat][v.Name], "%v: %s", caveat, v.Name)
		}
	}
}

// A value that may differ from REST's is doubtful, and one that is certain is
// REST's.
func TestGarblings_Doubtful(t *testing.T) {
	doubtful := 0
	for _, v := range garblings.Values() {
		if v.Garbling == garblings.Lost || v.Name == "bytea" {
			continue
		}
		c := cdc.Column{Name: "v", Type: v.Name}
		if c.Doubtful(json.RawMessage(v.Wire)) {
			doubtful++
			require.NotContains(t, []garblings.Garbling{garblings.JSONNull, garblings.Normalized, garblings.Zero}, v.Garbling, "%+v", v)
		} else {
			require.NotContains(t, []garblings.Garbling{garblings.Cut, garblings.Null}, v.Garbling, "%+v", v)
		}
		require.False(t, c.Caveat() != cdc.NullOrNaN && c.Doubtful(json.RawMessage("null")), v.Name)
	}
	require.Greater(t, doubtful, 40)
}

// A type is Truncated if two of its values arrive as one; the values that are
// null, or differ by their bounds, are left out.
func TestGarblings_Keys(t *testing.T) {
	type arrival struct{ name, of, wire string }
	arrivals := map[arrival]string{}
	merged := map[string]bool{}
	for _, v := range garblings.Values() {
		if v.Garbling == garblings.Lost || v.Garbling == garblings.Bounds || v.Garbling == garblings.JSONNull || v.Wire == "null" || v.Wire == "[null]" || v.Of == "json" || strings.Contains(v.Output, "-0") {
			continue
		}
		a := arrival{v.Name, v.Of, v.Wire}
		if other, ok := arrivals[a]; ok && other != v.Output {
			merged[v.Name] = true
		}
		arrivals[a] = v.Output
	}
	require.Len(t, merged, 4, "%v", merged)
	for _, v := range garblings.Values() {
		require.Equal(t, merged[v.Name], cdc.Column{Name: "k", Type: v.Name}.Caveat() == cdc.Truncated, v.Name)
	}
}

// SQLColumn knows the SQL of each type.
func TestGarblings_SQLColumn(t *testing.T) {
	for _, v := range garblings.Values() {
		sql := v.SQL()
		if v.Of == "bpchar" { // no name of a type without a length, but in pg_type
			continue
		}
		got := cdc.SQLColumn("v", sql)
		require.Equal(t, cdc.Column{Name: "v", Type: v.Name}, got, sql)
	}
	for sql, name := range map[string]string{
		"public.mood": "mood", `other."a.b"`: "a.b", `"a""b"`: `a"b`, "integer[]": "_int4", "text[][]": "_text",
		"timestamp(3) with time zone": "timestamptz", "character varying(50)[]": "_varchar", "interval(3)": "interval",
	} {
		require.Equal(t, name, cdc.SQLColumn("c", sql).Type, sql)
	}
}

// For refuses what poisons and takes what works, wherever the type's name says
// what the type is.
func TestGarblings_Filters(t *testing.T) {
	refused := 0
	for _, f := range garblings.Filters() {
		filter, ok := filterOf(f)
		if !ok {
			continue
		}
		got, err := filter.For("t", []cdc.Column{{Name: "v", Type: f.Name}})
		if !known(f.Column) {
			require.NoError(t, err, "%+v", f)
			continue
		}
		if f.Verdict == garblings.Poisons {
			refused++
			var e *cdc.ColumnError
			require.ErrorAs(t, err, &e, "%+v", f)
			require.Equal(t, "t", e.Table)
			require.Equal(t, f.Name, e.Type)
		} else if f.Verdict != garblings.Refused {
			require.NoError(t, err, "%+v", f)
			again, err := got.For("t", nil)
			require.NoError(t, err)
			require.Equal(t, got, again)
		}
	}
	require.Greater(t, refused, 500)
}

// filterOf makes a filter of a line, of which the server does not see to it
// that it is refused.
func filterOf(f garblings.Filter) (cdc.Filter, bool) {
	var value any = cdc.Literal("x")
	if f.Name == "bytea" {
		value = []byte("x")
	}
	ops := map[string]func(string, any) cdc.Filter{
		"eq": cdc.Eq, "neq": cdc.Neq, "lt": cdc.Lt, "lte": cdc.Lte, "gt": cdc.Gt, "gte": cdc.Gte, "isdistinct": cdc.IsDistinct,
		"in":    func(c string, v any) cdc.Filter { return cdc.In(c, v) },
		"is":    func(c string, _ any) cdc.Filter { return cdc.IsNull(c) },
		"like":  func(c string, _ any) cdc.Filter { return cdc.Like(c, "x") },
		"ilike": func(c string, _ any) cdc.Filter { return cdc.ILike(c, "x") },
		"match": func(c string, _ any) cdc.Filter { return cdc.Match(c, "x") }, "imatch": func(c string, _ any) cdc.Filter { return cdc.IMatch(c, "x") },
	}
	return ops[f.Operator]("v", value), f.Verdict != garblings.Refused
}

// What Caveat does not warn of decodes to what SELECT gives: as text where the
// value is text, a number or a time, and as the same JSON where it is JSON.
func TestGarblings_IntactDecodesToWhatSelectGives(t *testing.T) {
	n := 0
	for _, v := range garblings.Values() {
		column := cdc.Column{Name: "v", Type: v.Name}
		if v.Garbling == garblings.Lost || column.Doubtful(json.RawMessage(v.Wire)) {
			continue
		}
		payload := `{"ids":[1],"data":{"schema":"public","table":"t","type":"INSERT","commit_timestamp":"2024-01-02T03:04:05.678Z","errors":null,` +
			`"columns":[{"name":"v","type":` + quote(v.Name) + `}],"record":{"v":` + v.Wire + `}}}`
		change, _, err := cdc.Decode([]byte(payload))
		require.NoError(t, err, "%+v", v)
		n++
		if v.Shape != garblings.Scalar && v.Shape != garblings.Domain || slices.Contains([]string{"json", "jsonb", "hstore", "pair", "kept", "int2vector", "oidvector"}, v.Of) {
			e, err := cdc.As[struct {
				V json.RawMessage `json:"v"`
			}](change)
			require.NoError(t, err, "%+v", v)
			require.Equal(t, canonical(t, v.REST), canonical(t, string(e.New.V)), "%+v", v)
			continue
		}
		e, err := cdc.As[struct {
			V string `json:"v"`
		}](change)
		if v.Of == "boolean" || isNumber(v.Of) && err != nil {
			var boolean struct {
				V any `json:"v"`
			}
			require.NoError(t, json.Unmarshal(change.Record, &boolean))
			require.Equal(t, v.Output == "t", boolean.V, "%+v", v)
			continue
		}
		require.NoError(t, err, "%+v", v)
		got := e.New.V
		switch {
		case isNumber(v.Of) && !strings.Contains(v.Output, "N") && !strings.Contains(v.Output, "I"):
			require.Equal(t, canonical(t, v.Output), canonical(t, got), "%+v", v)
			continue
		case strings.HasPrefix(v.Of, "timestamp"):
			got = strings.Replace(got, "+00:00", "+00", 1)
			if got[0] != 'i' && got[0] != '-' {
				got = strings.Replace(got, "T", " ", 1)
			}
		}
		require.Equal(t, v.Output, got, "%+v", v)
	}
	require.Greater(t, n, 1900)
}

func isNumber(of string) bool {
	return slices.Contains([]string{"smallint", "integer", "bigint", "real", "double precision"}, of) || strings.HasPrefix(of, "numeric")
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// canonical reads JSON so that numbers that are equal are, however they are
// written.
func canonical(t *testing.T, text string) any {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	require.NoError(t, d.Decode(&v), text)
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case json.Number:
			r, ok := new(big.Rat).SetString(v.String())
			require.True(t, ok, v)
			return "number " + r.RatString()
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = walk(v[k])
			}
		}
		return v
	}
	return walk(v)
}
