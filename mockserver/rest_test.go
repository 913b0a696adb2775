package mockserver_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

const (
	annID = "11111111-1111-4111-8111-111111111111"
	benID = "22222222-2222-4222-8222-222222222222"
)

// restConfig has a table of every kind that REST treats differently.
func restConfig() mockserver.Config {
	own := func(claims mockserver.Claims, r row) bool { return r["owner"] != nil && r["owner"] == claims["sub"] }
	stock := mockserver.Table{
		Name: "stock",
		Columns: []col{
			{Name: "id", Type: "bigserial"}, {Name: "name", Type: "text", NotNull: true}, {Name: "qty", Type: "int4", Default: func() any { return 1 }},
			{Name: "price", Type: "numeric"}, {Name: "active", Type: "bool"}, {Name: "data", Type: "jsonb"}, {Name: "tags", Type: "text[]"},
			{Name: "code", Type: "char(4)"}, {Name: "raw", Type: "bytea"}, {Name: "at", Type: "timestamptz"}, {Name: "odd name", Type: "text"},
		},
		PrimaryKey: []string{"id"},
		Rows: []row{
			{"id": 1, "name": "apple", "qty": 5, "price": "1.50", "active": true, "data": map[string]any{"b": 1, "a": 2}, "tags": []string{"x", "y z"}, "code": "ab", "raw": []byte{0xde, 0xad}, "at": "2024-02-29 12:34:56.789+02", "odd name": "o"},
			{"id": 2, "name": "banana", "qty": nil, "price": "10", "active": false},
			{"id": 3, "name": "cherry, sour", "qty": 7, "price": "2.25"},
			{"id": 4, "name": "Date", "qty": 7, "price": "NaN", "active": true},
			{"id": "9007199254740993", "name": "e", "qty": -1, "price": "123456789012345678901234567890.5"},
		},
	}
	notes := mockserver.Table{
		Name:       "notes",
		Columns:    []col{{Name: "id", Type: "int8"}, {Name: "owner", Type: "uuid"}, {Name: "body", Type: "text"}},
		PrimaryKey: []string{"id"}, RLS: true, Select: own, Insert: own, Update: own, Delete: own,
		Rows: []row{{"id": 1, "owner": annID, "body": "a"}, {"id": 2, "owner": benID, "body": "b"}, {"id": 3, "owner": annID, "body": "c"}},
	}
	return mockserver.Config{
		InMemory: true,
		Tables: []mockserver.Table{
			stock, notes,
			{Name: "readable", Columns: []col{{Name: "id", Type: "int8"}, {Name: "a", Type: "text"}, {Name: "secret", Type: "text"}}, PrimaryKey: []string{"id"}, Grants: map[string][]string{"authenticated": {"id", "a"}}, Rows: []row{{"id": 1, "a": "x", "secret": "s"}}},
			{Name: "pairs", Columns: []col{{Name: "a", Type: "int8"}, {Name: "b", Type: "text"}, {Name: "v", Type: "int8"}}, PrimaryKey: []string{"a", "b"}},
			{Name: "keyless", Columns: []col{{Name: "v", Type: "int8"}}, ReplicaIdentity: mockserver.IdentityNothing},
			{Schema: "other", Name: "things", Columns: []col{{Name: "id", Type: "int8"}}, PrimaryKey: []string{"id"}, Rows: []row{{"id": 1}}},
			{Name: "writers", Columns: []col{{Name: "id", Type: "int8"}, {Name: "owner", Type: "uuid"}}, PrimaryKey: []string{"id"}, RLS: true, Insert: func(mockserver.Claims, row) bool { return true }},
		},
		Users: []mockserver.User{{ID: annID, Email: "ann@example.com", Password: "pass word"}, {ID: benID, Phone: "+4711", Password: "p2", Claims: mockserver.Claims{"app_metadata": map[string]any{"team": "red"}}}},
	}
}

// restCall is a request and what is wanted of the answer.
type restCall struct {
	name   string
	as     string // service (default), anon, ann, ben
	method string // GET
	path   string // behind /rest/v1/
	header string // "Name: value | Name: value"
	body   string

	status int    // 200
	want   string // the body, as JSON; "": empty; "*": anything
	has    string // headers, "Name: value | Name: value"; a name with no value must be absent
}

func headersOf(s string) http.Header {
	h := http.Header{}
	for line := range strings.SplitSeq(s, " | ") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			h.Add(name, value)
		}
	}
	return h
}

// send makes the request of a call, and returns the answer with its body read.
func (c restCall) send(t *testing.T, s *mockserver.Server) (*http.Response, string) {
	t.Helper()
	method := c.method
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequest(method, s.URL()+"/rest/v1/"+c.path, strings.NewReader(c.body))
	require.NoError(t, err)
	r.Header = headersOf(c.header)
	r.Header.Set("apikey", s.AnonKey())
	switch c.as {
	case "", "service":
		r.Header.Set("apikey", s.ServiceKey())
	case "anon by the service's key": // as which the API is described
		r.Header.Set("apikey", s.ServiceKey())
		r.Header.Set("Authorization", "Bearer "+s.AnonKey())
	case "ann by the service's key":
		r.Header.Set("apikey", s.ServiceKey())
		r.Header.Set("Authorization", "Bearer "+s.UserToken(annID, time.Hour))
	case "ann":
		r.Header.Set("Authorization", "Bearer "+s.UserToken(annID, time.Hour))
	case "ben":
		r.Header.Set("Authorization", "Bearer "+s.UserToken(benID, time.Hour))
	}
	answer, err := s.HTTPClient().Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer, string(body)
}

func (c restCall) check(t *testing.T, s *mockserver.Server) {
	t.Helper()
	answer, body := c.send(t, s)
	status := c.status
	if status == 0 {
		status = http.StatusOK
	}
	require.Equal(t, status, answer.StatusCode, "%s", body)
	switch c.want {
	case "*":
	case "":
		require.Empty(t, body)
	default:
		require.JSONEq(t, c.want, body)
	}
	for line := range strings.SplitSeq(c.has, " | ") {
		name, value, _ := strings.Cut(line, ": ")
		if name != "" {
			require.Equal(t, value, answer.Header.Get(name), name)
		}
	}
}

