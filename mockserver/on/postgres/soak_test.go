package postgres_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/internal/pgtest"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

// soakTime is for how long each soak runs (GAPLESS_SOAK=60s). They are for the
// nightly: the gate has the same in virtual time.
func soakTime(t *testing.T) time.Duration {
	text := os.Getenv("GAPLESS_SOAK")
	if text == "" {
		t.Skip("a soak in real time: GAPLESS_SOAK says for how long")
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err)
	return d
}

// A hotRow is a row that does not rest. All of its columns follow from n: code
// and, when it is null, ratio come garbled, and big is stored out of line and
// mostly left alone.
type hotRow struct {
	ID    int64        `json:"id"`
	N     int64        `json:"n"`
	Code  string       `json:"code"`
	Ratio *json.Number `json:"ratio"`
	Big   string       `json:"big"`
}

const hotSchema = `
create table hot (id int8 primary key, n int8 not null, code char(5) not null, ratio numeric, big text not null);
alter table hot alter column big set storage external;
alter publication supabase_realtime add table hot;
insert into hot select g, 0, '00000', null, '0:' || repeat('x', 3000) from generate_series(1, 4) g`

const hotUpdate = `update hot set n = n + 1, code = lpad(((n + 1) % 100000)::text, 5, '0'),
	ratio = case (n + 1) % 3 when 0 then null else n + 1 end,
	big = case (n + 1) % 20 when 0 then (n + 1) || ':' || repeat('x', 3000) else big end where id = $1 returning n`

// mixture says what of a row is not of its n.
func (r hotRow) mixture() string {
	big, _, _ := strings.Cut(r.Big, ":")
	switch {
	case r.Code != fmt.Sprintf("%05d", r.N%100000):
		return "code " + r.Code
	case (r.Ratio == nil) != (r.N%3 == 0), r.Ratio != nil && r.Ratio.String() != strconv.FormatInt(r.N, 10):
		return "ratio"
	case big != strconv.FormatInt(r.N-r.N%20, 10):
		return "big " + big
	}
	return ""
}

// TestSoak_HotRows updates four rows every 100 ms, 500 ms, 1.9 s and without a
// pause, and kills the sockets now and then. A cache of any level that calls
// itself Synced shows a state that the row had, and none that was over for longer
// than package cache says of a garbled value in a row that is busier than S.
func TestSoak_HotRows(t *testing.T) {
	const S, R, L, busy = 2 * time.Second, 500 * time.Millisecond, 500 * time.Millisecond, time.Second // busy: the machine
	bounds := [4]time.Duration{2*R + 2*S + busy, 2*R + 2*S + busy, S + 3*R + 2*L + busy, S + 3*R + 2*L + busy}
	duration := soakTime(t)
	pgtest.Need(t)
	s := postgres.Start(t, postgres.Options{DatabaseURL: database(t), Schema: hotSchema, Config: mockserver.Config{Timing: mockserver.Fast()}})
	installCacheSQL(t, s)
	var tables [4]*cache.Table[int64, hotRow]
	for level := range tables {
		tables[level] = follow(t, s, "hot", s.ServiceKey(), func(r hotRow) int64 { return r.ID }, level)
		require.NoError(t, tables[level].WaitSynced(t.Context()))
	}

	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	var wait sync.WaitGroup
	var over [5]overAt
	for i, pause := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 1900 * time.Millisecond, 0} {
		wait.Go(func() { updateHot(t, ctx, s.DatabaseURL(), i+1, pause, &over[i+1]) })
	}
	wait.Go(func() {
		for random := rand.New(rand.NewPCG(3, 0)); ctx.Err() == nil; s.KillSockets() {
			pause(ctx, 8*time.Second+time.Duration(random.IntN(8000))*time.Millisecond)
		}
	})
	var synced [4]int
	var oldest [4][5]time.Duration
	for ctx.Err() == nil {
		for level, table := range tables {
			for id := int64(1); id <= 4; id++ {
				view := table.View()
				row, ok := view.Get(id)
				require.True(t, ok)
				require.Empty(t, row.mixture(), "level %d: %+v", level, row)
				if view.Phase() != cache.Synced {
					continue
				}
				synced[level]++
				oldest[level][id] = max(oldest[level][id], over[id].since(row.N))
			}
		}
		pause(ctx, 20*time.Millisecond)
	}
	wait.Wait()
	for level, table := range tables {
		t.Logf("level %d: %d looks while Synced, rows at most %v old, %+v", level, synced[level], oldest[level][1:], table.Status())
		require.Greater(t, synced[level], int(duration/(100*time.Millisecond)), "level %d is hardly ever Synced", level)
		require.Less(t, slices.Max(oldest[level][:]), bounds[level], "level %d", level)
		for id := int64(1); id <= 4; id++ {
			last := int64(over[id].n())
			within, cancel := context.WithTimeout(t.Context(), 2*bounds[level]+5*time.Second) // a socket may just have been killed
			require.NoError(t, table.WaitFor(within, id, func(r hotRow, _ bool) bool { return r.N == last && r.mixture() == "" }), "level %d, row %d: %+v", level, id, table.Status())
			cancel()
		}
	}
}

// overAt is when each n of a row was over.
type overAt struct {
	mu sync.Mutex
	at []time.Time
}

func (o *overAt) n() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.at)
}

