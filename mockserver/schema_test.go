package mockserver_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

const schema = `{
  "tables": [{
    "name": "orders",
    "columns": [
      {"name": "id", "type": "int8", "default": "identity"},
      {"name": "owner", "type": "uuid", "not_null": true, "default": "gen_random_uuid()"},
      {"name": "status", "type": "order_status", "enum": ["open", "paid"], "default": "open"},
      {"name": "total", "type": "numeric(30,2)", "default": 12345678901234567890.5},
      {"name": "data", "type": "jsonb", "default": {"k": [1, null]}},
      {"name": "point", "type": "pair", "composite": [{"name": "x", "type": "int4"}, {"name": "y", "type": "text"}]},
      {"name": "pos", "type": "posint", "domain": "int4"},
      {"name": "made_at", "type": "timestamptz", "default": "now()"},
      {"name": "team", "type": "text"}
    ],
    "primary_key": ["id"],
    "replica_identity": "full",
    "rls": true,
    "policies": {"select": {"owner": "sub"}, "insert": true, "update": {"team": "app_metadata.team", "pos": "level"}, "delete": false},
    "grants": {"authenticated": ["*"], "anon": ["id"]},
    "rows": [{"id": 5, "owner": "11111111-1111-4111-8111-111111111111", "data": null, "point": {"x": 1, "y": "z"}, "pos": 7, "team": "red"}]
  }, {
    "schema": "other", "name": "indexed", "columns": [{"name": "a", "type": "text", "not_null": true, "toast": true}],
    "replica_identity": "index", "identity_columns": ["a"], "unpublished": true
  }],
  "users": [
    {"id": "11111111-1111-4111-8111-111111111111", "email": "ann@example.com", "password": "p", "claims": {"level": 7, "app_metadata": {"team": "red"}}},
    {"phone": "+4711", "password": "p", "role": "service_role"}
  ]
}`

func TestLoadSchema(t *testing.T) {
	cfg, err := mockserver.LoadSchema(strings.NewReader(schema))
	require.NoError(t, err)
	require.Len(t, cfg.Users, 2)
	require.NotEmpty(t, cfg.Users[1].ID)
	cfg.InMemory = true
	s := mockserver.Start(t, cfg)
	require.NoError(t, s.Insert("orders", row{}))
	rows := contentOf(t, s, "orders")
	require.Equal(t, int64(5), rows[0]["id"])
	require.Nil(t, rows[0]["data"], "null is NULL")
	require.Equal(t, "(1,z)", rows[0]["point"])
	require.Equal(t, int64(6), rows[1]["id"])
	require.Equal(t, json.Number("12345678901234567890.50"), rows[1]["total"])
	require.Equal(t, json.RawMessage(`{"k": [1, null]}`), rows[1]["data"])
	require.Equal(t, "open", rows[1]["status"])
	require.WithinDuration(t, time.Now(), rows[1]["made_at"].(time.Time), time.Minute)
	require.Len(t, rows[1]["owner"], 36)

	status, body := auth(t, s, "POST", "token?grant_type=password", "", `{"email":"ann@example.com","password":"p"}`)
	bearer := "Authorization: Bearer " + sessionOf(t, status, body).AccessToken
	for _, c := range []restCall{
		{name: "its own", path: "orders?select=id", header: bearer, want: `[{"id":5}]`},
		{name: "claims within claims", method: "PATCH", path: "orders?select=id&id=eq.5", header: bearer + " | Prefer: return=representation", body: `{"status":"paid"}`, want: `[{"id":5}]`},
		{name: "false", method: "DELETE", path: "orders?select=id&id=eq.5", header: bearer + " | Prefer: return=representation", want: `[]`},
		{name: "true", method: "POST", path: "orders", header: bearer, body: `{"id":9}`, status: 201},
		{name: "no such claim", as: "ben", path: "orders?select=id", want: `[]`},
		{name: "granted", as: "anon", path: "orders?select=id", want: `[]`},
		{name: "not granted", as: "anon", path: "orders?select=owner", status: 401, want: "*"},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(t, s) })
	}
}

func TestLoadSchemaRefuses(t *testing.T) {
	table := func(more string) string {
		return `{"tables":[{"name":"t","columns":[{"name":"id","type":"text"` + more + `}]}]}`
	}
	for in, want := range map[string]string{
		`{`:                       "schema: before byte",
		`{} {}`:                   "there is more behind byte 2",
		`{"table":[]}`:            `unknown field "table"`,
		`{"functions":{"f":"g"}}`: `function f: there is no function "g" to call`,
		`{"tables":[{"name":"t","replica_identity":"some"}]}`:                         `table t: "some" is no replica identity`,
		`{"tables":[{"name":"t","policies":{"select":5}}]}`:                           "a policy is true, false, or an object",
		`{"tables":[{"name":"t","policies":{"select":{}}}]}`:                          "a policy is true, false, or an object",
		table(`,"default":"identity"`):                                                "table t: column id: a column of type text does not count",
		table(`,"nullable":true`):                                                     `unknown field "nullable"`,
		table(`,"composite":[{"name":"x","type":"varchar(0)","default":"identity"}]`): "table t: column id: column x: type varchar: bad modifier",
	} {
		_, err := mockserver.LoadSchema(strings.NewReader(in))
		require.ErrorContains(t, err, want, in)
	}
}
