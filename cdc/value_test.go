package cdc_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// valueCase is one PostgreSQL type, one JSON value and one Go type.
type valueCase struct {
	name string
	run  func(t *testing.T)
}

// row is a change that inserted v, of a PostgreSQL type, or of none as in a
// change that came by Broadcast.
func row(typ, v string) cdc.Change {
	c := cdc.Change{Op: cdc.Insert, Schema: "public", Table: "t", Record: json.RawMessage(`{"v": ` + v + `}`)}
	if typ != "" {
		c.Columns = []cdc.Column{{Name: "v", Type: typ}}
	}
	return c
}

func into[T any](typ, v string) (T, error) {
	e, err := cdc.As[struct{ V T }](row(typ, v))
	return e.New.V, err
}

func name[T any](typ, v string) string {
	var x T
	return fmt.Sprintf("%s %.40s into %T", typ, v, x)
}

func takes[T any](typ, v string, want T) valueCase {
	return valueCase{name[T](typ, v), func(t *testing.T) {
		got, err := into[T](typ, v)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}}
}

// refuses expects an error that ends with what was wrong.
func refuses[T any](typ, v, want string) valueCase {
	return valueCase{name[T](typ, v), func(t *testing.T) {
		_, err := into[T](typ, v)
		var de *cdc.DecodeError
		require.ErrorAs(t, err, &de)
		require.Equal(t, "v", de.Column)
		require.Equal(t, typ, de.Type)
		require.True(t, strings.HasSuffix(err.Error(), ": "+want), err.Error())
	}}
}

func ptr[T any](v T) *T { return &v }

func null[T any](v T) sql.Null[T] { return sql.Null[T]{V: v, Valid: true} }

func bigInt(s string) big.Int {
	n, _ := new(big.Int).SetString(s, 10)
	return *n
}

func bigRat(s string) *big.Rat {
	n, _ := new(big.Rat).SetString(s)
	return n
}

func utc(year int, month time.Month, day, hour, minute, second, nanos int) time.Time {
	return time.Date(year, month, day, hour, minute, second, nanos, time.UTC)
}

type (
	mood   string
	int4s  []int32
	digest [4]byte
	myByte byte
)

// driverValue shows what a Scanner was given.
type driverValue struct{ got any }

func (d *driverValue) Scan(v any) error { d.got = v; return nil }

// strictTime takes times and refuses words, as sql.NullTime does.
type strictTime struct{ time.Time }

func (s *strictTime) Scan(v any) error {
	t, ok := v.(time.Time)
	if !ok {
		return fmt.Errorf("not a time: %v", v)
	}
	s.Time = t
	return nil
}

// text shows what a TextUnmarshaler was given.
type text struct{ got string }

func (x *text) UnmarshalText(b []byte) error { x.got = string(b); return nil }

// rawValue shows what a json.Unmarshaler was given.
type rawValue struct{ got string }

func (x *rawValue) UnmarshalJSON(b []byte) error { x.got = string(b); return nil }

// all has every method there is.
type all struct{ by string }

func (x *all) Scan(any) error             { x.by = "Scan"; return nil }
func (x *all) UnmarshalText([]byte) error { x.by = "UnmarshalText"; return nil }
func (x *all) UnmarshalJSON([]byte) error { x.by = "UnmarshalJSON"; return nil }

// pqStrings is a slice that is a Scanner of PostgreSQL's braces, like those of
// lib/pq.
type pqStrings []string

func (*pqStrings) Scan(any) error { return errors.New("no braces") }

func TestValues(t *testing.T) {
	thousand := strings.Repeat("9", 1000)
	e300 := "1" + strings.Repeat("0", 300)
	cases := [][]valueCase{
		integers, numerics(e300), texts, binaries, documents, arrays, nulls, methods,
		{refuses[int]("int8", thousand, strings.Repeat("9", 64)+"… is out of range")},
	}
	for _, list := range cases {
		for _, c := range list {
			t.Run(c.name, c.run)
		}
	}
}

