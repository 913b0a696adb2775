package cache

import (
	"errors"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/rowjson"
)

// errUnknownRow is an event that does not say which row it is of.
var errUnknownRow = errors.New("cache: a change of a row that nobody can tell")

// decode makes an event of a change.
func (r *runner[K, T]) decode(c cdc.Change) (event[K, T], error) {
	e := event[K, T]{op: c.Op}
	if !c.Committed.IsZero() {
		e.committed = c.Committed.UnixMilli()
	}
	typed, err := cdc.As[T](c, cdc.AnyColumns)
	var incomplete *cdc.IncompleteError
	switch {
	case errors.As(err, &incomplete) && (incomplete.Reason == cdc.NoPrimaryKey || incomplete.Reason == cdc.Unauthorized):
		return e, &TableError{Schema: r.opts.schema, Table: r.name, Err: err}
	case err != nil && incomplete == nil:
		return e, err
	case incomplete != nil:
		e.doubtful, e.keep = true, true
	}
	if e.key, e.old, err = r.keysOf(c, typed); err != nil {
		return e, err
	}
	e.row = typed.New
	switch {
	case c.Op == cdc.Delete:
		e.doubtful = false // the key is all that there is to know
	case e.doubtful:
	case len(c.Missing) > 0:
		return r.fill(c, e)
	default:
		e.doubtful = garbled(c)
		if c.Op == cdc.Update && !e.doubtful && len(c.OldMissing()) == 0 {
			e.before = &typed.Old // of a table with the replica identity FULL
		}
	}
	return e, nil
}

// keysOf returns the key of the row, and that of the row before.
func (r *runner[K, T]) keysOf(c cdc.Change, e cdc.Event[T]) (key, old K, err error) {
	if c.Op == cdc.Delete {
		if !rowjson.Has(c.OldRecord, r.source.api.Key) {
			return key, old, errUnknownRow
		}
		key = r.core.key(e.Old)
		return key, key, nil
	}
	if !rowjson.Has(c.Record, r.source.api.Key) {
		return key, old, errUnknownRow
	}
	key = r.core.key(e.New)
	if c.Op == cdc.Update && rowjson.Has(c.OldRecord, r.source.api.Key) {
		return key, r.core.key(e.Old), nil
	}
	return key, key, nil
}

// fill fills in the values that an Update left alone and that are therefore not
// in it, from the row before. If that is not here, the row is read.
func (r *runner[K, T]) fill(c cdc.Change, e event[K, T]) (event[K, T], error) {
	before, there := r.core.rows.Peek(e.old)
	if _, doubted := r.core.dirty[e.old]; !there || doubted || !r.core.confirmed(before) {
		e.doubtful, e.keep = true, true
		return e, nil
	}
	row, err := cdc.Merge(c, before.value, cdc.AnyColumns)
	switch {
	case errors.Is(err, cdc.ErrMerge):
		e.doubtful, e.keep = true, true
		return e, nil
	case err != nil:
		return e, err
	}
	e.row, e.doubtful = row, garbled(c)
	return e, nil
}

// garbled reports whether Realtime may have changed a value on its way: it cuts
// char(n) and bit(n), and sends null for a NaN. The table has it as it is.
func garbled(c cdc.Change) bool {
	for _, column := range c.Columns {
		switch column.Caveat() {
		case cdc.Truncated:
			return true
		case cdc.NullOrNaN:
			if v, err := c.Value(column.Name); err == nil && v == nil {
				return true
			}
		}
	}
	return false
}
