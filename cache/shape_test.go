package cache

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/postgrest"
)

type shaped struct {
	ID    int64  `json:"id"`
	Qty   string `json:"qty"`
	Grade string `db:"grade,optional" json:"grade"`
}

func columnsOf(pairs ...string) (columns []cdc.Column) {
	for i := 0; i < len(pairs); i += 2 {
		columns = append(columns, cdc.Column{Name: pairs[i], Type: pairs[i+1]})
	}
	return columns
}

// Of a column that T has, the stream tells that it has come, gone, or changed its
// type; of others nobody wants to know.
func TestShape_TheStreamTells(t *testing.T) {
	for _, c := range []struct {
		name      string
		described []cdc.Column
		read      []string
		events    [][]cdc.Column
		want      []bool
	}{
		{"nothing new", columnsOf("id", "int8", "qty", "int4"), []string{"id", "qty"}, [][]cdc.Column{columnsOf("id", "int8", "qty", "int4"), columnsOf("id", "int8", "qty", "int4")}, []bool{false, false}},
		{"in another order", nil, []string{"id", "qty"}, [][]cdc.Column{columnsOf("id", "int8", "qty", "int4"), columnsOf("qty", "int4", "id", "int8")}, []bool{false, false}},
		{"a column of others", nil, []string{"id", "qty"}, [][]cdc.Column{columnsOf("id", "int8", "qty", "int4"), columnsOf("id", "int8", "qty", "int4", "more", "text")}, []bool{false, false}},
		{"a column that was not read", nil, []string{"id", "qty"}, [][]cdc.Column{columnsOf("id", "int8", "qty", "int4", "grade", "text")}, []bool{true}},
		{"a column that has been read", nil, []string{"grade", "id", "qty"}, [][]cdc.Column{columnsOf("id", "int8", "qty", "int4"), columnsOf("id", "int8", "qty", "int4", "grade", "text")}, []bool{false, false}},
		{"another type", nil, []string{"id", "qty"}, [][]cdc.Column{columnsOf("id", "int8", "qty", "int4"), columnsOf("id", "int8", "qty", "text")}, []bool{false, true}},
		{"another type than described", columnsOf("id", "int8", "qty", "int4"), []string{"id", "qty"}, [][]cdc.Column{columnsOf("id", "int8", "qty", "text"), columnsOf("id", "int8", "qty", "text")}, []bool{true, false}},
		{"a type that is described", columnsOf("id", "int8", "qty", "text"), []string{"id", "qty"}, [][]cdc.Column{columnsOf("id", "int8", "qty", "int4"), columnsOf("id", "int8", "qty", "text")}, []bool{true, false}},
		{"a domain, described by its base", columnsOf("id", "int8", "qty", "text"), []string{"id", "qty"}, [][]cdc.Column{columnsOf("id", "int8", "qty", "label")}, []bool{false}},
		{"a column less", nil, []string{"id", "qty"}, [][]cdc.Column{columnsOf("id", "int8", "qty", "int4"), columnsOf("id", "int8")}, []bool{false, true}},
		{"a name for another", nil, []string{"id", "qty"}, [][]cdc.Column{columnsOf("id", "int8", "qty", "int4"), columnsOf("id", "int8", "grade", "int4")}, []bool{false, true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShape[shaped]()
			s.described, s.read, s.any = c.described, c.read, true
			var m streamedShape
			for i, columns := range c.events {
				require.Equal(t, c.want[i], m.news(columns, s), i)
			}
		})
	}
}

// What the stream never sends of a table, such as a generated column, is read.
func TestShape_WhatTheStreamLacks(t *testing.T) {
	s := newShape[shaped]()
	var m streamedShape
	require.False(t, m.news(columnsOf("id", "int8"), s))
	require.Equal(t, []string{"qty"}, m.lacking, "nothing has been read, and T needs it")
	s.read, s.any = []string{"id", "qty"}, true
	require.False(t, m.news(columnsOf("id", "int8"), s))
	require.Equal(t, []string{"qty"}, m.lacking)
}

func TestShape_AReadTells(t *testing.T) {
	s := source[int64, shaped]{schema: "public", api: postgrest.Table{Name: "items"}, shape: newShape[shaped]()}
	require.NoError(t, s.sawRow(json.RawMessage(`{"id":1,"qty":"a","other":1}`)))
	require.NoError(t, s.sawRow(json.RawMessage(`{"qty":"a","id":2,"another":1}`)))
	err := s.sawRow(json.RawMessage(`{"qty":"a","id":2,"grade":1}`))
	require.ErrorIs(t, err, errReshaped)
	require.ErrorIs(t, err, errEpochOver)
	require.NoError(t, s.sawRow(json.RawMessage(`{"qty":"a","id":2,"grade":1}`)))
	var gone *cdc.DecodeError
	require.True(t, errors.As(s.sawRow(json.RawMessage(`{"id":2,"grade":1}`)), &gone))
	require.Equal(t, "qty", gone.Column)
	require.ErrorIs(t, gone, cdc.ErrMissing)
}

func TestShape_TheDescriptionTells(t *testing.T) {
	missing := func(name string) error { return errors.New(name) }
	for _, c := range []struct {
		name    string
		columns []cdc.Column
		labels  map[string][]string
		another bool
		err     string
	}{
		{"the same", columnsOf("id", "int8", "qty", "mood"), map[string][]string{"qty": {"a"}}, false, ""},
		{"not told", nil, nil, false, ""},
		{"others", columnsOf("more", "text", "id", "int8", "qty", "mood"), map[string][]string{"qty": {"a"}}, false, ""},
		{"a type", columnsOf("id", "int8", "qty", "text"), nil, true, ""},
		{"a label", columnsOf("id", "int8", "qty", "mood"), map[string][]string{"qty": {"b"}}, true, ""},
		{"a column more", columnsOf("id", "int8", "qty", "mood", "grade", "text"), map[string][]string{"qty": {"a"}}, true, ""},
		{"a column less", columnsOf("id", "int8"), nil, true, "qty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShape[shaped]()
			another, err := s.tell(columnsOf("id", "int8", "qty", "mood"), map[string][]string{"qty": {"a"}}, missing)
			require.False(t, another)
			require.NoError(t, err)
			another, err = s.tell(c.columns, c.labels, missing)
			require.Equal(t, c.another, another)
			if c.err != "" {
				require.EqualError(t, err, c.err)
			}
		})
	}
}
