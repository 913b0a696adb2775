package deliver

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/internal/backoff"
	"github.com/gapless-go/gapless/internal/patience"
	"github.com/gapless-go/gapless/internal/rescue"
)

// OutboxSchema is the SQL of the tables that an Outbox needs, for migrations. It may
// be run any number of times.
//
//go:embed outbox.sql
var OutboxSchema string

// Outbox is a table of a PostgreSQL database whose rows are to have an effect each.
// It is both the source of a Consumer's values and its Store: a row is read until
// it is done, and it is done by the transaction of its effect.
//
//	deliver.Consumer[deliver.Row, *sql.Tx]{Store: outbox, Key: deliver.Row.Key, Lane: deliver.Row.InLane, Handle: …}.Run(ctx, outbox.Rows)
//
// A row is found by not being done, and not by its number, so that it does not
// matter when its number becomes visible: behind greater ones, as those of
// transactions that last, or of a sequence with CACHE. Several processes may read
// one table: each claims rows, which others do not get until they are done, or until
// Lease has passed without a word from the reader. A lane's rows are with one reader
// at a time, in their order as far as they were visible.
//
// A row that is given up is done and says why (column buried). It is not read again
// until Retry takes it back.
//
// NewOutbox makes one. It is safe for concurrent use, and read once at a time.
type Outbox struct {
	db     *sql.DB
	o      OutboxOptions
	reader string // who claims

	named func(statement string) string // with the names of the table

	reading sync.Mutex // by a run of Rows
	mu      sync.Mutex
	inHand  map[string]struct{} // the rows that were claimed and are not over
}

// OutboxOptions says which table, and how it is read. The zero value is of the table
// in OutboxSchema.
type OutboxOptions struct {
	// Table is the table, with its schema if that is not in the search path.
	// "": outbox.
	Table string
	// ID is the primary key. "": id.
	ID string
	// Lane is the column of the lane, of any type. "": lane.
	Lane string
	// Order is the column by which a lane is in order. "": that of ID, which is right
	// if the transactions of a lane wait for each other. A sequence with CACHE numbers
	// sessions, and not rows, in their order: take made_at for it.
	Order string

	// Bell makes the table be read at once; see Poll. Nil: only Every does.
	Bell enrich.Stream[cdc.Change]
	// Every is how often the table is read without the bell. 0: 5 s.
	Every time.Duration
	// Lease is after how long a reader that is not heard of loses what it has
	// claimed. It must be longer than Consumer.Grace. 0: 1 minute.
	Lease time.Duration
	// Batch is how many rows are claimed at once. 0: 100.
	Batch int
	// Failed, if set, is called with each error of a reading that is tried again.
	Failed func(error)
}

// Row is a row of an outbox.
type Row struct {
	ID   string          // as text
	Lane *string         // nil: null
	JSON json.RawMessage // all its columns, as row_to_json writes them
}

// Key is the ID.
func (r Row) Key() string { return r.ID }

// InLane is the name of the row's lane; where the row has none, one of its own.
func (r Row) InLane() string {
	if r.Lane == nil {
		return "\x00" + r.ID
	}
	return *r.Lane
}

// NewOutbox makes an Outbox. The database is of any driver for PostgreSQL; the role
// must own the tables, or be one that no row level security holds up.
func NewOutbox(db *sql.DB, o OutboxOptions) *Outbox {
	o.Table, o.ID, o.Lane = cmp.Or(o.Table, "outbox"), cmp.Or(o.ID, "id"), cmp.Or(o.Lane, "lane")
	o.Order = cmp.Or(o.Order, o.ID)
	o.Every, o.Lease, o.Batch = cmp.Or(o.Every, 5*time.Second), cmp.Or(o.Lease, time.Minute), cmp.Or(o.Batch, 100)
	var table []string
	for part := range strings.SplitSeq(o.Table, ".") {
		table = append(table, quoted(part))
	}
	names := strings.NewReplacer("{table}", strings.Join(table, "."), "{id}", quoted(o.ID), "{lane}", quoted(o.Lane), "{order}", quoted(o.Order))
	return &Outbox{db: db, o: o, reader: rand.Text(), named: names.Replace}
}

// quoted is a name as SQL takes it, whatever is in it.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// execer is a *sql.DB or a *sql.Tx.
type execer interface {
	ExecContext(ctx context.Context, statement string, args ...any) (sql.Result, error)
}

// exec executes a statement about the table, and returns the number of rows.
func (o *Outbox) exec(ctx context.Context, in execer, statement string, args ...any) (int64, error) {
	result, err := in.ExecContext(ctx, o.named(statement), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// Rows is the stream of the rows that are not done, each as soon as no other reader
// has it or its lane. It goes on until ctx ends, or the bell does, or the database
// refuses for good. The rows stay claimed when it ends, so that attempts under way
// may come to their end; see Release.
func (o *Outbox) Rows(ctx context.Context) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if !o.reading.TryLock() {
			yield(Row{}, errors.New("deliver: the outbox is read already"))
			return
		}
		defer o.reading.Unlock()
		holding, stop := context.WithCancel(ctx)
		var holder sync.WaitGroup
		holder.Go(func() { _ = rescue.Do("a reader's lease", func() error { o.hold(holding); return nil }) })
		defer holder.Wait()
		defer stop()
		o.hand(true)
		r := reading{Outbox: o}
		for row, err := range Poll(r.read, o.o.Bell, o.o.Every)(ctx) {
			if !yield(row, err) {
				return
			}
		}
	}
}

