package mockserver_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

// The root describes the tables of a schema of which the role may read
// anything, in the words of PostgREST.
func TestRootDescribesTheTables(t *testing.T) {
	cfg := mockserver.Config{InMemory: true, Tables: []mockserver.Table{
		{
			Name: "everything", PrimaryKey: []string{"id", "part"}, Columns: []col{
				{Name: "part", Type: "text"}, {Name: "id", Type: "bigint"}, {Name: "small", Type: "int2", NotNull: true}, {Name: "n", Type: "numeric(12,2)"}, {Name: "f", Type: "float8"},
				{Name: "ok", Type: "bool"}, {Name: "doc", Type: "jsonb"}, {Name: "raw", Type: "json"}, {Name: "at", Type: "timestamptz"}, {Name: "tags", Type: "text[]"},
				{Name: "docs", Type: "jsonb[]"}, {Name: "short", Type: "varchar(5)"}, {Name: "mood", Type: "mood", Enum: []string{"sad", "glad"}},
				{Name: "mail", Type: "mail", Domain: "text"}, {Name: "pair", Type: "pair", Composite: []col{{Name: "a", Type: "int4"}}}, {Name: "vec", Type: "vector"},
			},
		},
		{Name: "some", Columns: []col{{Name: "id", Type: "int8"}, {Name: "hidden", Type: "text"}}, PrimaryKey: []string{"id"}, Grants: map[string][]string{"authenticated": {"id"}}},
		{Schema: "other", Name: "things", Columns: []col{{Name: "id", Type: "int8"}}, PrimaryKey: []string{"id"}},
	}, Functions: map[string]mockserver.Function{"f": addOrder}}
	s := mockserver.Start(t, cfg)
	type described struct {
		Swagger     string
		Host        string
		Paths       map[string]map[string]json.RawMessage
		Definitions map[string]struct {
			Type       string
			Required   []string
			Properties json.RawMessage
		}
	}
	root := func(call restCall) (d described) {
		t.Helper()
		call.want = "*"
		answer, body := call.send(t, s)
		require.Equal(t, http.StatusOK, answer.StatusCode, body)
		require.Equal(t, "application/openapi+json; charset=utf-8", answer.Header.Get("Content-Type"))
		require.NoError(t, json.Unmarshal([]byte(body), &d))
		return d
	}
	anon := root(restCall{as: "anon by the service's key"})
	require.Equal(t, "2.0", anon.Swagger)
	require.Equal(t, "mockserver.test", anon.Host)
	require.Len(t, anon.Definitions, 1, "of the other table anon may read nothing")
	everything := anon.Definitions["everything"]
	require.Equal(t, "object", everything.Type)
	require.Equal(t, []string{"part", "id", "small"}, everything.Required)
	const key = `"description":"Note:\nThis is a Primary Key.\u003cpk/\u003e",`
	require.Equal(t, `{`+
		`"part":{`+key+`"format":"text","type":"string"},`+
		`"id":{`+key+`"format":"bigint","type":"integer"},`+
		`"small":{"format":"smallint","type":"integer"},`+
		`"n":{"format":"numeric","type":"number"},`+
		`"f":{"format":"double precision","type":"number"},`+
		`"ok":{"format":"boolean","type":"boolean"},`+
		`"doc":{"format":"jsonb"},`+
		`"raw":{"format":"json"},`+
		`"at":{"format":"timestamp with time zone","type":"string"},`+
		`"tags":{"format":"text[]","type":"array","items":{"type":"string"}},`+
		`"docs":{"format":"jsonb[]","type":"array"},`+
		`"short":{"format":"character varying","type":"string","maxLength":5},`+
		`"mood":{"format":"public.mood","type":"string","enum":["sad","glad"]},`+
		`"mail":{"format":"text","type":"string"},`+
		`"pair":{"format":"public.pair","type":"string"},`+
		`"vec":{"format":"vector","type":"string"}}`, string(everything.Properties), "in the order of the columns")
	methods := func(d described, path string) (names []string) {
		for _, method := range []string{"get", "post", "patch", "delete"} {
			if _, ok := d.Paths[path][method]; ok {
				names = append(names, method)
			}
		}
		return names
	}
	require.Equal(t, []string{"get", "post", "patch", "delete"}, methods(anon, "/everything"))
	require.Equal(t, []string{"post"}, methods(anon, "/rpc/f"))

	ann := root(restCall{as: "ann by the service's key", header: "Accept: application/openapi+json"})
	require.Len(t, ann.Definitions, 2)
	require.Equal(t, []string{"get"}, methods(ann, "/some"), "it may not write")

	other := root(restCall{header: "Accept-Profile: other"})
	require.Len(t, other.Definitions, 1)
	require.Contains(t, other.Definitions, "things")
	require.Empty(t, methods(other, "/rpc/f"))

	for _, refused := range []restCall{
		{as: "anon", status: 403, want: `{"code":"","details":null,"hint":"Accessing the schema via the Data API is only allowed using a secret API key.","message":"Access to schema is forbidden"}`},
		{as: "ann", status: 403, want: "*"},
		{method: "POST", status: 405, want: "*"},
		{header: "Accept: text/csv", status: 406, want: "*"},
		{header: "Accept-Profile: nope", status: 406, want: "*"},
		{method: "HEAD", status: 200},
	} {
		refused.check(t, s)
	}
}
