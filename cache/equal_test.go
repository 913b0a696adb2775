package cache

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

func equalAs[T any](t *testing.T, typ, a, b string) bool {
	t.Helper()
	q := newEquality[T]()
	columns := []cdc.Column{{Name: "id", Type: "int8"}, {Name: "v", Type: typ}}
	q.know(columns)
	as := func(text string) T {
		e, err := cdc.As[T](cdc.Change{Op: cdc.Insert, Columns: columns, Record: json.RawMessage(`{"id":1,"v":` + text + `}`)})
		require.NoError(t, err)
		return e.New
	}
	x, y := as(a), as(b)
	require.Equal(t, q.equal(x, y), q.equal(y, x))
	require.True(t, q.equal(x, as(a)))
	return q.equal(x, y)
}

type withV[V any] struct {
	ID int64 `json:"id"`
	V  V     `json:"v"`
}

// Rows are equal by what their columns are, however they were written.
func TestEqualityIsByTheColumnsValue(t *testing.T) {
	for _, c := range []struct {
		typ, a, b string
		want      bool
	}{
		{"json", `{"k": 1, "a": [1, 2]}`, `{"a":[1,2],"k":1}`, true},
		{"json", `{"k":1,"k":2}`, `{"k":2}`, true},
		{"jsonb", `{"k": 1.0}`, `{"k":1}`, true},
		{"jsonb", `{"k": 1}`, `{"k":2}`, false},
		{"_text", `["a", "b"]`, `["a","b"]`, true},
		{"_text", `["a", "b"]`, `["b","a"]`, false},
		{"_float8", `[1e21]`, `[1000000000000000000000]`, true},
		{"float8", `1e21`, `1000000000000000000000`, true},
		{"float8", `"NaN"`, `"NaN"`, true},
		{"float8", `0.5`, `0.25`, false},
		{"bytea", `"cafe"`, `"\\xcafe"`, true},
		{"bytea", `"cafe"`, `"\\xcaff"`, false},
		{"box", `{"x":1, "y":2}`, `{"y":2,"x":1}`, true},
		{"text", `"cafe"`, `"\\xcafe"`, false},
		{"text", `"1.0"`, `"1"`, false},
	} {
		require.Equal(t, c.want, equalAs[withV[json.RawMessage]](t, c.typ, c.a, c.b), c)
		require.Equal(t, c.want, equalAs[withV[any]](t, c.typ, c.a, c.b), c)
		require.Equal(t, c.want, equalAs[map[string]any](t, c.typ, c.a, c.b), c)
		require.Equal(t, c.want, equalAs[map[string]json.RawMessage](t, c.typ, c.a, c.b), c)
		require.Equal(t, c.want, equalAs[*withV[*json.RawMessage]](t, c.typ, c.a, c.b), c)
		if c.a[0] == '"' || c.typ == "float8" {
			require.Equal(t, c.want, equalAs[withV[string]](t, c.typ, c.a, c.b), c)
			require.Equal(t, c.want, equalAs[withV[*string]](t, c.typ, c.a, c.b), c)
		}
	}
	require.True(t, equalAs[withV[json.Number]](t, "float8", "1e21", "1000000000000000000000"))
	require.True(t, equalAs[withV[float32]](t, "float4", `"NaN"`, `"NaN"`))
	require.True(t, equalAs[withV[[]float64]](t, "_float8", `["NaN", null]`, `["NaN",null]`))
	require.False(t, equalAs[withV[*float64]](t, "float8", `"NaN"`, `null`))
	require.True(t, equalAs[withV[time.Time]](t, "timestamptz", `"2024-01-01T00:00:00+00:00"`, `"2024-01-01T01:00:00+01:00"`))
	require.True(t, equalAs[withV[string]](t, "timestamptz", `"2024-01-01T00:00:00+00:00"`, `"2024-01-01T01:00:00+01:00"`))
	require.True(t, newEquality[struct{ V float64 }]().equal(struct{ V float64 }{math.NaN()}, struct{ V float64 }{math.NaN()}))
}

// An equal row stays in the form that it has, for readers of views and of Get alike.
func TestAnEqualRowIsNotReplaced(t *testing.T) {
	c := newCore[int, withV[json.RawMessage]](func(r withV[json.RawMessage]) int { return int(r.ID) }, 0)
	row := func(text string) *entry[int, withV[json.RawMessage]] {
		return &entry[int, withV[json.RawMessage]]{value: withV[json.RawMessage]{1, json.RawMessage(text)}}
	}
	c.put(1, row(`{"a":1}`), CauseStream)
	c.put(1, row(`{"a": 1}`), CauseResync)
	require.Len(t, c.net, 1)
	e, _ := c.rows.Peek(1)
	require.JSONEq(t, `{"a":1}`, string(e.value.V))
	require.Len(t, string(e.value.V), 7)
}

func TestKeysHaveTheTextOfTheRESTAPI(t *testing.T) {
	for _, c := range [][3]string{
		{"bytea", `"cafe"`, `"\\xcafe"`}, {"bytea", `"\\xcafe"`, `"\\xcafe"`}, {"bytea", `""`, `"\\x"`},
		{"float8", "1000000000000000000000", "1e+21"}, {"float8", "0.1", "0.1"}, {"float8", "100000000000000", "100000000000000"},
		{"float8", "1000000000000000", "1e+15"}, {"float8", "0.0001", "0.0001"}, {"float8", "0.00001", "1e-05"}, {"float8", "0", "0"},
		{"float8", "123456789012345680", "1.2345678901234568e+17"}, {"float4", "1000000", "1e+06"}, {"float4", "0.1", "0.1"}, {"float8", `"NaN"`, `"NaN"`},
		{"float8", "null", "null"},
	} {
		row := `{"a":1, "k": ` + c[1] + ` ,"b":2}`
		require.Equal(t, `{"a":1, "k": `+c[2]+` ,"b":2}`, string(withText(json.RawMessage(row), cdc.Column{Name: "k", Type: c[0]})))
	}
}