// refusal is the body of an error.
func refusal(code, message, details, hint string) string {
	text := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	b, _ := json.Marshal(map[string]any{"code": code, "message": message, "details": text(details), "hint": text(hint)})
	return string(b)
}

func TestRESTReads(t *testing.T) {
	s := mockserver.Start(t, restConfig())
	const ids = "stock?select=id&"
	list := func(ids ...string) string {
		var b []string
		for _, id := range ids {
			b = append(b, `{"id":`+id+`}`)
		}
		return "[" + strings.Join(b, ",") + "]"
	}
	const big = "9007199254740993"
	for _, c := range []restCall{
		{name: "everything", path: "stock?id=eq.1", has: "Content-Type: application/json; charset=utf-8 | Content-Range: 0-0/* | Preference-Applied: ", want: `[{"id":1,"name":"apple","qty":5,"price":1.50,"active":true,"data":{"a":2,"b":1},"tags":["x","y z"],"code":"ab  ","raw":"\\xdead","at":"2024-02-29T10:34:56.789+00:00","odd name":"o"}]`},
		{name: "a list of columns with alias and cast", path: "stock?select=n:name,qty::text,id,%22odd%20name%22,active::text,%22p%22:price::int8&id=eq.1", status: 400, want: refusal("22P02", `invalid input syntax for type bigint: "1.50"`, "", "")},
		{name: "casts", path: "stock?select=n:name,qty::text,q:qty,%22odd%20name%22,active::text,id::float8&id=eq.1", want: `[{"n":"apple","qty":"5","q":5,"odd name":"o","active":"true","id":1}]`},
		{name: "star and more", path: "keyless?select=*,w:v", want: `[]`, has: "Content-Range: */*"},
		{name: "nulls stay null in a cast", path: "stock?select=qty::text&id=eq.2", want: `[{"qty":null}]`},
		{name: "eq", path: ids + "id=eq." + big, want: list(big)},
		{name: "neq leaves NULL out", path: ids + "qty=neq.7", want: list("1", big)},
		{name: "not.eq leaves NULL out", path: ids + "qty=not.eq.7", want: list("1", big)},
		{name: "isdistinct does not", path: ids + "qty=isdistinct.7", want: list("1", "2", big)},
		{name: "ranges", path: ids + "qty=gte.5&qty=lt.7", want: list("1")},
		{name: "gt and lte", path: ids + "qty=gt.5&id=lte.3", want: list("3")},
		{name: "NaN is greatest", path: ids + "price=gt.1000000", want: list("4", big)},
		{name: "numbers are exact", path: ids + "price=eq.123456789012345678901234567890.50", want: list(big)},
		{name: "char(n) without its blanks", path: ids + "code=eq.ab", want: list("1")},
		{name: "a value longer than the column", path: ids + "code=neq.abcdef", want: list("1")},
		{name: "like with a star", path: ids + "name=like.*an*", want: list("2")},
		{name: "ilike", path: ids + "name=ilike.d*", want: list("4")},
		{name: "like is of the whole", path: ids + "name=like.an", want: list()},
		{name: "not.like", path: ids + "name=not.like.%25e%25", want: list("2")},
		{name: "match", path: ids + "name=match.%5E[ab]", want: list("1", "2")},
		{name: "imatch", path: ids + "name=imatch.%5Ed", want: list("4")},
		{name: "in with quotes", path: ids + `name=in.(apple,%22cherry%2C%20sour%22)`, want: list("1", "3")},
		{name: "in of the key", path: ids + "id=in.(3,1,77)", want: list("1", "3")},
		{name: "in of nothing", path: ids + "id=in.()", want: list()},
		{name: "not in of nothing", path: ids + "id=not.in.()&limit=2", want: list("1", "2")},
		{name: "is.null", path: ids + "qty=is.null", want: list("2")},
		{name: "not.is.null", path: ids + "qty=not.is.NULL&limit=1", want: list("1")},
		{name: "is.true", path: ids + "active=is.true", want: list("1", "4")},
		{name: "is.false", path: ids + "active=is.false", want: list("2")},
		{name: "not.is.true has NULL", path: ids + "active=not.is.true", want: list("2", "3", big)},
		{name: "is.unknown", path: ids + "active=is.unknown", want: list("3", big)},
		{name: "or", path: ids + `or=(id.eq.1,name.eq.%22cherry,%20sour%22)`, want: list("1", "3")},
		{name: "nested logic", path: ids + "and=(id.gte.2,or(qty.is.null,and(qty.eq.7,price.lt.3)))", want: list("2", "3")},
		{name: "negated logic", path: ids + "or=(id.eq.1,not.and(qty.eq.7,id.gt.0))", want: list("1", big)},
		{name: "not.or", path: ids + "not.or=(id.eq.1,id.eq.2)&qty=eq.7", want: list("3", "4")},
		{name: "logic with lists and arrays", path: ids + "or=(id.in.(1,2),tags.eq.{x,%22y%20z%22})", want: list("1", "2")},
		{name: "a parameter twice", path: ids + "id=gt.1&id=lt.3", want: list("2")},
		{name: "jsonb equality", path: ids + `data=eq.{%22b%22:1.0,%22a%22:2}`, want: list("1")},
		{name: "order", path: ids + "order=qty.desc,id.desc", want: list("2", "4", "3", "1", big)},
		{name: "order nullslast", path: ids + "order=qty.desc.nullslast,id", want: list("3", "4", "1", big, "2")},
		{name: "order nullsfirst", path: ids + "order=qty.asc.nullsfirst,name.desc", want: list("2", big, "1", "3", "4")},
		{name: "ascending has nulls last", path: ids + "order=qty,id.desc", want: list(big, "1", "4", "3", "2")},
		{name: "order by key, backward", path: ids + "order=id.desc&id=lt.4&limit=2", want: list("3", "2")},
		{name: "limit and offset", path: ids + "order=id&limit=2&offset=1", want: list("2", "3"), has: "Content-Range: 1-2/*"},
		{name: "limit 0", path: ids + "limit=0", want: list(), has: "Content-Range: */*"},
		{name: "a negative offset counts for nothing", path: ids + "offset=-3&limit=1", want: list("1")},
		{name: "a limit that is no number counts for nothing", path: ids + "limit=x&id=eq.1", want: list("1")},
		{name: "a negative limit", path: ids + "limit=-1", status: 416, want: refusal("PGRST103", "Requested range not satisfiable", "Limit should be greater than or equal to zero.", "")},
		{name: "range header", path: ids, header: "Range-Unit: items | Range: 1-2", want: list("2", "3"), has: "Content-Range: 1-2/*"},
		{name: "open range", path: ids, header: "Range: 3-", want: list("4", big), has: "Content-Range: 3-4/*"},
		{name: "range and limit", path: ids + "limit=3", header: "Range: 0-1", want: list("1", "2")},
		{name: "range beyond the limit", path: ids + "limit=1", header: "Range: 3-4", status: 416, want: "*"},
		{name: "upside down range", path: ids, header: "Range: 4-2", status: 416, want: refusal("PGRST103", "Requested range not satisfiable", "The lower boundary must be lower than or equal to the upper boundary in the Range header.", "")},
		{name: "count of all", path: ids + "limit=2", header: "Prefer: count=exact", status: 206, want: list("1", "2"), has: "Content-Range: 0-1/5 | Preference-Applied: count=exact"},
		{name: "count of the filtered", path: ids + "qty=eq.7", header: "Prefer: count=exact", want: list("3", "4"), has: "Content-Range: 0-1/2"},
		{name: "count of nothing", path: ids + "id=eq.77", header: "Prefer: count=exact", want: list(), has: "Content-Range: */0"},
		{name: "count with an offset at the end", path: ids + "offset=5", header: "Prefer: count=exact", status: 206, want: list(), has: "Content-Range: */5"},
		{name: "count with an offset beyond", path: ids + "offset=6", header: "Prefer: count=exact", status: 416, want: refusal("PGRST103", "Requested range not satisfiable", "An offset of 6 was requested, but there are only 5 rows.", ""), has: "Content-Range: */5"},
		{name: "an offset beyond without a count", path: ids + "offset=6", want: list(), has: "Content-Range: */*"},
		{name: "head", method: "HEAD", path: ids, header: "Prefer: count=exact", has: "Content-Range: 0-4/5"},
		{name: "one object", path: ids + "id=eq.1", header: "Accept: application/vnd.pgrst.object+json", want: `{"id":1}`, has: "Content-Type: application/vnd.pgrst.object+json; charset=utf-8"},
		{name: "one object of none", path: ids + "id=eq.77", header: "Accept: application/vnd.pgrst.object+json", status: 406, want: refusal("PGRST116", "Cannot coerce the result to a single JSON object", "The result contains 0 rows", "")},
		{name: "one object of many", path: ids, header: "Accept: application/vnd.pgrst.object+json", status: 406, want: refusal("PGRST116", "Cannot coerce the result to a single JSON object", "The result contains 5 rows", "")},
		{name: "an unknown media type", path: ids, header: "Accept: text/csv", status: 406, want: refusal("PGRST107", "None of these media types are available: text/csv", "", "")},
		{name: "another schema", path: "things", header: "Accept-Profile: other", want: list("1"), has: "Content-Profile: other"},
		{name: "an unknown schema", path: "things", header: "Accept-Profile: nope", status: 406, want: refusal("PGRST106", "Invalid schema: nope", "", "Only the following schemas are exposed: public, other")},
		{name: "unknown table", path: "nope", status: 404, want: refusal("PGRST205", "Could not find the table 'public.nope' in the schema cache", "", "")},
		{name: "unknown column", path: "stock?nope=eq.1", status: 400, want: refusal("42703", "column stock.nope does not exist", "", "")},
		{name: "unknown column selected", path: "stock?select=nope", status: 400, want: refusal("42703", "column stock.nope does not exist", "", "")},
		{name: "unknown column to sort by", path: "stock?order=nope", status: 400, want: refusal("42703", "column stock.nope does not exist", "", "")},
		{name: "bad value", path: "stock?id=eq.x", status: 400, want: refusal("22P02", `invalid input syntax for type bigint: "x"`, "", "")},
		{name: "bad value in a list", path: "stock?id=in.(1,x)", status: 400, want: refusal("22P02", `invalid input syntax for type bigint: "x"`, "", "")},
		{name: "bad pattern", path: "stock?name=match.(", status: 400, want: "*"},
		{name: "like of a number", path: "stock?qty=like.1", status: 404, want: refusal("42883", "operator does not exist: integer ~~ unknown", "", "No operator matches the given name and argument types. You might need to add explicit type casts.")},
		{name: "is.true of a number", path: "stock?qty=is.true", status: 400, want: refusal("42804", "argument of IS TRUE must be type boolean, not type integer", "", "")},
		{name: "no operator", path: "stock?id=5", status: 400, want: refusal("PGRST100", `"failed to parse filter (5)" (line 1, column 1)`, `unexpected "5" expecting "not" or operator (eq, gt, ...)`, "")},
		{name: "bad logic", path: "stock?or=(id.eq.1", status: 400, want: refusal("PGRST100", `"failed to parse logic tree ((id.eq.1)" (line 1, column 9)`, `unexpected end of input expecting "," or ")"`, "")},
		{name: "logic too deep", path: "stock?or=" + strings.Repeat("(or", 200), status: 500, want: refusal("54001", "stack depth limit exceeded", "", "")},
		{name: "too many columns", path: "stock?select=id" + strings.Repeat(",id", 1664), status: 500, want: refusal("54011", "target lists can have at most 1664 entries", "", "")},
		{name: "too many columns to sort by", path: "stock?order=id" + strings.Repeat(",id", 1664), status: 500, want: "*"},
		{name: "bad order", path: "stock?order=id.down", status: 400, want: "*"},
		{name: "full text search", path: "stock?name=fts(english).x", status: 400, want: refusal("PGRST127", "Feature not implemented", "this server has no operator fts", "")},
		{name: "JSON paths", path: "stock?data-%3E%3Ea=eq.1", status: 400, want: refusal("PGRST127", "Feature not implemented", "this server has no JSON paths such as data->key", "")},
		{name: "embedding", path: "stock?select=id,notes(*)", status: 400, want: "*"},
		{name: "filter of an embedded table", path: "stock?notes.id=eq.1", status: 400, want: "*"},
		{name: "aggregates", path: "stock?select=qty.sum()", status: 400, want: refusal("PGRST123", "Use of aggregate functions is not allowed", "", "")},
		{name: "a function", method: "POST", path: "rpc/f", status: 404, want: "*"},
		{name: "a path below a table", path: "stock/1", status: 404, want: "*"},
		{name: "another method", method: "PUT", path: "stock", status: 405, want: refusal("PGRST117", "Unsupported HTTP method: PUT", "", "")},
		{name: "options", method: "OPTIONS", path: "stock", has: "Allow: OPTIONS,GET,HEAD,POST,PATCH,DELETE | Access-Control-Allow-Origin: *"},
		{name: "bytes that are no text", path: "stock?name=eq.%FF", status: 400, want: "*"},
		{name: "a NUL", path: "stock?name=eq.%00", status: 400, want: refusal("22021", `invalid byte sequence for encoding "UTF8": 0x00`, "", "")},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(t, s) })
	}
}