var integers = []valueCase{
	takes("int2", "-32768", int16(math.MinInt16)),
	takes("int4", "2147483647", int32(math.MaxInt32)),
	takes("int8", "9223372036854775807", int64(math.MaxInt64)),
	takes("int8", "-9223372036854775808", int64(math.MinInt64)),
	takes("int8", "9007199254740993", uint64(9007199254740993)),
	takes("int8", "9007199254740993", json.Number("9007199254740993")),
	takes("int8", "9007199254740993", "9007199254740993"),
	takes("int8", "9007199254740993", bigInt("9007199254740993")),
	takes("int8", "9007199254740993", any(int64(9007199254740993))),
	takes("int4", "7", 7.0),
	takes("int4", "7", uint8(7)),
	takes("int4", "0", uint8(0)),
	takes("numeric", "5.00", 5),
	takes("float8", "5", 5),
	takes("posint", "7", 7), // a domain
	takes("posint", "7", any(json.Number("7"))),
	takes("oid", `"4294967295"`, uint32(4294967295)),
	takes("oid", `42`, uint32(42)),
	takes("oid", `"42"`, "42"),
	takes("oid", `"42"`, json.Number("42")),
	takes("oid", `"42"`, any(int64(42))),
	takes("regclass", `"pg_class"`, "pg_class"),
	takes("regclass", `"1259"`, 1259),
	takes("regclass", `"pg_class"`, any("pg_class")),
	takes("regtype", `23`, any("23")),
	takes("bool", "true", true),
	takes("bool", "false", any(false)),
	takes("bool", "true", "true"),
	refuses[int8]("int4", "128", "128 is out of range"),
	refuses[uint]("int4", "-1", "-1 is out of range"),
	refuses[int64]("numeric", "9223372036854775808", "9223372036854775808 is out of range"),
	refuses[int64]("numeric", "12.50", "12.50 is not an integer"),
	refuses[int64]("numeric", "1e3", "1e3 is not an integer"),
	refuses[any]("int8", "9223372036854775808", "9223372036854775808 is out of range"),
	refuses[int64]("int8", `"5"`, `"5" is not an integer`),
	refuses[int64]("text", `"5"`, `"5" is not an integer`),
	refuses[int64]("regclass", `"pg_class"`, `"pg_class" is not an integer`),
	refuses[int64]("oid", `"1.5"`, `"1.5" is not an integer`),
	refuses[int64]("oid", `"-"`, `"-" is not an integer`),
	refuses[int64]("oid", `""`, `"" is not an integer`),
	refuses[uint32]("oid", `true`, `true is not an integer`),
	refuses[int64]("bool", "true", "true is not an integer"),
	refuses[bool]("int4", "1", "1 is not a boolean"),
	refuses[bool]("text", `"true"`, `"true" is not a boolean`),
}

func numerics(e300 string) []valueCase {
	const long = "123456789012345678901234567890.123456789012345678901234567890"
	return []valueCase{
		takes("numeric", long, json.Number(long)),
		takes("numeric", long, long),
		takes("numeric", long, any(json.Number(long))),
		takes("numeric", long, bigRat(long)),
		takes("numeric", long, 1.2345678901234568e29),
		takes("numeric", "1.5000", json.Number("1.5000")),
		takes("numeric", "1.5000", decimal.RequireFromString("1.5000")),
		takes("numeric", "-0.5", ptr(decimal.RequireFromString("-0.5"))),
		takes("numeric", "10.00", bigInt("10")),
		takes("numeric", "0.1", float32(0.1)),
		takes("_numeric", `[1.50, "NaN", "-Infinity"]`, []json.Number{"1.50", "NaN", "-Infinity"}),
		takes("_numeric", `[1.50, "Infinity"]`, []float64{1.5, math.Inf(1)}),
		takes("_numeric", `[1.50, "NaN"]`, any([]any{json.Number("1.50"), json.Number("NaN")})),
		takes("float8", e300, 1e300),
		takes("float8", "0.1", any(0.1)),
		takes("float4", "1.5", float32(1.5)),
		takes("float4", "0.1", float32(0.1)),
		takes("float8", "0.1", "0.1"),
		takes("_float8", `["Infinity", "-Infinity", 2.5]`, []float64{math.Inf(1), math.Inf(-1), 2.5}),
		takes("_float8", `["Infinity", 2]`, any([]any{math.Inf(1), 2.0})),
		takes("", `"Infinity"`, math.Inf(1)), // by Broadcast
		refuses[float32]("float8", e300, e300[:64]+"… is out of range"),
		refuses[float64]("float8", "1e1000000", "1e1000000 is out of range"),
		refuses[float64]("text", `"NaN"`, `"NaN" is not a number`),
		refuses[float64]("numeric", `"infinity"`, `"infinity" is not a number`),
		refuses[float64]("bool", `true`, `true is not a number`),
		refuses[json.Number]("text", `"12"`, `"12" is not a number`),
		refuses[json.Number]("numeric", `"twelve"`, `"twelve" is not a number`),
		refuses[big.Int]("numeric", `"NaN"`, `"NaN" is not an integer`),
		refuses[big.Int]("numeric", "1.5", "1.5 is not an integer"),
		refuses[big.Rat]("numeric", `"NaN"`, `"NaN" is not a number`),
		refuses[big.Rat]("numeric", "1e1000000", "1e1000000 is not a number that PostgreSQL writes"),
		refuses[big.Int]("numeric", "1e1000000", "1e1000000 is not an integer"),
		refuses[decimal.Decimal]("numeric", "1e1000000000", "1e1000000000 is not a number that PostgreSQL writes"),
		refuses[text]("numeric", "1e1000000000", "1e1000000000 is not a number that PostgreSQL writes"),
		refuses[decimal.Decimal]("text", `"abc"`, "can't convert abc to decimal"),
	}
}

