package postgres_test

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/enrich/deliver"
	"github.com/gapless-go/gapless/mockserver/internal/pgtest"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

// post is a database with an outbox, and a book of what was done.
type post struct {
	*testing.T
	cluster *postgres.Cluster
	db      *sql.DB
}

func newPost(t *testing.T) *post {
	c := pgtest.Start(t)
	db, err := sql.Open("pgx", c.URL())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	p := &post{t, c, db}
	for range 2 { // it may be run any number of times
		p.exec(deliver.OutboxSchema)
	}
	p.exec(`create table book (place bigserial primary key, id bigint not null, lane text)`)
	return p
}

func (p *post) exec(statement string, args ...any) {
	p.Helper()
	_, err := p.db.ExecContext(context.Background(), statement, args...)
	require.NoError(p, err)
}

// number is the result of a query of one number.
func (p *post) number(query string, args ...any) (n int) {
	p.Helper()
	require.NoError(p, p.db.QueryRowContext(context.Background(), query, args...).Scan(&n))
	return n
}

func (p *post) add(lane string, n int) {
	p.Helper()
	p.exec(`insert into outbox (lane, body) select $1, jsonb_build_object('n', i) from generate_series(1, $2) i`, lane, n)
}

// noteRow is the effect.
func noteRow(ctx context.Context, tx *sql.Tx, r deliver.Row) error {
	_, err := tx.ExecContext(ctx, `insert into book (id, lane) values ($1, $2)`, r.ID, r.Lane)
	return err
}

func reader(o *deliver.Outbox) deliver.Consumer[deliver.Row, *sql.Tx] {
	return deliver.Consumer[deliver.Row, *sql.Tx]{Store: o, Key: deliver.Row.Key, Lane: deliver.Row.InLane, Workers: 4, Handle: noteRow,
		Retry: deliver.Retry{Attempts: 3, Min: time.Millisecond, Max: 50 * time.Millisecond}}
}

var hasty = deliver.OutboxOptions{Every: 20 * time.Millisecond, Lease: 2 * time.Second}

// run reads until stop is called, which waits for the end.
func (p *post) run(o *deliver.Outbox, c deliver.Consumer[deliver.Row, *sql.Tx]) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx, o.Rows) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.ErrorIs(p, <-ended, context.Canceled)
		require.NoError(p, o.Release(context.Background()))
	})
	p.Cleanup(stop)
	return stop
}

func (p *post) until(what string, condition func() bool) {
	p.Helper()
	for began := time.Now(); !condition(); time.Sleep(10 * time.Millisecond) {
		require.Less(p, time.Since(began), 30*time.Second, "%s: %d done, %d open", what,
			p.number(`select count(*) from book`), p.number(`select count(*) from outbox where done_at is null`))
	}
}

func (p *post) empty() bool {
	return p.number(`select count(*) from outbox where done_at is null`) == 0
}

// once checks that every row had its effect once, and that each lane was in order.
func (p *post) once() {
	p.Helper()
	require.Zero(p, p.number(`select count(*) from (select id from book group by id having count(*) > 1) twice`), "done twice")
	require.Zero(p, p.number(`select count(*) from outbox o where not exists (select from book b where b.id = o.id)`), "not done")
	require.Zero(p, p.number(`select count(*) from (select id < lag(id) over (partition by lane order by place) as wrong from book) b where wrong`), "out of order")
}

// A lower number that becomes visible behind a greater one is read, however late.
func TestOutbox_NumbersThatComeLate(t *testing.T) {
	p := newPost(t)
	p.exec(`alter table outbox alter id set cache 20`)
	sessions := make([]*sql.Conn, 2)
	for i := range sessions {
		c, err := p.db.Conn(t.Context())
		require.NoError(t, err)
		defer c.Close()
		sessions[i] = c
	}
	add := func(session int) (id int) {
		require.NoError(t, sessions[session].QueryRowContext(t.Context(), `insert into outbox (lane, body) values (null, '{}') returning id`).Scan(&id))
		return id
	}
	o := deliver.NewOutbox(p.db, hasty)
	p.run(o, reader(o))
	require.Equal(t, []int{1, 21}, []int{add(0), add(1)})
	p.until("both", p.empty)
	time.Sleep(300 * time.Millisecond)
	require.Equal(t, []int{2, 22}, []int{add(0), add(1)})
	p.until("the second number of the first lot", p.empty)

	tx, err := sessions[0].BeginTx(t.Context(), nil) // has number 3, and lasts
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), `insert into outbox (lane, body) values (null, '{}')`)
	require.NoError(t, err)
	add(1)
	p.until("what is visible", p.empty)
	require.NoError(t, tx.Commit())
	p.until("what was committed late", p.empty)
	require.Equal(t, 6, p.number(`select count(*) from book`))
	require.Zero(t, p.number(`select count(*) from outbox o where not exists (select from book b where b.id = o.id)`))
}

