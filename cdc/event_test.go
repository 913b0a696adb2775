package cdc_test

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// orders returns an update of a table with the given columns, all of type
// text, each holding its own name.
func orders(columns ...string) cdc.Change {
	c := cdc.Change{Op: cdc.Update, Schema: "public", Table: "orders"}
	row := map[string]string{}
	for _, name := range columns {
		c.Columns = append(c.Columns, cdc.Column{Name: name, Type: "text"})
		row[name] = name
	}
	c.Record, _ = json.Marshal(row)
	c.OldRecord = json.RawMessage(`{}`)
	return c
}

func TestFieldsAreFoundByTagAndName(t *testing.T) {
	type Inner struct {
		Deep   string
		Shadow string
	}
	type inner struct{ Promoted string }
	type ByPointer struct{ Pointed, Again string }
	type order struct {
		CreatedAt  string
		UserID     string
		HTTPStatus string
		Plain      string `db:"Quoted Col"`
		Both       string `db:"by_db" json:"by_json"`
		ByJSON     string `json:"from_json,omitempty"`
		NoName     string `json:",omitempty"`
		Skipped    string `db:"-"`
		SkippedToo string `json:"-"`
		Hidden     string `db:"hidden" json:"-"`
		unexported string
		Shadow     string
		Inner
		inner
		*ByPointer
	}
	e, err := cdc.As[order](orders("created_at", "userId", "http_status", "Quoted Col", "by_db", "by_json", "from_json", "noname",
		"skipped", "skippedtoo", "hidden", "unexported", "shadow", "deep", "promoted", "pointed", "again", "no_field"))
	require.NoError(t, err)
	require.Equal(t, order{
		CreatedAt: "created_at", UserID: "userId", HTTPStatus: "http_status", Plain: "Quoted Col", Both: "by_db", ByJSON: "from_json",
		NoName: "noname", Hidden: "hidden", Shadow: "shadow",
		Inner: Inner{Deep: "deep"}, inner: inner{Promoted: "promoted"}, ByPointer: &ByPointer{Pointed: "pointed", Again: "again"},
	}, e.New)
	require.Empty(t, e.New.unexported)

	// A tag is the exact name.
	e2, err := cdc.As[struct {
		A string `db:"created_at"`
		B string `db:"createdat,optional"`
		C string `db:"Created_At,optional"`
	}](orders("created_at", "createdAt"))
	require.NoError(t, err)
	require.Equal(t, "created_at", e2.New.A)
	require.Empty(t, e2.New.B)
	require.Empty(t, e2.New.C)
}

func TestEmbeddedPointerStaysNilWithoutAColumn(t *testing.T) {
	type Inner struct{ B string }
	type outer struct {
		A string
		*Inner
	}
	e, err := cdc.As[outer](orders("a"))
	require.NoError(t, err)
	require.Equal(t, outer{A: "a"}, e.New)
}

func TestTwoColumnsForOneField(t *testing.T) {
	_, err := cdc.As[struct{ CreatedAt string }](orders("created_at", "createdAt"))
	require.EqualError(t, err, `cdc: public.orders into struct { CreatedAt string }: columns "created_at" and "createdAt" are both for field CreatedAt`)
}

type (
	loop     []loop
	tree     struct{ *tree }
	whole    struct{ row string }
	hidden   struct{ A string }
	Embedded struct{ ID string }
)

func (w *whole) UnmarshalJSON(b []byte) error { w.row = string(b); return nil }

type picky struct{}

func (*picky) UnmarshalJSON([]byte) error { return errors.New("not like this") }