var id = uuid.MustParse("6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11")

var texts = []valueCase{
	takes("text", `"na\u00efve \ud83d\ude00 \"q\" \\ \n"`, "naïve 😀 \"q\" \\ \n"),
	takes("text", "\"a\xffb\"", "a\ufffdb"), // not UTF-8
	takes("text", `"x"`, []byte("x")),
	takes("text", `"x"`, any("x")),
	takes("text", `"{\"json\":\"like\"}"`, `{"json":"like"}`),
	takes("text", `"123"`, any("123")),
	takes("mood", `"happy"`, mood("happy")),
	takes("mood", `"happy"`, any("happy")),
	takes("uuid", `"6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11"`, id),
	takes("uuid", `"6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11"`, &id),
	takes("uuid", `"6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11"`, uuid.NullUUID{UUID: id, Valid: true}),
	takes("uuid", `"6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11"`, id.String()),
	takes("inet", `"192.168.1.5/24"`, netip.MustParsePrefix("192.168.1.5/24")),
	takes("int4range", `"[1,10)"`, "[1,10)"),
	takes("interval", `"1 year 2 mons"`, "1 year 2 mons"),
	takes("time", `"12:34:56.789012"`, "12:34:56.789012"),
	takes("timetz", `"12:34:56+02"`, any("12:34:56+02")),
	takes("money", `"$12.34"`, text{"$12.34"}),
	refuses[string]("mood", `{"a":1}`, `json: cannot unmarshal object into Go value of type string`),
	refuses[string]("_text", `["a"]`, `["a"] is neither a string, a number nor a boolean`),
	refuses[uuid.UUID]("uuid", `"6f1e"`, `invalid UUID length: 4`),
	refuses[[16]byte]("uuid", `"6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11"`, `36 bytes do not fit`),
	refuses[pair]("text", `"(1,two)"`, `"(1,two)" does not fit`),
	refuses[map[string]string]("text", `"x"`, `"x" does not fit`),
	refuses[time.Duration]("interval", `"1 day"`, `"1 day" is not an integer`),
}

var binaries = []valueCase{
	takes("bytea", `"00ff10"`, []byte{0, 255, 16}),
	takes("bytea", `"\\x00ff10"`, []byte{0, 255, 16}),
	takes("bytea", `""`, []byte{}),
	takes("bytea", `"\\x"`, []byte{}),
	takes("bytea", `"00ff10"`, any([]byte{0, 255, 16})),
	takes("bytea", `"00ff10"`, `\x00ff10`),
	takes("bytea", `"DEADBEEF"`, digest{0xde, 0xad, 0xbe, 0xef}),
	takes("bytea", `"dead"`, []myByte{0xde, 0xad}),
	takes("bytea", `"dead"`, [2]myByte{0xde, 0xad}),
	takes("_bytea", `["\\xdead", null]`, [][]byte{{0xde, 0xad}, nil}),
	takes("_bytea", `["\\xdead"]`, any([]any{[]byte{0xde, 0xad}})),
	takes("", `"\\xdead"`, []byte{0xde, 0xad}),         // by Broadcast
	takes("bytea", `"5c7864656164"`, []byte(`\xdead`)), // perhaps encoded twice, perhaps not
	refuses[[]byte]("bytea", `"0"`, `"0" is not a bytea`),
	refuses[[]byte]("bytea", `"xy"`, `"xy" is not a bytea`),
	refuses[[]byte]("bytea", `12`, `12 is not a bytea`),
	refuses[string]("bytea", `"xy"`, `"xy" is not a bytea`),
	refuses[digest]("bytea", `"dead"`, `2 bytes do not fit`),
	refuses[[]byte]("", `"dead"`, `"dead" is not a bytea`),
	refuses[[]byte]("mood", `"dead"`, `"dead" is not a bytea`),
}