func TestRESTRights(t *testing.T) {
	s := mockserver.Start(t, restConfig())
	denied := func(table string) string { return refusal("42501", "permission denied for table "+table, "", "") }
	violates := func(table string) string {
		return refusal("42501", `new row violates row-level security policy for table "`+table+`"`, "", "")
	}
	const back = "Prefer: return=representation"
	for _, c := range []restCall{
		{name: "own rows only", as: "ann", path: "notes?select=id", header: "Prefer: count=exact", want: `[{"id":1},{"id":3}]`, has: "Content-Range: 0-1/2"},
		{name: "limit counts visible rows", as: "ben", path: "notes?select=id&limit=1", want: `[{"id":2}]`},
		{name: "anon sees none", as: "anon", path: "notes", want: `[]`},
		{name: "service sees all", path: "notes?select=id", want: `[{"id":1},{"id":2},{"id":3}]`},
		{name: "granted columns", as: "ann", path: "readable?select=id,a", want: `[{"id":1,"a":"x"}]`},
		{name: "a column without a right", as: "ann", path: "readable?select=id,secret", status: 403, want: denied("readable")},
		{name: "all columns", as: "ann", path: "readable", status: 403, want: denied("readable")},
		{name: "filter by a column without a right", as: "ann", path: "readable?select=id&secret=eq.s", status: 403, want: denied("readable")},
		{name: "order by a column without a right", as: "ann", path: "readable?select=id&order=secret", status: 403, want: denied("readable")},
		{name: "no right at all", as: "anon", path: "readable?select=id", status: 401, want: denied("readable"), has: "WWW-Authenticate: Bearer"},
		{name: "service has all rights", path: "readable?select=secret", want: `[{"secret":"s"}]`},
		{name: "insert without a right", as: "ann", method: "POST", path: "readable", body: `{"id":2}`, status: 403, want: denied("readable")},
		{name: "update without a right", as: "anon", method: "PATCH", path: "readable?id=eq.1", body: `{"a":"y"}`, status: 401, want: denied("readable")},
		{name: "delete without a right", as: "ann", method: "DELETE", path: "readable?id=eq.1", status: 403, want: denied("readable")},
		{name: "insert one's own", as: "ann", method: "POST", path: "notes?select=id", header: back, body: `{"id":4,"owner":"` + annID + `"}`, status: 201, want: `[{"id":4}]`},
		{name: "insert another's", as: "ann", method: "POST", path: "notes", body: `{"id":5,"owner":"` + benID + `"}`, status: 403, want: violates("notes")},
		{name: "insert as anon", as: "anon", method: "POST", path: "notes", body: `{"id":5}`, status: 401, want: violates("notes")},
		{name: "insert what one may not see", as: "ann", method: "POST", path: "writers", body: `{"id":1}`, status: 201},
		{name: "insert and return what one may not see", as: "ann", method: "POST", path: "writers", header: back, body: `{"id":2}`, status: 403, want: violates("writers")},
		{name: "update passes over others' rows", as: "ann", method: "PATCH", path: "notes?select=id&id=in.(1,2)", header: back, body: `{"body":"x"}`, want: `[{"id":1}]`},
		{name: "give a row away", as: "ann", method: "PATCH", path: "notes?id=eq.1", body: `{"owner":"` + benID + `"}`, status: 403, want: violates("notes")},
		{name: "delete passes over others' rows", as: "ann", method: "DELETE", path: "notes?select=id&id=gt.1", header: back, want: `[{"id":3},{"id":4}]`},
		{name: "upsert of another's row", as: "ann", method: "POST", path: "notes", header: "Prefer: resolution=merge-duplicates", body: `{"id":2,"owner":"` + annID + `"}`, status: 403, want: refusal("42501", `new row violates row-level security policy (USING expression) for table "notes"`, "", "")},
		{name: "what is left", path: "notes?select=id,body", want: `[{"id":1,"body":"x"},{"id":2,"body":"b"}]`},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(t, s) })
	}
}

