package mockserver_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

// linesTable is the table that PostgreSQL was asked about for the answers
// below.
func linesTable() mockserver.Table {
	const a, b, c = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000", "cccccccc-0000-4000-8000-000000000000"
	return mockserver.Table{
		Name:       "lines",
		Columns:    []col{{Name: "tenant", Type: "uuid"}, {Name: "no", Type: "int8"}, {Name: `na"me %I`, Type: "text"}, {Name: "v", Type: "numeric"}, {Name: "at", Type: "timestamptz"}},
		PrimaryKey: []string{"tenant", "no"},
		Rows: []row{
			{"tenant": a, "no": 10, `na"me %I`: "ten", "v": "1.50", "at": "2024-02-29 12:34:56.789+00"},
			{"tenant": a, "no": 9, `na"me %I`: `n"i\ne,%`},
			{"tenant": b, "no": 1, "v": "NaN", "at": "infinity"},
			{"tenant": b, "no": 9007199254740993, `na"me %I`: "", "v": "3", "at": "2024-01-01 00:00+00"},
			{"tenant": c, "no": -1, `na"me %I`: "é", "v": "10000000000000000000000.5", "at": "2024-01-01 00:00+00"},
		},
	}
}

func cacheConfig() mockserver.Config {
	own := func(claims mockserver.Claims, r row) bool { return r["owner"] == claims["sub"] }
	cfg := mockserver.Config{InMemory: true, Tables: []mockserver.Table{
		linesTable(),
		{Name: "Odd.Table", Schema: "shop", Columns: []col{{Name: "id", Type: "int4"}, {Name: "owner", Type: "text"}, {Name: "tags", Type: "text[]"}}, PrimaryKey: []string{"id"},
			ReplicaIdentity: mockserver.IdentityFull, RLS: true, Select: own, Rows: []row{{"id": 1, "owner": annID}, {"id": 2, "owner": benID}}},
		{Name: "secret", Columns: []col{{Name: "id", Type: "int4"}}, PrimaryKey: []string{"id"}, Grants: map[string][]string{}},
		{Schema: "shop", Name: "unpublished", Columns: []col{{Name: "id", Type: "int4"}}, PrimaryKey: []string{"id"}, Unpublished: true},
		{Name: "keyless", Columns: []col{{Name: "id", Type: "int4", NotNull: true}}, Unpublished: true},
	}}
	mockserver.InstallCache(&cfg)
	return cfg
}