var documents = []valueCase{
	takes("jsonb", `{"b": 1, "a": [1, 2.50]}`, json.RawMessage(`{"b": 1, "a": [1, 2.50]}`)),
	takes("jsonb", `{"b": 1}`, []byte(`{"b": 1}`)),
	takes("jsonb", `{"b": 1}`, any(json.RawMessage(`{"b": 1}`))),
	takes("jsonb", `[1]`, any(json.RawMessage(`[1]`))),
	takes("jsonb", `{"n": 9007199254740993}`, map[string]any{"n": json.Number("9007199254740993")}),
	takes("jsonb", `{"n": 9007199254740993}`, map[string]int64{"n": 9007199254740993}),
	takes("jsonb", `{"a": 1, "b": "two"}`, pair{1, "two"}),
	takes("jsonb", `{"a": 1, "b": "two"}`, &pair{1, "two"}),
	takes("jsonb", `{"a": 1, "b": "two"}`, null(pair{1, "two"})),
	takes("json", `[{"a": 1, "b": "two"}]`, []pair{{1, "two"}}),
	takes("jsonb", `[[1], []]`, [][]int{{1}, {}}),
	takes("jsonb", `"123"`, "123"),
	takes("jsonb", `"123"`, any(json.RawMessage(`"123"`))),
	takes("jsonb", `"{}"`, json.RawMessage(`"{}"`)),
	takes("jsonb", `"2024-01-02T03:04:05Z"`, utc(2024, 1, 2, 3, 4, 5, 0)),
	takes("jsonb", `12345678901234567890.5`, json.Number("12345678901234567890.5")),
	takes("jsonb", `true`, true),
	takes("jsonb", `{"a": 1}`, rawValue{`{"a": 1}`}),
	takes("jsonb", `{"a": 1}`, driverValue{[]byte(`{"a": 1}`)}),
	takes("pair", `{"a": 1, "b": "two"}`, pair{1, "two"}),
	takes("pair", `{"a": 1, "b": "two"}`, any(json.RawMessage(`{"a": 1, "b": "two"}`))),
	takes("pair", `{"a": 9007199254740993}`, map[string]any{"a": json.Number("9007199254740993")}),
	takes("hstore", `{"a": "1", "b": null}`, map[string]*string{"a": ptr("1"), "b": nil}),
	refuses[string]("jsonb", `{"a": 1}`, `json: cannot unmarshal object into Go value of type string`),
	refuses[int]("jsonb", `"123"`, `json: cannot unmarshal string into Go value of type int`),
}

var arrays = []valueCase{
	takes("_int4", `[1, null, 3]`, []int32{1, 0, 3}),
	takes("_int4", `[1, null, 3]`, []*int32{ptr(int32(1)), nil, ptr(int32(3))}),
	takes("_int4", `[1, null]`, []sql.Null[int32]{null(int32(1)), {}}),
	takes("_int4", `[1, null]`, null(int4s{1, 0})),
	takes("_int4", `[]`, []int32{}),
	takes("_int4", `[1, 2]`, [2]int{1, 2}),
	takes("_int4", `[1, 2]`, []byte{1, 2}),
	takes("_int4", `[[1, 2], [3, 4]]`, [][]int{{1, 2}, {3, 4}}),
	takes("_int4", `[[1, 2], [3, 4]]`, any([]any{[]any{int64(1), int64(2)}, []any{int64(3), int64(4)}})),
	takes("_int4", `[[1], [2, null]]`, []any{[]any{int64(1)}, []any{int64(2), nil}}),
	takes("_int8", `[9007199254740993, -9223372036854775808]`, []int64{9007199254740993, math.MinInt64}),
	takes("_text", `["a", null, ""]`, []string{"a", "", ""}),
	takes("_text", `["a", null]`, any([]any{"a", nil})),
	takes("_text", `["a"]`, pqStrings{"a"}),
	takes("_text", `["a"]`, driverValue{[]byte(`["a"]`)}),
	takes("_mood", `["sad", "ok"]`, []mood{"sad", "ok"}),
	takes("_mood", `[["sad"]]`, any([]any{[]any{"sad"}})),
	takes("_uuid", `["6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11"]`, []uuid.UUID{id}),
	takes("_jsonb", `[{"x": 1}, [1, 2]]`, []json.RawMessage{json.RawMessage(`{"x": 1}`), json.RawMessage(`[1, 2]`)}),
	takes("_jsonb", `[{"x": 1}, [1, 2]]`, any([]any{json.RawMessage(`{"x": 1}`), json.RawMessage(`[1, 2]`)})),
	takes("_jsonb", `[{"a": 1}]`, []pair{{A: 1}}),
	takes("_pair", `[{"a": 1, "b": "x"}, null]`, []*pair{{1, "x"}, nil}),
	takes("_bool", `[true, false]`, []bool{true, false}),
	takes("_oid", `["42"]`, []uint32{42}),
	takes("_timestamptz", `["2024-01-02T01:04:05+00:00", "infinity"]`, []time.Time{utc(2024, 1, 2, 1, 4, 5, 0), cdc.Infinity}),
	takes("_bpchar", `["ab   "]`, []string{"ab   "}),
	takes("tags", `["a", "b"]`, []string{"a", "b"}), // a domain
	takes("tags", `["a"]`, any(json.RawMessage(`["a"]`))),
	takes("", `[1, [2]]`, any(json.RawMessage(`[1, [2]]`))),
	takes("", `[1, 2]`, []int{1, 2}),
	refuses[[3]int]("_int4", `[1, 2]`, `an array of 2 elements does not fit`),
	refuses[[]int]("_int4", `[[1]]`, `element 0: [1] is not an integer`),
	refuses[[]int8]("_int4", `[1, 300]`, `element 1: 300 is out of range`),
	refuses[[][]int]("_int4", `[1]`, `element 0: 1 does not fit`),
	refuses[[]int]("int4", `1`, `1 does not fit`),
	refuses[int]("_int4", `[1]`, `[1] is not an integer`),
	refuses[any]("_int4", `[1.5]`, `element 0: 1.5 is not an integer`),
	refuses[time.Time]("_timestamp", `["infinity"]`, `["infinity"] is not a date or timestamp`),
}