func TestRESTWrites(t *testing.T) {
	const back, merge, ignore = "Prefer: return=representation", "Prefer: return=representation,resolution=merge-duplicates", "Prefer: return=representation,resolution=ignore-duplicates"
	s := mockserver.Start(t, restConfig())
	for _, c := range []restCall{ // one after the other, on the same tables
		{name: "insert one", method: "POST", path: "stock", body: `{"id":10,"name":"fig"}`, status: 201, has: "Content-Range: */* | Location:  | Content-Type:  | Preference-Applied: "},
		{name: "defaults", path: "stock?select=id,name,qty,price&id=eq.10", want: `[{"id":10,"name":"fig","qty":1,"price":null}]`},
		{name: "insert many and return them", method: "POST", path: "stock?select=id,name,qty", header: back + " | Prefer: count=exact", body: `[{"id":12,"name":"h","qty":null},{"id":11,"name":"g","qty":2}]`, status: 201, want: `[{"id":12,"name":"h","qty":null},{"id":11,"name":"g","qty":2}]`, has: "Content-Range: */2 | Preference-Applied: return=representation, count=exact"},
		{name: "in the order asked for", method: "POST", path: "keyless?order=v.desc", header: back, body: `[{"v":1},{"v":3},{"v":2}]`, status: 201, want: `[{"v":3},{"v":2},{"v":1}]`},
		{name: "only the location", method: "POST", path: "pairs", header: "Prefer: return=headers-only", body: `{"a":1,"b":"x & y","v":1}`, status: 201, has: "Location: /pairs?a=eq.1&b=eq.x+%26+y | Preference-Applied: return=headers-only"},
		{name: "one object back", method: "POST", path: "pairs", header: back + " | Accept: application/vnd.pgrst.object+json", body: `[{"a":2,"b":"b"}]`, status: 201, want: `{"a":2,"b":"b","v":null}`},
		{name: "one object of two is rolled back", method: "POST", path: "pairs", header: back + " | Accept: application/vnd.pgrst.object+json", body: `[{"a":3,"b":"b"},{"a":4,"b":"b"}]`, status: 406, want: "*"},
		{name: "values of every kind", method: "POST", path: "stock?select=price,data,tags,raw,at,id,active&id=eq.1", header: back, body: `{"id":9007199254740995,"name":"n","price":"123456789012345678901234567890.10","data":[1,{"x":null}],"tags":["a",null],"raw":"\\xbeef","at":"infinity","active":"yes"}`, status: 201, want: `[{"price":123456789012345678901234567890.10,"data":[1,{"x":null}],"tags":["a",null],"raw":"\\xbeef","at":"infinity","id":9007199254740995,"active":true}]`},
		{name: "columns", method: "POST", path: "stock?columns=id,name,qty&select=id,qty,price", header: back, body: `[{"id":20,"name":"x","price":5},{"id":21,"name":"y","qty":9}]`, status: 201, want: `[{"id":20,"qty":null,"price":null},{"id":21,"qty":9,"price":null}]`},
		{name: "columns with defaults", method: "POST", path: "stock?columns=id,name,qty&select=id,qty", header: back + ",missing=default", body: `[{"id":22,"name":"x"}]`, status: 201, want: `[{"id":22,"qty":1}]`},
		{name: "no rows", method: "POST", path: "stock", header: back, body: `[]`, status: 201, want: `[]`},
		{name: "all defaults", method: "POST", path: "keyless", body: `[{},{}]`, status: 201},
		{name: "duplicate key", method: "POST", path: "stock", body: `{"id":10,"name":"again"}`, status: 409, want: refusal("23505", `duplicate key value violates unique constraint "stock_pkey"`, "Key (id)=(10) already exists.", "")},
		{name: "null", method: "POST", path: "stock", body: `{"id":30}`, status: 400, want: refusal("23502", `null value in column "name" of relation "stock" violates not-null constraint`, "", "")},
		{name: "all or nothing", method: "POST", path: "stock", body: `[{"id":31,"name":"x"},{"id":10,"name":"x"}]`, status: 409, want: "*"},
		{name: "nothing of it", path: "stock?id=eq.31", want: `[]`},
		{name: "unknown key", method: "POST", path: "stock", body: `{"nope":1}`, status: 400, want: refusal("PGRST204", "Could not find the 'nope' column of 'stock' in the schema cache", "", "")},
		{name: "different keys", method: "POST", path: "stock", body: `[{"id":1},{"name":"x"}]`, status: 400, want: refusal("PGRST102", "All object keys must match", "", "")},
		{name: "no objects", method: "POST", path: "stock", body: `[1]`, status: 400, want: refusal("PGRST102", "All object keys must match", "", "")},
		{name: "no JSON", method: "POST", path: "stock", body: `}{`, status: 400, want: refusal("PGRST102", "Empty or invalid json", "", "")},
		{name: "no body", method: "POST", path: "stock", status: 400, want: refusal("PGRST102", "Empty or invalid json", "", "")},
		{name: "no UTF-8", method: "POST", path: "stock", body: "{\"id\":40,\"name\":\"\xff\"}", status: 400, want: refusal("PGRST102", "Empty or invalid json", "", "")},
		{name: "half a surrogate pair", method: "POST", path: "stock", body: `{"id":40,"name":"\ud800"}`, status: 400, want: "*"},
		{name: "another content type", method: "POST", path: "stock", header: "Content-Type: text/csv", body: "id\n1", status: 400, want: refusal("PGRST102", "Content-Type not acceptable: text/csv", "", "")},
		{name: "bad value", method: "POST", path: "stock", body: `{"id":1.5,"name":"x"}`, status: 400, want: refusal("22P02", `invalid input syntax for type bigint: "1.5"`, "", "")},

		{name: "merge", method: "POST", path: "stock?select=id,name,qty", header: merge, body: `[{"id":10,"name":"FIG"},{"id":50,"name":"new"}]`, status: 201, want: `[{"id":10,"name":"FIG","qty":1},{"id":50,"name":"new","qty":1}]`, has: "Preference-Applied: resolution=merge-duplicates, return=representation"},
		{name: "merge without anything new", method: "POST", path: "stock?select=id,name&on_conflict=id", header: merge, body: `{"id":10,"name":"fig"}`, status: 200, want: `[{"id":10,"name":"fig"}]`},
		{name: "merge the same row twice", method: "POST", path: "stock", header: merge, body: `[{"id":60,"name":"x"},{"id":60,"name":"y"}]`, status: 500, want: "*"},
		{name: "ignore", method: "POST", path: "stock?select=id,name", header: ignore, body: `[{"id":10,"name":"no"},{"id":51,"name":"new"}]`, status: 201, want: `[{"id":51,"name":"new"}]`},
		{name: "merge by two columns", method: "POST", path: "pairs?on_conflict=b,a", header: merge, body: `{"a":1,"b":"x & y","v":7}`, status: 200, want: `[{"a":1,"b":"x & y","v":7}]`},
		{name: "conflict target without a constraint", method: "POST", path: "stock?on_conflict=name", header: merge, body: `{"id":1,"name":"x"}`, status: 400, want: refusal("42P10", "there is no unique or exclusion constraint matching the ON CONFLICT specification", "", "")},
		{name: "resolution without a key", method: "POST", path: "keyless", header: merge, body: `{"v":5}`, status: 201, want: `[{"v":5}]`},

		{name: "update", method: "PATCH", path: "stock?id=in.(10,50)", body: `{"qty":3}`, status: 204, has: "Content-Range: 0-1/* | Content-Type: "},
		{name: "update and return", method: "PATCH", path: "stock?id=in.(10,50)&select=id,qty&order=id.desc", header: back + " | Prefer: count=exact", body: `{"qty":4}`, want: `[{"id":50,"qty":4},{"id":10,"qty":4}]`, has: "Content-Range: 0-1/2"},
		{name: "update of nothing", method: "PATCH", path: "stock?id=eq.777", header: back, body: `{"qty":4}`, want: `[]`, has: "Content-Range: */*"},
		{name: "update with nothing", method: "PATCH", path: "stock?id=eq.10", body: `{}`, status: 204},
		{name: "move of the key", method: "PATCH", path: "stock?id=eq.50&select=id,name", header: back, body: `{"id":52}`, want: `[{"id":52,"name":"new"}]`},
		{name: "move onto another", method: "PATCH", path: "stock?id=eq.52", body: `{"id":10}`, status: 409, want: "*"},
		{name: "one object of no update", method: "PATCH", path: "stock?id=eq.777", header: back + " | Accept: application/vnd.pgrst.object+json", body: `{"qty":1}`, status: 406, want: "*"},
		{name: "update without a filter", method: "PATCH", path: "stock", body: `{"qty":4}`, status: 400, want: refusal("21000", "UPDATE requires a WHERE clause", "", "")},
		{name: "update with a limit", method: "PATCH", path: "stock?id=gt.0&limit=1", body: `{"qty":4}`, status: 400, want: "*"},
		{name: "update of an unknown column", method: "PATCH", path: "stock?id=eq.1", body: `{"nope":4}`, status: 400, want: "*"},
		{name: "update without a replica identity", method: "PATCH", path: "keyless?v=eq.5", body: `{"v":6}`, status: 500, want: refusal("55000", `cannot update table "keyless" because it does not have a replica identity and publishes updates`, "", "To enable updating the table, set REPLICA IDENTITY using ALTER TABLE.")},
		{name: "delete", method: "DELETE", path: "stock?id=eq.52", status: 204, has: "Content-Range: */*"},
		{name: "delete and return", method: "DELETE", path: "stock?id=in.(10,11)&select=id", header: back + " | Prefer: count=exact", want: `[{"id":10},{"id":11}]`, has: "Content-Range: */2"},
		{name: "delete without a filter", method: "DELETE", path: "stock", status: 400, want: refusal("21000", "DELETE requires a WHERE clause", "", "")},
		{name: "another schema", method: "POST", path: "things", header: "Content-Profile: other", body: `{"id":2}`, status: 201, has: "Content-Profile: other"},
		{name: "what is left", path: "stock?select=id&id=gte.10&id=lt.1000", want: `[{"id":12},{"id":20},{"id":21},{"id":22},{"id":51}]`},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(t, s) })
	}
}

