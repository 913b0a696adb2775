package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// ledger keeps the table realtime.subscription, which tells who is subscribed,
// and of which nothing depends. Rows are inserted with the subscription. Those
// of subscriptions that have ended are deleted by a goroutine, which is there
// while there are some, so that nobody waits for a database that is away.
type ledger struct {
	pool *pgxpool.Pool
	ours bool // false: the table is of a Realtime that is at work on the database, and left alone
	stop context.CancelFunc
	ctx  context.Context // ends when the ledger is closed
	wg   sync.WaitGroup

	mu       sync.Mutex
	ended    []string // subscription_id
	deleting bool
}

// openLedger forgets whom a server before had subscribed.
func openLedger(ctx context.Context, pool *pgxpool.Pool) (*ledger, error) {
	l := &ledger{pool: pool}
	err := pool.QueryRow(ctx, `select coalesce(obj_description('realtime.subscription'::regclass, 'pg_class') = 'kept by the mock server', false)`).Scan(&l.ours)
	if err == nil && l.ours {
		_, err = pool.Exec(ctx, "delete from realtime.subscription")
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l, err
}

// enter inserts the rows of a binding.
func (l *ledger) enter(ctx context.Context, tx pgx.Tx, id, claims string, b project.Binding, tables []uint32) error {
	if !l.ours {
		return nil
	}
	var columns, ops, values []string
	var negate []bool
	for _, f := range b.Filters {
		columns, ops, values, negate = append(columns, f.Column), append(ops, f.Op), append(values, f.Value), append(negate, f.Negate)
	}
	_, err := tx.Exec(ctx, `insert into realtime.subscription (subscription_id, entity, filters, claims, action_filter, selected_columns)
		select $1::text::uuid, entity,
			array(select (f.c, f.o::realtime.equality_op, f.v, f.n)::realtime.user_defined_filter
				from unnest($2::text[], $3::text[], $4::text[], $5::bool[]) with ordinality f(c, o, v, n, i) order by i),
			$6::text::jsonb, $7::text, $8::text[]
		from unnest($9::oid[]) entity`, id, columns, ops, values, negate, claims, b.Event, b.Columns, tables)
	return err
}

// leave has rows deleted. It does not wait.
func (l *ledger) leave(subs []*project.Subscription) {
	if !l.ours {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range subs {
		l.ended = append(l.ended, stateOf(s).id)
	}
	if len(l.ended) > 0 && !l.deleting {
		l.deleting = true
		l.wg.Go(l.delete)
	}
}

// ledgerRetry is the pause before rows that could not be deleted are tried again.
const ledgerRetry = time.Second

// delete deletes until there is nothing to delete, or until it fails behind the
// end of the ledger.
func (l *ledger) delete() {
	for ids := l.next(); len(ids) > 0; ids = l.next() {
		for !l.deleted(ids) {
			select {
			case <-time.After(ledgerRetry):
			case <-l.ctx.Done():
				return
			}
		}
	}
}

// next returns the rows to be deleted. Without any, delete has ended.
func (l *ledger) next() (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids, l.ended = l.ended, nil
	l.deleting = len(ids) > 0
	return ids
}

func (l *ledger) deleted(ids []string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	_, err := l.pool.Exec(ctx, "delete from realtime.subscription where subscription_id = any ($1::text[]::uuid[])", ids)
	return err == nil
}

// close tries once more to delete what is to be deleted.
func (l *ledger) close() {
	l.stop()
	l.wg.Wait()
}
