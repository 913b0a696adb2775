package cdc_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/rescue"
)

// TestAs_FieldWithoutItsColumn: a tag that names no column of the change is an
// error, and no zero value.
func TestAs_FieldWithoutItsColumn(t *testing.T) {
	type base struct {
		Nmae string `json:"nmae"`
	}
	type row struct {
		ID int64 `db:"id"`
		base
	}
	c := cdc.Change{Op: cdc.Insert, Schema: "public", Table: "users", Columns: []cdc.Column{{"id", "int8"}, {"name", "text"}}, Record: json.RawMessage(`{"id":1,"name":"x"}`)}
	const want = `cdc: public.users column "nmae" into cdc_test.row: field base.Nmae: no such column, or the role may not read it`
	for range 2 { // what is remembered of the columns, too
		e, err := cdc.As[row](c)
		var de *cdc.DecodeError
		require.ErrorAs(t, err, &de)
		require.ErrorIs(t, err, cdc.ErrMissing)
		require.ErrorContains(t, err, want)
		require.Equal(t, "nmae", de.Column)
		require.Equal(t, cdc.Event[row]{Change: c}, e)
		_, err = cdc.As[*row](c)
		require.ErrorContains(t, err, want)
	}
	update := c
	update.Op, update.Record, update.OldRecord = cdc.Update, json.RawMessage(`{"id":1}`), json.RawMessage(`{"id":1}`)
	_, err := cdc.As[row](update)
	require.ErrorIs(t, err, cdc.ErrMissing)
	_, err = cdc.Merge(update, row{})
	require.ErrorIs(t, err, cdc.ErrMissing)

	// What is no mistake: a Delete, columns that nobody knows, fields that no tag
	// names or whose tag says optional, and a value that is missing in the row.
	gone := cdc.Change{Op: cdc.Delete, Columns: c.Columns, OldRecord: json.RawMessage(`{"id":1}`)}
	e, err := cdc.As[row](gone)
	require.NoError(t, err)
	require.EqualValues(t, 1, e.Old.ID)
	unknown := c
	unknown.Columns = nil
	_, err = cdc.As[row](unknown)
	require.NoError(t, err)
	_, err = cdc.As[struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
		//lint:ignore SA5008 the option is this package's
		Email string `json:"email,optional"`
		Phone string `db:"phone,optional"`
		Full  string
		Other string `json:"-"`
	}](update)
	require.NoError(t, err)
}

func TestMerge_OfWhatCarriesNoRow(t *testing.T) {
	type row struct {
		ID   int
		Note string
	}
	before := row{1, "old"}
	after, err := cdc.Merge(cdc.Change{Gap: &cdc.Gap{Reason: cdc.Started}}, before)
	require.ErrorIs(t, err, cdc.ErrGap)
	require.Equal(t, before, after)
	columns := []cdc.Column{{"id", "int8"}, {"note", "text"}}
	for _, text := range []string{"Error 400: x", "Error 401: x", "Error 413: x", "something"} {
		after, err = cdc.Merge(cdc.Change{Op: cdc.Update, Columns: columns, Record: json.RawMessage(`{"id":2}`), Missing: []string{"note"}, Errors: []string{text}}, before)
		var incomplete *cdc.IncompleteError
		require.ErrorAs(t, err, &incomplete, text)
		require.Equal(t, before, after)
	}
	for _, c := range []cdc.Change{{}, {Op: cdc.Update}, {Op: cdc.Delete, OldRecord: json.RawMessage(`{"id":1}`)}, {Op: cdc.Delete, Record: json.RawMessage(`{"id":1}`)}} {
		after, err = cdc.Merge(c, before)
		require.Error(t, err)
		require.Equal(t, before, after)
	}
}

type (
	panicsOnJSON struct{}
	panicsOnText struct{}
	panicsOnScan struct{}
)

func (*panicsOnJSON) UnmarshalJSON([]byte) error { panic("json") }
func (*panicsOnText) UnmarshalText([]byte) error { panic("text") }
func (*panicsOnScan) Scan(any) error             { panic("scan") }

// TestAs_PanicOfTheUsersType: a panic of a method that As calls is an error
// that names the column.
func TestAs_PanicOfTheUsersType(t *testing.T) {
	c := cdc.Change{Op: cdc.Insert, Schema: "public", Table: "t", Columns: []cdc.Column{{"v", "text"}, {"w", "jsonb"}}, Record: json.RawMessage(`{"v":"x","w":{"a":["x"]}}`)}
	check := func(column, value string, err error) {
		t.Helper()
		var de *cdc.DecodeError
		require.ErrorAs(t, err, &de)
		require.Equal(t, column, de.Column)
		var p *rescue.Error
		require.ErrorAs(t, err, &p)
		require.Equal(t, value, p.Value)
		require.NotEmpty(t, p.Stack)
	}
	_, err := cdc.As[panicsOnJSON](c)
	check("", "json", err)
	_, err = cdc.As[*panicsOnJSON](c)
	check("", "json", err)
	_, err = cdc.As[struct{ V panicsOnText }](c)
	check("v", "text", err)
	_, err = cdc.As[struct{ V []*panicsOnScan }](cdc.Change{Op: cdc.Insert, Record: json.RawMessage(`{"v":["x"]}`)})
	check("v", "scan", err)
	_, err = cdc.As[map[string]panicsOnText](c)
	check("v", "text", err)
	_, err = cdc.As[struct{ W map[string][]panicsOnText }](c)
	check("w", "text", err)
	_, err = cdc.Merge(c, struct{ W panicsOnJSON }{})
	check("w", "json", err)
}

// TestAs_UnusualValuesStayDirect: no value makes the next ones cost more.
func TestAs_UnusualValuesStayDirect(t *testing.T) {
	type row struct {
		ID   int64
		A, B string
	}
	columns := []cdc.Column{{"id", "int8"}, {"a", "text"}, {"b", "text"}}
	usual := cdc.Change{Op: cdc.Insert, Columns: columns, Record: json.RawMessage(`{"id": 1, "a": "some text", "b": "more text"}`)}
	allocs := func() float64 {
		return testing.AllocsPerRun(100, func() { _, _ = cdc.As[row](usual) })
	}
	require.EqualValues(t, 1, allocs())
	for _, record := range []string{
		`{"id": -9223372036854775808, "a": "\ud83d\ude00", "b": "ü"}`, `{"id": 1.00, "a": {"x": 1}, "b": null}`, `{"id": "no"}`, `{"b": "x", "id": 5, "c": [1]}`, `{"id":1`, `{}`,
	} {
		for range 100 {
			_, _ = cdc.As[row](cdc.Change{Op: cdc.Insert, Columns: columns, Record: json.RawMessage(record)})
		}
	}
	require.EqualValues(t, 1, allocs())
}
