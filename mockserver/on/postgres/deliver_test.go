package postgres_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/enrich/deliver"
	"github.com/gapless-go/gapless/mockserver/internal/pgtest"
)

// payment is a value whose effect is a row of the ledger.
type payment struct {
	ID      int
	Account string
}

func paymentKey(p payment) string  { return strconv.Itoa(p.ID) }
func paymentLane(p payment) string { return p.Account }

// payments are those from first to last, with one key each, delivered twice: one
// behind the other, or all of them again.
func payments(first, last int) enrich.Stream[payment] {
	var all []payment
	for id := first; id <= last; id++ {
		p := payment{id, fmt.Sprint("account ", id%7)}
		if all = append(all, p); id%3 == 0 {
			all = append(all, p)
		}
	}
	return enrich.Of(append(all, all...)...)
}

// till is a database with a ledger and the tables of a Postgres store.
type till struct {
	testing.TB
	url string
	db  *sql.DB
}

func newTill(tb testing.TB) *till { return newTillOn(tb, database(tb)) }

func newTillOn(tb testing.TB, url string) *till {
	db, err := sql.Open("pgx", url)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, db.Close()) })
	for range 2 { // it may be run any number of times
		_, err = db.ExecContext(tb.Context(), deliver.Schema)
		require.NoError(tb, err)
	}
	_, err = db.ExecContext(tb.Context(), `create table ledger (payment int, account text); create table receipts (payment int primary key)`)
	require.NoError(tb, err)
	return &till{tb, url, db}
}

// book is the effect.
func book(ctx context.Context, tx *sql.Tx, p payment) error {
	_, err := tx.ExecContext(ctx, `insert into ledger values ($1, $2)`, p.ID, p.Account)
	return err
}

func (t *till) consumer() deliver.Consumer[payment, *sql.Tx] {
	return deliver.Consumer[payment, *sql.Tx]{Store: deliver.NewPostgres(t.db, "till"), Key: paymentKey, Lane: paymentLane,
		Position: paymentKey, Workers: 4, Handle: book, SaveEvery: 50 * time.Millisecond,
		Retry: deliver.Retry{Attempts: 3, Min: time.Millisecond, Max: 20 * time.Millisecond}}
}

// once checks that each payment was booked once.
func (t *till) once(first, last int) {
	t.Helper()
	var rows, payments, least, most int
	require.NoError(t, t.db.QueryRowContext(context.Background(), `select count(*), count(distinct payment), min(payment), max(payment) from ledger`).
		Scan(&rows, &payments, &least, &most))
	require.Equal(t, []int{last - first + 1, last - first + 1, first, last}, []int{rows, payments, least, most})
}