var nulls = []valueCase{
	takes("int4", "null", 0),
	takes("int4", "null", (*int)(nil)),
	takes("int4", "null", (**int)(nil)),
	takes("int4", "null", sql.Null[int]{}),
	takes("int4", "null", sql.NullInt64{}),
	takes("int4", "null", any(nil)),
	takes("text", "null", ""),
	takes("timestamptz", "null", time.Time{}),
	takes("bytea", "null", []byte(nil)),
	takes("_int4", "null", []int(nil)),
	takes("numeric", "null", decimal.NullDecimal{}),
	takes("uuid", "null", uuid.NullUUID{}),
	takes("text", "null", driverValue{}),
	takes("text", "null", text{}),
	takes("text", "null", rawValue{}),
	takes("jsonb", "null", json.RawMessage("null")),
	takes("text", "null", json.RawMessage("null")),
	takes("jsonb", "null", (*json.RawMessage)(nil)),
	takes("jsonb", "null", map[string]any(nil)),
	takes("jsonb", "null", any(nil)),
	takes("bool", "null", false),
	takes("int4", "5", ptr(ptr(5))),
	refuses[decimal.Decimal]("numeric", "null", "can't scan NULL into a Decimal, use NullDecimal or *Decimal"),
}

// methods has the order of precedence, and what a Scanner is given.
var methods = []valueCase{
	takes("text", `"x"`, all{"Scan"}),
	takes("jsonb", `"x"`, all{"UnmarshalJSON"}),
	takes("pair", `{"a": 1}`, all{"UnmarshalJSON"}),
	takes("_text", `["x"]`, all{"UnmarshalJSON"}),
	takes("text", `"x"`, text{"x"}),
	takes("bytea", `"00ff"`, text{`\x00ff`}),
	takes("timestamp", `"2024-01-02T03:04:05"`, text{"2024-01-02T03:04:05"}),
	takes("bool", `true`, text{"true"}),
	takes("text", `"x"`, rawValue{`"x"`}),
	takes("int4", `5`, rawValue{`5`}),
	takes("bytea", `"00ff"`, rawValue{`"\\x00ff"`}),
	takes("bytea", `"\\x00ff"`, rawValue{`"\\x00ff"`}), // as the REST API has it
	takes("bytea", `"xy"`, rawValue{`"xy"`}),
	takes("int8", "9007199254740993", driverValue{int64(9007199254740993)}),
	takes("numeric", "1.50", driverValue{"1.50"}),
	takes("_numeric", `["NaN"]`, []driverValue{{"NaN"}}),
	takes("float8", "1.5", driverValue{1.5}),
	takes("bool", "true", driverValue{true}),
	takes("text", `"x"`, driverValue{"x"}),
	takes("mood", `"007"`, driverValue{"007"}),
	takes("", `"007"`, driverValue{"007"}),
	takes("posint", `7`, driverValue{int64(7)}),
	takes("posnum", `7.5`, driverValue{"7.5"}),
	takes("oid", `"42"`, driverValue{int64(42)}),
	takes("regclass", `"pg_class"`, driverValue{"pg_class"}),
	takes("bytea", `"00ff"`, driverValue{[]byte{0, 255}}),
	takes("timestamptz", `"2024-01-02T03:04:05+02:00"`, driverValue{utc(2024, 1, 2, 1, 4, 5, 0)}),
	takes("timestamptz", `"infinity"`, driverValue{"infinity"}),
	takes("timestamptz", `"infinity"`, strictTime{cdc.Infinity}),
	takes("date", `"-infinity"`, sql.NullTime{Time: cdc.NegInfinity, Valid: true}),
	takes("date", `"0044-03-15 BC"`, sql.NullTime{Time: utc(-43, 3, 15, 0, 0, 0, 0), Valid: true}),
	takes("interval", `"1 day"`, driverValue{"1 day"}),
	refuses[strictTime]("timestamptz", `"soon"`, "not a time: soon"),
}