// hand notes that rows were claimed, or are over. Anew: none was claimed before.
func (o *Outbox) hand(anew bool, claimed ...Row) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if anew {
		o.inHand = map[string]struct{}{}
	}
	for _, r := range claimed {
		o.inHand[r.ID] = struct{}{}
	}
}

func (o *Outbox) over(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.inHand, id)
}

// Release lets other readers have at once what this one has claimed and not done.
// Call it when the Consumer's Run has returned. Without it they wait for Lease.
func (o *Outbox) Release(ctx context.Context) error {
	o.hand(true)
	return o.release(ctx)
}

// release frees what is claimed and not in hand: nobody was given it.
func (o *Outbox) release(ctx context.Context) error {
	o.mu.Lock()
	ids, err := json.Marshal(slices.AppendSeq([]string{}, maps.Keys(o.inHand)))
	o.mu.Unlock()
	if err == nil {
		_, err = o.exec(ctx, o.db, `update {table} set held_by = null where held_by = $1 and done_at is null
			and {id}::text not in (select jsonb_array_elements_text($2::jsonb))`, o.reader, string(ids))
	}
	if err != nil {
		return &StoreError{"release", err}
	}
	return nil
}

// hold extends the lease until ctx ends, and a last time then.
func (o *Outbox) hold(ctx context.Context) {
	tick := time.NewTicker(o.o.Lease / 4)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			over = true
		}
		once, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.o.Lease/4)
		_ = o.extend(once, o.db) // it is tried again, and what is lost is another reader's
		cancel()
	}
}

func (o *Outbox) extend(ctx context.Context, in execer) error {
	_, err := o.exec(ctx, in, `insert into deliver_reader values ($1, now() + make_interval(secs => $2))
		on conflict (id) do update set until = excluded.until`, o.reader, o.o.Lease.Seconds())
	return err
}

// reading is a run of Rows.
type reading struct {
	*Outbox
	sure     bool // what is claimed is in hand
	patience patience.Patience
}

// read claims the next rows. What passes is tried again until ctx ends.
func (r *reading) read(ctx context.Context) ([]Row, error) {
	for n := 0; ; n++ {
		rows, err := r.once(ctx)
		if err == nil {
			r.patience.Worked()
			return rows, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err = &StoreError{"claim", err}
		if state := sqlState(err); state != "" && !away(state) && sqlClass(err) != "40" && r.patience.Refused(time.Now()) {
			return nil, err
		}
		if r.o.Failed != nil {
			r.o.Failed(err)
		}
		select {
		case <-time.After(backoff.Full(n, 100*time.Millisecond, 10*time.Second)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *reading) once(ctx context.Context) ([]Row, error) {
	if !r.sure { // an earlier run had rows, or the end of a claim is not known
		if err := r.release(ctx); err != nil {
			return nil, err
		}
	}
	r.sure = false
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // of a transaction that was committed it does nothing
	// One reader claims at a time, so that each sees what the others have claimed.
	if _, err := tx.ExecContext(ctx, `select pg_advisory_xact_lock(hashtext('deliver'), hashtext($1))`, r.o.Table); err != nil {
		return nil, err
	}
	if err := r.extend(ctx, tx); err != nil {
		return nil, err
	}
	rows, err := r.claim(ctx, tx)
	if err != nil {
		return nil, err
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	r.hand(false, rows...)
	r.sure = true
	return rows, nil
}

// claimRows claims rows in the order of their lanes. It leaves out the lanes of which
// another reader has a row, and what is behind a row that somebody has locked: a
// reader whose lease is over may be about to commit its effect.
const claimRows = `
	with other as (
		select o.{id} as id, o.{lane} as lane from {table} o join deliver_reader r on r.id = o.held_by
		where o.done_at is null and o.held_by <> $1 and r.until > now()
	), free as materialized (
		select o.{id} as id, o.{lane} as lane, o.{order} as place from {table} o
		where o.done_at is null and o.held_by is distinct from $1
		and not exists (select from other where other.id = o.{id}) and not exists (select from other where other.lane = o.{lane})
		order by o.{order}, o.{id} limit $2 for update of o skip locked
	), claimed as (
		update {table} o set held_by = $1 from free where free.id = o.{id}
		and not exists (select from {table} e where e.{lane} = free.lane and e.done_at is null and e.held_by is distinct from $1
			and (e.{order}, e.{id}) < (free.place, free.id) and not exists (select from free f where f.id = e.{id}))
		returning o.*
	)
	select claimed.{id}::text, claimed.{lane}::text, row_to_json(claimed)::text from claimed order by claimed.{order}, claimed.{id}`

func (r *reading) claim(ctx context.Context, tx *sql.Tx) (rows []Row, err error) {
	found, err := tx.QueryContext(ctx, r.named(claimRows), r.reader, r.o.Batch)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	for found.Next() {
		var row Row
		if err := found.Scan(&row.ID, &row.Lane, (*[]byte)(&row.JSON)); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, found.Err()
}
