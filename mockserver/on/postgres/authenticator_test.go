package postgres_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

const dynamic = `
create table canary (id int primary key, v text); insert into canary values (1, 'alive');
create function run(a text, b text) returns text language plpgsql as $$ declare r text; begin execute a; execute b into r; return r; end $$;
create function slow(s float) returns text language plpgsql as $$ begin perform pg_sleep(s); return 'done'; end $$;
create schema private; grant usage on schema private to anon;
create function private.told() returns text language sql as $$ select 'told' $$;`

// A function that resets its role has no rights, whatever it does.
func TestAuthenticator_HasNoRights(t *testing.T) {
	t.Parallel()
	s := startProject(t, dynamic, mockserver.Fast())
	anon := api{t, s, s.AnonKey()}
	run := func(a, b string) string {
		return anon.do(http.MethodPost, "/rest/v1/rpc/run", `{"a":`+asJSON(t, a)+`,"b":`+asJSON(t, b)+`}`).body
	}
	require.Equal(t, `"anon authenticator"`, run("select 1", "select current_user || ' ' || session_user"))
	require.Equal(t, `"authenticator"`, run("reset role", "select current_user::text"))
	require.Contains(t, run("reset role", "select v from canary"), "permission denied for table canary")
	for _, role := range []string{"postgres", "pg_read_server_files"} {
		for _, set := range []string{"set role " + role, "set local role " + role, "set session authorization " + role, "reset session authorization; set role " + role} {
			require.Contains(t, run(set, "select left(pg_read_file('/etc/passwd'), 4)"), "permission denied", set)
		}
	}
	require.Contains(t, run("reset role; reset session authorization", "select left(pg_read_file('/etc/passwd'), 4)"), "permission denied")
	require.Contains(t, run("alter role authenticator superuser", "select ''"), "42501")

	for role, status := range map[string]int{"postgres": 403, "none": 401, "nobody": 401, "pg_read_all_data": 403} {
		token := s.Sign(mockserver.Claims{"role": role, "exp": time.Now().Add(time.Hour).Unix()})
		r := anon.do(http.MethodGet, "/rest/v1/canary", "", "Authorization: Bearer "+token)
		require.Equal(t, status, r.status, "%s: %s", role, r.body)
	}
	require.Equal(t, 200, anon.do(http.MethodGet, "/rest/v1/canary", "").status)
}

// What a request sets does not outlive it.
func TestAuthenticator_SessionsAreReset(t *testing.T) {
	t.Parallel()
	s := startProject(t, dynamic, mockserver.Fast())
	anon := api{t, s, s.AnonKey()}
	for range 12 {
		require.Equal(t, `""`, anon.do(http.MethodPost, "/rest/v1/rpc/run",
			`{"a":"create temp table left_over (); set search_path = nowhere; set lock_timeout = 4321; set role service_role; set app.name = 'x'","b":"select ''"}`).body)
	}
	for range 12 {
		r := anon.do(http.MethodPost, "/rest/v1/rpc/run", `{"a":"select 1","b":"select coalesce(to_regclass('pg_temp.left_over')::text, '') || coalesce(current_setting('app.name', true), '') || current_setting('lock_timeout') || current_user"}`)
		require.Equal(t, `"0anon"`, r.body)
	}
}

// Statements end after 3 s for anon and 8 s for authenticated. While slow ones
// hold every session of the REST API, sign-in is answered.
func TestAuthenticator_StatementTimeouts(t *testing.T) {
	t.Parallel()
	s := startProject(t, dynamic, mockserver.Fast())
	anon := api{t, s, s.AnonKey()}
	for token, want := range map[string]string{s.AnonKey(): "3s", s.UserToken("11111111-1111-4111-8111-111111111111", time.Hour): "8s", s.ServiceKey(): "8s"} {
		r := anon.do(http.MethodPost, "/rest/v1/rpc/run", `{"a":"select 1","b":"select current_setting('statement_timeout')"}`, "Authorization: Bearer "+token)
		require.Equal(t, `"`+want+`"`, r.body)
	}
	r := anon.do(http.MethodPost, "/rest/v1/rpc/slow", `{"s":3600}`)
	require.Equal(t, http.StatusInternalServerError, r.status)
	require.Contains(t, r.body, "57014")

	// Statements that only the test ends hold every session of the REST API.
	write(t, s, "alter role anon set statement_timeout = 0")
	t.Cleanup(func() { write(t, s, "alter role anon set statement_timeout = '3s'") })
	holder, err := pgx.Connect(t.Context(), s.DatabaseURL())
	require.NoError(t, err)
	defer holder.Close(context.Background())
	_, err = holder.Exec(t.Context(), "select pg_advisory_lock(1)")
	require.NoError(t, err)
	var waiting sync.WaitGroup
	for range 12 {
		waiting.Go(func() {
			r := anon.do(http.MethodPost, "/rest/v1/rpc/run", `{"a":"select 1","b":"select 'got it' from pg_advisory_xact_lock_shared(1)"}`)
			if r.body != `"got it"` {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	until(t, func() bool {
		return ask(t, s.DatabaseURL(), "select count(*)::text from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())") == "10"
	})
	require.Equal(t, 400, anon.do(http.MethodPost, "/auth/v1/token?grant_type=password", `{"email":"a","password":"b"}`).status)
	_, err = holder.Exec(t.Context(), "select pg_advisory_unlock(1)")
	require.NoError(t, err)
	waiting.Wait()
}

// A schema that is not exposed answers nothing.
func TestExposedSchemas(t *testing.T) {
	t.Parallel()
	s := startProject(t, dynamic, mockserver.Fast())
	anon := api{t, s, s.AnonKey()}
	for _, schema := range []string{"private", "auth", "realtime", "pg_catalog", `"private"`, "public, private"} {
		r := anon.do(http.MethodPost, "/rest/v1/rpc/told", "{}", "Content-Profile: "+schema)
		require.Equal(t, 406, r.status)
		require.Contains(t, r.body, "PGRST106")
	}
}
