package cache

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/gapless-go/gapless/internal/postgrest"
)

// Refresh reads the row of a key from the table, puts what it has read into the
// cache, at its place in the stream, and returns the row as the cache has it then; ok
// is false if the table has none. Behind a write that the database has acknowledged
// it shows what was written, or what came after that, also where the server has
// lost the change without a word: unlike CatchUp, it asks the table.
//
// A Synced cache that had the row otherwise has missed a change. That counts as
// one of Status.Contradictions and, as the row is put right, of Status.Repaired; a
// feed has it with CauseRepair, Hooks.Repair is called, and where row level security
// and filters leave no other reason the whole table is verified.
//
// It blocks for the request, and until the stream has come to where the table was
// read: see the package's documentation for the time that takes. It returns ctx's
// error, a *RowError if the row does not fit into T, that of a request that does not
// pass, or the one that Run ended with.
func (t *Table[K, T]) Refresh(ctx context.Context, k K) (row T, ok bool, err error) {
	if t.compute != nil {
		return row, false, errComputed
	}
	if err := t.wait(ctx, t.run.Load); err != nil {
		return row, false, err
	}
	for {
		var p page[K, T]
		rd, err := t.reading(ctx, nil, func() (err error) { p, err = t.source.byKeys(ctx, []K{k}); return err })
		if err == nil {
			var aside error
			err = t.passing(ctx, 0, func() { row, ok, aside = t.settleRow(rd, k, p.rows) })
			rd.over.Store(true)
			if err == nil {
				return row, ok, aside
			}
		}
		if !errors.Is(err, errEpochOver) {
			return row, false, err
		}
	}
}

// settleRow takes what the table has of a key, where the stream has come to that
// place, and returns the row.
func (t *Table[K, T]) settleRow(rd *read, k K, rows []shown[K, T]) (row T, ok bool, aside error) {
	f := t.core.merge(rd, rows, how{cause: CauseRepair})
	f.add(t.core.absent(rd, without([]K{k}, rows), how{cause: CauseRepair}))
	if f.any() && t.status.Phase == Synced && !t.core.bound.evicts() {
		t.core.counts.contradictions++
		signal(t.suspect)
	}
	if m, there := t.core.misfits.Peek(k); there {
		return row, false, m.err
	}
	if e, there := t.core.rows.Peek(k); there {
		return e.value, true, nil
	}
	return row, false, nil
}

// Insert inserts a row, given as what encoding/json makes a JSON object of with the
// columns to set, and returns the row as the table has it. The stream brings it to
// the cache; where it does not, the cache notices and takes the row, as Refresh
// does. Insert waits for neither: CatchUp or Refresh do. A request that fails is not
// made again, as it may have been carried out.
func (t *Table[K, T]) Insert(ctx context.Context, row any) (T, error) {
	return t.writeRow(ctx, func(api *postgrest.Table) (postgrest.Row, error) { return api.Insert(ctx, row) })
}

// Upsert is Insert, but updates the row if there is one of its primary key.
func (t *Table[K, T]) Upsert(ctx context.Context, row any) (T, error) {
	return t.writeRow(ctx, func(api *postgrest.Table) (postgrest.Row, error) { return api.Upsert(ctx, row) })
}

// writeRow makes a request that returns a row, which the cache compares with its own
// when the stream has come to that place.
func (t *Table[K, T]) writeRow(ctx context.Context, do func(api *postgrest.Table) (postgrest.Row, error)) (row T, err error) {
	if t.compute != nil {
		return row, errComputed
	}
	if err := t.wait(ctx, t.run.Load); err != nil {
		return row, err
	}
	var rd *read
	if err := t.do(ctx, func() { rd = t.core.request(t.now()) }); err != nil {
		return row, err
	}
	api := t.source.api
	if len(api.Columns) == 0 {
		api.Columns, _ = t.source.shape.selection()
	}
	raw, err := do(&api)
	var rows []shown[K, T]
	if err == nil {
		rows, err = t.source.decode([]postgrest.Row{raw})
	}
	switch {
	case err != nil:
		rd.over.Store(true)
		return row, t.source.fail(err)
	case rows[0].err != nil:
		err = rows[0].err
	}
	if t.opts.filter.IsZero() { // else it may not be one of the cache's
		_, _ = t.holdJob(ctx, 0, func() { // nobody waits: a gap that comes first has the table read
			_, _, _ = t.settleRow(rd, rows[0].key, rows)
			rd.over.Store(true)
		})
	} else {
		rd.over.Store(true)
	}
	return rows[0].row, err
}

// Delete deletes the row of a key and returns it as it was; ok is false if there was
// none. The stream takes it out of the cache.
func (t *Table[K, T]) Delete(ctx context.Context, k K) (row T, ok bool, err error) {
	if t.compute != nil {
		return row, false, errComputed
	}
	if err := t.wait(ctx, t.run.Load); err != nil {
		return row, false, err
	}
	if err := t.do(ctx, func() {}); err != nil { // then it is known what the table is
		return row, false, err
	}
	api := t.source.api
	if len(api.Columns) == 0 {
		api.Columns, _ = t.source.shape.selection()
	}
	key, err := t.source.codec.Encode(k)
	if err != nil {
		return row, false, t.source.disagree("%v", err)
	}
	raw, err := api.Delete(ctx, key)
	switch {
	case errors.Is(err, postgrest.ErrNoRow):
		return row, false, nil
	case err != nil:
		return row, false, t.source.fail(err)
	}
	row, err = t.Decode(raw.JSON)
	return row, true, err
}

// Decode decodes a row as the REST API sends it, a JSON object, as Run decodes those
// that it reads.
func (t *Table[K, T]) Decode(row json.RawMessage) (T, error) {
	return t.source.row(t.source.shape.columns(), row)
}
