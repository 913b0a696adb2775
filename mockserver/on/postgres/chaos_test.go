package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	cachesql "github.com/gapless-go/gapless/cache/sql"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/internal/pgtest"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
	"github.com/gapless-go/gapless/realtime"
)

// chaosTime is for how long the chaos tests write and break things, in all; the
// environment may say more (GAPLESS_CHAOS=60s).
func chaosTime(t *testing.T) time.Duration {
	text := os.Getenv("GAPLESS_CHAOS")
	if text == "" {
		return 12 * time.Second
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err)
	return d
}

// chaosRound is for how long writers write before they rest, and the caches are
// held against the table.
const chaosRound = 5 * time.Second

// ware is a row of the chaos: a key that may change, exact numbers, a value that
// is stored out of line, and an owner that row level security looks at.
type ware struct {
	ID    int64           `json:"id"`
	N     json.Number     `json:"n"`
	Big   *string         `json:"big"`
	Owner string          `json:"owner"`
	Doc   json.RawMessage `json:"doc"`
	At    *string         `json:"at"`
}

const chaosSchema = `
create table wares (id int8 primary key, n numeric not null, big text, owner uuid not null, doc jsonb, at timestamptz);
alter table wares alter column big set storage external;
alter table wares enable row level security;
create policy own on wares to authenticated using (owner = auth.uid());
alter publication supabase_realtime add table wares;
insert into wares select g, g * 1.10, null, '` + benchUser + `', '{"k": 1}', now() from generate_series(1, 300) g`

const stranger = "22222222-2222-4222-8222-222222222222"

// TestChaosOnPostgreSQL writes to a real database from several connections,
// breaks what there is to break, and holds caches against the table whenever
// the writers rest: that of a role that sees all, and that of a user whose rows
// come and go by row level security.
//
// With faults that a client notices, the cache of the whole table is the table
// behind a mark. With those that nobody is told of, and under row level
// security, both are behind a verification.
func TestChaosOnPostgreSQL(t *testing.T) {
	t.Parallel()
	noticed := []func(*chaos){(*chaos).killSockets, (*chaos).crashChannels, (*chaos).resubscribe, (*chaos).calm}
	silent := append(slices.Clone(noticed), (*chaos).loseSlot, (*chaos).dropChanges, (*chaos).failPolls, (*chaos).killReplication, (*chaos).crash, (*chaos).exhaust)
	// At once, as they wait for databases for most of the time.
	t.Run("noticed", func(t *testing.T) {
		t.Parallel()
		newChaos(t, 1, 2).run(noticed, false)
	})
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		newChaos(t, 2, 2).run(silent, true)
	})
}

type chaos struct {
	*testing.T
	s      *postgres.Server
	random *rand.Rand // of the test's goroutine
	seed   uint64
	all    *cache.Table[int64, ware]
	own    *cache.Table[int64, ware]
}

func newChaos(t *testing.T, seed uint64, level int) *chaos {
	s := postgres.Start(t, postgres.Options{Schema: chaosSchema, Cluster: pgtest.Private(t, map[string]string{"max_connections": "30"}), Config: mockserver.Config{Timing: mockserver.Fast(), Seed: seed}})
	installCacheSQL(t, s)
	c := &chaos{T: t, s: s, random: rand.New(rand.NewPCG(seed, 0)), seed: seed}
	id := func(w ware) int64 { return w.ID }
	settle := cache.WithSettle(100 * time.Millisecond) // a commit is visible before the server delivers it
	// A database that is away for long is found by a mark that does not come.
	canary := cache.WithCanary(time.Hour, 3*time.Second)
	c.all = follow(t, s, "wares", s.ServiceKey(), id, level, settle, canary)
	c.own = follow(t, s, "wares", s.UserToken(benchUser, time.Hour), id, 2, settle, canary)
	return c
}

func installCacheSQL(t *testing.T, s *postgres.Server) {
	install, err := cachesql.Files.ReadFile("install.sql")
	require.NoError(t, err)
	require.NoError(t, s.Apply(t.Context(), string(install)))
}

// follow runs a cache of a table at one of the levels, where install.sql is
// applied, for somebody until the test ends.
func follow[T any](t *testing.T, s *postgres.Server, name, token string, key func(T) int64, level int, opts ...cache.Option) *cache.Table[int64, T] {
	client, err := realtime.New(realtime.Options{URL: s.URL(), Key: s.AnonKey(), HTTPClient: s.HTTPClient(),
		Token: func(context.Context) (string, time.Time, error) { return token, time.Time{}, nil }})
	require.NoError(t, err)
	switch {
	case level == 1:
		opts = append(opts, cache.WithVerify(2*time.Second))
	case level == 3:
		opts = append(opts, cache.WithVersion("n"))
	}
	if level >= 2 {
		opts = append(opts, cache.WithMarker(cache.NewMarker(client)))
	}
	table, err := cache.New(client, name, key, opts...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- table.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.NoError(t, client.Close(context.Background()))
	})
	return table
}