func TestNumbersThatWouldTakeLongAreRefusedAtOnce(t *testing.T) {
	digits := strings.Repeat("1", 1<<20)
	began := time.Now()
	for _, raw := range []string{"1e1000000", "1e-1000000", "-1e999999999", digits, "0." + digits, digits + "e5"} {
		_, err := into[big.Int]("numeric", raw)
		require.Error(t, err)
		_, err = into[*big.Rat]("numeric", raw)
		require.Error(t, err)
		_, err = into[decimal.Decimal]("numeric", raw)
		require.Error(t, err)
		_, err = into[int64]("int8", raw)
		require.Error(t, err)
		_, _ = into[float64]("float8", raw)
		n, err := into[json.Number]("numeric", raw)
		require.NoError(t, err)
		require.Equal(t, raw, n.String())
	}
	require.Less(t, time.Since(began), 5*time.Second)
}

func TestLongNumericsOfPostgreSQLAreTaken(t *testing.T) {
	longest := strings.Repeat("9", 131072) + "." + strings.Repeat("9", 16383)
	r, err := into[*big.Rat]("numeric", longest)
	require.NoError(t, err)
	require.Equal(t, longest, r.FloatString(16383))
	s, err := into[text]("numeric", longest)
	require.NoError(t, err)
	require.Equal(t, longest, s.got)
	n, err := into[*big.Int]("numeric", longest[:131072])
	require.NoError(t, err)
	require.Equal(t, longest[:131072], n.String())
}

func TestErrorTextNamesTheColumnAndCutsTheValue(t *testing.T) {
	c := row("numeric", "10.5")
	c.Table, c.Columns[0].Name, c.Record = "orders", "total", json.RawMessage(`{"total": 10.5}`)
	_, err := cdc.As[struct{ Total int64 }](c)
	require.EqualError(t, err, `cdc: public.orders column "total" (numeric) into int64: 10.5 is not an integer`)

	_, err = into[int64]("text", `"`+strings.Repeat("s", 5000)+`"`)
	require.EqualError(t, err, `cdc: public.t column "v" (text) into int64: "`+strings.Repeat("s", 63)+`… is not an integer`)

	_, err = into[int64]("", `"`+strings.Repeat("é", 5000)+`"`) // not cut inside of a character
	require.EqualError(t, err, `cdc: public.t column "v" into int64: "`+strings.Repeat("é", 31)+`… is not an integer`)

	_, err = into[decimal.Decimal]("text", `"`+strings.Repeat("s", 5000)+`"`) // the text of an error that is not ours
	require.Less(t, len(err.Error()), 400)
}

// TestC34Bytea: a bytea column is bare hexadecimal digits, an element of an
// array has \x.
func TestC34Bytea(t *testing.T) {
	c := cdc.Change{
		Op:      cdc.Insert,
		Columns: []cdc.Column{{"a", "bytea"}, {"b", "_bytea"}},
		Record:  json.RawMessage(`{"a": "00ff10", "b": ["\\xdead"]}`),
	}
	e, err := cdc.As[struct {
		A []byte
		B [][]byte
	}](c)
	require.NoError(t, err)
	require.Equal(t, []byte{0x00, 0xff, 0x10}, e.New.A)
	require.Equal(t, [][]byte{{0xde, 0xad}}, e.New.B)
}

