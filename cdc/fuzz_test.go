package cdc_test

import (
	"database/sql"
	"encoding/json"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/cputime"
	"github.com/gapless-go/gapless/internal/phoenix"
)

func FuzzDecode(f *testing.F) {
	f.Add([]byte(update))
	f.Add([]byte(`{"ids":[],"data":{"schema":"s","table":"t","type":"DELETE","columns":[],"old_record":{},"errors":["Error 401: Unauthorized"]}}`))
	f.Add([]byte(`{"schema":"s","table":"t","operation":"INSERT","record":{"a":1}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var c cdc.Change
		var err error
		withinBudget(t, len(payload), func() { c, _, err = cdc.Decode(payload) })
		if err == nil {
			checkDecoded(t, payload, c)
		}
		c, err = cdc.DecodeBroadcast(payload)
		if err == nil {
			checkDecoded(t, payload, c)
		}
	})
}

// checkDecoded checks what holds for every change that was decoded, and compares
// it with what encoding/json reads.
func checkDecoded(t testing.TB, payload []byte, c cdc.Change) {
	t.Helper()
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(payload, &members))
	opKey := "operation"
	if data, ok := members["data"]; ok && c.Columns != nil {
		opKey, members = "type", nil
		require.NoError(t, json.Unmarshal(data, &members))
	}
	text := func(key string) (s string) {
		require.NoError(t, json.Unmarshal(members[key], &s))
		require.NotEmpty(t, s)
		return s
	}
	require.Equal(t, text("schema"), c.Schema)
	require.Equal(t, text("table"), c.Table)
	require.Equal(t, text(opKey), c.Op.String())
	require.Equal(t, c.Op == cdc.Delete, c.Record == nil)
	var row map[string]json.RawMessage
	if c.Record != nil {
		require.Equal(t, string(members["record"]), string(c.Record))
		require.NoError(t, json.Unmarshal(c.Record, &row))
	}
	if c.OldRecord != nil {
		require.Equal(t, string(members["old_record"]), string(c.OldRecord))
	}
	if c.Columns != nil {
		var columns []map[string]any
		require.NoError(t, json.Unmarshal(members["columns"], &columns))
		require.Len(t, c.Columns, len(columns))
		var missing []string
		for i, column := range columns {
			require.Equal(t, cdc.Column{Name: column["name"].(string), Type: column["type"].(string)}, c.Columns[i])
			if _, ok := row[c.Columns[i].Name]; !ok && c.Op != cdc.Delete {
				missing = append(missing, c.Columns[i].Name)
			}
		}
		require.Equal(t, missing, c.Missing)
	}
	m, err := cdc.As[map[string]json.RawMessage](c)
	if c.Incomplete() == cdc.Complete {
		require.NoError(t, err)
	}
	require.Equal(t, row, m.New)
}

// withinBudget fails if f, which reads n bytes of text, takes more of the
// processors' time or memory than they may cost. Both have room for a slow machine
// and for what other tests do meanwhile.
func withinBudget(t testing.TB, n int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := cputime.Used()
	f()
	took := cputime.Used() - began
	runtime.ReadMemStats(&after)
	require.Less(t, took, 2*time.Second+time.Duration(n)*10*time.Microsecond)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(n)*100+4<<20)
}

// kinds has a field for each way there is to decode a value.
type kinds struct {
	I   int
	I8  int8
	U   uint
	U8  *uint8
	F   float64
	F32 float32
	B   bool
	S   string
	N   json.Number
	Big big.Int
	Rat *big.Rat
	Dec decimal.NullDecimal
	T   time.Time
	NT  sql.NullTime
	ID  uuid.NullUUID
	Raw json.RawMessage
	By  []byte
	Arr [2]byte
	L   []*int
	LL  [][]string
	Any any
	St  *pair
	Map map[string]any
	Nul sql.Null[[]time.Time]
}

func FuzzAs(f *testing.F) {
	for _, seed := range []struct{ typ, raw string }{
		{"int8", "9223372036854775807"}, {"numeric", "1e99999999"}, {"numeric", "12.500"}, {"float8", "-0.1"}, {"_float8", `["NaN",null]`},
		{"timestamptz", `"0044-03-15T00:00:00+00:00 BC"`}, {"date", `"infinity"`}, {"bytea", `"\\xdead"`}, {"_bytea", `["\\x00"]`},
		{"jsonb", `{"a":[1,{"b":"\ud83d\ude00"}]}`}, {"_int4", "[[1,2],[3,null]]"}, {"oid", `"42"`}, {"bool", "true"}, {"mood", `"x\n"`}, {"", "null"},
	} {
		f.Add(seed.typ, []byte(seed.raw))
	}
	f.Fuzz(func(t *testing.T, typ string, raw []byte) {
		c := rowOf(typ, raw, "i", "i8", "u", "u8", "f", "f32", "b", "s", "n", "big", "rat", "dec", "t", "nt", "id", "raw", "by", "arr", "l", "ll", "any", "st", "map", "nul")
		var whole cdc.Event[kinds]
		var err error
		withinBudget(t, len(c.Record), func() { whole, err = cdc.As[kinds](c) })
		if err == nil {
			require.Equal(t, strings.TrimSpace(string(raw)), string(whole.New.Raw))
		}
		checkInteger(t, typ, raw)
		one[int8](typ, raw)
		one[*uint8](typ, raw)
		one[float32](typ, raw)
		one[bool](typ, raw)
		one[*big.Rat](typ, raw)
		one[decimal.NullDecimal](typ, raw)
		one[sql.NullTime](typ, raw)
		one[uuid.NullUUID](typ, raw)
		one[[]byte](typ, raw)
		one[[2]byte](typ, raw)
		one[[]*int](typ, raw)
		one[[][]string](typ, raw)
		one[any](typ, raw)
		one[*pair](typ, raw)
		one[map[string]any](typ, raw)
		one[sql.Null[[]time.Time]](typ, raw)
		if v, err := one[time.Time](typ, raw); err == nil && !v.IsZero() {
			require.Equal(t, time.UTC, v.Location())
		}
		if v, err := one[json.RawMessage](typ, raw); err == nil && json.Valid(raw) {
			require.Equal(t, strings.TrimSpace(string(raw)), string(v))
		}
	})
}

func one[T any](typ string, raw []byte) (T, error) {
	e, err := cdc.As[struct{ V T }](rowOf(typ, raw, "v"))
	return e.New.V, err
}

// checkInteger checks that all ways to an integer agree.
func checkInteger(t *testing.T, typ string, raw []byte) {
	n, err := one[int64](typ, raw)
	if err != nil || !json.Valid(raw) {
		return
	}
	b, err := one[big.Int](typ, raw)
	require.NoError(t, err)
	require.Equal(t, n, b.Int64())
	if n >= 0 {
		u, err := one[uint64](typ, raw)
		require.NoError(t, err)
		require.Equal(t, uint64(n), u)
	}
}

func rowOf(typ string, raw []byte, columns ...string) cdc.Change {
	c := cdc.Change{Op: cdc.Insert, Schema: "public", Table: "t"}
	record := []byte("{")
	for i, name := range columns {
		if i > 0 {
			record = append(record, ',')
		}
		record = append(append(record, `"`+name+`":`...), raw...)
		c.Columns = append(c.Columns, cdc.Column{Name: name, Type: typ})
	}
	c.Record = append(record, '}')
	return c
}

// payloads returns recorded payloads of a table.
func payloads(t testing.TB, name, table string) (list [][]byte) {
	eachFrame(t, name, phoenix.EventPostgresChanges, func(f frame, m phoenix.Message) {
		if c, _, err := cdc.Decode(m.Payload); err == nil && c.Table == table {
			list = append(list, m.Payload)
		}
	})
	require.NotEmpty(t, list)
	return list
}