func TestRESTTokens(t *testing.T) {
	s := mockserver.Start(t, restConfig())
	expired := s.Sign(mockserver.Claims{"role": "authenticated", "exp": time.Now().Add(-time.Minute).Unix()})
	nobody := s.Sign(mockserver.Claims{"role": "root", "exp": time.Now().Add(time.Minute).Unix()})
	other, err := mockserver.New(mockserver.Config{InMemory: true, JWTSecret: "another-secret-that-is-long-enough-for-all"})
	require.NoError(t, err)
	defer other.Close()
	for _, c := range []struct {
		name, apikey, bearer string
		query                string
		status               int
		want                 string
		challenge            string
	}{
		{name: "no key", status: 401, want: `{"message":"No API key found in request","hint":"No ` + "`apikey`" + ` request header or url param was found."}`},
		{name: "bad key", apikey: "nope", status: 401, want: `{"message":"Invalid API key","hint":"Double check your Supabase ` + "`anon` or `service_role`" + ` API key."}`},
		{name: "a user's token is no key", apikey: s.UserToken(annID, time.Hour), status: 401, want: "*"},
		{name: "another project's key", apikey: other.AnonKey(), status: 401, want: "*"},
		{name: "anon key", apikey: s.AnonKey(), status: 200, want: `[]`},
		{name: "key in the query", query: "&apikey=" + s.AnonKey(), status: 200, want: `[]`},
		{name: "service key", apikey: s.ServiceKey(), status: 200, want: `[{"id":1}]`},
		{name: "publishable key", apikey: s.PublishableKey(), status: 200, want: `[]`},
		{name: "secret key", apikey: s.SecretKey(), status: 200, want: `[{"id":1}]`},
		{name: "publishable key in both places", apikey: s.PublishableKey(), bearer: s.PublishableKey(), status: 200, want: `[]`},
		{name: "secret key in both places", apikey: s.SecretKey(), bearer: s.SecretKey(), status: 200, want: `[{"id":1}]`},
		{name: "secret key and a user", apikey: s.SecretKey(), bearer: s.UserToken(benID, time.Hour), status: 200, want: `[]`},
		{name: "some secret key", apikey: "sb_secret_x", status: 401, want: `{"message":"Invalid API key","hint":"Double check your Supabase ` + "`anon` or `service_role`" + ` API key."}`},
		{name: "some publishable key", apikey: "sb_publishable_x", bearer: "sb_publishable_x", status: 401, want: "*"},
		{name: "the secret key behind the publishable one", apikey: s.PublishableKey(), bearer: s.SecretKey(), status: 401, want: refusal("PGRST301", "JWT couldn't be decoded", "", ""), challenge: `Bearer error="invalid_token", error_description="JWT couldn't be decoded"`},
		{name: "JWT key in both places", apikey: s.ServiceKey(), bearer: s.ServiceKey(), status: 200, want: `[{"id":1}]`},
		{name: "the bearer wins", apikey: s.ServiceKey(), bearer: s.AnonKey(), status: 200, want: `[]`},
		{name: "a user", apikey: s.AnonKey(), bearer: s.UserToken(annID, time.Hour), status: 200, want: `[{"id":1}]`},
		{name: "expired", apikey: s.AnonKey(), bearer: expired, status: 401, want: refusal("PGRST303", "JWT expired", "", ""), challenge: `Bearer error="invalid_token", error_description="JWT expired"`},
		{name: "not yet valid", apikey: s.AnonKey(), bearer: s.Sign(mockserver.Claims{"role": "authenticated", "exp": time.Now().Add(2 * time.Hour).Unix(), "nbf": time.Now().Add(time.Hour).Unix()}), status: 401, want: refusal("PGRST303", "JWT not yet valid", "", ""), challenge: `Bearer error="invalid_token", error_description="JWT not yet valid"`},
		{name: "no JWT", apikey: s.AnonKey(), bearer: "sb_secret_x", status: 401, want: refusal("PGRST301", "JWT couldn't be decoded", "", ""), challenge: `Bearer error="invalid_token", error_description="JWT couldn't be decoded"`},
		{name: "another secret", apikey: s.AnonKey(), bearer: other.AnonKey(), status: 401, want: refusal("PGRST301", "No suitable key or wrong key type", "", ""), challenge: `Bearer error="invalid_token", error_description="No suitable key or wrong key type"`},
		{name: "empty bearer", apikey: s.AnonKey(), bearer: " ", status: 401, want: refusal("PGRST301", "Empty JWT is sent in Authorization header", "", ""), challenge: `Bearer error="invalid_token", error_description="Empty JWT is sent in Authorization header"`},
		{name: "no such role", apikey: s.AnonKey(), bearer: nobody, status: 401, want: refusal("22023", `role "root" does not exist`, "", ""), challenge: "Bearer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequest("GET", s.URL()+"/rest/v1/notes?select=id&id=eq.1"+c.query, nil)
			require.NoError(t, err)
			if c.apikey != "" {
				r.Header.Set("apikey", c.apikey)
			}
			if c.bearer != "" {
				r.Header.Set("Authorization", "Bearer "+c.bearer)
			}
			answer, err := s.HTTPClient().Do(r)
			require.NoError(t, err)
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, answer.StatusCode, "%s", body)
			require.Equal(t, c.challenge, answer.Header.Get("WWW-Authenticate"))
			if c.want != "*" {
				require.JSONEq(t, c.want, string(body))
			}
		})
	}
}

