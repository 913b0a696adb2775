package cdc_test

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"database/sql"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
)

// golden holds what PostgreSQL itself says that the statements of the
// transcripts wrote: see internal/transcript/golden, which made the files.
//
//go:embed testdata/golden
var golden embed.FS

// shape is a table at the time of a change.
type shape struct {
	Schema, Table string
	Columns       [][2]string // name and type
	Key           []string
	Full          bool // REPLICA IDENTITY FULL
	RLS           bool
}

// logged is a change as row triggers saw it.
type logged struct {
	of        *shape
	Statement int // -1 for one that is not in the transcript
	Op        string
	New, Old  []cell
}

// cell is a value in PostgreSQL's own text.
type cell struct {
	null bool
	text string // or
	md5  string // of a long one
	size int
	more json.RawMessage // a second form, by type
}

func (c *cell) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case 'n':
		c.null = true
		return nil
	case '"':
		return json.Unmarshal(b, &c.text)
	case '{':
		var long struct {
			MD5   string
			Bytes int
		}
		err := json.Unmarshal(b, &long)
		c.md5, c.size = long.MD5, long.Bytes
		return err
	}
	var pair [2]json.RawMessage
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	c.more = pair[1]
	return c.UnmarshalJSON(pair[0])
}

// moreText is the second form of a type where it is one text.
func (c cell) moreText() (s string) {
	if json.Unmarshal(c.more, &s) != nil {
		panic("no second form: " + string(c.more))
	}
	return s
}

func (g logged) cells(row []cell) map[string]cell {
	m := map[string]cell{}
	for i, c := range row {
		m[g.of.Columns[i][0]] = c
	}
	return m
}

func loadGolden(t *testing.T, scenario string) []logged {
	b, err := golden.ReadFile("testdata/golden/" + scenario + ".json")
	require.NoError(t, err)
	shapes := map[int]*shape{}
	var list []logged
	in := bufio.NewScanner(bytes.NewReader(b))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var line struct {
			Shape int
			Of    *shape
			logged
		}
		require.NoError(t, json.Unmarshal(in.Bytes(), &line))
		if line.Of != nil {
			shapes[line.Shape] = line.Of
			continue
		}
		line.of = shapes[line.Shape]
		list = append(list, line.logged)
	}
	require.NoError(t, in.Err())
	return list
}

// frame is a recorded postgres_changes message.
type frame struct {
	name      string // for messages of the test
	stream    string // frames of one stream come in the order of their changes
	statement int    // how many statements had begun, less one
	payload   []byte
}

// eachFrame calls f with the recorded messages of an event.
func eachFrame(t testing.TB, name, event string, f func(frame, phoenix.Message)) {
	tr, err := transcript.Load(name)
	require.NoError(t, err)
	statement := -1
	for i, l := range tr.Lines {
		if l.Dir == "sql" {
			statement++
		}
		if l.Dir != "recv" || !l.IsFrame() {
			continue
		}
		v := phoenix.V2
		if tr.Version(l.Conn) == "1.0.0" {
			v = phoenix.V1
		}
		m, err := phoenix.Decode(v, phoenix.FromServer, l.Kind == "binary", l.Bytes())
		if err != nil || m.Event != event {
			continue // some recordings have frames that are malformed on purpose
		}
		f(frame{
			name:      fmt.Sprintf("%s line %d", name, i+2),
			stream:    l.Conn + " " + m.Topic,
			statement: statement,
			payload:   m.Payload,
		}, m)
	}
}

// find returns the place of the change that a frame is about: the one of the
// latest statement so far with its table, operation and, as far as the frame
// has it, key. Among several of one statement the stream goes on.
func find(list []logged, f frame, c cdc.Change, last map[string]int) int {
	record, old := plain(c.Record), plain(c.OldRecord)
	best, from := -1, -1
	if i, ok := last[f.stream]; ok {
		from = i
	}
	for i, g := range list {
		if g.of.Schema != c.Schema || g.of.Table != c.Table || g.Op != c.Op.String() || g.Statement > f.statement {
			continue
		}
		if !keyIs(g, g.New, record) || !keyIs(g, g.Old, old) {
			continue
		}
		later := best < 0 || g.Statement > list[best].Statement
		if later || g.Statement == list[best].Statement && best < from && i >= from {
			best = i
		}
	}
	return best
}

