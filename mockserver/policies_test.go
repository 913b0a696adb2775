package mockserver_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// A policy is asked when the log is read, so that one that changes takes
// changes with it that were made before, and no message tells of it.
func TestPoliciesChange(t *testing.T) {
	everything := func(mockserver.Claims, mockserver.Row) bool { return true }
	notes := mockserver.Table{
		Name: "notes", Columns: []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "tag", Type: "text"}}, PrimaryKey: []string{"id"},
		RLS: true, Select: everything, Rows: []mockserver.Row{{"id": 1, "tag": "a"}, {"id": 2, "tag": "b"}},
	}
	open2 := mockserver.Table{Name: "open", Columns: notes.Columns, PrimaryKey: notes.PrimaryKey, Rows: notes.Rows}
	bubble(t, mockserver.Config{Tables: []mockserver.Table{notes, open2}}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", `[{"event":"*","schema":"public"}]`, "")
		touch := func(table string) {
			_, err := s.Update(table, mockserver.Row{"tag": "a"}, mockserver.Row{"id": 1})
			require.NoError(t, err)
		}
		all := `[{"id":1,"tag":"a"},{"id":2,"tag":"b"}]`

		require.NoError(t, s.HideRows("notes", mockserver.Row{"tag": "a"}))
		restCall{path: "notes", as: "anon", want: `[{"id":2,"tag":"b"}]`}.check(t, s)
		restCall{path: "notes", as: "service", want: all}.check(t, s)
		touch("notes")
		c.silent(time.Second)
		require.NoError(t, s.HideRows("notes", nil))
		restCall{path: "notes", as: "anon", want: all}.check(t, s)
		c.silent(time.Second)
		touch("notes")
		c.change()

		touch("notes")
		require.NoError(t, s.SetPolicies("notes", mockserver.Policies{}))
		c.silent(time.Second)
		restCall{path: "notes", as: "anon", want: `[]`}.check(t, s)
		require.NoError(t, s.SetPolicies("notes", mockserver.Policies{Select: everything, Delete: everything}))
		restCall{path: "notes", as: "anon", want: all}.check(t, s)
		_, err := s.Delete("notes", mockserver.Row{"id": 2})
		require.NoError(t, err)
		got, _ := c.change()
		require.JSONEq(t, `{"id":2}`, string(got.Data.OldRecord))

		require.ErrorContains(t, s.HideRows("open", mockserver.Row{"id": 1}), "no row level security")
		require.ErrorContains(t, s.HideRows("nope", nil), "does not exist")
		require.ErrorContains(t, s.HideRows("notes", mockserver.Row{"nope": 1}), "does not exist")
		require.ErrorContains(t, s.SetPolicies("nope", mockserver.Policies{}), "does not exist")
		touch("open")
		c.change()
		require.NoError(t, s.SetPolicies("open", mockserver.Policies{}))
		restCall{path: "open", as: "anon", want: `[]`}.check(t, s)
		touch("open")
		c.silent(time.Second)
	})
}
