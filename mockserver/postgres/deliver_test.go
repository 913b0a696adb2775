package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/enrich/deliver"
	"github.com/gapless-go/gapless/mockserver/postgres"
	"github.com/gapless-go/gapless/mockserver/postgres/internal/pgtest"
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
	cluster *postgres.Cluster
	db      *sql.DB
}

func newTill(tb testing.TB) *till {
	c := pgtest.Start(tb)
	db, err := sql.Open("pgx", c.URL())
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, db.Close()) })
	for range 2 { // it may be run any number of times
		_, err = db.ExecContext(tb.Context(), deliver.Schema)
		require.NoError(tb, err)
	}
	_, err = db.ExecContext(tb.Context(), `create table ledger (payment int, account text); create table receipts (payment int primary key)`)
	require.NoError(tb, err)
	return &till{tb, c, db}
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
	till := newTill(t)
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
				till.cluster.Crash()
				if err := till.cluster.Start(ctx); err != nil {
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

	// Put right, it is done when it is delivered again.
	_, err = till.db.ExecContext(t.Context(), `delete from receipts where payment = 20`)
	require.NoError(t, err)
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
