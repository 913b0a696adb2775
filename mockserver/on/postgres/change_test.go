package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/internal/pgtest"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

const things = `
create table things (id int8 primary key, name text, n int);
alter publication supabase_realtime add table things;`

const thingsBinding = `[{"event":"*","schema":"public","table":"things"}]`

func write(t testing.TB, s *postgres.Server, sql string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), s.DatabaseURL())
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(context.Background(), sql, args...)
	require.NoError(t, err)
}

func TestExactValues(t *testing.T) {
	t.Parallel()
	const schema = `
		create domain code as char(3);
		create table v (id int primary key, c char(5), b bit(4), n numeric, f float8, y bytea, d code, ds numeric[], g text generated always as (c || '!') stored);
		alter publication supabase_realtime add table v`
	const row = `insert into v values (1, 'abc', B'1011', 'NaN', '-Infinity', '\x00ff', 'ab', '{1.50,NaN}')`
	for name, c := range map[string]struct {
		exact bool
		want  string
	}{
		"as the real server": {false, `{"b": "1", "c": "a", "d": "ab ", "f": null, "g": "abc!", "n": null, "y": "00ff", "ds": [1.50, "NaN"], "id": 1}`},
		"exact":              {true, `{"b": "1011", "c": "abc  ", "d": "ab ", "f": "-Infinity", "g": "abc!", "n": "NaN", "y": "\\x00ff", "ds": [1.50, "NaN"], "id": 1}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := postgres.Start(t, postgres.Options{
				DatabaseURL: database(t), Schema: schema, Exact: c.exact, Config: mockserver.Config{Timing: mockserver.Fast()},
			})
			c1 := open(t, s)
			c1.subscribed("1", "realtime:a", `[{"schema":"public","table":"v"}]`, "")
			write(t, s, row)
			require.Equal(t, c.want, string(c1.change().Data.Record))
		})
	}
}

// A large transaction comes in parts, and in order all the same.
func TestLargeTransaction(t *testing.T) {
	t.Parallel()
	s := startProject(t, things, mockserver.Fast())
	c := open(t, s)
	c.subscribed("1", "realtime:a", thingsBinding, "")
	const rows = 5001
	write(t, s, "insert into things select g, 'x' from generate_series(1, $1::int) g", rows)
	var first *string
	for i := range rows {
		got := c.change()
		require.JSONEq(t, fmt.Sprintf(`{"id":%d,"name":"x","n":null}`, i+1), string(got.Data.Record))
		if first == nil {
			first = got.Data.CommitTimestamp
		}
		require.Equal(t, *first, *got.Data.CommitTimestamp)
	}
}

// A poll that fails loses what it found and the slot, and nothing tells of it;
// what is committed after the next slot was made is delivered.
func TestPollThatFails(t *testing.T) {
	t.Parallel()
	for name, poison := range map[string]string{
		"a policy that fails": `
			create function boom() returns boolean language plpgsql as $$ begin raise exception 'boom'; end $$;
			create policy p on things for select using (boom()); alter table things enable row level security;`,
		"a filter without an operator":                    `insert into poison values (1, '{}')`,
		"a json that is no jsonb, which nobody asked for": `begin; insert into things values (8, 'lost'); insert into poison values (3, '"\u0000"'); commit`,
		"a column that is gone":                           `begin; insert into things values (8, 'lost'); alter table things drop column n; commit`,
		"a table that is gone":                            `begin; insert into poison values (2, '{}'); drop table poison; commit`,
	} {
		t.Run(name, func(t *testing.T) {
			s := startProject(t, things+`
				create table poison (id int primary key, v json);
				alter publication supabase_realtime add table poison;
				create table mark (id int primary key);
				alter publication supabase_realtime add table mark`, mockserver.Fast())
			c := open(t, s)
			bindings := strings.TrimSuffix(thingsBinding, "]") + `,{"schema":"public","table":"mark"}]`
			if strings.Contains(name, "filter") {
				bindings = strings.TrimSuffix(bindings, "]") + `,{"schema":"public","table":"poison","filter":"v=eq.{}"}]`
			}
			c.subscribed("1", "realtime:a", bindings, "")
			write(t, s, "insert into mark values (1)")
			require.JSONEq(t, `{"id":1}`, string(c.change().Data.Record))
			execAll(t, s, poison)
			execAll(t, s, "insert into things (id, name) values (9, 'lost, or not')")
			execAll(t, s, "drop policy if exists p on things")
			until(t, func() bool {
				write(t, s, "insert into mark select max(id) + 1 from mark")
				if !c.until(c.taken+1, 50*time.Millisecond) {
					return false
				}
				delivered := string(c.next().Payload)
				require.NotContains(t, delivered, `"id": 8`)
				return strings.Contains(delivered, `"table":"mark"`)
			})
		})
	}
}

// execAll runs a script whose parts are of their own transactions.
func execAll(t testing.TB, s *postgres.Server, sql string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), s.DatabaseURL())
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.PgConn().Exec(context.Background(), sql).ReadAll()
	require.NoError(t, err)
}

// until waits, in real time as a database lives in it, for a condition.
func until(t testing.TB, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); {
		require.True(t, time.Now().Before(deadline), "not so within a minute")
		time.Sleep(5 * time.Millisecond)
	}
}

// The server survives what happens to databases: its connections are killed,
// and the cluster crashes and comes back.
func TestDatabaseThatFails(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(t *testing.T, s *postgres.Server){
		"replication is killed": func(t *testing.T, s *postgres.Server) {
			write(t, s, "select pg_terminate_backend(active_pid) from pg_replication_slots")
		},
		"every connection is killed": func(t *testing.T, s *postgres.Server) {
			execAll(t, s, "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type in ('client backend', 'walsender')")
		},
		"a crash": func(t *testing.T, s *postgres.Server) {
			s.Cluster().Crash()
			require.NoError(t, s.Cluster().Start(t.Context()))
		},
		"a stop": func(t *testing.T, s *postgres.Server) {
			s.Cluster().Stop()
			require.True(t, s.Cluster().ShutDown(t), "the stop waited for our replication and became a crash")
			require.NoError(t, s.Cluster().Start(t.Context()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timing := mockserver.Fast()
			timing.Poll = 100 * time.Millisecond // by which it tries for longer than that takes
			s := postgres.Start(t, postgres.Options{Cluster: pgtest.Private(t, nil), Schema: things, Config: mockserver.Config{Timing: timing}})
			c := open(t, s)
			c.subscribed("1", "realtime:a", thingsBinding, "")
			write(t, s, "insert into things values (0, 'before')")
			require.Contains(t, string(c.change().Data.Record), "before")
			fail(t, s)
			n := 0
			until(t, func() bool {
				n++
				write(t, s, "insert into things values ($1, 'after')", n)
				return c.until(c.taken+1, 50*time.Millisecond)
			})
			require.Contains(t, string(c.change().Data.Record), "after")
		})
	}
}

// With the fast timing a look follows a commit at once, whatever the pauses.
func TestFastLooksAtOnce(t *testing.T) {
	t.Parallel()
	timing := mockserver.Fast()
	timing.PollIdle = time.Hour
	s := startProject(t, things, timing)
	c := open(t, s)
	c.subscribed("1", "realtime:a", thingsBinding, "")
	for n := range 3 {
		write(t, s, "insert into things values ($1, 'x')", n)
		require.JSONEq(t, fmt.Sprintf(`{"id":%d,"name":"x","n":null}`, n), string(c.change().Data.Record))
	}
}

func TestTruncateChanges(t *testing.T) {
	t.Parallel()
	s := startProject(t, things, mockserver.Fast())
	c := open(t, s)
	c.subscribed("1", "realtime:a", thingsBinding, "")
	s.TruncateChanges(1)
	long := strings.Repeat("x", 65)
	write(t, s, "insert into things values (1, $1)", long)
	cut := c.change()
	require.Equal(t, []string{"Error 413: Payload Too Large"}, cut.Data.Errors)
	require.JSONEq(t, `{"id":1}`, string(cut.Data.Record))
	write(t, s, "insert into things values (2, $1)", long)
	whole := c.change()
	require.Empty(t, whole.Data.Errors)
	require.JSONEq(t, `{"id":2,"name":"`+long+`","n":null}`, string(whole.Data.Record))
}

// Messages of more than three days ago are removed.
func TestOldMessagesAreRemoved(t *testing.T) {
	t.Parallel()
	url := database(t)
	first := postgres.Start(t, postgres.Options{DatabaseURL: url})
	require.NoError(t, first.Apply(t.Context(), `insert into realtime.messages (topic, extension, inserted_at)
		select 't', 'broadcast', now() at time zone 'utc' - make_interval(days => d) from generate_series(0, 9) d`))
	postgres.Start(t, postgres.Options{DatabaseURL: url})
	require.Eventually(t, func() bool { return ask(t, url, "select count(*)::text from realtime.messages") == "4" }, time.Minute, 10*time.Millisecond)
	require.Equal(t, "0 1 2 3", ask(t, url, "select string_agg((now() at time zone 'utc')::date - inserted_at::date || '', ' ' order by inserted_at desc) from realtime.messages"))
}

// Rights are asked at the moment of delivery, as the subscriber.
func TestRowLevelSecurity(t *testing.T) {
	t.Parallel()
	s := startProject(t, `
		create table docs (tenant int, id int, owner uuid, primary key (tenant, id));
		alter table docs replica identity full;
		alter table docs enable row level security;
		create policy own on docs for select to authenticated using (owner = auth.uid() and auth.jwt() ->> 'team' = 'red');
		alter publication supabase_realtime add table docs`, mockserver.Fast())
	const ann, ben = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
	token := func(sub, team string) string {
		return s.Sign(mockserver.Claims{"sub": sub, "role": "authenticated", "team": team, "exp": time.Now().Add(time.Hour).Unix()})
	}
	const binding = `[{"schema":"public","table":"docs"}]`
	members := map[string]*socket{}
	for name, t1 := range map[string]string{"ann": token(ann, "red"), "ben": token(ben, "red"), "blue": token(ann, "blue"), "service": s.ServiceKey()} {
		members[name] = open(t, s)
		members[name].subscribed("1", "realtime:docs", binding, t1)
	}
	write(t, s, "insert into docs values (1, 1, $1), (1, 2, $2)", ann, ben)
	require.JSONEq(t, `{"tenant":1,"id":1,"owner":"`+ann+`"}`, string(members["ann"].change().Data.Record))
	require.JSONEq(t, `{"tenant":1,"id":2,"owner":"`+ben+`"}`, string(members["ben"].change().Data.Record))
	require.JSONEq(t, `{"tenant":1,"id":1,"owner":"`+ann+`"}`, string(members["service"].change().Data.Record))
	require.JSONEq(t, `{"tenant":1,"id":2,"owner":"`+ben+`"}`, string(members["service"].change().Data.Record))

	// The row that is handed over is seen by its new owner, and the old one
	// hears nothing of it.
	write(t, s, "update docs set owner = $1 where id = 1", ben)
	got := members["ben"].change()
	require.JSONEq(t, `{"tenant":1,"id":1,"owner":"`+ann+`"}`, string(got.Data.OldRecord))

	// A DELETE is for everybody, with the key alone.
	write(t, s, "delete from docs where id = 2")
	for _, name := range []string{"ann", "blue", "ben"} {
		got := members[name].change()
		require.Equal(t, "DELETE", got.Data.Type, name)
		require.JSONEq(t, `{"tenant":1,"id":2}`, string(got.Data.OldRecord), name)
	}
}

// What a client sends reaches SQL as a value, or as a name in quotes.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	const evil = `x"; drop table things; --`
	quoted := pgx.Identifier{evil}.Sanitize()
	s := startProject(t, things+`
		create table `+quoted+` (`+quoted+` text primary key, n int, g text generated always as (`+quoted+` || '') stored);
		alter table `+quoted+` enable row level security;
		create policy p on `+quoted+` for select using (true);
		alter publication supabase_realtime add table `+quoted, mockserver.Fast())
	name, err := json.Marshal(evil)
	require.NoError(t, err)
	filter, err := json.Marshal(evil + "=neq." + `'; drop table things; --`)
	require.NoError(t, err)
	c := open(t, s)
	c.subscribed("1", "realtime:a", `[{"schema":"public","table":`+string(name)+`,"filter":`+string(filter)+`}]`, "")
	write(t, s, `insert into `+quoted+` values ('$$''"\', 1)`)
	var row map[string]any
	require.NoError(t, json.Unmarshal(c.change().Data.Record, &row))
	require.Equal(t, map[string]any{evil: `$$'"\`, "n": 1.0, "g": `$$'"\`}, row)

	for i, binding := range []string{
		`{"schema":"public' or true; --","table":"things"}`,
		`{"schema":"public","table":"things","filter":"id=eq.1); drop table things; --"}`,
		`{"schema":"public","table":"things","filter":"name=match.'; drop table things; --["}`,
		`{"schema":"public","table":"things","filter":"id); drop table things; --=eq.1"}`,
		`{"schema":"public","table":"things","filter":"n=in.(1}'; drop table things; --)"}`,
		`{"schema":"public","table":"things","select":["id\"; drop table things; --"]}`,
	} {
		c.join(fmt.Sprint(i+2), fmt.Sprintf("realtime:%d", i), `{"postgres_changes":[`+binding+`]}`, "")
		require.Contains(t, string(c.next().Payload), `"ok"`)
		require.Contains(t, string(c.next().Payload), `"error"`, binding)
	}
	hostileRole := s.Sign(mockserver.Claims{"role": `anon"; drop table things; --`, "exp": time.Now().Add(time.Hour).Unix()})
	c.join("20", "realtime:role", `{"postgres_changes":`+thingsBinding+`}`, hostileRole)
	require.Contains(t, string(c.next().Payload), `"ok"`)
	require.Contains(t, string(c.next().Payload), "does not exist")
	c.join("21", "realtime:private", `{"private":true}`, hostileRole)
	require.Contains(t, string(c.next().Payload), "Unauthorized")
	write(t, s, "select from things")
}

// A table that joins the publication reaches a schema's subscribers with the
// next look at the publication.
func TestPublicationChange(t *testing.T) {
	t.Parallel()
	s := startProject(t, things+"; create table late (id int primary key)", mockserver.Fast())
	c := open(t, s)
	c.subscribed("1", "realtime:a", `[{"schema":"public"}]`, "")
	time.Sleep(30 * time.Millisecond) // there has been a look before
	write(t, s, "alter publication supabase_realtime add table late")
	require.Contains(t, string(c.next().Payload), "Subscribed to PostgreSQL")
	write(t, s, "insert into late values (1)")
	require.Equal(t, "late", c.change().Data.Table)
}

func TestRefusedDatabases(t *testing.T) {
	t.Parallel()
	replica := pgtest.StartWith(t, postgres.ClusterOptions{Settings: map[string]string{"wal_level": "replica"}})
	_, err := postgres.New(t.Context(), postgres.Options{DatabaseURL: replica.URL()})
	require.ErrorIs(t, err, postgres.ErrNotLogical)

	url := database(t)
	run(t, url, "drop role if exists weak; create role weak login")
	weak := strings.Replace(url, "user=postgres", "user=weak", 1)
	require.NotEqual(t, url, weak)
	_, err = postgres.New(t.Context(), postgres.Options{DatabaseURL: weak})
	require.ErrorIs(t, err, postgres.ErrNoRight)
	run(t, url, "drop role weak")

	_, err = postgres.New(t.Context(), postgres.Options{DatabaseURL: "postgresql://u:hunter2@127.0.0.1:1/x"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
	_, err = postgres.New(t.Context(), postgres.Options{DatabaseURL: "postgresql://u:hunter2@[::1/x"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
	_, err = postgres.New(t.Context(), postgres.Options{Config: mockserver.Config{InMemory: true}})
	require.ErrorContains(t, err, "InMemory")
}

// A project that was made of a database stays what it is when it is opened
// again.
func TestBootstrapTwice(t *testing.T) {
	t.Parallel()
	url := database(t)
	for range 2 {
		s := postgres.Start(t, postgres.Options{DatabaseURL: url, Config: mockserver.Config{Timing: mockserver.Fast()}})
		require.NoError(t, s.Close())
	}
	require.Equal(t, "5", ask(t, url, "select count(*)::text from realtime.mockserver_migrations"))
}
