package deliver

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"
)

var _ Store[*sql.Tx] = (*Outbox)(nil)

// Once is as Store says, of the row with that ID: it is done in the transaction that
// the effect is given. A row that another reader has claimed meanwhile counts as
// done.
func (o *Outbox) Once(ctx context.Context, id string, effect func(context.Context, *sql.Tx) error) (before bool, err error) {
	before, err = inTransaction(ctx, o.db, func(tx *sql.Tx) (bool, error) {
		n, err := o.exec(ctx, tx, `update {table} set done_at = now() where {id} = $1 and held_by = $2 and done_at is null`, id, o.reader)
		if err != nil {
			return false, judged("mark", err)
		}
		return n == 0, nil
	}, effect)
	if err == nil {
		o.over(id)
	}
	return before, err
}

// Position is empty: a row is found by not being done.
func (o *Outbox) Position(context.Context) (string, error) { return "", nil }

// SavePosition does nothing.
func (o *Outbox) SavePosition(context.Context, string) error { return nil }

// Bury is as Store says: the row is done, and has the reason and the number of
// attempts. Its value is the row.
func (o *Outbox) Bury(ctx context.Context, l Letter) error {
	const bury = `update {table} set done_at = now(), buried = $2, attempts = $3 where {id} = $1 and done_at is null`
	_, err := o.exec(ctx, o.db, bury, l.Key, stored(l.Reason, 0), l.Attempts)
	if sqlClass(err) == "22" { // a database of another encoding lacks a character
		_, err = o.exec(ctx, o.db, bury, l.Key, strconv.QuoteToASCII(l.Reason), l.Attempts)
	}
	if err != nil {
		return &StoreError{"bury", err}
	}
	o.over(l.Key)
	return nil
}

// Letters reads the rows that were buried, those first that were first.
func (o *Outbox) Letters(ctx context.Context) (letters []Letter, err error) {
	rows, err := o.db.QueryContext(ctx, o.named(`select `+buriedRow+` from {table} b where b.buried is not null order by b.done_at, b.{id}`))
	if err != nil {
		return nil, &StoreError{"read the letters", err}
	}
	defer rows.Close()
	for rows.Next() {
		l, err := scanBuried(rows.Scan)
		if err != nil {
			return nil, &StoreError{"read the letters", err}
		}
		letters = append(letters, l)
	}
	if err := rows.Err(); err != nil {
		return nil, &StoreError{"read the letters", err}
	}
	return letters, nil
}

// Retry takes back a row that was buried, and returns what was; false if it was not.
// It is read again by itself.
func (o *Outbox) Retry(ctx context.Context, id string) (Letter, bool, error) {
	row := o.db.QueryRowContext(ctx, o.named(`with b as (select * from {table} where {id} = $1 and buried is not null for update)
		update {table} o set done_at = null, held_by = null, buried = null, attempts = null from b where o.{id} = b.{id} returning `+buriedRow), id)
	l, err := scanBuried(row.Scan)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Letter{}, false, nil
	case err != nil:
		return Letter{}, false, &StoreError{"retry", err}
	}
	return l, true, nil
}

const buriedRow = `b.{id}::text, b.buried, coalesce(b.attempts, 0), b.done_at, row_to_json(b)::text`

func scanBuried(scan func(...any) error) (l Letter, err error) {
	err = scan(&l.Key, &l.Reason, &l.Attempts, &l.At, &l.Value)
	l.Reason = original(l.Reason)
	return l, err
}

// Forget deletes the rows that were done longer ago than that, but those that were
// buried, and returns how many they were.
func (o *Outbox) Forget(ctx context.Context, older time.Duration) (int64, error) {
	n, err := o.exec(ctx, o.db, `delete from {table} where buried is null and done_at < now() - make_interval(secs => $1)`, older.Seconds())
	if err != nil {
		return 0, &StoreError{"forget", err}
	}
	return n, nil
}

// Apart is the Outbox as the Store of effects elsewhere, such as mails: no transaction
// is open during the effect, and the row is done behind it. A process that ends
// in between is followed by one that has the effect again, and so is one that
// loses its lease meanwhile.
func (o *Outbox) Apart() Store[None] { return apart{o} }

type apart struct{ *Outbox }

func (a apart) Once(ctx context.Context, id string, effect func(context.Context, None) error) (before bool, err error) {
	var mine bool
	err = a.db.QueryRowContext(ctx, a.named(`select exists (select from {table} where {id} = $1 and held_by = $2 and done_at is null)`), id, a.reader).Scan(&mine)
	switch {
	case err != nil:
		return false, judged("read the mark", err)
	case !mine:
		a.over(id)
		return true, nil
	}
	if err := effect(ctx, None{}); err != nil {
		return false, err
	}
	if _, err := a.exec(ctx, a.db, `update {table} set done_at = now() where {id} = $1 and done_at is null`, id); err != nil {
		return false, judged("mark", err)
	}
	a.over(id)
	return false, nil
}
