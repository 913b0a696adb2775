package postgres_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// hostile are values that are SQL, or end what SQL or JSON they stand in, or
// that PostgreSQL cannot keep.
var hostile = []string{
	`'; drop table canary; --`, `"; drop table canary; --`, `1); drop table canary; --`, `\'; drop table canary; --`,
	`$$; drop table canary; $$`, `*/ drop table canary; /*`, `' or '' = '`, `anon"; drop table canary; --`, `public.canary`, `$1`, `%I%s`, `{"a",'`,
	"a\x00b", "é\u202e日本\U0001F600", strings.Repeat(`'"\`, 2000), "",
}

const hostileSchema = `
create table canary (id int primary key, note text, doc jsonb, tags text[]);
insert into canary values (1, 'alive');
create function echo(a text) returns text language sql as 'select a';
create function claims() returns jsonb language sql stable as 'select auth.jwt()';
create policy everybody on realtime.messages using (realtime.topic() is not null) with check (true);
alter publication supabase_realtime add table canary`

// everythingThere tells of all that there is in the database but the rows of
// users, messages and subscriptions.
const everythingThere = `select concat_ws(' ', (select string_agg(id || note, ' ' order by id) from canary where id = 1), (select count(*) from pg_class where relname !~ '^pg_toast'),
	(select count(*) from pg_attribute where attrelid = 'canary'::regclass), (select count(*) from pg_proc), (select count(*) from pg_roles where rolname ~ 'canary|drop'), (select count(*) from pg_policy))`

// What comes from outside reaches SQL as a value, or as a name in quotes: by
// whichever way it comes, it is answered with data or with an error that is the
// caller's, and nothing else happens.
func TestHostileValues(t *testing.T) {
	t.Parallel()
	s := startProject(t, hostileSchema, mockserver.Fast())
	service := api{t, s, s.ServiceKey()}
	before := ask(t, s.DatabaseURL(), everythingThere)
	require.True(t, strings.HasPrefix(before, "1alive "), before)

	// Requests. Of {v} they have the value as the place needs it: escaped in a
	// URL, a string in JSON. {q} is one that stands in quotes in a URL.
	requests := []string{
		"GET /rest/v1/{v}", "POST /rest/v1/{v} {}", "PATCH /rest/v1/{v}?id=eq.0 {}", "DELETE /rest/v1/{v}?id=eq.0",
		"GET /rest/v1/canary?select={v}", "GET /rest/v1/canary?select={v}:id", "GET /rest/v1/canary?select=id::{v}", "GET /rest/v1/canary?select=doc-%3E{v}",
		"GET /rest/v1/canary?select=doc-%3E%3E%22{q}%22,%22{q}%22:id", "GET /rest/v1/canary?%22{q}%22=eq.1", "GET /rest/v1/canary?order=%22{q}%22", "GET /rest/v1/canary?order={v}", "GET /rest/v1/canary?order=id.{v}", "GET /rest/v1/canary?limit={v}&offset={v}",
		"GET /rest/v1/canary?{v}=eq.1", "GET /rest/v1/canary?id={v}", "GET /rest/v1/canary?id={v}.1", "GET /rest/v1/canary?id=eq.{v}", "GET /rest/v1/canary?note=eq.{v}",
		"GET /rest/v1/canary?note=not.in.({v},%22{v}%22)", "GET /rest/v1/canary?note=like.{v}", "GET /rest/v1/canary?note=match.{v}", "GET /rest/v1/canary?note=is.{v}",
		"GET /rest/v1/canary?note=fts({v}).a", "GET /rest/v1/canary?note=plfts.{v}", "GET /rest/v1/canary?note=like(any).{v}", "GET /rest/v1/canary?tags=cs.{v}",
		"GET /rest/v1/canary?doc-%3E%3E{v}=eq.{v}", "GET /rest/v1/canary?or=(note.eq.{v},{v}.eq.1)", "GET /rest/v1/canary?or={v}", "PATCH /rest/v1/canary?note=eq.{v} {\"doc\":{v}}",
		"PATCH /rest/v1/canary?id=eq.0&select={v} {{v}:1}", "DELETE /rest/v1/canary?note=eq.{v}", "POST /rest/v1/canary {{v}:1}", "POST /rest/v1/canary?columns={v} {}",
		"POST /rest/v1/canary?on_conflict={v} {\"id\":1,\"note\":\"alive\"}", "POST /rest/v1/canary {\"id\":{v}}", "POST /rest/v1/canary {\"id\":1,\"note\":{v}}",
		"POST /rest/v1/rpc/{v} {}", "GET /rest/v1/rpc/{v}?a=1", "POST /rest/v1/rpc/echo {{v}:1}", "GET /rest/v1/rpc/echo?{v}=1", "GET /rest/v1/rpc/echo?a={v}", "POST /rest/v1/rpc/echo {\"a\":{v}}",
		"POST /auth/v1/admin/users {\"email\":{v},\"password\":\"secret\"}", "POST /auth/v1/admin/users {\"id\":{v},\"email\":\"i@example.com\",\"password\":\"secret\"}",
		"POST /auth/v1/admin/users {\"phone\":{v},\"password\":\"secret\"}",
		"POST /auth/v1/admin/users {\"email\":\"m@example.com\",\"password\":\"secret\",\"role\":{v},\"user_metadata\":{{v}:{v}},\"app_metadata\":{{v}:{v}}}",
		"GET /auth/v1/admin/users/{v}", "DELETE /auth/v1/admin/users/{v}", "POST /auth/v1/token?grant_type=password {\"email\":{v},\"password\":{v}}",
		"POST /auth/v1/token?grant_type=password {\"phone\":{v},\"password\":\"x\"}", "POST /auth/v1/token?grant_type=refresh_token {\"refresh_token\":{v}}", "POST /auth/v1/logout?scope={v}",
		"POST /realtime/v1/api/broadcast {\"messages\":[{\"topic\":{v},\"event\":{v},\"payload\":{\"a\":{v}},\"private\":true}]}",
	}
	for _, value := range hostile {
		quoted, escaped := asJSON(t, value), escape(value)
		for _, request := range requests {
			method, rest, _ := strings.Cut(request, " ")
			path, body, _ := strings.Cut(rest, " ")
			path = strings.ReplaceAll(path, "{q}", escape(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value)))
			path, body = strings.ReplaceAll(path, "{v}", escaped), strings.ReplaceAll(body, "{v}", quoted)
			got := service.do(method, path, body)
			require.Less(t, got.status, 500, "%s of %.50q: %s", request, value, got.body)
			if value != "" && !strings.Contains(request, "::") && !strings.Contains(got.body, "tsquery") { // whose own parsers say the same
				require.NotContains(t, got.body, `"42601"`, "%s of %.50q is SQL", request, value)
			}
			if value == "" && got.status == http.StatusNotFound {
				continue // no such path
			}
			require.True(t, got.body == "" || json.Valid([]byte(got.body)), "%s of %.50q: %s", request, value, got.body)
		}
		for _, header := range []string{"Accept-Profile", "Content-Profile", "Prefer", "Range", "Accept", "X-Client-Info"} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				if !strings.Contains(value, "\x00") { // which no header has
					got := service.do(method, "/rest/v1/canary?limit=1", `{"id":1}`, header+": "+value)
					require.Less(t, got.status, 500, "%s %s of %.50q: %s", method, header, value, got.body)
				}
			}
		}
		require.Equal(t, before, ask(t, s.DatabaseURL(), everythingThere), "%.50q", value)
	}
}

// escape makes a text a part of a path or query.
func escape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

func asJSON(t *testing.T, value any) string {
	text, err := json.Marshal(value)
	require.NoError(t, err)
	return string(text)
}

// What can be kept is kept as it is.
func TestHostileData(t *testing.T) {
	t.Parallel()
	s := startProject(t, hostileSchema, mockserver.Fast())
	service := api{t, s, s.ServiceKey()}
	for i, value := range hostile {
		quoted := asJSON(t, value)
		claims := mockserver.Claims{"role": "anon", "exp": time.Now().Add(time.Hour).Unix(), "sub": value, "c" + value: value}
		told := api{t, s, s.Sign(claims)}.do("POST", "/rest/v1/rpc/claims", "")
		kept := service.do("POST", "/rest/v1/canary?select=note", fmt.Sprintf(`{"id":%d,"note":%s}`, i+2, quoted), representation)
		back := service.do("POST", "/rest/v1/rpc/echo", `{"a":`+quoted+`}`)
		user := service.do("POST", "/auth/v1/admin/users", fmt.Sprintf(`{"email":"u%d@example.com","password":"secret","user_metadata":{"a":%s}}`, i, quoted))
		if strings.Contains(value, "\x00") {
			for _, refused := range []reply{told, kept, back} {
				require.Equal(t, 400, refused.status, refused.body)
				require.Contains(t, refused.body, `"22P05"`)
			}
			require.Less(t, user.status, 500)
			require.GreaterOrEqual(t, user.status, 400)
			continue
		}
		told.want(t, 200, asJSON(t, claims))
		kept.want(t, 201, `[{"note":`+quoted+`}]`)
		require.Equal(t, 200, back.status, back.body)
		require.JSONEq(t, quoted, back.body)
		require.Equal(t, 200, user.status, user.body)
		require.Contains(t, user.body, `"user_metadata":{"a":`+quoted+`}`)
	}
}

func TestHostileSubscriptions(t *testing.T) {
	t.Parallel()
	s := startProject(t, hostileSchema, mockserver.Fast())
	before := ask(t, s.DatabaseURL(), everythingThere)
	for _, value := range hostile {
		c := open(t, s) // a socket has 100 channels
		refs := 0
		join := func(topic, config, token string) (reply string) {
			refs++
			c.join(fmt.Sprint(refs), topic, config, token)
			return string(c.next().Payload)
		}
		leave := func(topic string) {
			c.send(fmt.Sprintf(`["%d","leave",%q,"phx_leave",{}]`, refs, topic))
			require.Contains(t, string(c.next().Payload), `"ok"`)
			require.Equal(t, phoenix.EventClose, c.next().Event)
		}
		for i, binding := range []map[string]any{
			{"schema": value, "table": "canary"}, {"schema": "public", "table": value}, {"schema": value}, {"event": value, "schema": "public", "table": "canary"},
			{"schema": "public", "table": "canary", "select": []string{value}}, {"schema": "public", "table": "canary", "select": value},
			{"schema": "public", "table": "canary", "filter": value}, {"schema": "public", "table": "canary", "filter": value + "=eq.1"},
			{"schema": "public", "table": "canary", "filter": "id=eq." + value}, {"schema": "public", "table": "canary", "filter": "id=" + value + ".1"},
			{"schema": "public", "table": "canary", "filter": "note=eq." + value}, {"schema": "public", "table": "canary", "filter": "note=not.in.(" + value + ")"},
			{"schema": "public", "table": "canary", "filter": "note=like." + value}, {"schema": "public", "table": "canary", "filter": "note=match." + value},
			{"schema": "public", "table": "canary", "filter": "note=is." + value}, {"schema": "public", "table": "canary", "filter": "note=isdistinct." + value},
		} {
			topic := fmt.Sprint("realtime:", i)
			require.Contains(t, join(topic, `{"postgres_changes":[`+asJSON(t, binding)+`]}`, ""), `"ok"`, binding)
			said := c.next()
			require.Equal(t, topic, said.Topic)
			require.Regexp(t, `Subscribed to PostgreSQL|Unable to subscribe to changes with given parameters|Error parsing|Column selection`, string(said.Payload), binding)
			require.NotContains(t, string(said.Payload), "42601", "%v is SQL", binding)
			leave(topic)
		}
		claims := mockserver.Claims{"role": "anon", "exp": time.Now().Add(time.Hour).Unix(), "sub": value, "c" + value: value}
		require.Contains(t, join("realtime:claims", `{"postgres_changes":[{"schema":"public","table":"canary"}]}`, s.Sign(claims)), `"ok"`)
		said := string(c.next().Payload)
		if strings.Contains(value, "\x00") {
			require.Contains(t, said, "untranslatable_character")
		} else {
			require.Contains(t, said, "Subscribed to PostgreSQL")
			write(t, s, "insert into canary values (2, $1)", value)
			require.JSONEq(t, `{"id":2,"note":`+asJSON(t, value)+`,"doc":null,"tags":null}`, string(c.change().Data.Record))
			write(t, s, "delete from canary where id = 2")
			c.change()
		}
		leave("realtime:claims")
		claims["role"] = value
		if reply := join("realtime:role", `{"postgres_changes":[{"schema":"public","table":"canary"}]}`, s.Sign(claims)); strings.Contains(reply, `"ok"`) {
			require.Contains(t, string(c.next().Payload), `"error"`)
		}

		// A topic is what the policies are asked about, and what the database sends to.
		topic := "x" + value
		reply := join("realtime:"+topic, `{"private":true,"broadcast":{"replay":{"since":0}}}`, s.AnonKey())
		if strings.Contains(value, "\x00") {
			require.Contains(t, reply, `"error"`)
			continue
		}
		require.Contains(t, reply, `"ok"`, topic)
		write(t, s, "select realtime.send(jsonb_build_object('a', $1::text), $2, $3)", value, "e"+value, topic)
		if len(topic) > 255 {
			continue // no frame has it, and the database took it all the same
		}
		sent := c.next()
		require.Equal(t, "realtime:"+topic, sent.Topic)
		require.Contains(t, string(sent.Payload), `"a":`)
		write(t, s, "select realtime.broadcast_changes($1, $2, $3, $4, $5, canary, null) from canary where id = 1", topic, value, "INSERT", value, value)
		require.Contains(t, string(c.next().Payload), `"alive"`)
	}
	require.Equal(t, before, ask(t, s.DatabaseURL(), everythingThere))
	heardOf := open(t, s)
	heardOf.subscribed("1", "realtime:after", `[{"event":"*","schema":"public","table":"canary"}]`, "")
	write(t, s, "update canary set note = 'well' where id = 1")
	require.Equal(t, "canary", heardOf.change().Data.Table)
}