// TestC35Times: whatever PostgreSQL writes, no event fails for it.
func TestC35Times(t *testing.T) {
	for _, c := range []struct {
		typ, text string
		want      time.Time
	}{
		{"timestamp", "2024-01-02T03:04:05.123456", utc(2024, 1, 2, 3, 4, 5, 123456000)},
		{"timestamp", "2024-01-02 03:04:05.1", utc(2024, 1, 2, 3, 4, 5, 100000000)},
		{"timestamp", "0001-01-01T00:00:00", utc(1, 1, 1, 0, 0, 0, 0)},
		{"timestamp", "4714-11-24T00:00:00 BC", utc(-4713, 11, 24, 0, 0, 0, 0)},
		{"timestamp", "294276-12-31T23:59:59.99999", utc(294276, 12, 31, 23, 59, 59, 999990000)},
		{"timestamp", "2024-02-29T00:00:00", utc(2024, 2, 29, 0, 0, 0, 0)},
		{"timestamp", "infinity", cdc.Infinity},
		{"timestamp", "-infinity", cdc.NegInfinity},
		{"timestamptz", "2024-01-02T01:04:05.12+00:00", utc(2024, 1, 2, 1, 4, 5, 120000000)},
		{"timestamptz", "2024-01-02T01:04:05+02", utc(2024, 1, 1, 23, 4, 5, 0)},
		{"timestamptz", "2024-01-02T01:04:05+05:30", utc(2024, 1, 1, 19, 34, 5, 0)},
		{"timestamptz", "2024-01-02T01:04:05-03:30", utc(2024, 1, 2, 4, 34, 5, 0)},
		{"timestamptz", "1890-01-02T01:04:05+00:00:01", utc(1890, 1, 2, 1, 4, 4, 0)},
		{"timestamptz", "1890-01-02T01:04:05-00:00:01", utc(1890, 1, 2, 1, 4, 6, 0)},
		{"timestamptz", "2024-01-02T01:04:05Z", utc(2024, 1, 2, 1, 4, 5, 0)},
		{"timestamptz", "10000-01-01T00:00:00+00:00", utc(10000, 1, 1, 0, 0, 0, 0)},
		{"timestamptz", "0044-03-15T00:00:00+00:00 BC", utc(-43, 3, 15, 0, 0, 0, 0)},
		{"timestamptz", "0001-12-31T23:00:00-01:00 BC", utc(1, 1, 1, 0, 0, 0, 0)},
		{"date", "2024-01-02", utc(2024, 1, 2, 0, 0, 0, 0)},
		{"date", "0044-03-15 BC", utc(-43, 3, 15, 0, 0, 0, 0)},
		{"date", "0001-02-29 BC", utc(0, 2, 29, 0, 0, 0, 0)},
		{"date", "5874897-12-31", utc(5874897, 12, 31, 0, 0, 0, 0)},
		{"date", "infinity", cdc.Infinity},
		{"", "2024-01-02T03:04:05+00:00", utc(2024, 1, 2, 3, 4, 5, 0)}, // by Broadcast
	} {
		got, err := into[time.Time](c.typ, strconv.Quote(c.text))
		require.NoError(t, err, c.text)
		require.Equal(t, c.want, got, c.text)
		s, err := into[string](c.typ, strconv.Quote(c.text))
		require.NoError(t, err, c.text)
		require.Equal(t, c.text, s)
	}
}

func TestWhatIsNoTimeIsRefused(t *testing.T) {
	for _, s := range []string{
		"", " BC", "Infinity", "now", "24-01-01", "2024-1-1", "99999999-01-02", "+2024-01-01",
		"2024-02-30", "2023-02-29", "2024-13-01", "2024-00-01", "2024-01-00", "2024-01-32", "0000-01-01", "0000-01-01 BC",
		"2024-01-02T24:00:00+00:00", "2024-01-02T10:60:00+00:00", "2024-01-02T10:59:60+00:00", "2024-01-02T23:59+00:00",
		"2024-01-02T23:59:59+00:60", "2024-01-02T23:59:59+0", "2024-01-02T23:59:59+00:00:00:0", "2024-01-02T23:59:59.+00:00",
		"2024-01-02T23:59:59.1234567890", "2024-01-02T23:59:59 BC BC", "2024-01-02T23:59:59 +00:00", "2024-01-02x23:59:59", "2024-01-02T",
	} {
		_, err := into[time.Time]("timestamptz", strconv.Quote(s))
		require.ErrorContains(t, err, "is not a date or timestamp", s)
	}
	_, err := into[time.Time]("text", `"2024-01-02"`)
	require.ErrorContains(t, err, "is not a date or timestamp")
	_, err = into[time.Time]("timestamptz", `20240102`)
	require.ErrorContains(t, err, "is not a date or timestamp")
}