func TestRESTBodyLimit(t *testing.T) {
	s := mockserver.Start(t, restConfig())
	c := restCall{method: "POST", path: "stock", body: `{"id":1,"name":"` + strings.Repeat("x", 8<<20) + `"}`, status: 413, want: refusal("413", "Payload too large", "the limit is 8388608 bytes", "")}
	c.check(t, s)
}

func TestMaxRows(t *testing.T) {
	cfg := restConfig()
	cfg.MaxRows = 2
	s := mockserver.Start(t, cfg)
	for _, c := range []restCall{
		{path: "stock?select=id", header: "Prefer: count=exact", status: 206, want: `[{"id":1},{"id":2}]`, has: "Content-Range: 0-1/5"},
		{path: "stock?select=id&limit=5&offset=1", want: `[{"id":2},{"id":3}]`, has: "Content-Range: 1-2/*"},
		{path: "stock?select=id&limit=1", want: `[{"id":1}]`},
	} {
		c.check(t, s)
	}
}

// A table read page by page, each from behind the last key of the one before,
// is the table, whatever the key and the direction.
func TestKeysetPaging(t *testing.T) {
	const rows = 5000
	big := mockserver.Table{Name: "big", Columns: []col{{Name: "id", Type: "int8"}, {Name: "n", Type: "int4"}}, PrimaryKey: []string{"id"}}
	pairs := mockserver.Table{Name: "pairs", Columns: []col{{Name: "a", Type: "int4"}, {Name: "b", Type: "text"}}, PrimaryKey: []string{"a", "b"}}
	random := rand.New(rand.NewPCG(5, 6))
	for i := range rows {
		big.Rows = append(big.Rows, row{"id": i*3 - 700, "n": random.IntN(10)})
		pairs.Rows = append(pairs.Rows, row{"a": i / 70, "b": fmt.Sprintf("%d", i)})
	}
	s := mockserver.Start(t, mockserver.Config{InMemory: true, Tables: []mockserver.Table{big, pairs}})
	page := func(table, query string) (rows []map[string]any) {
		answer, body := restCall{path: table + "?limit=333&" + query}.send(t, s)
		require.Equal(t, 200, answer.StatusCode, "%s", body)
		dec := json.NewDecoder(strings.NewReader(body))
		dec.UseNumber()
		require.NoError(t, dec.Decode(&rows))
		return rows
	}
	// read pages until one is empty; next makes the filter behind a row.
	read := func(table, order string, next func(last map[string]any) string) (all []map[string]any) {
		for got := page(table, order); len(got) > 0; got = page(table, order+"&"+next(all[len(all)-1])) {
			all = append(all, got...)
			require.LessOrEqual(t, len(all), rows)
		}
		return all
	}
	want := func(table string, backward bool) (all []map[string]any) {
		content := contentOf(t, s, table)
		for i := range content {
			r := content[i]
			if backward {
				r = content[len(content)-1-i]
			}
			values := map[string]any{}
			for name, v := range r {
				if n, ok := v.(int64); ok {
					v = json.Number(fmt.Sprint(n))
				}
				values[name] = v
			}
			all = append(all, values)
		}
		return all
	}
	after := func(r map[string]any) string { return fmt.Sprintf("id=gt.%v", r["id"]) }
	before := func(r map[string]any) string { return fmt.Sprintf("id=lt.%v", r["id"]) }
	afterPair := func(r map[string]any) string {
		return fmt.Sprintf("or=(a.gt.%v,and(a.eq.%v,b.gt.%s))", r["a"], r["a"], url.QueryEscape(r["b"].(string)))
	}
	require.Equal(t, want("big", false), read("big", "order=id", after))
	require.Equal(t, want("big", true), read("big", "order=id.desc", before))
	require.Equal(t, want("pairs", false), read("pairs", "order=a,b", afterPair))
}

