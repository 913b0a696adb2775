package cdc

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
)

// There are two ways through this package: a quick one for what comes every
// day, and a careful one that decides on the rest. The tests here hold the
// first against the second.

func recordedPayloads(t testing.TB) (list [][]byte) {
	for _, name := range transcript.Names() {
		recording, err := transcript.Load(name)
		require.NoError(t, err)
		for _, l := range recording.Lines {
			v := phoenix.V2
			if recording.Version(l.Conn) == "1.0.0" {
				v = phoenix.V1
			}
			if l.Dir != "recv" || !l.IsFrame() || l.Kind == "binary" {
				continue
			}
			m, err := phoenix.Decode(v, phoenix.FromServer, false, l.Bytes())
			if err == nil && m.Event == phoenix.EventPostgresChanges {
				list = append(list, bytes.Clone(m.Payload))
			}
		}
	}
	require.Greater(t, len(list), 300)
	return list
}

func TestQuickDecodesRecordedChangesAlike(t *testing.T) {
	taken := 0
	list := recordedPayloads(t)
	for range 2 { // the second time shapes are known
		taken = 0
		for _, p := range list {
			if requireAlike(t, p) {
				taken++
			}
		}
	}
	require.Greater(t, taken, len(list)*8/10, "of %d, which all but those with errors should be", len(list))
}

// requireAlike checks that the quick way takes nothing that the careful one
// refuses or reads differently. It reports whether it took the payload.
func requireAlike(t testing.TB, p []byte) bool {
	var c Change
	ids, ok := decodeQuickly(&c, p)
	if !ok {
		return false
	}
	if !json.Valid(p) {
		require.Fail(t, "taken, though no JSON", "%q", p)
	}
	want, wantIDs, err := decodeCarefully(p)
	require.NoError(t, err, "%q", p)
	if !slices.Equal(wantIDs, ids) {
		require.Equal(t, wantIDs, ids, "%q", p)
	}
	if !reflect.DeepEqual(want, c) { // faster than require.Equal
		require.Equal(t, want, c, "%q", p)
	}
	return true
}

// TestQuickDecodesDamageAlike: payloads that were cut and changed. Package
// channel has such a test for whole frames.
func TestQuickDecodesDamageAlike(t *testing.T) {
	payloads := recordedPayloads(t)
	for _, p := range payloads {
		requireAlike(t, p)
	}
	random := rand.New(rand.NewPCG(3, 4))
	taken := 0
	payloads = slices.DeleteFunc(payloads, func(p []byte) bool { return len(p) > 2000 })
	for i := range 20_000 {
		p := payloads[i%len(payloads)]
		if requireAlike(t, mutate(random, bytes.Clone(p))) {
			taken++
		}
	}
	t.Logf("%d taken", taken)
	require.Greater(t, taken, 500)
}

// mutate makes one to three small changes, mostly of bytes that mean something
// in JSON.
func mutate(random *rand.Rand, p []byte) []byte {
	for range 1 + random.IntN(3) {
		i := random.IntN(len(p))
		switch random.IntN(6) {
		case 0:
			p = p[:max(i, 1)]
		case 1:
			p[i] = byte(random.IntN(256))
		case 2:
			const meaning = `{}[]:,"\0-.eE+1 tfnu` + "\n\x01\x7f"
			p[i] = meaning[random.IntN(len(meaning))]
		case 3:
			p = append(p[:i], p[i+1:]...)
		case 4: // a piece twice
			j := min(len(p), i+random.IntN(40))
			p = append(p[:j:j], p[i:]...)
		default: // a digit or letter for another
			p[i] = p[random.IntN(len(p))]
		}
		if len(p) == 0 {
			return []byte("0")
		}
	}
	return p
}

func FuzzQuick(f *testing.F) {
	for _, p := range recordedPayloads(f)[:200] {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		requireAlike(t, p)
		requireAlike(t, p) // with what was learned
	})
}

