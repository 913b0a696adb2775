package postgrest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/postgrest"
)

// openAPI is the root of a project as PostgREST writes it, shortened.
const openAPI = `{"swagger":"2.0","info":{"title":"standard public schema","version":"12.2.3"},
"paths":{"/":{"get":{"tags":["Introspection"]}},"/orders":{"get":{"parameters":[{"$ref":"#/parameters/rowFilter.orders.id"}],"properties":{"no":1}}}},
"definitions":{
 "customers":{"properties":{"id":{"format":"uuid","type":"string","description":"Note:\nThis is a Primary Key.<pk/>"}},"type":"object"},
 "orders":{"required":["tenant","id"],"description":"all \"orders\"","properties":{
   "note":{"format":"text","type":"string"},
   "tenant":{"default":"gen_random_uuid()","description":"The tenant.\n\nNote:\nThis is a Primary Key.<pk/>","format":"uuid","type":"string"},
   "id":{"description":"Note:\nThis is a Primary Key.<pk/>","format":"bigint","type":"integer"},
   "customer":{"description":"Note:\nThis is a Foreign Key to \"customers.id\".<fk table='customers' column='id'/>","format":"uuid","type":"string"},
   "tags":{"format":"text[]","items":{"type":"string"},"type":"array"},
   "mood":{"enum":["ok","bad"],"format":"public.mood","type":"string"}},"type":"object"},
 "a view":{"properties":{"n":{"format":"bigint","type":"integer"}}}},
"parameters":{"rowFilter.orders.id":{"name":"id"}},"host":"x"}`

func describe(table string, a *http.Response) (postgrest.Description, error) {
	t := &postgrest.Table{Schema: "public", Name: table, Client: canned{func(r *http.Request) (*http.Response, error) {
		if r.URL.String() != "/rest/v1/" || r.Header.Get("Accept") != "application/openapi+json" || r.Header.Get("Accept-Profile") != "public" {
			return nil, fmt.Errorf("another request: %s %v", r.URL, r.Header)
		}
		return a, nil
	}}}
	return t.Describe(context.Background())
}

func TestDescribe(t *testing.T) {
	d, err := describe("orders", answer(200, openAPI))
	require.NoError(t, err)
	require.Equal(t, postgrest.Description{
		Key: []string{"tenant", "id"},
		Columns: []postgrest.Column{
			{Name: "note", Type: "text"}, {Name: "tenant", Type: "uuid"}, {Name: "id", Type: "bigint"}, {Name: "customer", Type: "uuid"}, {Name: "tags", Type: "text[]"}, {Name: "mood", Type: "public.mood", Labels: []string{"ok", "bad"}},
		},
	}, d)
	d, err = describe("a view", answer(200, openAPI))
	require.NoError(t, err)
	require.Equal(t, postgrest.Description{Columns: []postgrest.Column{{Name: "n", Type: "bigint"}}}, d)
}

func TestDescribeFailures(t *testing.T) {
	for _, c := range []struct {
		table        string
		answer       *http.Response
		notDescribed bool
		temporary    bool
	}{
		{"none", answer(200, openAPI), true, false},
		{"orders", answer(200, `{}`), true, false},
		{"orders", answer(401, `{"message":"Access to schema is forbidden"}`), true, false},
		{"orders", answer(403, `{"code":"42501","message":"no"}`), true, false},
		{"orders", answer(404, `{"code":"PGRST126","message":"Root endpoint metadata is disabled"}`), true, false},
		{"orders", answer(401, `{"code":"PGRST303","message":"JWT expired"}`), false, true},
		{"orders", answer(503, ``), false, true},
		{"orders", answer(200, openAPI[:len(openAPI)/2]), false, true},
		{"orders", answer(200, `[]`), false, true},
		{"orders", answer(200, `{"definitions":{"orders":{"properties":{"id":7}}}}`), false, false},
	} {
		_, err := describe(c.table, c.answer)
		require.Error(t, err)
		require.Contains(t, err.Error(), "postgrest: public.")
		require.Equal(t, c.notDescribed, isNotDescribed(err), "%v", err)
		require.Equal(t, c.temporary, isTemporary(err), "%v", err)
	}
}

func isNotDescribed(err error) bool { return errors.Is(err, postgrest.ErrNotDescribed) }

func isTemporary(err error) bool {
	var e *postgrest.Error
	return errors.As(err, &e) && e.Temporary()
}

// BenchmarkDescribe reads one table of a project with 20,000 others.
func BenchmarkDescribe(b *testing.B) {
	var doc strings.Builder
	doc.WriteString(`{"paths":{`)
	for i := range 20_000 {
		fmt.Fprintf(&doc, `"/t%d":{"get":{"parameters":[{"$ref":"#/parameters/rowFilter.t%d.id"},[[{}]]]}},`, i, i)
	}
	doc.WriteString(`"/":{}},` + openAPI[1:])
	large := doc.String()
	b.SetBytes(int64(len(large)))
	b.ReportAllocs()
	for b.Loop() {
		d, err := describe("orders", answer(200, large))
		require.NoError(b, err)
		require.Len(b, d.Columns, 6)
	}
}

// BenchmarkPage reads pages of 1000 rows of 150 bytes.
func BenchmarkPage(b *testing.B) {
	row := `{"id":123456,"name":"somebody with a name","note":"` + strings.Repeat("x", 60) + `","at":"2024-02-29T10:34:56.789+00:00"}`
	body := "[" + strings.Repeat(row+",\n ", 999) + row + "]"
	table := &postgrest.Table{Name: "t", Key: []string{"id"}, Client: canned{func(*http.Request) (*http.Response, error) { return answer(200, body), nil }}}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		page, err := table.Page(b.Context(), nil, 1000)
		require.NoError(b, err)
		require.Len(b, page.Rows, 1000)
	}
}