// plain reads a record without package cdc.
func plain(record json.RawMessage) (m map[string]json.RawMessage) {
	_ = json.Unmarshal(record, &m) // there may be none
	return m
}

func keyIs(g logged, row []cell, record map[string]json.RawMessage) bool {
	for i, col := range g.of.Columns {
		raw, ok := record[col[0]]
		if ok && slices.Contains(g.of.Key, col[0]) && (row == nil || strings.Trim(string(raw), `"`) != row[i].text) {
			return false
		}
	}
	return true
}

// tally counts what was compared.
type tally map[string]int

func (n tally) log(t *testing.T) {
	for _, k := range slices.Sorted(maps.Keys(n)) {
		t.Logf("%6d %s", n[k], k)
	}
}

// recorded is a frame, decoded, and the change that it is about.
type recorded struct {
	frame  frame
	change cdc.Change
	logged logged
}

// allRecorded is made once: reading the transcripts takes a while.
var allRecorded []recorded

// eachChange calls f with every recorded change and with what was logged of
// it.
func eachChange(t *testing.T, f func(frame, cdc.Change, logged)) (frames int) {
	if allRecorded == nil {
		for _, name := range transcript.Names() {
			allRecorded = append(allRecorded, align(t, name)...)
		}
	}
	for _, r := range allRecorded {
		f(r.frame, r.change, r.logged)
	}
	return len(allRecorded)
}

// align decodes the changes of a transcript and finds each in its golden file.
func align(t *testing.T, name string) (all []recorded) {
	var list []logged
	last := map[string]int{}
	eachFrame(t, name, phoenix.EventPostgresChanges, func(fr frame, m phoenix.Message) {
		if list == nil {
			scenario, _, _ := strings.Cut(name, ".vsn")
			list = loadGolden(t, scenario)
		}
		c, ids, err := cdc.Decode(m.Payload)
		require.NoError(t, err, fr.name)
		require.NotEmpty(t, ids, fr.name)
		fr.stream += fmt.Sprint(ids)
		i := find(list, fr, c, last)
		require.GreaterOrEqual(t, i, 0, "%s: %v of %s.%s %s%s was never made", fr.name, c.Op, c.Schema, c.Table, c.Record, c.OldRecord)
		last[fr.stream] = i
		all = append(all, recorded{fr, c, list[i]})
	})
	return all
}

// TestRecordedChangesHaveTheValuesThatWereWritten is the heart of the tests of
// this package: each value of each recorded frame against PostgreSQL's own
// text for it. What the server leaves out or garbles must be one of the cases
// that are known, and there.
func TestRecordedChangesHaveTheValuesThatWereWritten(t *testing.T) {
	n, want := tally{}, tally{
		"frames":                               1534,
		"value":                                13681,
		"value: truncated":                     24,
		"value: NaN or infinite as null":       60,
		"value: JSON null as null":             10,
		"value: infinite time":                 30,
		"value: long text":                     24,
		"missing: unchanged TOAST":             8,
		"missing: too large (413)":             12,
		"missing: not in the replica identity": 712,
		"missing: row level security":          16,
		"empty row: no primary key (400)":      16,
		"empty row: unauthorized (401)":        18,
		"empty row: delete without rights":     6,
		"old row whole":                        102,
		"columns by privilege or select":       24,
	}
	n["frames"] = eachChange(t, func(f frame, c cdc.Change, g logged) {
		checkColumns(t, n, f, c, g)
		checkRow(t, n, f, c, g, false)
		checkRow(t, n, f, c, g, true)
	})
	n.log(t)
	require.Equal(t, want, n)
}

func checkColumns(t *testing.T, n tally, f frame, c cdc.Change, g logged) {
	var all []cdc.Column
	for _, col := range g.of.Columns {
		all = append(all, cdc.Column{Name: col[0], Type: col[1]})
	}
	switch reason := c.Incomplete(); {
	case reason == cdc.NoPrimaryKey || reason == cdc.Unauthorized || reason == cdc.Unidentified:
		require.Empty(t, c.Columns, f.name)
		require.Equal(t, reason == cdc.Unidentified, !c.Committed.IsZero(), f.name)
	case len(c.Columns) < len(all):
		n["columns by privilege or select"]++
		require.Subset(t, all, c.Columns, f.name)
	default:
		require.Equal(t, all, c.Columns, f.name)
	}
}