func TestInfinityIsBeyondEveryTime(t *testing.T) {
	last, err := into[time.Time]("date", `"5874897-12-31"`)
	require.NoError(t, err)
	first, err := into[time.Time]("timestamp", `"4714-11-24T00:00:00 BC"`)
	require.NoError(t, err)
	require.True(t, cdc.Infinity.After(last))
	require.True(t, cdc.NegInfinity.Before(first))
	require.Greater(t, cdc.Infinity.Unix(), last.Unix())
	require.Less(t, cdc.NegInfinity.Unix(), first.Unix())
	require.Equal(t, "10000000-01-01 00:00:00 +0000 UTC", cdc.Infinity.String())
}

// TestC36OIDs: oid and reg* are strings on the wire, and might be numbers.
func TestC36OIDs(t *testing.T) {
	for _, raw := range []string{`"42"`, `42`} {
		for _, typ := range []string{"oid", "regclass", "regrole"} {
			n, err := into[uint32](typ, raw)
			require.NoError(t, err)
			require.Equal(t, uint32(42), n)
			s, err := into[string](typ, raw)
			require.NoError(t, err)
			require.Equal(t, "42", s)
		}
	}
}

// TestC37Caveats: which columns are not to be trusted.
func TestC37Caveats(t *testing.T) {
	for typ, want := range map[string]cdc.Caveat{
		"bpchar": cdc.Truncated, "bit": cdc.Truncated,
		"float4": cdc.NullOrNaN, "float8": cdc.NullOrNaN, "numeric": cdc.NullOrNaN,
		"json": cdc.NullOrJSONNull, "jsonb": cdc.NullOrJSONNull, "_jsonb": cdc.NullOrJSONNull,
		"_bpchar": cdc.Truncated, "_bit": cdc.Truncated, // the cast cuts the elements, too
		"text": cdc.Intact, "varbit": cdc.Intact, "_float8": cdc.Intact, "int8": cdc.Intact, "": cdc.Intact,
	} {
		require.Equal(t, want, cdc.Column{Name: "c", Type: typ}.Caveat(), typ)
	}
	require.Equal(t, "truncated by the server", cdc.Truncated.String())
	require.Equal(t, "Caveat(9)", cdc.Caveat(9).String())
}

// TestC31Numbers: no number goes through a float64 but into a float.
func TestC31Numbers(t *testing.T) {
	const most, numeric = "9223372036854775807", "12345678901234567890.1234567890"
	for typ, raw := range map[string]string{"int8": most, "numeric": numeric, "float8": "1" + strings.Repeat("0", 300)} {
		n, err := into[json.Number](typ, raw)
		require.NoError(t, err)
		require.Equal(t, raw, n.String())
		m, err := cdc.As[map[string]json.RawMessage](row(typ, raw))
		require.NoError(t, err)
		require.Equal(t, raw, string(m.New["v"]))
	}
	n, err := into[int64]("int8", most)
	require.NoError(t, err)
	require.Equal(t, int64(math.MaxInt64), n)
	m, err := cdc.As[map[string]any](row("jsonb", `{"n": [9007199254740993]}`))
	require.NoError(t, err)
	require.Equal(t, map[string]any{"v": json.RawMessage(`{"n": [9007199254740993]}`)}, m.New)
}

// TestC33TypesByColumn: the type of the column decides, unknown ones stay raw,
// and a JSON string is not parsed again.
func TestC33TypesByColumn(t *testing.T) {
	c := cdc.Change{
		Op:      cdc.Insert,
		Columns: []cdc.Column{{"a", "text"}, {"b", "bytea"}, {"c", "jsonb"}, {"d", "geometry"}, {"e", "vector"}},
		Record:  json.RawMessage(`{"a": "00ff", "b": "00ff", "c": "{\"x\": 1}", "d": {"type": "Point"}, "e": "[1,2]"}`),
	}
	e, err := cdc.As[map[string]any](c)
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"a": "00ff",
		"b": []byte{0x00, 0xff},
		"c": json.RawMessage(`"{\"x\": 1}"`),
		"d": json.RawMessage(`{"type": "Point"}`),
		"e": "[1,2]",
	}, e.New)
	s, err := cdc.As[struct{ C string }](c)
	require.NoError(t, err)
	require.Equal(t, `{"x": 1}`, s.New.C)
	_, err = cdc.As[struct{ C map[string]int }](c)
	require.Error(t, err)
}