// Filters and orders find what going through all rows finds, with the key's
// bounds and without.
func TestFiltersAgainstAllRows(t *testing.T) {
	table := mockserver.Table{Name: "grid", Columns: []col{{Name: "a", Type: "int4"}, {Name: "b", Type: "int4"}, {Name: "v", Type: "int4"}}, PrimaryKey: []string{"a", "b"}}
	for i := range 100 {
		table.Rows = append(table.Rows, row{"a": i / 10, "b": i % 10, "v": i * 7 % 13})
	}
	s := startWith(t, table)
	random := rand.New(rand.NewPCG(7, 8))
	number := func() int { return random.IntN(12) - 1 }
	type condition struct {
		text  string
		holds func(a, b, v int) bool
	}
	pick := func(column string, a, b, v int) int { return map[string]int{"a": a, "b": b, "v": v}[column] }
	var make func(depth int) condition
	make = func(depth int) condition {
		if depth > 0 && random.IntN(2) == 0 {
			l, r := make(depth-1), make(depth-1)
			if random.IntN(2) == 0 {
				return condition{"and(" + l.text + "," + r.text + ")", func(a, b, v int) bool { return l.holds(a, b, v) && r.holds(a, b, v) }}
			}
			if random.IntN(4) == 0 {
				return condition{"not.or(" + l.text + "," + r.text + ")", func(a, b, v int) bool { return !l.holds(a, b, v) && !r.holds(a, b, v) }}
			}
			return condition{"or(" + l.text + "," + r.text + ")", func(a, b, v int) bool { return l.holds(a, b, v) || r.holds(a, b, v) }}
		}
		column, n, m := []string{"a", "b", "v"}[random.IntN(3)], number(), number()
		switch random.IntN(7) {
		case 0:
			return condition{fmt.Sprintf("%s.eq.%d", column, n), func(a, b, v int) bool { return pick(column, a, b, v) == n }}
		case 1:
			return condition{fmt.Sprintf("%s.gt.%d", column, n), func(a, b, v int) bool { return pick(column, a, b, v) > n }}
		case 2:
			return condition{fmt.Sprintf("%s.gte.%d", column, n), func(a, b, v int) bool { return pick(column, a, b, v) >= n }}
		case 3:
			return condition{fmt.Sprintf("%s.lt.%d", column, n), func(a, b, v int) bool { return pick(column, a, b, v) < n }}
		case 4:
			return condition{fmt.Sprintf("%s.lte.%d", column, n), func(a, b, v int) bool { return pick(column, a, b, v) <= n }}
		case 5:
			return condition{fmt.Sprintf("%s.in.(%d,%d)", column, n, m), func(a, b, v int) bool { x := pick(column, a, b, v); return x == n || x == m }}
		}
		return condition{fmt.Sprintf("%s.not.eq.%d", column, n), func(a, b, v int) bool { return pick(column, a, b, v) != n }}
	}
	for range 400 {
		c, d := make(3), make(1)
		var want []string
		for i := range 100 {
			a, b, v := i/10, i%10, i*7%13
			if c.holds(a, b, v) && d.holds(a, b, v) {
				want = append(want, fmt.Sprintf(`{"a":%d,"b":%d}`, a, b))
			}
		}
		query := "select=a,b&order=a,b&and=(" + url.QueryEscape(c.text+","+d.text) + ")"
		restCall{path: "grid?" + query, want: "[" + strings.Join(want, ",") + "]"}.check(t, s)
	}
}