// checkRow compares the new or the old row.
func checkRow(t *testing.T, n tally, f frame, c cdc.Change, g logged, old bool) {
	record, row, value, missing := c.Record, g.New, c.Value, c.Missing
	if old {
		record, row, value, missing = c.OldRecord, g.Old, c.OldValue, c.OldMissing()
	}
	require.Equal(t, row == nil, record == nil, f.name)
	cells := g.cells(row)
	for _, col := range c.Columns {
		if record == nil {
			continue
		}
		if slices.Contains(missing, col.Name) {
			_, err := value(col.Name)
			require.ErrorIs(t, err, cdc.ErrMissing, f.name)
			n[whyMissing(t, f, c, g, col.Name, old)]++
			continue
		}
		got, err := value(col.Name)
		require.NoError(t, err, f.name)
		why, ok := compare(col.Type, got, cells[col.Name])
		require.True(t, ok, "%s column %q (%s): got %#v, PostgreSQL says %+v", f.name, col.Name, col.Type, got, cells[col.Name])
		n[why]++
	}
	if record != nil {
		countRow(t, n, f, c, g, record, old)
	}
}

// countRow counts rows of each kind, and checks those that must be empty.
func countRow(t *testing.T, n tally, f frame, c cdc.Change, g logged, record json.RawMessage, old bool) {
	switch c.Incomplete() {
	case cdc.NoPrimaryKey:
		n["empty row: no primary key (400)"]++
	case cdc.Unauthorized:
		n["empty row: unauthorized (401)"]++
	case cdc.Unidentified:
		n["empty row: delete without rights"]++
	default:
		if old && len(c.OldMissing()) == 0 && len(c.Columns) > len(g.of.Key) {
			n["old row whole"]++
		}
		return
	}
	require.JSONEq(t, `{}`, string(record), f.name)
}

// whyMissing returns the reason why a column is not in a row, if there is one.
func whyMissing(t *testing.T, f frame, c cdc.Change, g logged, column string, old bool) string {
	row := g.New
	if old {
		row = g.Old
	}
	want := g.cells(row)[column]
	isKey := slices.Contains(g.of.Key, column)
	switch {
	case c.Incomplete() == cdc.TooLarge && (want.null || want.size > 64 || len(want.text) > 62):
		return "missing: too large (413)"
	case old && !g.of.Full && !isKey:
		return "missing: not in the replica identity"
	case old && g.of.RLS && c.Op == cdc.Delete && !isKey:
		return "missing: row level security"
	case !old && c.Op == cdc.Update && !g.of.Full && want.size > 2000 && want.md5 == g.cells(g.Old)[column].md5:
		return "missing: unchanged TOAST"
	}
	require.Fail(t, "missing without a reason", "%s column %q", f.name, column)
	return ""
}

// compare holds a natural value against PostgreSQL's text. It says which
// exception applied, or "value".
func compare(typ string, got any, want cell) (why string, ok bool) {
	if want.null {
		return "value", got == nil
	}
	if elem, isArray := strings.CutPrefix(typ, "_"); isArray {
		return "value", compareArray(elem, got, want)
	}
	switch typ {
	case "bpchar", "bit":
		return "value: truncated", got == want.text[:min(1, len(want.text))]
	case "float4", "float8", "numeric":
		if strings.ContainsAny(want.text, "Nn") {
			return "value: NaN or infinite as null", got == nil
		}
	case "json", "jsonb":
		return compareJSON(typ, got, want)
	case "timestamptz", "timestamp", "date":
		return compareTime(got, want)
	}
	switch x := got.(type) {
	case int64:
		return "value", strconv.FormatInt(x, 10) == want.text
	case json.Number:
		return "value", x.String() == want.text
	case float64:
		return "value", hexBits(typ, x) == want.moreText()
	case bool:
		return "value", strconv.FormatBool(x) == want.text
	case []byte:
		return "value", hex.EncodeToString(x) == want.moreText()
	case json.RawMessage:
		return "value", compareComposite(x, want)
	case string:
		if want.md5 != "" {
			return "value: long text", hexMD5(x) == want.md5
		}
		return "value", x == want.text
	}
	return "value", false
}