func TestScannerTakesOnlyJSON(t *testing.T) {
	pieces := []string{`{`, `}`, `[`, `]`, `,`, `:`, `"a"`, `"`, `1`, `-`, `0`, `.5`, `e`, `E+1`, `null`, `true`, `fals`, ` `, "\t", `\u00e9`, `\`, "\x01", "é", `"k":`}
	random := rand.New(rand.NewPCG(5, 6))
	taken := 0
	for range 100_000 {
		var b strings.Builder
		for range 1 + random.IntN(7) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		text := []byte(b.String())
		s := scanner{text: text}
		if s.value(); s.bad || s.pos < len(text) {
			continue
		}
		taken++
		if !json.Valid(text) {
			require.Fail(t, "taken, though no JSON", "%q", text)
		}
	}
	require.Greater(t, taken, 3_000)
	for _, text := range []string{`"` + strings.Repeat("x", 20) + "\x1f" + `"`, `"\u12g4"`, `"\u123`, `01`, `-`, `1.`, `1e`, `[1,]`, `{"a":1,}`, `{"a"}`, `nul`, ``, `"abc`} {
		s := scanner{text: []byte(text)}
		s.value()
		require.True(t, s.bad, text)
	}
}

// TestSpecial: eight bytes at a time find what one at a time find.
func TestSpecial(t *testing.T) {
	for b := range 256 {
		for at := range 20 {
			text := bytes.Repeat([]byte{0xff}, 24)
			text[at], text[at+2] = byte(b), '"'
			want := at + 2
			if b < ' ' || b == '"' || b == '\\' {
				want = at
			}
			require.Equal(t, want, special(text, 0), "%#x at %d", b, at)
		}
	}
}

type one[T any] struct{ V T }

// bothWays decodes a value without reflection and with it. It reports whether
// the first could.
func bothWays[T any](t *testing.T, plan, reflecting *structPlan, typ, raw string) (taken bool) {
	t.Helper()
	c := Change{Op: Insert, Schema: "public", Table: "t", Columns: []Column{{"v", typ}}, Record: json.RawMessage(`{"v": ` + raw + `}`)}
	var got one[T]
	for range 2 { // the second time the shape is known
		taken = plan.put(unsafe.Pointer(&got), nil, &c)
		plan.failed.Store(0)
	}
	want, wantErr := byReflection[one[T]](c, reflecting.decode)
	if taken && (wantErr != nil || !reflect.DeepEqual(want.New, got)) {
		require.NoError(t, wantErr, "%s %s into %T", typ, raw, got.V)
		require.Equal(t, want.New, got, "%s %s", typ, raw)
	}
	mixed, mixedErr := byReflection[one[T]](c, plan.decode)
	if !reflect.DeepEqual(wantErr, mixedErr) || !reflect.DeepEqual(want, mixed) {
		require.Equal(t, wantErr, mixedErr, "%s %s into %T", typ, raw, got.V)
		require.Equal(t, want, mixed)
	}
	return taken
}

var (
	someTypes = []string{"int8", "numeric", "float8", "text", "bool", "bytea", "timestamptz", "jsonb", "_int8", "_text", "_timestamptz", "oid", ""}
	someText  = []string{
		"null", "true", "false", "0", "-0", "1", "-1", "127", "128", "-128", "-129", "255", "256", "32767", "32768", "65535", "65536", "2147483647", "2147483648", "-2147483648", "4294967295", "4294967296",
		"9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616", "99999999999999999999999999",
		"5.00", "5.01", "0.1", "-1e3", "1e400", "3.4e39", "1234567890.1234567890123456789", `""`, `"a"`, `"naïve ☃ 😀"`, `"a\nb\u00e9\\\"c"`, "\"bad \xff utf\"", `"deadbeef"`, `"\\xdead"`, `"Infinity"`, `"42"`,
		`"` + strings.Repeat("long ", 100) + `"`, `"2024-02-29T12:34:56.789012+02:00"`, `"2023-02-29T12:34:56+00:00"`, `"2024-02-29"`, `"infinity"`, `"-infinity"`, `"0044-03-15T00:00:00+00:00 BC"`, `"2024-01-01T24:00:00+00:00"`, `"2024-01-01\u0054"`,
		"[]", "[1, 2, 3]", `["a", "b c", null, "\u00e9"]`, `["a,b", "]"]`, "[null]", "[[1, 2], [3, 4]]", `["2024-02-29T12:34:56+00:00", null]`, "[true, false]", `[{"a": 1}]`, "[1.5]", "{}", `{"a": [1, "x"]}`, `[1`, `[1,`, `"a`, `tru`, `-`, `1x`, `[1 2]`,
	}
)

func bothWaysAll[T any](t *testing.T) {
	plan, err := compileRowStruct(reflect.TypeFor[one[T]]())
	require.NoError(t, err)
	reflecting, err := compileRowStruct(reflect.TypeFor[one[T]]())
	require.NoError(t, err)
	for i := range reflecting.fields {
		reflecting.fields[i].direct = direct{}
	}
	taken := 0
	for _, typ := range someTypes {
		for _, raw := range someText {
			if bothWays[T](t, plan, reflecting, typ, raw) {
				taken++
			}
		}
	}
	require.Greater(t, taken, len(someTypes)-1, fmt.Sprintf("%T", *new(T)))
}

type (
	named  string
	id     int64
	strung []string
)

func TestDirectDecodesAlike(t *testing.T) {
	for _, test := range []func(*testing.T){
		bothWaysAll[int], bothWaysAll[int8], bothWaysAll[int16], bothWaysAll[int32], bothWaysAll[int64], bothWaysAll[id],
		bothWaysAll[uint], bothWaysAll[uint8], bothWaysAll[uint16], bothWaysAll[uint32], bothWaysAll[uint64],
		bothWaysAll[float32], bothWaysAll[float64], bothWaysAll[bool], bothWaysAll[string], bothWaysAll[named],
		bothWaysAll[json.Number], bothWaysAll[time.Time], bothWaysAll[json.RawMessage],
		bothWaysAll[*int64], bothWaysAll[*uint8], bothWaysAll[*string], bothWaysAll[*named], bothWaysAll[*time.Time], bothWaysAll[*bool], bothWaysAll[*float32], bothWaysAll[*json.RawMessage], bothWaysAll[*json.Number],
		bothWaysAll[sql.Null[int64]], bothWaysAll[sql.Null[string]], bothWaysAll[sql.Null[time.Time]], bothWaysAll[sql.Null[json.RawMessage]], bothWaysAll[sql.Null[bool]], bothWaysAll[sql.Null[int16]],
		bothWaysAll[[]string], bothWaysAll[strung], bothWaysAll[[]named], bothWaysAll[[]int64], bothWaysAll[[]int32], bothWaysAll[[]int8], bothWaysAll[[]float64], bothWaysAll[[]bool], bothWaysAll[[]time.Time], bothWaysAll[[]json.RawMessage], bothWaysAll[[]json.Number], bothWaysAll[[]uint16],
	} {
		test(t)
	}
	// What is left to reflection altogether.
	for _, d := range []direct{directOf(reflect.TypeFor[[]byte]()), directOf(reflect.TypeFor[any]()), directOf(reflect.TypeFor[sql.NullString]()), directOf(reflect.TypeFor[[][]int]()), directOf(reflect.TypeFor[**int]()), directOf(reflect.TypeFor[map[string]any]()), directOf(reflect.TypeFor[[2]int]()), directOf(reflect.TypeFor[*time.Location]())} {
		require.Equal(t, unknown, d.op)
	}
}

// TestRowsKeepNoFrame: the values of a row share memory with each other, as
// far as they are short, and with nothing else.
func TestRowsKeepNoFrame(t *testing.T) {
	record := []byte(`{"a": "one", "b": {"x": 1}, "c": ["two", "three"], "d": 12.50, "e": "` + strings.Repeat("e", 300) + `"}`)
	type row struct {
		A string
		B json.RawMessage
		C []string
		D json.Number
		E string
	}
	c := Change{Op: Insert, Columns: []Column{{"a", "text"}, {"b", "jsonb"}, {"c", "_text"}, {"d", "numeric"}, {"e", "text"}}, Record: record}
	e, err := As[row](c)
	require.NoError(t, err)
	want := row{"one", json.RawMessage(`{"x": 1}`), []string{"two", "three"}, "12.50", strings.Repeat("e", 300)}
	for i := range record {
		record[i] = '#'
	}
	require.Equal(t, want, e.New)
	e.New.B = append(e.New.B, "###############################"...)
	e.New.B[0] = '#'
	require.Equal(t, want.C, e.New.C)
	require.Equal(t, want.A, e.New.A)
	require.Equal(t, want.D, e.New.D)
}

func TestParseDigits(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	for range 20_000 {
		text := []byte(strconv.FormatUint(random.Uint64()>>random.IntN(64), 10))
		if random.IntN(2) == 0 {
			text[random.IntN(len(text))] = byte(random.IntN(256))
		}
		want, err := strconv.ParseUint(string(text), 10, 64)
		n, end := parseDigits(text, 0)
		require.Equal(t, err == nil && len(text) <= 19, end == len(text), "%q", text)
		if end == len(text) {
			require.Equal(t, want, n)
		}
		end = 0
		for end < len(text) && '0' <= text[end] && text[end] <= '9' {
			end++
		}
		require.Equal(t, end, digitsEnd(text, 0), "%q", text)
	}
	n, end := parseDigits([]byte(" 9999999999999999999,"), 1)
	require.Equal(t, 20, end)
	require.EqualValues(t, uint64(9999999999999999999), n)
	require.Less(t, n, uint64(math.MaxUint64))
	for _, text := range []string{"", "10000000000000000000", "1x", "-1", "1.0", "12345678.0", "1234567e1"} {
		_, end := parseDigits([]byte(text), 0)
		require.Negative(t, end, text)
	}
}

// TestUsualTimes: every day of 400 years, and what is no such time.
func TestUsualTimes(t *testing.T) {
	taken := 0
	for day := time.Date(1801, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 2201; day = day.AddDate(0, 0, 1) {
		want := day.Add(time.Duration(day.YearDay()) * 123_456_789 * time.Microsecond)
		text := []byte(want.Format("2006-01-02T15:04:05.999999999Z07:00"))
		got, end := usualTime(text, 0)
		if end > 0 {
			taken++
		}
		if end > 0 && (got != want || end != len(text)) { // as structs, zone and all
			require.Equal(t, want, got)
			require.Len(t, text, end)
		}
		got, err := parseTime(bytes.Replace(text, []byte("Z"), []byte("+00:00"), 1))
		if err != nil || got != want {
			require.Equal(t, want, got)
		}
	}
	require.Equal(t, 400*365+97, taken)
	random := rand.New(rand.NewPCG(9, 10))
	for range 30_000 {
		text := mutate(random, []byte("2024-02-27T12:34:56.789012+00:00"))
		if got, end := usualTime(text, 0); end == len(text) {
			want, err := time.Parse(time.RFC3339Nano, string(text))
			require.NoError(t, err, "%q", text)
			require.Equal(t, want.UTC(), got, "%q", text)
		}
	}
	for _, text := range []string{"0000-01-01T00:00:00Z", "2024-00-01T00:00:00Z", "2024-01-00T00:00:00Z", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00", "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00.1234567890Z", "2024-01-01T24:00:00Z", "2023-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2024-04-31T00:00:00Z", "2/24-01-01T00:00:00Z", ":024-01-01T00:00:00Z"} {
		_, end := usualTime([]byte(text), 0)
		require.Negative(t, end, text)
	}
}