func TestTypesThatNoRowFits(t *testing.T) {
	for want, check := range map[string]func() error{
		`cdc: type int: not a struct, a map with string keys, or a json.Unmarshaler`:            cdc.CheckType[int],
		`cdc: type interface {}: not a struct, a map with string keys, or a json.Unmarshaler`:   cdc.CheckType[any],
		`cdc: type []string: not a struct, a map with string keys, or a json.Unmarshaler`:       cdc.CheckType[[]string],
		`cdc: type map[int]string: not a struct, a map with string keys, or a json.Unmarshaler`: cdc.CheckType[map[int]string],
		`cdc: type *int: not a struct, a map with string keys, or a json.Unmarshaler`:           cdc.CheckType[*int],
		`cdc: type struct { A chan int }: field A: no column can be decoded into chan int`:      cdc.CheckType[struct{ A chan int }],
		`cdc: type struct { A error }: field A: no column can be decoded into error`:            cdc.CheckType[struct{ A error }],
		`cdc: type struct { A []func() }: field A: no column can be decoded into func()`:        cdc.CheckType[struct{ A []func() }],
		`cdc: type struct { A *complex64 }: field A: no column can be decoded into complex64`:   cdc.CheckType[struct{ A *complex64 }],
		`cdc: type struct { A uintptr }: field A: no column can be decoded into uintptr`:        cdc.CheckType[struct{ A uintptr }],
		`cdc: type struct { A cdc_test.loop }: field A: nested too deeply`:                      cdc.CheckType[struct{ A loop }],
		`cdc: type map[string]chan int: no column can be decoded into chan int`:                 cdc.CheckType[map[string]chan int],
		`cdc: type struct { ID string; Id string }: fields ID and Id are both for column "Id"`:  cdc.CheckType[struct{ ID, Id string }],
		`cdc: type struct { A string "db:\"x\""; B string "json:\"x\"" }: fields A and B are both for column "x"`: cdc.CheckType[struct {
			A string `db:"x"`
			B string `json:"x"`
		}],
		`cdc: type struct { A string "db:\"created_at\""; CreatedAt string }: fields A and CreatedAt are both for column "CreatedAt"`: cdc.CheckType[struct {
			A         string `db:"created_at"`
			CreatedAt string
		}],
		`cdc: type struct { *cdc_test.hidden }: field hidden: a pointer to an unexported struct cannot be set`: cdc.CheckType[struct{ *hidden }],
	} {
		err := check()
		var te *cdc.TypeError
		require.ErrorAs(t, err, &te)
		require.EqualError(t, err, want)
		require.EqualError(t, check(), want, "from the cache")
	}
	_, err := cdc.As[int](orders("a"))
	require.ErrorContains(t, err, "cdc: type int:")
}

func TestTypesThatRowsFit(t *testing.T) {
	type both struct { // the outer one takes the column
		ID string
		Embedded
	}
	type skips struct {
		A chan int `db:"-"`
		B string
	}
	for _, check := range []func() error{
		cdc.CheckType[struct{}], cdc.CheckType[*full], cdc.CheckType[map[string]any], cdc.CheckType[json.RawMessage],
		cdc.CheckType[both], cdc.CheckType[skips], cdc.CheckType[struct{ hidden }], cdc.CheckType[whole],
	} {
		require.NoError(t, check())
	}
	e, err := cdc.As[both](orders("id"))
	require.NoError(t, err)
	require.Equal(t, both{ID: "id"}, e.New)

	var te *cdc.TypeError
	if err := cdc.CheckType[tree](); err != nil { // embeds itself: an error, but not an endless loop
		require.ErrorAs(t, err, &te)
	}
}

func TestRowsIntoPointers(t *testing.T) {
	type item struct{ A string }
	c := orders("a")
	c.OldRecord = nil
	c.Op = cdc.Insert
	e, err := cdc.As[*item](c)
	require.NoError(t, err)
	require.Equal(t, &item{"a"}, e.New)
	require.Nil(t, e.Old)
}