func compareJSON(typ string, got any, want cell) (string, bool) {
	text := want.text
	if typ == "json" {
		text = want.moreText()
	}
	if text == "null" {
		return "value: JSON null as null", got == nil
	}
	raw, ok := got.(json.RawMessage)
	return "value", ok && string(raw) == text // of the same jsonb, PostgreSQL writes the same text
}

func compareTime(got any, want cell) (string, bool) {
	x, ok := got.(time.Time)
	switch micros := want.moreText(); micros {
	case "Infinity":
		return "value: infinite time", ok && x.Equal(cdc.Infinity)
	case "-Infinity":
		return "value: infinite time", ok && x.Equal(cdc.NegInfinity)
	default:
		return "value", ok && strconv.FormatInt(x.UnixMicro(), 10) == micros
	}
}

func compareArray(elem string, got any, want cell) bool {
	var texts []*string
	if json.Unmarshal(want.more, &texts) != nil {
		return false
	}
	list := flatten(got)
	if len(list) != len(texts) {
		return false
	}
	for i, x := range list {
		w := cell{null: texts[i] == nil}
		if !w.null {
			w.text = *texts[i]
		}
		if _, ok := compare(elem, x, w); !ok {
			return false
		}
	}
	return true
}

func flatten(x any) (list []any) {
	l, ok := x.([]any)
	if !ok {
		return []any{x}
	}
	for _, e := range l {
		list = append(list, flatten(e)...)
	}
	return list
}

func compareComposite(got json.RawMessage, want cell) bool {
	var fields map[string]string
	var object map[string]json.RawMessage
	if json.Unmarshal(want.more, &fields) != nil || json.Unmarshal(got, &object) != nil || len(fields) != len(object) {
		return false
	}
	for k, w := range fields {
		if strings.Trim(string(object[k]), `"`) != w {
			return false
		}
	}
	return true
}

func hexBits(typ string, x float64) string {
	if typ == "float4" {
		return fmt.Sprintf("%08x", math.Float32bits(float32(x)))
	}
	return fmt.Sprintf("%016x", math.Float64bits(x))
}

