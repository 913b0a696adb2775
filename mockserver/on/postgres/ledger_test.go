package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

// rows waits until realtime.subscription has n rows.
func rows(t *testing.T, s *postgres.Server, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		return ask(t, s.DatabaseURL(), "select count(*)::text from realtime.subscription") == fmt.Sprint(n)
	}, 15*time.Second, 10*time.Millisecond)
}

func TestSubscriptionTable(t *testing.T) {
	t.Parallel()
	s := startProject(t, `create table a (id int primary key, "it's" text, n int); create table b (id int primary key);
		alter publication supabase_realtime add table a, b`, mockserver.Fast())
	list := func(columns string) string {
		return ask(t, s.DatabaseURL(), "select coalesce(string_agg(format('"+strings.Repeat("%s|", strings.Count(columns, ",")+1)+"', "+columns+"), ' ' order by id), '') from realtime.subscription")
	}
	c := open(t, s)
	c.subscribed("1", "realtime:a", `[{"event":"UPDATE","schema":"public","table":"a","select":["n","it's"],"filter":"it's=not.in.(\"x\\\"',y\",b),n=gt.1"},{"event":"*","schema":"public"}]`,
		s.UserToken(benchUser, time.Hour))
	require.Equal(t, "a|authenticated|"+benchUser+"|UPDATE|{n,it's}| a|authenticated|"+benchUser+"|*|| b|authenticated|"+benchUser+"|*||",
		list("entity, claims_role, claims ->> 'sub', action_filter, selected_columns"))
	require.Equal(t, `{"(it's,in,\"{\"\"x\\\\\"\"',y\"\",b}\",t)","(n,gt,1,f)"}`, ask(t, s.DatabaseURL(), "select filters::text from realtime.subscription where cardinality(filters) > 0"))
	require.Equal(t, "2", ask(t, s.DatabaseURL(), "select count(distinct subscription_id)::text from realtime.subscription"), "one a binding")

	// A token has the rows made anew, another one is told of no row, and those
	// of a binding go that stands before one that is refused.
	before := list("subscription_id")
	c.send(`["1","2","realtime:a","access_token",{"access_token":"` + s.Sign(mockserver.Claims{"role": "anon", "exp": time.Now().Add(time.Hour).Unix()}) + `"}]`)
	require.Contains(t, string(c.next().Payload), phoenix.MessageSubscribed)
	rows(t, s, 3)
	require.Equal(t, "anon| anon| anon|", list("claims_role"))
	require.NotEqual(t, before, list("subscription_id"))
	c.join("3", "realtime:refused", `{"postgres_changes":[`+strings.Trim(everything, "[]")+`]}`, "")
	require.Contains(t, string(c.next().Payload), `"ok"`)
	require.Contains(t, string(c.next().Payload), `"error"`)
	c.join("4", "realtime:half", `{"postgres_changes":[{"event":"*","schema":"public","table":"b"},{"event":"*","schema":"public","table":"a","filter":"n=eq.x"}]}`, "")
	require.Contains(t, string(c.next().Payload), `"ok"`)
	require.Contains(t, string(c.next().Payload), `"error"`)
	rows(t, s, 3)

	other := open(t, s)
	other.subscribed("1", "realtime:a", `[{"event":"*","schema":"public","table":"b"}]`, "")
	rows(t, s, 4)
	c.send(`["1","9","realtime:a","phx_leave",{}]`)
	rows(t, s, 1)
	require.NoError(t, other.ws.CloseNow())
	rows(t, s, 0)

	// The end of the server is the end of them, and so is the start of another.
	open(t, s).subscribed("1", "realtime:a", `[{"event":"*","schema":"public"}]`, "")
	rows(t, s, 2)
	require.NoError(t, s.Close())
	rows(t, s, 0)
	run(t, s.DatabaseURL(), `insert into realtime.subscription (subscription_id, entity, claims) values (gen_random_uuid(), 'a', '{"role":"anon"}')`)
	again := postgres.Start(t, postgres.Options{DatabaseURL: s.DatabaseURL(), Config: mockserver.Config{Timing: mockserver.Fast()}})
	rows(t, again, 0)
}

// The table of a Realtime that was there before is not ours to write.
func TestSubscriptionTableOfAnother(t *testing.T) {
	t.Parallel()
	url := database(t)
	run(t, url, `create schema realtime; create table realtime.subscription (id int); insert into realtime.subscription values (1)`)
	s := postgres.Start(t, postgres.Options{DatabaseURL: url, Schema: outageSchema, Config: mockserver.Config{Timing: mockserver.Fast()}})
	heard(t, s, "1")
	require.NoError(t, s.Close())
	require.Equal(t, "1", ask(t, url, "select string_agg(id::text, ' ') from realtime.subscription"))
}