// since returns for how long an n has been over.
func (o *overAt) since(n int64) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n >= int64(len(o.at)) {
		return 0
	}
	return time.Since(o.at[n])
}

func updateHot(t *testing.T, ctx context.Context, url string, id int, every time.Duration, over *overAt) {
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close(context.Background())
	for n := int64(0); ctx.Err() == nil; pause(ctx, every) {
		before := n
		if err := conn.QueryRow(t.Context(), hotUpdate, id).Scan(&n); err != nil || n != before+1 {
			t.Errorf("n = %d behind %d: %v", n, before, err)
			return
		}
		over.mu.Lock()
		over.at = append(over.at, time.Now())
		over.mu.Unlock()
	}
}

// pause waits in real time, which a database lives in.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// TestSoak_Writes writes up to 2,000 rows a second, in single rows and in
// statements of 50,000, changes the table's columns, and breaks sockets,
// connections, slots and the database. Each time that the writers rest, the
// cache is the table, row by row. It tells how long that took, and how long a
// CatchUp takes while everything is written and broken.
func TestSoak_Writes(t *testing.T) {
	duration := soakTime(t)
	for level := 1; level <= 3; level++ {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			t.Parallel()
			c := newChaos(t, uint64(10+level), level)
			soakWrites(c, level, duration)
		})
	}
}

func soakWrites(c *chaos, level int, duration time.Duration) {
	require.NoError(c, c.all.WaitSynced(c.Context()))
	faults := []func(*chaos){(*chaos).killSockets, (*chaos).crashChannels, (*chaos).resubscribe, (*chaos).killReplication,
		(*chaos).killConnections, (*chaos).loseSlot, (*chaos).restart, (*chaos).manyRows, (*chaos).columns}
	var heals, catchUps []time.Duration
	var written atomic.Int64
	end := time.Now().Add(duration)
	for round := 0; time.Now().Before(end); round++ {
		rate := []int{350, 1000, 2000}[round%3]
		ctx, rest := context.WithTimeout(c.Context(), min(20*time.Second, time.Until(end)))
		var wait sync.WaitGroup
		for i := range 4 {
			random := rand.New(rand.NewPCG(c.seed, uint64(1+round*10+i)))
			wait.Go(func() {
				c.write(ctx, random, func(random *rand.Rand) string {
					written.Add(1)
					pause(ctx, time.Duration(float64(4*time.Second)/float64(rate)*random.Float64()))
					return c.statement(random)
				})
			})
		}
		if level > 1 {
			wait.Go(func() {
				for ctx.Err() == nil {
					began := time.Now()
					if c.all.CatchUp(ctx) == nil {
						catchUps = append(catchUps, time.Since(began))
					}
					pause(ctx, 20*time.Millisecond)
				}
			})
		}
		for ctx.Err() == nil {
			faults[c.random.IntN(len(faults))](c)
			c.sleep(ctx, time.Duration(500+c.random.IntN(3000))*time.Millisecond)
		}
		rest()
		wait.Wait()
		c.s.Heal()
		began := time.Now()
		within, cancel := context.WithTimeout(c.Context(), 3*time.Minute)
		c.verify(within, c.all)
		cancel()
		heals = append(heals, time.Since(began))
		c.equal(c.all, "service_role")
	}
	c.Logf("level %d: %d statements; equal behind %v (median %v) of %d rounds; CatchUp %v; %+v", level, written.Load(),
		slices.Max(heals), quantile(heals, 0.5), len(heals), quantiles(catchUps), c.all.Status())
}

// quantile returns the value below which a part of the durations is.
func quantile[D cmp.Ordered](all []D, part float64) D {
	all = slices.Sorted(slices.Values(all))
	return all[int(float64(len(all)-1)*part)]
}

func quantiles(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d times, p50 %v, p99 %v, at most %v", len(all), quantile(all, 0.5), quantile(all, 0.99), slices.Max(all))
}

// More faults.

func (c *chaos) killConnections() {
	conn := c.connect()
	defer conn.Close(context.Background())
	_, err := conn.Exec(context.Background(), "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()")
	require.NoError(c, err)
}

// restart stops the database, or kills it, and starts it again.
func (c *chaos) restart() {
	if c.random.IntN(2) == 0 {
		c.s.Cluster().Crash()
	} else {
		c.s.Cluster().Stop()
	}
	require.NoError(c, c.s.Cluster().Start(context.Background()))
}

// tryRun runs a statement that another fault may cut short.
func (c *chaos) tryRun(statement string) {
	conn, err := pgx.Connect(context.Background(), c.s.DatabaseURL())
	if err != nil {
		return
	}
	defer conn.Close(context.Background())
	_, _ = conn.Exec(context.Background(), statement)
}

// manyRows writes 50,000 rows in one statement, or removes them.
func (c *chaos) manyRows() {
	if c.random.IntN(2) == 0 {
		c.tryRun("delete from wares where id > 1000")
		return
	}
	c.tryRun(`insert into wares select g, g, null, '` + benchUser + `', null, null from generate_series(1001, 51000) g on conflict do nothing`)
}

// columns adds a column that the cache does not read, or drops it.
func (c *chaos) columns() {
	if c.random.IntN(2) == 0 {
		c.tryRun("alter table wares drop column if exists extra")
		return
	}
	c.tryRun("alter table wares add column if not exists extra int default 7; update wares set extra = 8 where id < 20")
}