func TestDeliverRedeliveryHasOneEffect(t *testing.T) {
	t.Parallel()
	till := newTill(t)
	c := till.consumer()
	require.NoError(t, c.Run(t.Context(), payments(1, 100)))
	till.once(1, 100)
	at, err := c.Resume(t.Context())
	require.NoError(t, err)
	require.Equal(t, "100", at)

	// Several consumers of one name at once, as while one is replaced.
	var both sync.WaitGroup
	for range 3 {
		both.Go(func() {
			if err := till.consumer().Run(t.Context(), payments(50, 300)); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	till.once(1, 300)

	n, err := deliver.NewPostgres(till.db, "till").Forget(t.Context(), time.Hour)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = deliver.NewPostgres(till.db, "till").Forget(t.Context(), 0)
	require.NoError(t, err)
	require.EqualValues(t, 300, n)
}

// The database crashes while effects are between their statements and the commit,
// again and again: what was not committed is done again, what was is not.
func TestDeliverCrashBetweenEffectAndMark(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Start(t)
	till := newTillOn(t, cluster.URL())
	c := till.consumer()
	var handled atomic.Int64
	crashes := 0
	var crash sync.Mutex
	c.Handle = func(ctx context.Context, tx *sql.Tx, p payment) error {
		if err := book(ctx, tx, p); err != nil {
			return err
		}
		if handled.Add(1)%30 == 0 {
			crash.Lock()
			defer crash.Unlock()
			if crashes < 3 {
				crashes++
				cluster.Crash()
				if err := cluster.Start(ctx); err != nil {
					t.Error(err)
				}
			}
		}
		return nil
	}
	require.NoError(t, c.Run(t.Context(), payments(1, 100)))
	require.Equal(t, 3, crashes)
	till.once(1, 100)
	letters, err := deliver.NewPostgres(till.db, "till").Letters(t.Context())
	require.NoError(t, err)
	require.Empty(t, letters, "that the database was away says nothing against a value")
}

// A process that ends behind an effect, and before its position is saved, is
// followed by one that is given the same values again.
func TestDeliverProcessEndsBehindAnEffect(t *testing.T) {
	t.Parallel()
	till := newTill(t)
	for first := 1; ; {
		ctx, cancel := context.WithCancel(t.Context())
		c := till.consumer()
		c.SaveEvery = time.Hour
		n := 0
		c.Workers = 1
		c.Handle = func(ctx context.Context, tx *sql.Tx, p payment) error {
			if n++; n == 8 {
				cancel()
			}
			return book(context.WithoutCancel(ctx), tx, p)
		}
		err := c.Run(ctx, payments(first, 50))
		cancel()
		if err == nil {
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		// The position that was saved last is lost with the process every time.
		first = max(1, first-5)
		if at, _ := c.Resume(t.Context()); at != "" {
			saved, err := strconv.Atoi(at)
			require.NoError(t, err)
			first = max(1, saved-5)
		}
	}
	till.once(1, 50)
}

// A value whose effect violates a constraint is put aside with the database's
// words. It is not taken for one that was done before, and delays nothing else.
func TestDeliverPoison(t *testing.T) {
	t.Parallel()
	till := newTill(t)
	_, err := till.db.ExecContext(t.Context(), `insert into receipts values (20)`)
	require.NoError(t, err)
	c := till.consumer()
	c.Handle = func(ctx context.Context, tx *sql.Tx, p payment) error {
		_, err := tx.ExecContext(ctx, `insert into receipts values ($1)`, p.ID)
		return errors.Join(err, ignoreAborted(book(ctx, tx, p), err))
	}
	c.Retry = deliver.Retry{Attempts: 3, Min: 200 * time.Millisecond, Max: 2 * time.Second}
	var mu sync.Mutex
	failures := 0
	var behind time.Time // when the last of the other lanes was done
	book := c.Handle
	c.Handle = func(ctx context.Context, tx *sql.Tx, p payment) error {
		err := book(ctx, tx, p)
		mu.Lock()
		defer mu.Unlock()
		if p.Account != "account 6" {
			behind = time.Now()
		}
		return err
	}
	c.Failed = func(p payment, _ int, _ error, buried bool) {
		mu.Lock()
		defer mu.Unlock()
		if failures++; buried && p.ID == 20 {
			require.True(t, time.Now().After(behind))
		}
	}
	all := make([]payment, 0, 40)
	for id := 1; id <= 40; id++ {
		all = append(all, payment{id, fmt.Sprint("account ", id%7)})
	}
	require.NoError(t, c.Run(t.Context(), enrich.Of(all...)))
	require.Equal(t, 3, failures)

	letters, err := deliver.NewPostgres(till.db, "till").Letters(t.Context())
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Equal(t, "20", letters[0].Key)
	require.Equal(t, 3, letters[0].Attempts)
	require.Contains(t, letters[0].Reason, `duplicate key value violates unique constraint "receipts_pkey"`)
	require.JSONEq(t, `{"ID":20,"Account":"account 6"}`, string(letters[0].Value))
	var rows, poison int
	require.NoError(t, till.db.QueryRowContext(t.Context(), `select count(*), count(*) filter (where payment = 20) from ledger`).Scan(&rows, &poison))
	require.Equal(t, 39, rows)
	require.Zero(t, poison)
	at, err := c.Resume(t.Context())
	require.NoError(t, err)
	require.Equal(t, "40", at)

	// Put right, it is done when somebody asks and it is delivered again.
	_, err = till.db.ExecContext(t.Context(), `delete from receipts where payment = 20`)
	require.NoError(t, err)
	require.NoError(t, c.Run(t.Context(), enrich.Of(all[19])))
	require.Equal(t, 3, failures, "a buried value is not tried again")
	store := deliver.NewPostgres(till.db, "till")
	l, there, err := store.Retry(t.Context(), "20")
	require.NoError(t, err)
	require.True(t, there)
	require.Equal(t, letters[0], l)
	_, there, err = store.Retry(t.Context(), "20")
	require.NoError(t, err)
	require.False(t, there)
	require.NoError(t, c.Run(t.Context(), enrich.Of(all[19])))
	till.once(1, 40)
}

// ignoreAborted leaves out the error of a statement behind one that has failed.
func ignoreAborted(err, before error) error {
	if before != nil {
		return nil
	}
	return err
}

// A constraint that is checked at the commit is the value's fault, too.
func TestDeliverDeferredConstraint(t *testing.T) {
	t.Parallel()
	till := newTill(t)
	_, err := till.db.ExecContext(t.Context(), `create table accounts (name text primary key);
		alter table ledger add foreign key (account) references accounts deferrable initially deferred`)
	require.NoError(t, err)
	require.NoError(t, till.consumer().Run(t.Context(), enrich.Of(payment{1, "nobody's"})))
	letters, err := deliver.NewPostgres(till.db, "till").Letters(t.Context())
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Contains(t, letters[0].Reason, "violates foreign key constraint")
}

// charge is a value with a key of any bytes and something to be done.
type charge struct {
	ID  int
	Key string
	Do  string
}

// incompressible is a text of n bytes that an index has no room for.
func incompressible(n int) string {
	b, x := make([]byte, n), uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = 'A' + byte(x>>27)
	}
	return string(b)
}

// TestDeliver_AValuesOwnErrorHoldsUpNothing: whatever the bytes of its key and of
// its error, and whenever the server finds fault, the value is handled or buried,
// those behind it are handled, and the position moves.
func TestDeliver_AValuesOwnErrorHoldsUpNothing(t *testing.T) {
	t.Parallel()
	till := newTill(t)
	_, err := till.db.ExecContext(t.Context(), `create table booking (id int primary key, amount int);
		create function no_negative() returns trigger language plpgsql as $$ begin if new.amount < 0 then raise exception 'negative'; end if; return null; end $$;
		create constraint trigger c after insert on booking deferrable initially deferred for each row execute function no_negative()`)
	require.NoError(t, err)
	run := func(t *testing.T, db *sql.DB, name string, bad charge, buried int) {
		store := deliver.NewPostgres(db, name)
		done := map[int]int{}
		c := deliver.Consumer[charge, *sql.Tx]{
			Store: store, Key: func(c charge) string { return c.Key }, Position: func(c charge) string { return c.Key },
			Retry: deliver.Retry{Attempts: 3, Min: time.Millisecond, Max: 5 * time.Millisecond},
			Handle: func(ctx context.Context, tx *sql.Tx, c charge) error {
				done[c.ID]++
				switch c.Do {
				case "overlook":
					_, _ = tx.ExecContext(ctx, `select 1/0`)
					return nil
				case "negative":
					_, err := tx.ExecContext(ctx, `insert into booking values (2, -1)`)
					return err
				case "roll back":
					return tx.Rollback()
				case "":
					return nil
				}
				return errors.New(c.Do)
			}}
		for range 2 { // and again behind a restart
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			require.NoError(t, c.Run(ctx, enrich.Of(charge{1, "first", ""}, bad, charge{3, "third", ""}, charge{4, bad.Key + " behind", ""})))
			require.Equal(t, 1, done[1])
			require.Equal(t, 1, done[3])
			require.Equal(t, 1, done[4])
			if buried == 0 {
				require.Equal(t, 1, done[2])
			} else {
				require.Equal(t, 3, done[2])
			}
			letters, err := store.Letters(t.Context())
			require.NoError(t, err)
			require.Len(t, letters, buried)
			if buried == 1 && len(bad.Key) < 1000 {
				require.Equal(t, bad.Key, letters[0].Key)
			}
			at, err := c.Resume(t.Context())
			require.NoError(t, err)
			require.Equal(t, bad.Key+" behind", at)
		}
	}
	for name, bad := range map[string]struct {
		charge
		buried int
	}{
		"a key with a NUL":               {charge{2, "a\x00b", ""}, 0},
		"a key that is no UTF-8":         {charge{2, "a\xff", ""}, 0},
		"a key that looks like one":      {charge{2, `\xff`, ""}, 0},
		"a key of 4000 bytes":            {charge{2, incompressible(4000), ""}, 0},
		"such a key, and it fails":       {charge{2, incompressible(4000) + "\x00", "fails"}, 1},
		"a key with a NUL, and it fails": {charge{2, "a\x00b", "fails"}, 1},
		"an error text with a NUL":       {charge{2, "2", "fails \x00"}, 1},
		"an error text that is no UTF-8": {charge{2, "2", "fails \xff"}, 1},
		"a deferred trigger that raises": {charge{2, "2", "negative"}, 1},
		"a failed statement, overlooked": {charge{2, "2", "overlook"}, 1},
		"a transaction that is over":     {charge{2, "2", "roll back"}, 1},
	} {
		t.Run(name, func(t *testing.T) { run(t, till.db, name, bad.charge, bad.buried) })
	}
	t.Run("a character that the database does not have", func(t *testing.T) {
		_, err := till.db.ExecContext(t.Context(), `create database narrow encoding 'LATIN1' locale 'C' template template0`)
		require.NoError(t, err)
		narrow, err := url.Parse(till.url)
		require.NoError(t, err)
		narrow.Path = "/narrow"
		db, err := sql.Open("pgx", narrow.String()+"&client_encoding=UTF8")
		require.NoError(t, err)
		defer func() {
			require.NoError(t, db.Close())
			_, err := till.db.ExecContext(context.Background(), "drop database narrow with (force)")
			require.NoError(t, err)
		}()
		var encoding string
		require.NoError(t, db.QueryRowContext(t.Context(), `show server_encoding`).Scan(&encoding))
		require.Equal(t, "LATIN1", encoding)
		_, err = db.ExecContext(t.Context(), deliver.Schema)
		require.NoError(t, err)
		store := deliver.NewPostgres(db, "narrow")
		c := deliver.Consumer[charge, *sql.Tx]{Store: store, Key: func(c charge) string { return c.Key },
			Retry:  deliver.Retry{Attempts: 2, Min: time.Millisecond, Max: time.Millisecond},
			Handle: func(context.Context, *sql.Tx, charge) error { return nil }}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		require.NoError(t, c.Run(ctx, enrich.Of(charge{1, "цена", ""}, charge{2, "price", ""})))
		letters, err := store.Letters(t.Context())
		require.NoError(t, err)
		require.Len(t, letters, 1)
		require.Contains(t, letters[0].Reason, "has no equivalent")
	})
}

// TestDeliver_ConflictsDoNotCount: values that are in each other's way, at an
// isolation at which one of two has to be done again, are none of them buried.
func TestDeliver_ConflictsDoNotCount(t *testing.T) {
	t.Parallel()
	till := newTill(t)
	_, err := till.db.ExecContext(t.Context(), `create table total (n int); insert into total values (0);
		do $$ begin execute format('alter database %I set default_transaction_isolation = ''repeatable read''', current_database()); end $$`)
	require.NoError(t, err)
	db, err := sql.Open("pgx", till.url)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	c := till.consumer()
	c.Store, c.Workers, c.Retry.Attempts = deliver.NewPostgres(db, "conflicts"), 8, 2
	c.Lane = paymentKey
	var conflicts atomic.Int64
	c.Failed = func(p payment, _ int, err error, buried bool) {
		conflicts.Add(1)
		if buried {
			t.Errorf("%v was buried: %v", p, err)
		}
	}
	c.Handle = func(ctx context.Context, tx *sql.Tx, p payment) error {
		_, err := tx.ExecContext(ctx, `update total set n = n + 1`)
		return errors.Join(err, ignoreAborted(book(ctx, tx, p), err))
	}
	require.NoError(t, c.Run(t.Context(), payments(1, 100)))
	var n int
	require.NoError(t, db.QueryRowContext(t.Context(), `select n from total`).Scan(&n))
	require.Equal(t, 100, n)
	require.NotZero(t, conflicts.Load())
}

// consumeUntilKilled is a process of TestDeliver_SurvivesKills.
func consumeUntilKilled(url string) {
	db, err := sql.Open("pgx", url)
	if err != nil {
		panic(err)
	}
	c := (&till{db: db}).consumer()
	at, err := c.Resume(context.Background())
	if err != nil {
		panic(err)
	}
	first, _ := strconv.Atoi(at)
	if err := c.Run(context.Background(), payments(first+1, first+killed)); err != nil {
		panic(err)
	}
}

const killed = 20_000 // payments of a process; more than it does before it is killed

// TestDeliver_SurvivesKills kills two processes that have one store, again and
// again: of what the first ones to come were given no payment is lost, none is
// booked twice. 20 rounds, or as many as GAPLESS_KILLS says.
func TestDeliver_SurvivesKills(t *testing.T) {
	t.Parallel()
	till := newTill(t)
	rounds, err := strconv.Atoi(cmp.Or(os.Getenv("GAPLESS_KILLS"), "20"))
	require.NoError(t, err)
	booked := func() (last int) {
		require.NoError(t, till.db.QueryRowContext(t.Context(), `select coalesce(max(payment), 0) from ledger`).Scan(&last))
		return last
	}
	for range rounds {
		before := booked()
		var both sync.WaitGroup
		var processes []*os.Process
		for range 2 {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "GAPLESS_TEST_DELIVER="+till.url)
			require.NoError(t, cmd.Start())
			both.Go(func() { _ = cmd.Wait() })
			processes = append(processes, cmd.Process)
		}
		until(t, func() bool { return booked() > before })
		for _, p := range processes {
			time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
			_ = p.Kill()
		}
		both.Wait()
	}
	at, err := till.consumer().Resume(t.Context())
	require.NoError(t, err)
	first, _ := strconv.Atoi(at)
	last := max(booked(), first)
	require.NoError(t, till.consumer().Run(t.Context(), payments(first+1, last)))
	till.once(1, last)
	t.Logf("%d processes were killed, %d payments, each booked once", 2*rounds, last)
}
