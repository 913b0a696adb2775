package realtime

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver/internal/memdb"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// FuzzJoin holds that no payload of a join makes the server panic, that the
// echo of its bindings is JSON, and that neither checking them nor a change
// that they are to match makes it panic.
func FuzzJoin(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `"x"`, `5`, `[]`, `{"config":null}`, `{"config":"x"}`, `{"config":{"broadcast":"x"}}`, `{"config":{"postgres_changes":[5]}}`,
		`{"config":{"postgres_changes":[null,{},{"id":7,"event":"insert","schema":"public","table":"t","filter":"id=eq.1","select":["id",1]}]}}`,
		`{"config":{"postgres_changes":[{"schema":"*","filter":"id=in.(1,2)","table":"%"}],"private":"TRUE","presence":{"enabled":true}},"access_token":"x"}`,
		`{"config":{"postgres_changes":[ {"schema" : "public","table":"t","filter":"name=match.(("} ]},"user_token":"sb_x"}`,
	} {
		f.Add([]byte(seed))
	}
	for _, filter := range []string{
		"id=in.({1,2},{3,null})", "a=in.(1,2)", "a=eq.{1}", "a=in.({1},{2})", "c=in.(abc,x)", "c=like.a%", "j=eq.{}", "j=in.(1)", "p=eq.x", "r=eq.(1)", "r=in.((1))", "n=gt.1e400", "raw=like.%", "ts=isdistinct.infinity",
	} {
		f.Add([]byte(`{"config":{"postgres_changes":[{"schema":"public","table":"t","filter":"` + filter + `"}]}}`))
	}
	db, err := memdb.New(memdb.Settings{Tables: []memdb.Table{{Name: "t", PrimaryKey: []string{"id"}, Columns: []pgtype.Column{
		{Name: "id", Type: "int8"}, {Name: "name", Type: "text"}, {Name: "a", Type: "int4[]"}, {Name: "c", Type: "char(3)"}, {Name: "j", Type: "jsonb"}, {Name: "p", Type: "point"},
		{Name: "r", Type: "pair", Composite: []pgtype.Column{{Name: "x", Type: "int4"}}}, {Name: "n", Type: "numeric"}, {Name: "raw", Type: "bytea"}, {Name: "ts", Type: "timestamptz"},
	}}}})
	require.NoError(f, err)
	row := memdb.Row{"id": 1, "name": "x", "a": "{{1,2}}", "c": "ab", "j": `{"a":[1]}`, "p": "(1,2)", "r": "(1)", "n": "NaN", "raw": `\x00`, "ts": "infinity"}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if !json.Valid(payload) {
			return // the codec has seen to that
		}
		cfg, reason := parseJoin(payload)
		if reason != "" {
			return
		}
		require.True(t, json.Valid([]byte(cfg.echo())), "%s", cfg.echo())
		ch := &channel{conn: &conn{rt: &Server{db: db, ctx: t.Context()}}, config: cfg, who: bearer{claims: project.Claims{"role": "anon"}}}
		subs, err := ch.subscriptions()
		if err != nil {
			require.Empty(t, subs)
		}
		log := db.OpenLog(t.Context(), nil)
		defer log.Close()
		require.NoError(t, db.Insert("t", row))
		_, err = db.Update("t", memdb.Row{"name": "y"}, nil)
		require.NoError(t, err)
		_, err = db.Delete("t", nil)
		require.NoError(t, err)
		_, _ = log.Next(t.Context(), 100, func(uint32) []*project.Subscription { return subs }, func(string) bool { return false })
	})
}