func hexMD5(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

type pair struct {
	A int
	B string
}

// full is the table t_full, with a field of another kind for each column.
type full struct {
	ID          int64
	Int2        *int16               `db:"c_int2"`
	Int4        sql.Null[int32]      `db:"c_int4"`
	Int8        sql.NullInt64        `db:"c_int8"`
	Numeric     decimal.NullDecimal  `db:"c_numeric"`
	NumericP    *big.Rat             `db:"c_numeric_p"`
	Float4      *float32             `db:"c_float4"`
	Float8      sql.NullFloat64      `db:"c_float8"`
	Bool        *bool                `db:"c_bool"`
	Text        *string              `db:"c_text"`
	Varchar     sql.NullString       `db:"c_varchar"`
	UUID        uuid.NullUUID        `db:"c_uuid"`
	Timestamptz *time.Time           `db:"c_timestamptz"`
	Timestamp   sql.NullTime         `db:"c_timestamp"`
	Date        sql.Null[time.Time]  `db:"c_date"`
	Time        *string              `db:"c_time"`
	JSONB       json.RawMessage      `db:"c_jsonb"`
	JSON        map[string]any       `db:"c_json"`
	Bytea       []byte               `db:"c_bytea"`
	Int4Arr     []sql.Null[int32]    `db:"c_int4_arr"`
	Int8Arr     []*big.Int           `db:"c_int8_arr"`
	UUIDArr     []uuid.UUID          `db:"c_uuid_arr"`
	JSONBArr    []json.RawMessage    `db:"c_jsonb_arr"`
	Int4Arr2    [][]uint8            `db:"c_int4_arr2"`
	Enum        *string              `db:"c_enum"`
	EnumArr     []string             `db:"c_enum_arr"`
	Domain      *uint                `db:"c_domain"`
	Composite   *pair                `db:"c_composite"`
	Inet        *netip.Prefix        `db:"c_inet"`
	OID         *uint32              `db:"c_oid"`
	Gen         json.Number          `db:"c_gen"`
	Default     string               `db:"c_default"`
	Quoted      *string              `db:"Quoted Col"`
	CamelCol    sql.Null[complexInt] // by its name
}

// complexInt is an integer that only knows its text.
type complexInt struct{ text string }

func (c *complexInt) UnmarshalText(b []byte) error { c.text = string(b); return nil }

// texts returns each field in PostgreSQL's text, nil for null.
func (r full) texts() map[string]any {
	m := map[string]any{
		"id": fmt.Sprint(r.ID), "c_default": r.Default, "c_gen": r.Gen.String(),
		"c_int2": deref(r.Int2), "c_float4": deref(r.Float4), "c_bool": deref(r.Bool), "c_text": deref(r.Text), "c_time": deref(r.Time),
		"c_enum": deref(r.Enum), "c_domain": deref(r.Domain), "c_inet": deref(r.Inet), "c_oid": deref(r.OID), "Quoted Col": deref(r.Quoted),
		"c_int4": valid(r.Int4.Valid, r.Int4.V), "c_int8": valid(r.Int8.Valid, r.Int8.Int64), "c_varchar": valid(r.Varchar.Valid, r.Varchar.String),
		"c_numeric": valid(r.Numeric.Valid, r.Numeric.Decimal), "c_uuid": valid(r.UUID.Valid, r.UUID.UUID), "camelCol": valid(r.CamelCol.Valid, r.CamelCol.V.text),
	}
	m["c_numeric_p"] = nil
	if r.NumericP != nil {
		m["c_numeric_p"] = r.NumericP.FloatString(10)
	}
	return m
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return fmt.Sprint(*p)
}

func valid(ok bool, v any) any {
	if !ok {
		return nil
	}
	return fmt.Sprint(v)
}

// TestRecordedChangesIntoAStruct decodes the tables with a column of every
// type into typed fields, and compares these with PostgreSQL's text.
func TestRecordedChangesIntoAStruct(t *testing.T) {
	n := tally{}
	eachChange(t, func(f frame, c cdc.Change, g logged) {
		if c.Table != "t_full" && c.Table != "t_def" {
			return
		}
		e, err := cdc.As[full](c)
		require.NoError(t, err, f.name)
		if c.Record != nil {
			checkFull(t, n, f, e.New, g.cells(g.New))
		}
		if c.OldRecord != nil && g.of.Full {
			checkFull(t, n, f, e.Old, g.cells(g.Old))
		}
		if c.Op != cdc.Insert && !g.of.Full {
			require.Equal(t, g.cells(g.Old)["id"].text, strconv.FormatInt(e.Old.ID, 10), f.name)
		}
	})
	n.log(t)
	require.Equal(t, tally{"field": 1060, "list": 86, "time": 146}, n)
}

func checkFull(t *testing.T, n tally, f frame, r full, want map[string]cell) {
	for column, got := range r.texts() {
		n["field"]++
		w := want[column]
		switch {
		case w.null, w.text == "NaN", w.text == "Infinity", w.text == "-Infinity":
			require.Nil(t, got, "%s column %q", f.name, column)
		case column == "c_numeric":
			require.True(t, decimal.RequireFromString(w.text).Equal(r.Numeric.Decimal), f.name)
		case column == "c_float4":
			require.Equal(t, w.moreText(), hexBits("float4", float64(*r.Float4)), f.name)
		default:
			require.Equal(t, w.text, got, "%s column %q", f.name, column)
		}
	}
	if w := want["c_float8"]; r.Float8.Valid {
		require.Equal(t, w.moreText(), hexBits("float8", r.Float8.Float64), f.name)
	}
	checkFullTimes(t, n, f, r, want)
	checkFullLists(t, n, f, r, want)
	if w := want["c_bytea"]; !w.null {
		require.Equal(t, w.moreText(), hex.EncodeToString(r.Bytea), f.name)
	}
	if w := want["c_json"]; !w.null {
		require.Equal(t, json.Number("9007199254740993"), r.JSON["n"], f.name)
	}
	if w := want["c_composite"]; !w.null {
		require.Equal(t, &pair{1, "two"}, r.Composite, f.name)
	}
	jsonb := want["c_jsonb"].text
	if want["c_jsonb"].null {
		jsonb = "null"
	}
	require.Equal(t, jsonb, string(r.JSONB), f.name)
}

func checkFullTimes(t *testing.T, n tally, f frame, r full, want map[string]cell) {
	times := map[string]sql.Null[time.Time]{
		"c_timestamp": {V: r.Timestamp.Time, Valid: r.Timestamp.Valid},
		"c_date":      r.Date,
	}
	if r.Timestamptz != nil {
		times["c_timestamptz"] = sql.Null[time.Time]{V: *r.Timestamptz, Valid: true}
	}
	for column, got := range times {
		n["time"]++
		require.Equal(t, want[column].null, !got.Valid, "%s column %q", f.name, column)
		if got.Valid {
			_, ok := compareTime(got.V, want[column])
			require.True(t, ok, "%s column %q: %v", f.name, column, got.V)
		}
	}
}

func checkFullLists(t *testing.T, n tally, f frame, r full, want map[string]cell) {
	var int4s, int4s2, uuids, jsonbs []any
	for _, x := range r.Int4Arr {
		int4s = append(int4s, valid(x.Valid, x.V))
	}
	for _, x := range r.Int4Arr2 {
		for _, y := range x {
			int4s2 = append(int4s2, fmt.Sprint(y))
		}
	}
	for _, x := range r.UUIDArr {
		uuids = append(uuids, x.String())
	}
	for _, x := range r.JSONBArr {
		jsonbs = append(jsonbs, string(x))
	}
	int8s, enums := anys(r.Int8Arr), anys(r.EnumArr)
	for column, got := range map[string][]any{
		"c_int4_arr": int4s, "c_int4_arr2": int4s2, "c_uuid_arr": uuids, "c_jsonb_arr": jsonbs, "c_int8_arr": int8s, "c_enum_arr": enums,
	} {
		w := want[column]
		if w.null {
			require.Empty(t, got, f.name)
			continue
		}
		n["list"]++
		var texts []any
		require.NoError(t, json.Unmarshal(w.more, &texts))
		require.True(t, reflect.DeepEqual(texts, got), "%s column %q: %v, want %v", f.name, column, got, texts)
	}
}

func anys[T any](list []T) (out []any) {
	for _, x := range list {
		out = append(out, fmt.Sprint(x))
	}
	return out
}

// TestBroadcastChangesHaveTheValuesThatWereWritten does for DecodeBroadcast
// what the tests above do for Decode.
func TestBroadcastChangesHaveTheValuesThatWereWritten(t *testing.T) {
	type row struct {
		ID   int64
		Room string
		Body string
	}
	changes := 0
	for _, name := range []string{"08-broadcast.vsn1", "08-broadcast.vsn2"} {
		list := loadGolden(t, "08-broadcast")
		next := map[string]int{} // each member gets all
		eachFrame(t, name, phoenix.EventBroadcast, func(f frame, m phoenix.Message) {
			payload := m.Payload
			if m.Kind == phoenix.Text {
				var b struct{ Payload json.RawMessage }
				require.NoError(t, json.Unmarshal(payload, &b))
				payload = b.Payload
			}
			if !bytes.Contains(payload, []byte(`"operation"`)) {
				return
			}
			c, err := cdc.DecodeBroadcast(payload)
			require.NoError(t, err, f.name)
			e, err := cdc.As[row](c)
			require.NoError(t, err, f.name)
			g := list[next[f.stream]]
			next[f.stream]++
			changes++
			require.Equal(t, g.Op, c.Op.String(), f.name)
			require.Equal(t, g.of.Schema+g.of.Table, c.Schema+c.Table, f.name)
			require.Empty(t, c.Columns)
			require.True(t, c.Committed.IsZero())
			for _, r := range []struct {
				record json.RawMessage
				got    row
				want   []cell
			}{{c.Record, e.New, g.New}, {c.OldRecord, e.Old, g.Old}} {
				require.Equal(t, r.want == nil, r.record == nil, f.name)
				if r.want != nil {
					require.Equal(t, []string{r.want[0].text, r.want[1].text, r.want[2].text}, []string{strconv.FormatInt(r.got.ID, 10), r.got.Room, r.got.Body}, f.name)
				}
			}
		})
	}
	require.Equal(t, 18, changes) // three changes for each of three members, twice
}