func TestRowsIntoMaps(t *testing.T) {
	type column string
	e, err := cdc.As[map[column]string](orders("a", "b"))
	require.NoError(t, err)
	require.Equal(t, map[column]string{"a": "a", "b": "b"}, e.New)
	require.Equal(t, map[column]string{}, e.Old)

	_, err = cdc.As[map[string]int](orders("a"))
	require.EqualError(t, err, `cdc: public.orders column "a" (text) into int: "a" is not an integer`)

	var many []string
	for i := range 40 {
		many = append(many, strings.Repeat("c", i+1))
	}
	m, err := cdc.As[map[string]any](orders(many...))
	require.NoError(t, err)
	require.Len(t, m.New, 40)
	require.Equal(t, "ccc", m.New["ccc"])
}

func TestRowsIntoUnmarshalers(t *testing.T) {
	c := orders("a")
	e, err := cdc.As[whole](c)
	require.NoError(t, err)
	require.Equal(t, string(c.Record), e.New.row)
	require.Equal(t, `{}`, e.Old.row)

	p, err := cdc.As[*whole](c)
	require.NoError(t, err)
	require.Equal(t, string(c.Record), p.New.row)

	_, err = cdc.As[picky](c)
	require.EqualError(t, err, "cdc: public.orders into cdc_test.picky: not like this")
}

func TestTheLastOfTwoValuesCounts(t *testing.T) {
	c := cdc.Change{Op: cdc.Insert, Columns: []cdc.Column{{"p", "jsonb"}, {"l", "_int4"}}, Record: json.RawMessage(`{"p": {"a": 1}, "l": [1, 2], "p": {"b": "x"}, "l": []}`)}
	e, err := cdc.As[struct {
		P pair
		L []int
	}](c)
	require.NoError(t, err)
	require.Equal(t, pair{B: "x"}, e.New.P)
	require.Empty(t, e.New.L)
}

func TestErrorsCanBeUnwrapped(t *testing.T) {
	_, err := into[broken]("text", `"x"`)
	require.ErrorIs(t, err, errBroken)
	_, _, err = cdc.Decode([]byte(`{`))
	var syntax *json.SyntaxError
	require.ErrorAs(t, err, &syntax)
}

var errBroken = errors.New("broken")

type broken struct{}

func (*broken) Scan(any) error { return errBroken }

func TestGapIsNoEvent(t *testing.T) {
	gap := &cdc.Gap{Reason: cdc.Disconnected}
	e, err := cdc.As[full](cdc.Change{Gap: gap})
	require.ErrorIs(t, err, cdc.ErrGap)
	require.Same(t, gap, e.Gap)
}

func TestErrorLeavesNoRows(t *testing.T) {
	type item struct {
		A string
		B int
	}
	c := orders("a", "b")
	e, err := cdc.As[item](c)
	require.Error(t, err)
	require.Equal(t, cdc.Event[item]{Change: c}, e)

	c = orders("a")
	c.OldRecord = json.RawMessage(`{"b": true}`)
	e, err = cdc.As[item](c)
	require.Error(t, err)
	require.Equal(t, cdc.Event[item]{Change: c}, e)
}

func TestDeleteOfNobodyKnowsWhat(t *testing.T) {
	c := cdc.Change{Op: cdc.Delete, Schema: "public", Table: "orders", OldRecord: json.RawMessage(`{ }`)}
	require.Equal(t, cdc.Unidentified, c.Incomplete())
	_, err := cdc.As[map[string]any](c)
	require.EqualError(t, err, "cdc: public.orders: incomplete change: nothing known of the deleted row")
	c.OldRecord = json.RawMessage(`{"id": 1}`)
	require.Equal(t, cdc.Complete, c.Incomplete())
}