func TestCacheFunctions(t *testing.T) {
	s := mockserver.Start(t, cacheConfig())
	rpc := func(name, function, args, want string) restCall {
		return restCall{name: name, as: "ann", method: "POST", path: "rpc/" + function, body: args, want: want}
	}
	const lines = `{"rel": "lines", "key": ["tenant", "no"]`
	for _, c := range []restCall{
		rpc("describe", "rt_describe", `{"rel": "lines"}`, `{"columns":[{"name":"tenant","type":"uuid"},{"name":"no","type":"int8"},{"name":"na\"me %I","type":"text"},{"name":"v","type":"numeric"},{"name":"at","type":"timestamptz"}],"identity":"d","key":["tenant","no"],"published":true,"rls":false,"schema":"public","table":"lines","version":1}`),
		rpc("describe another", "rt_describe", `{"rel": "shop.\"Odd.Table\""}`, `{"columns":[{"name":"id","type":"int4"},{"name":"owner","type":"text"},{"name":"tags","type":"_text"}],"identity":"f","key":["id"],"published":true,"rls":true,"schema":"shop","table":"Odd.Table","version":1}`),
		rpc("describe without a key", "rt_describe", `{"rel": "KEYLESS"}`, `{"columns":[{"name":"id","type":"int4"}],"identity":"d","key":[],"published":false,"rls":false,"schema":"public","table":"keyless","version":1}`),
		rpc("first rows", "rt_chunk", lines+`, "lim": 2}`, `{"last" : ["aaaaaaaa-0000-4000-8000-000000000000","10"], "rows" : [{"tenant":"aaaaaaaa-0000-4000-8000-000000000000","no":9,"na\"me %I":"n\"i\\ne,%","v":null,"at":null},{"tenant":"aaaaaaaa-0000-4000-8000-000000000000","no":10,"na\"me %I":"ten","v":1.50,"at":"2024-02-29T12:34:56.789+00:00"}], "seq" : null}`),
		rpc("a range", "rt_chunk", lines+`, "cols": ["na\"me %I"], "after": ["aaaaaaaa-0000-4000-8000-000000000000", "10"], "upto": ["bbbbbbbb-0000-4000-8000-000000000000", "9007199254740993"]}`, `{"last" : null, "rows" : [{"tenant":"bbbbbbbb-0000-4000-8000-000000000000","no":1,"na\"me %I":null},{"tenant":"bbbbbbbb-0000-4000-8000-000000000000","no":9007199254740993,"na\"me %I":""}], "seq" : null}`),
		rpc("like", "rt_chunk", lines+`, "cols": [], "filter": [{"column": "na\"me %I", "op": "like", "values": ["%,\\%"]}]}`, `{"last" : null, "rows" : [{"tenant":"aaaaaaaa-0000-4000-8000-000000000000","no":9}], "seq" : null}`),
		rpc("not greater", "rt_chunk", lines+`, "cols": [], "filter": [{"column": "v", "op": "gt", "values": ["1.5"], "not": true}]}`, `{"last" : null, "rows" : [{"tenant":"aaaaaaaa-0000-4000-8000-000000000000","no":10}], "seq" : null}`),
		rpc("one bucket", "rt_digest", lines+`}`, `{"buckets" : [[0,5,"2dfd6e60c0ce937e"]], "last" : null, "seq" : null}`),
		rpc("buckets", "rt_digest", lines+`, "version": ["na\"me %I", "v", "at"], "bits": 2}`, `{"buckets" : [[0,5,"62756a2607c61a16"]], "last" : null, "seq" : null}`),
		rpc("buckets within one", "rt_digest", lines+`, "version": ["v"], "bits": 3, "within_bits": 1, "within": [1], "lim": 4, "seed": -7}`, `{"buckets" : [[5,1,"be61292fd058c515"],[7,1,"a090553b854c5084"]], "last" : ["bbbbbbbb-0000-4000-8000-000000000000","9007199254740993"], "seq" : null}`),
		rpc("keys", "rt_keys", lines+`, "version": ["v", "at"]}`, `{"keys" : [[["aaaaaaaa-0000-4000-8000-000000000000","10"],"219399ab24eae998"],[["cccccccc-0000-4000-8000-000000000000","-1"],"1c59ba76129b4a4d"],[["bbbbbbbb-0000-4000-8000-000000000000","1"],"524f20048ba0dc54"],[["aaaaaaaa-0000-4000-8000-000000000000","9"],"3f50b75dda72d989"],[["bbbbbbbb-0000-4000-8000-000000000000","9007199254740993"],"398b9f7f92489821"]], "last" : null, "seq" : null}`),
		rpc("row level security", "rt_chunk", `{"rel": "shop.\"Odd.Table\"", "key": ["id"], "cols": []}`, `{"last": null, "rows": [{"id": 1}], "seq": null}`),
		rpc("mark", "rt_mark", "", ""), // see below
		rpc("a page and a mark", "rt_chunk", lines+`, "cols": [], "lim": 1, "mark": "00000000-0000-4000-8000-000000000001"}`, `{"last": ["aaaaaaaa-0000-4000-8000-000000000000","9"], "rows": [{"tenant":"aaaaaaaa-0000-4000-8000-000000000000","no":9}], "seq": 1}`),
		rpc("a digest and a mark", "rt_digest", lines+`, "filter": [{"column": "no", "op": "in", "values": []}], "mark": "00000000-0000-4000-8000-000000000001"}`, `{"buckets": [], "last": null, "seq": 2}`),
		rpc("a mark that is not there", "rt_keys", lines+`, "within_bits": 31, "within": [], "mark": "00000000-0000-4000-8000-000000000002"}`, `{"keys": [], "last": null, "seq": null}`),
		{name: "another's mark", as: "ben", method: "POST", path: "rpc/rt_digest", body: lines + `, "mark": "00000000-0000-4000-8000-000000000001"}`, want: `{"buckets" : [[0,5,"2dfd6e60c0ce937e"]], "last" : null, "seq" : null}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.path == "rpc/rt_mark" {
				c.path, c.body, c.status = "rt_mark", `{"id": "00000000-0000-4000-8000-000000000001"}`, http.StatusCreated
			}
			c.check(t, s)
		})
	}
}

func TestCacheFunctionErrors(t *testing.T) {
	s := mockserver.Start(t, cacheConfig())
	const lines = `{"rel": "lines", "key": ["tenant", "no"]`
	for _, c := range []struct{ name, as, function, args, code string }{
		{"no such table", "ann", "rt_describe", `{"rel": "none"}`, "42P01"},
		{"no table", "ann", "rt_describe", `{"rel": null}`, "22023"},
		{"a table of others", "ann", "rt_describe", `{"rel": "secret"}`, "42501"},
		{"an unpublished table of another schema", "ann", "rt_describe", `{"rel": "shop.unpublished"}`, "42501"},
		{"a role without the right", "anon", "rt_describe", `{"rel": "lines"}`, "42501"},
		{"a missing argument", "ann", "rt_chunk", `{"rel": "lines"}`, "PGRST202"},
		{"an unknown argument", "ann", "rt_chunk", lines + `, "limit": 1}`, "PGRST202"},
		{"no key", "ann", "rt_chunk", `{"rel": "lines", "key": null}`, "22023"},
		{"an empty key", "ann", "rt_digest", `{"rel": "lines", "key": []}`, "22023"},
		{"half a key", "ann", "rt_keys", `{"rel": "lines", "key": ["tenant"]}`, "22023"},
		{"a key that may be null", "ann", "rt_chunk", `{"rel": "lines", "key": ["tenant", "no", "v"]}`, "22023"},
		{"a key of no index", "ann", "rt_chunk", `{"rel": "keyless", "key": ["id"]}`, "22023"},
		{"an array for a key", "ann", "rt_chunk", `{"rel": "shop.\"Odd.Table\"", "key": ["id", "tags"]}`, "22023"},
		{"an unknown key", "ann", "rt_chunk", `{"rel": "lines", "key": ["id"]}`, "42703"},
		{"an unknown column", "ann", "rt_chunk", lines + `, "cols": ["none"]}`, "42703"},
		{"an unknown version", "ann", "rt_digest", lines + `, "version": ["none"]}`, "42703"},
		{"a bound too short", "ann", "rt_chunk", lines + `, "after": ["aaaaaaaa-0000-4000-8000-000000000000"]}`, "22023"},
		{"a null bound", "ann", "rt_keys", lines + `, "upto": [null, "1"]}`, "22023"},
		{"a bound of another type", "ann", "rt_digest", lines + `, "after": ["x", "1"]}`, "22P02"},
		{"no rows", "ann", "rt_chunk", lines + `, "lim": 0}`, "22023"},
		{"no rows to digest", "ann", "rt_digest", lines + `, "lim": -1}`, "22023"},
		{"too many bits", "ann", "rt_digest", lines + `, "bits": 32}`, "22023"},
		{"negative bits", "ann", "rt_keys", lines + `, "within": [1], "within_bits": -1}`, "22023"},
		{"within without bits", "ann", "rt_digest", lines + `, "within": [1]}`, "22023"},
		{"a filter that is none", "ann", "rt_chunk", lines + `, "filter": {"no": "eq.1"}}`, "22023"},
		{"a condition without values", "ann", "rt_chunk", lines + `, "filter": [{"column": "no", "op": "eq"}]}`, "22023"},
		{"a condition of two values", "ann", "rt_chunk", lines + `, "filter": [{"column": "no", "op": "eq", "values": ["1", "2"]}]}`, "22023"},
		{"a condition on no column", "ann", "rt_digest", lines + `, "filter": [{"op": "eq", "values": ["1"]}]}`, "22023"},
		{"a condition on an unknown column", "ann", "rt_digest", lines + `, "filter": [{"column": "none", "op": "eq", "values": ["1"]}]}`, "42703"},
		{"an unknown operator", "ann", "rt_keys", lines + `, "filter": [{"column": "no", "op": "= 1 or", "values": ["1"]}]}`, "22023"},
		{"is something", "ann", "rt_keys", lines + `, "filter": [{"column": "no", "op": "is", "values": ["not null"]}]}`, "22023"},
		{"a value of another type", "ann", "rt_keys", lines + `, "filter": [{"column": "no", "op": "eq", "values": ["x"]}]}`, "22P02"},
		{"a mark that is no uuid", "ann", "rt_chunk", lines + `, "mark": "1"}`, "22P02"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, body := restCall{as: c.as, method: "POST", path: "rpc/" + c.function, body: c.args}.send(t, s)
			require.True(t, strings.Contains(body, `"code":"`+c.code+`"`), body)
		})
	}
}