// A statement that another one got in the way of is made again, on what that
// one left.
func TestStatementIsMadeAgain(t *testing.T) {
	var s *mockserver.Server
	meanwhile := 0
	table := mockserver.Table{
		Name: "counters", Columns: []col{{Name: "id", Type: "int4"}, {Name: "a", Type: "int4"}, {Name: "b", Type: "int4"}}, PrimaryKey: []string{"id"}, RLS: true,
		Select: func(mockserver.Claims, row) bool { return true },
		Update: func(mockserver.Claims, row) bool {
			if meanwhile++; meanwhile == 1 {
				_, err := s.Update("counters", row{"a": 7}, nil)
				require.NoError(t, err)
			}
			return true
		},
		Rows: []row{{"id": 1}},
	}
	s = startWith(t, table)
	restCall{as: "ann", method: "PATCH", path: "counters?id=eq.1", header: "Prefer: return=representation", body: `{"b":8}`, want: `[{"id":1,"a":7,"b":8}]`}.check(t, s)
}

// Requests that write the same rows at the same time all get through.
func TestConcurrentRequests(t *testing.T) {
	s := mockserver.Start(t, restConfig())
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 20 {
				calls := []restCall{
					{method: "POST", path: "pairs", body: fmt.Sprintf(`{"a":%d,"b":"%d"}`, worker, i), status: 201},
					{method: "PATCH", path: "stock?id=eq.1", body: fmt.Sprintf(`{"qty":%d}`, i), status: 204},
					{path: "pairs?select=a&limit=5", want: "*"},
				}
				for _, c := range calls {
					answer, body := c.send(t, s)
					if answer.StatusCode != max(c.status, 200) {
						t.Errorf("%d %s", answer.StatusCode, body)
					}
				}
			}
		})
	}
	wg.Wait()
	require.Len(t, contentOf(t, s, "pairs"), 80)
}