// TestRowsMadeByHand: a Change need not come from Decode, and what is no JSON
// is an error.
func TestRowsMadeByHand(t *testing.T) {
	for _, record := range []string{
		``, ` `, `[`, `{`, `{"a"`, `{"a":`, `{"a":}`, `{"a":1`, `{"a" 1}`, `{"a":1 "b":2}`, `{"a":1,}`, `{,}`, `{a:1}`, `{"a":"x}`, `{"a":"x\"}`,
		`{"a":[1}`, `{"a":1}}`, `{"a":1} x`, `{"a":"\q"}`, `{"\q":1}`, `{"a":x}`, `{"a":nul}`, `null`, `{"a":{"b":1}`,
	} {
		c := cdc.Change{Op: cdc.Insert, Schema: "public", Table: "t", Record: json.RawMessage(record)}
		_, err := cdc.As[struct{ A string }](c)
		var de *cdc.DecodeError
		require.ErrorAs(t, err, &de, record)
		_, err = cdc.As[map[string]any](c)
		if !strings.Contains(record, "x") && !strings.Contains(record, "nul") && !strings.Contains(record, "[1}") {
			require.ErrorAs(t, err, &de, record)
		}
		_, _ = c.Value("a")
	}
	_, err := cdc.Change{Record: json.RawMessage(`{"a":`)}.Value("a")
	require.ErrorContains(t, err, `column "a" into interface {}: unexpected end of JSON`)
	_, err = cdc.Change{Columns: []cdc.Column{{"a", "int4"}}, Record: json.RawMessage(`{"a": true}`)}.Value("a")
	require.ErrorContains(t, err, `column "a" (int4) into interface {}: true is not an integer`)
	_, err = cdc.Change{}.OldValue("a")
	require.ErrorIs(t, err, cdc.ErrMissing)
}

func TestWordsForOpsAndReasons(t *testing.T) {
	require.Equal(t, "INSERT UPDATE DELETE Op(7)", strings.Join([]string{cdc.Insert.String(), cdc.Update.String(), cdc.Delete.String(), cdc.Op(7).String()}, " "))
	seen := map[string]bool{}
	for i := cdc.Complete; i <= cdc.Unidentified; i++ {
		require.NotContains(t, i.String(), "Incomplete(")
		require.False(t, seen[i.String()])
		seen[i.String()] = true
	}
	require.Equal(t, "Incomplete(99)", cdc.Incomplete(99).String())
	for r := cdc.Started; r <= cdc.Undecodable; r++ {
		require.NotContains(t, r.String(), "GapReason(")
	}
	require.Equal(t, "gap: disconnected: EOF (open)", (&cdc.Gap{Reason: cdc.Disconnected, Err: io.EOF}).String())
}

func TestMalformedElementsAreNotTaken(t *testing.T) {
	type row struct {
		Flags []bool
		Names []string
		Sizes []int
	}
	for _, text := range []string{`{"flags":[truex,false]}`, `{"flags":[true"a"]}`, `{"names":["c","a"b]}`, `{"sizes":[1"a"]}`} {
		_, err := cdc.As[row](cdc.Change{Op: cdc.Insert, Table: "t", Record: json.RawMessage(text)})
		var syntax *json.SyntaxError
		require.ErrorAs(t, err, &syntax, text)
	}
}

// Of two values for one field the later counts, whichever of them the quick way
// takes.
func TestTheLaterOfTwoValuesCounts(t *testing.T) {
	type row struct{ N *int64 }
	const least = "-9223372036854775808" // which the quick way does not take
	for text, want := range map[string]int64{
		`{"n":` + least + `,"n":5}`: 5,
		`{"n":` + least + `,"N":5}`: 5,
		`{"n":5,"n":` + least + `}`: math.MinInt64,
		`{"N":5,"n":` + least + `}`: math.MinInt64,
	} {
		for _, columns := range [][]cdc.Column{nil, {{Name: "n", Type: "int8"}}} {
			e, err := cdc.As[row](cdc.Change{Op: cdc.Insert, Table: "t", Columns: columns, Record: json.RawMessage(text)})
			require.NoError(t, err, text)
			require.Equal(t, &want, e.New.N, text)
		}
	}
}