// run writes and breaks for a while, rests, compares, and begins anew: half of
// the time of all chaos.
func (c *chaos) run(faults []func(*chaos), silent bool) {
	rounds := max(1, int(chaosTime(c.T)/2/chaosRound))
	for round := range rounds {
		ctx, rest := context.WithTimeout(c.Context(), chaosRound)
		var writers sync.WaitGroup
		for i := range 3 {
			random := rand.New(rand.NewPCG(c.seed, uint64(1+round*10+i)))
			writers.Go(func() { c.write(ctx, random, c.statement) })
		}
		random := rand.New(rand.NewPCG(c.seed, uint64(1+round*10+9)))
		writers.Go(func() { c.write(ctx, random, c.long) })
		for ctx.Err() == nil {
			faults[c.random.IntN(len(faults))](c)
			c.sleep(ctx, time.Duration(50+c.random.IntN(300))*time.Millisecond)
		}
		rest()
		writers.Wait()
		c.s.Heal()
		c.compare(silent)
	}
}

// sleep waits in real time, which a database lives in.
func (c *chaos) sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// compare holds both caches against the table.
func (c *chaos) compare(silent bool) {
	ctx, cancel := context.WithTimeout(c.Context(), 2*time.Minute)
	defer cancel()
	if silent {
		c.verify(ctx, c.all)
	} else {
		require.NoError(c, c.all.CatchUp(ctx), "%+v", c.all.Status())
	}
	c.equal(c.all, "service_role")
	c.verify(ctx, c.own)
	c.equal(c.own, "authenticated")
}

// verify repairs until a verification finds nothing, which the one behind a
// repair does: nobody writes.
func (c *chaos) verify(ctx context.Context, table *cache.Table[int64, ware]) {
	for {
		report, err := table.Verify(ctx, true, cache.ByRows)
		require.NoError(c, err, "%+v", table.Status())
		if report.Differences() == 0 && report.Skipped == 0 {
			return
		}
	}
}

// equal wants the rows of a cache to be those that "select * … order by id" has
// as somebody sees them, byte for byte: PostgreSQL reads what the cache has into
// rows of the table's type, and writes them as it writes those of the table.
func (c *chaos) equal(table *cache.Table[int64, ware], role string) {
	var have []ware
	for _, w := range table.All() {
		have = append(have, w)
	}
	cached, err := json.Marshal(have)
	require.NoError(c, err)
	conn := c.connect()
	defer conn.Close(context.Background())
	tx, err := conn.Begin(context.Background())
	require.NoError(c, err)
	_, err = tx.Exec(context.Background(), "select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)",
		role, `{"sub":"`+benchUser+`"}`)
	require.NoError(c, err)
	want := c.rows(tx, "select * from wares order by id")
	got := c.rows(tx, "select * from json_populate_recordset(null::wares, $1::text::json) order by id", string(cached))
	require.Greater(c, strings.Count(want, "\n"), 50)
	require.Equal(c, want, got, "the cache of %s, %+v", role, table.Status())
}