// Three readers of one table, whose connections are terminated and whose effects
// fail now and then, do each row once and each lane in order.
func TestOutbox_ReadersShareTheRows(t *testing.T) {
	p := newPost(t)
	for i := range 3 {
		o := deliver.NewOutbox(p.db, hasty)
		c := reader(o)
		c.Retry.Attempts = 1000
		c.Handle = func(ctx context.Context, tx *sql.Tx, r deliver.Row) error {
			if err := noteRow(ctx, tx, r); err != nil || rand.IntN(20) > 0 {
				return err
			}
			return errors.New("try again")
		}
		stop := p.run(o, c)
		if i == 0 {
			time.AfterFunc(time.Second, stop)
		}
	}
	for range 60 {
		for lane := range 10 {
			p.add(fmt.Sprint("lane ", lane), 1+rand.IntN(4))
		}
		if rand.IntN(4) == 0 {
			_, _ = p.db.ExecContext(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and state <> 'idle' and random() < 0.5`)
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.until("all", p.empty)
	p.once()
	require.Zero(t, p.number(`select count(*) from outbox where buried is not null`))
}

// A lane is with one reader, and what it holds is another's when its lease is over:
// then the reader that comes back does nothing.
func TestOutbox_ALeaseThatIsOver(t *testing.T) {
	p := newPost(t)
	p.exec(`alter sequence outbox_id_seq restart 10`)
	p.add("a", 2)
	first := deliver.NewOutbox(p.db, deliver.OutboxOptions{Every: 20 * time.Millisecond, Lease: 2 * time.Second, Batch: 1})
	next, stop := iter.Pull2(first.Rows(t.Context()))
	row, err, _ := next()
	require.NoError(t, err)
	stop() // and is not heard of again
	p.add("b", 1)
	p.exec(`insert into outbox (id, lane, body) overriding system value values (1, 'a', '{}')`) // a number that comes late

	second := deliver.NewOutbox(p.db, hasty)
	stopSecond := p.run(second, reader(second))
	p.until("the other lane", func() bool { return p.number(`select count(*) from book where lane = 'b'`) == 1 })
	require.Zero(t, p.number(`select count(*) from book where lane = 'a'`), "the lane is with the first reader")
	p.until("the lane", p.empty)
	p.once()

	before, err := first.Once(t.Context(), row.ID, func(context.Context, *sql.Tx) error { t.Error("an effect"); return nil })
	require.NoError(t, err)
	require.True(t, before)
	before, err = first.Apart().Once(t.Context(), row.ID, func(context.Context, deliver.None) error { t.Error("an effect"); return nil })
	require.NoError(t, err)
	require.True(t, before)
	stopSecond()
	require.Equal(t, 4, p.number(`select count(*) from outbox where done_at is not null and held_by is not null`))
}

// A row whose effect is about to be committed holds up its lane, though the lease of
// its reader is over, and no other lane.
func TestOutbox_ALockedRow(t *testing.T) {
	p := newPost(t)
	p.add("a", 3)
	p.add("b", 3)
	first := deliver.NewOutbox(p.db, deliver.OutboxOptions{Every: 20 * time.Millisecond, Lease: 100 * time.Millisecond, Batch: 1})
	next, stop := iter.Pull2(first.Rows(t.Context()))
	row, err, _ := next()
	require.NoError(t, err)
	stop()
	var second *deliver.Outbox
	_, err = first.Once(t.Context(), row.ID, func(ctx context.Context, tx *sql.Tx) error {
		second = deliver.NewOutbox(p.db, hasty)
		p.run(second, reader(second))
		p.until("the other lane", func() bool { return p.number(`select count(*) from book where lane = 'b'`) == 3 })
		time.Sleep(200 * time.Millisecond)
		require.Zero(t, p.number(`select count(*) from book where lane = 'a'`))
		return noteRow(ctx, tx, row)
	})
	require.NoError(t, err)
	p.until("all", p.empty)
	p.once()
}

// What was buried is not read again until somebody asks, and holds up nothing.
func TestOutbox_BuryingIsFinal(t *testing.T) {
	p := newPost(t)
	p.add("a", 3)
	o := deliver.NewOutbox(p.db, hasty)
	var broken atomic.Bool
	broken.Store(true)
	var attempts atomic.Int64
	c := reader(o)
	c.Handle = func(ctx context.Context, tx *sql.Tx, r deliver.Row) error {
		if r.ID == "2" {
			if attempts.Add(1); broken.Load() {
				return errors.New("no\x00 such \xff account")
			}
		}
		return noteRow(ctx, tx, r)
	}
	stop := p.run(o, c)
	p.until("all", p.empty)
	time.Sleep(200 * time.Millisecond)
	stop()
	defer p.run(o, c)() // a restart
	time.Sleep(200 * time.Millisecond)
	require.EqualValues(t, 3, attempts.Load())
	letters, err := o.Letters(t.Context())
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Equal(t, "2", letters[0].Key)
	require.Equal(t, 3, letters[0].Attempts)
	require.Contains(t, letters[0].Reason, "account")
	var row struct{ Body struct{ N int } }
	require.NoError(t, json.Unmarshal(letters[0].Value, &row))
	require.Equal(t, 2, row.Body.N)

	_, there, err := o.Retry(t.Context(), "1")
	require.NoError(t, err)
	require.False(t, there, "it was done")
	broken.Store(false)
	letter, there, err := o.Retry(t.Context(), "2")
	require.NoError(t, err)
	require.True(t, there)
	require.Equal(t, letters[0], letter)
	p.until("what was taken back", p.empty)
	require.Equal(t, 1, p.number(`select count(*) from book where id = 2`))
	n, err := o.Forget(t.Context(), 0)
	require.NoError(t, err)
	require.EqualValues(t, 3, n)
}

// The names of a table are the user's; a bell has it read at once; effects are
// elsewhere.
func TestOutbox_ATableOfOnesOwn(t *testing.T) {
	p := newPost(t)
	p.exec(`create schema shop; create table shop."order ""events""" (uid uuid primary key default gen_random_uuid(), customer bigint, n int,
		made timestamptz default clock_timestamp(), done_at timestamptz, held_by text, attempts integer, buried text)`)
	bell := make(chan struct{})
	o := deliver.NewOutbox(p.db, deliver.OutboxOptions{Table: `shop.order "events"`, ID: "uid", Lane: "customer", Order: "made", Every: time.Hour,
		Bell: func(ctx context.Context) iter.Seq2[cdc.Change, error] {
			return func(yield func(cdc.Change, error) bool) {
				for {
					select {
					case <-bell:
						if !yield(cdc.Change{}, nil) {
							return
						}
					case <-ctx.Done():
						yield(cdc.Change{}, ctx.Err())
						return
					}
				}
			}
		}})
	var done atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- deliver.Consumer[deliver.Row, deliver.None]{Store: o.Apart(), Key: deliver.Row.Key, Lane: deliver.Row.InLane, Workers: 3,
			Handle: func(_ context.Context, _ deliver.None, r deliver.Row) error {
				var event struct{ N int64 }
				defer func() { done.Add(event.N) }()
				return json.Unmarshal(r.JSON, &event)
			}}.Run(ctx, o.Rows)
	}()
	for i := range 5 {
		p.exec(`insert into shop."order ""events""" (customer, n) select c, c from generate_series(1, 4) c`)
		bell <- struct{}{}
		p.until("what the bell tells of", func() bool { return done.Load() == int64(10*(i+1)) })
	}
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Zero(t, p.number(`select count(*) from shop."order ""events""" where done_at is null`))
}

// A database that is away is waited for, and a table that is not there is an error.
func TestOutbox_ErrorsOfTheDatabase(t *testing.T) {
	p := newPost(t)
	nowhere := deliver.NewOutbox(p.db, deliver.OutboxOptions{Table: "nowhere"})
	err := reader(nowhere).Run(t.Context(), nowhere.Rows)
	var store *deliver.StoreError
	require.ErrorAs(t, err, &store)
	require.ErrorContains(t, err, "nowhere")

	failed := make(chan error, 100)
	options := hasty
	options.Failed = func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	o := deliver.NewOutbox(p.db, options)
	p.add("a", 1)
	p.run(o, reader(o))
	p.until("the first", p.empty)
	p.cluster.Crash()
	require.ErrorAs(t, <-failed, &store)
	require.NoError(t, p.cluster.Start(t.Context()))
	p.until("that it is back", func() bool { return p.db.PingContext(t.Context()) == nil })
	p.add("a", 2)
	p.until("the others", p.empty)
	p.once()

	read := o.Rows(t.Context())
	for _, err := range read {
		require.ErrorContains(t, err, "read already")
	}
}

var killable = deliver.OutboxOptions{Every: 20 * time.Millisecond, Lease: 400 * time.Millisecond, Batch: 10}

// readUntilKilled is a process of TestOutbox_SurvivesKills.
func readUntilKilled(url string) {
	db, err := sql.Open("pgx", url)
	if err != nil {
		panic(err)
	}
	o := deliver.NewOutbox(db, killable)
	panic(reader(o).Run(context.Background(), o.Rows))
}

// TestOutbox_SurvivesKills kills one of two processes that read one table, again and
// again: each row is done once, each lane in order. 20 rounds, or as many as
// GAPLESS_KILLS says.
func TestOutbox_SurvivesKills(t *testing.T) {
	p := newPost(t)
	rounds, err := strconv.Atoi(cmp.Or(os.Getenv("GAPLESS_KILLS"), "20"))
	require.NoError(t, err)
	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "GAPLESS_TEST_OUTBOX="+p.cluster.URL())
		require.NoError(t, cmd.Start())
		return cmd
	}
	processes := []*exec.Cmd{start(), start()}
	done := func() int { return p.number(`select count(*) from book`) }
	for round := range rounds {
		for lane := range 5 {
			p.add(fmt.Sprint("lane ", lane), 4)
		}
		before := done()
		p.until("something", func() bool { return done() > before })
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
		killed := processes[round%2]
		require.NoError(t, killed.Process.Kill())
		_ = killed.Wait()
		processes[round%2] = start()
	}
	for !p.empty() {
		before := done()
		p.until("more", func() bool { return done() > before || p.empty() })
	}
	for _, cmd := range processes {
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	p.once()
	t.Logf("%d processes were killed, %d rows, each done once and in order", rounds, done())
}
