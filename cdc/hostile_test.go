package cdc_test

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/cputime"
	"github.com/gapless-go/gapless/internal/rowjson"
)

// payload is an INSERT with members of the data in this order.
func payload(members ...string) []byte {
	return []byte(`{"data":{` + strings.Join(append(members, `"commit_timestamp":"2026-01-01T00:00:00Z"`, `"schema":"public"`, `"table":"t"`, `"type":"INSERT"`), ",") + `},"ids":[1]}`)
}

const abColumns = `"columns":[{"name":"a","type":"int4"},{"name":"b","type":"int4"}]`

// What is no JSON is an error, wherever a key is looked for, and none of what
// follows panics.
func TestDecode_NoJSONWhereAKeyIs(t *testing.T) {
	for _, row := range []string{"{\"a\":1,\"b\":2,\x003}", "{\"a\":1,\"b\":2,\x003,\"a\":4}", "{\x003}", `{"x"y":3}`, "{\"x\ny\":3}", "{\"a\"\x00:1}"} {
		for _, columns := range []string{abColumns, `"columns":[]`, `"columns":[{"name":"x\"y","type":"int4"},{"name":"x\ny","type":"int4"}]`} {
			_, _, err := cdc.Decode(payload(columns, `"record":`+row))
			require.Error(t, err, "%s %q", columns, row)
			_, err = cdc.As[map[string]any](cdc.Change{Op: cdc.Insert, Columns: []cdc.Column{{Name: "a", Type: "int4"}, {Name: "b", Type: "int4"}}, Record: json.RawMessage(row)})
			require.Error(t, err, "%q", row)
		}
	}
}

// Names that have to be escaped are names as others are.
func TestDecode_NamesWithEscapes(t *testing.T) {
	names := []string{`a":1,"b`, `a"`, "a\nb", `a\b`, "é", `t\u0041`}
	for _, name := range names {
		key, err := json.Marshal(name)
		require.NoError(t, err)
		c, _, err := cdc.Decode(payload(`"columns":[{"name":`+string(key)+`,"type":"int4"},{"name":"a","type":"int4"},{"name":"b","type":"int4"}]`, `"record":{"a":1,"b":2,`+string(key)+`:3}`))
		require.NoError(t, err, name)
		require.Empty(t, c.Missing)
		e, err := cdc.As[map[string]int](c)
		require.NoError(t, err)
		require.Equal(t, map[string]int{"a": 1, "b": 2, name: 3}, e.New)
	}
	for range 2 { // the last name of a table is remembered
		for literal, want := range map[string]string{`"t\\u0041"`: `t\u0041`, `"t\u0041"`: "tA", `"t\\nb"`: `t\nb`, `"t\nb"`: "t\nb"} {
			c, _, err := cdc.Decode([]byte(strings.Replace(string(payload(abColumns, `"record":{"a":1,"b":2}`)), `"t"`, literal, 1)))
			require.NoError(t, err)
			require.Equal(t, want, c.Table)
		}
	}
}

// Of what comes twice the last counts, whatever came between.
func TestDecode_MembersTwice(t *testing.T) {
	const ba = `"columns":[{"name":"b","type":"text"},{"name":"a","type":"text"}]`
	const ab = `"columns":[{"name":"a","type":"text"},{"name":"b","type":"text"}]`
	const long = `{"a":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","b":"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"}`
	type row struct{ A, B string }
	for name, members := range map[string][]string{
		"columns behind": {`"record":` + long, ab}, "columns again": {ab, `"record":` + long, ba}, "fewer": {ab, `"record":` + long, `"columns":[{"name":"a","type":"text"},{"name":"b","type":"text"}]`},
		"unreadable first": {`"columns":7`, ab, `"record":` + long}, "the row again": {ab, `"record":{"a":"1"}`, `"record":` + long},
		"the old row before": {`"old_record":{"a":"1"}`, ab, `"record":` + long}, "a blank": {strings.Replace(ab, ":[", ": [", 1), `"record":` + long},
	} {
		for range 2 {
			c, _, err := cdc.Decode(payload(members...))
			require.NoError(t, err, name)
			require.Empty(t, c.Missing, name)
			e, err := cdc.As[row](c)
			require.NoError(t, err, name)
			require.Equal(t, row{strings.Repeat("x", 30), strings.Repeat("y", 30)}, e.New, name)
			old, err := cdc.As[row](cdc.Change{Op: cdc.Insert, Columns: c.Columns, Record: c.Record})
			require.NoError(t, err)
			require.Equal(t, e.New, old.New)
		}
	}
	c, _, err := cdc.Decode(payload(ab, `"record":`+long, `"columns":[{"name":"b","type":"text"}]`))
	require.NoError(t, err)
	_, err = cdc.As[map[string]string](c)
	require.NoError(t, err)
	update := []byte(strings.Replace(string(payload(`"old_record":{"a":"1"}`, ab, `"record":`+long)), "INSERT", "UPDATE", 1))
	c, _, err = cdc.Decode(update)
	require.NoError(t, err)
	e, err := cdc.As[row](c)
	require.NoError(t, err)
	require.Equal(t, "1", e.Old.A, "a row from before the columns")
}

// A member that comes again and again costs what it is long.
func TestDecode_TheCostIsLinear(t *testing.T) {
	for _, member := range []string{`"record":{"a":1}`, `"old_record":{"a":1}`, abColumns} {
		members := []string{abColumns}
		for range 2_000 {
			members = append(members, member)
		}
		text := payload(append(members, `"record":{"a":1,"b":2}`)...)
		require.Less(t, allocated(func() { _, _, _ = cdc.Decode(text) }), 16*len(text), member)
	}
	type tagged struct{ Tags []string }
	c := cdc.Change{Op: cdc.Insert, Columns: []cdc.Column{{Name: "tags", Type: "_text"}}, Record: json.RawMessage(`{"tags":null}`)}
	require.Less(t, allocated(func() { _, _ = cdc.As[tagged](c) }), 512, "a null has no text")
}

// allocated returns how many bytes a call of f allocates, behind the first.
func allocated(f func()) int {
	const calls = 10
	var before, after runtime.MemStats
	f()
	runtime.ReadMemStats(&before)
	for range calls {
		f()
	}
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc-before.TotalAlloc) / calls
}

func TestAppendCanonical_OfDeepArraysIsLinear(t *testing.T) {
	deep := strings.Repeat("[", 5000) + strings.Repeat("1,", 20_000) + "1" + strings.Repeat("]", 5000)
	used := cputime.Used()
	rowjson.AppendCanonical(nil, "_int4", []byte(deep))
	require.Less(t, cputime.Used()-used, 300*time.Millisecond) // it is 10 ms, and where each level reads it all over a second
	again := rowjson.AppendCanonical(nil, "_int4", []byte(strings.ReplaceAll(deep, ",", ", ")))
	require.Equal(t, rowjson.AppendCanonical(nil, "_int4", []byte(deep)), again)
}