// rows returns the rows of a query as PostgreSQL writes them, one a line.
func (c *chaos) rows(tx pgx.Tx, query string, args ...any) string {
	rows, err := tx.Query(context.Background(), "select r::text from ("+query+") r", args...)
	require.NoError(c, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(c, err)
	return strings.Join(lines, "\n") + "\n"
}

func (c *chaos) connect() *pgx.Conn {
	conn, err := pgx.Connect(context.Background(), c.s.DatabaseURL())
	require.NoError(c, err)
	return conn
}

// write writes until ctx ends, over a connection that is made again when the
// database was away.
func (c *chaos) write(ctx context.Context, random *rand.Rand, statement func(*rand.Rand) string) {
	for ctx.Err() == nil {
		conn, err := pgx.Connect(ctx, c.s.DatabaseURL())
		if err != nil {
			c.sleep(ctx, 20*time.Millisecond)
			continue
		}
		for err == nil && ctx.Err() == nil {
			// The context does not cut a transaction short: a commit whose answer
			// did not come may have happened, which is fine, but is no test.
			_, err = conn.PgConn().Exec(context.Background(), statement(random)).ReadAll()
			var refused interface{ SQLState() string }
			if errors.As(err, &refused) { // a key that is taken, a deadlock
				_, err = conn.Exec(context.Background(), "rollback")
			}
			c.sleep(ctx, time.Duration(random.IntN(5))*time.Millisecond)
		}
		_ = conn.Close(context.Background())
	}
}

func someID(random *rand.Rand) int { return 1 + random.IntN(400) }

func someOwner(random *rand.Rand) string {
	if random.IntN(3) == 0 {
		return stranger
	}
	return benchUser
}

func someInsert(random *rand.Rand) string {
	return fmt.Sprintf(`insert into wares values (%d, %d.%02d, repeat('x', %d), '%s', '{"k": [%d, null, "é"]}', now()) on conflict do nothing`,
		someID(random), random.Int64(), random.IntN(100), random.IntN(2)*3000, someOwner(random), random.IntN(9))
}

// someUpdate leaves big as it is, which mostly is stored out of line.
func someUpdate(random *rand.Rand) string {
	return fmt.Sprintf("update wares set n = n + 0.01 where id = %d", someID(random))
}

// statement is one of what writers do.
func (c *chaos) statement(random *rand.Rand) string {
	insert, update := someInsert(random), someUpdate(random)
	switch random.IntN(11) {
	case 0, 1:
		return insert
	case 2:
		return fmt.Sprintf("delete from wares where id = %d", someID(random))
	case 3: // another key
		return fmt.Sprintf("update wares set id = %d where id = %d", someID(random), someID(random))
	case 4: // a value that is stored out of line
		return fmt.Sprintf("update wares set big = repeat('%c', 4000), at = null where id = %d", 'a'+random.IntN(26), someID(random))
	case 5: // another owner, to whom it shows, and to the one before no more
		return fmt.Sprintf("update wares set owner = '%s' where id = %d", someOwner(random), someID(random))
	case 6:
		return fmt.Sprintf("begin; %s; savepoint s; delete from wares where id < 50; rollback to s; %s; savepoint s; %s; release s; commit",
			insert, update, someUpdate(random))
	case 7:
		return fmt.Sprintf("begin; %s; %s; rollback", insert, update)
	case 8: // many rows, and all of a user's
		low := someID(random)
		return fmt.Sprintf("update wares set doc = null, owner = '%s' where id between %d and %d", someOwner(random), low, low+10)
	}
	return update
}

// long is a transaction that is open while many others come and go.
func (c *chaos) long(random *rand.Rand) string {
	return fmt.Sprintf("begin; %s; select pg_sleep(%.2f); savepoint s; %s; rollback to s; %s; select pg_sleep(%.2f); delete from wares where id = %d; commit",
		someUpdate(random), random.Float64()/2, someInsert(random), someInsert(random), random.Float64()/2, someID(random))
}

// The faults.

func (c *chaos) calm()          {}
func (c *chaos) killSockets()   { c.s.KillSockets() }
func (c *chaos) crashChannels() { c.s.CrashChannels() }
func (c *chaos) resubscribe()   { c.s.Resubscribe() }
func (c *chaos) loseSlot()      { c.s.LoseSlot(time.Duration(c.random.IntN(50)) * time.Millisecond) }
func (c *chaos) dropChanges()   { c.s.DropChanges(1 + c.random.IntN(5)) }
func (c *chaos) failPolls()     { c.s.FailPolls(1) }

func (c *chaos) killReplication() {
	conn := c.connect()
	defer conn.Close(context.Background())
	_, err := conn.Exec(context.Background(), "select pg_terminate_backend(active_pid) from pg_replication_slots where active")
	require.NoError(c, err)
}

// crash crashes the database, but not too often: it takes a while to recover.
func (c *chaos) crash() {
	if c.random.IntN(3) > 0 {
		return
	}
	c.s.Cluster().Crash()
	require.NoError(c, c.s.Cluster().Start(context.Background()))
}

// exhaust takes all connections for a while.
func (c *chaos) exhaust() {
	c.s.ExhaustConnections(time.Minute)
	time.Sleep(time.Duration(c.random.IntN(200)) * time.Millisecond)
	c.s.ExhaustConnections(0)
	require.Eventually(c, func() bool {
		conn, err := pgx.Connect(context.Background(), c.s.DatabaseURL())
		if err == nil {
			err = conn.Close(context.Background())
		}
		return err == nil
	}, time.Minute, 10*time.Millisecond)
}
