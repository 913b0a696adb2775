package cache

import (
	"encoding/json"
	"errors"
	"slices"

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
	c = r.source.asRead(c)
	typed, misfit, err := r.typed(&c)
	var incomplete *cdc.IncompleteError
	switch {
	case errors.As(err, &incomplete) && (incomplete.Reason == cdc.NoPrimaryKey || incomplete.Reason == cdc.Unauthorized):
		return e, &TableError{Schema: r.opts.schema, Table: r.name, Err: err}
	case err != nil && incomplete == nil:
		return e, err
	}
	if e.key, e.old, err = r.keysOf(c, typed); err != nil || c.Op == cdc.Delete {
		return e, err // of a Delete, the key is all that there is to know
	}
	if e.misfit = misfit; misfit != nil {
		return e, nil
	}
	e.row = typed.New
	left, unsaid := c.Missing, append(garbled(c), r.streamed.lacking...)
	if incomplete != nil { // what is missing may have changed
		left, unsaid = nil, append(unsaid, left...)
	}
	switch {
	case len(unsaid) > 0, len(left) > 0 && !r.fill(c, &e):
		e.partial, err = partOf(c, left, unsaid)
	case c.Op == cdc.Update && len(left) == 0 && len(c.OldMissing()) == 0:
		e.before = &typed.Old // of a table with the replica identity FULL
	}
	return e, err
}

// partOf is what a change has of its row.
func partOf(c cdc.Change, left, unsaid []string) (*partial, error) {
	p := &partial{columns: c.Columns, left: left, unsaid: unsaid}
	if err := json.Unmarshal(c.Record, &p.fields); err != nil {
		return nil, err
	}
	for _, name := range unsaid {
		delete(p.fields, name)
	}
	return p, nil
}

// keysOf returns the key of the row, and that of the row before.
func (r *runner[K, T]) keysOf(c cdc.Change, e cdc.Event[T]) (key, old K, err error) {
	names := r.source.api.Key
	if c.Op == cdc.Delete {
		if !rowjson.Has(c.OldRecord, names) || garbledKey(c.Columns, names, c.OldValue) {
			return key, old, errUnknownRow
		}
		key = r.core.key(e.Old)
		return key, key, nil
	}
	if !rowjson.Has(c.Record, names) || garbledKey(c.Columns, names, c.Value) {
		return key, old, errUnknownRow
	}
	key = r.core.key(e.New)
	if c.Op == cdc.Update && rowjson.Has(c.OldRecord, names) {
		if garbledKey(c.Columns, names, c.OldValue) {
			return key, old, errUnknownRow
		}
		return key, r.core.key(e.Old), nil
	}
	return key, key, nil
}

// garbledKey reports whether Realtime may have changed the key of a row.
func garbledKey(columns []cdc.Column, key []string, value func(string) (any, error)) bool {
	return slices.ContainsFunc(columns, func(c cdc.Column) bool {
		switch c.Caveat() {
		case cdc.Truncated:
			return slices.Contains(key, c.Name)
		case cdc.NullOrNaN:
			if slices.Contains(key, c.Name) {
				v, err := value(c.Name)
				return err == nil && v == nil // a key is never null
			}
		}
		return false
	})
}

// fill fills in the values that an Update left alone and that are therefore not
// in it, from the row before. It reports false if that is not known.
func (r *runner[K, T]) fill(c cdc.Change, e *event[K, T]) bool {
	before, there := r.core.rows.Peek(e.old)
	_, aside := r.core.misfits.Peek(e.old)
	if _, doubted := r.core.dirty[e.old]; !there || doubted || aside || !r.core.confirmed(before) {
		return false
	}
	row, err := cdc.Merge(c, before.value, cdc.AnyColumns)
	if err == nil {
		e.row = row
	}
	return err == nil
}

// garbled returns the columns that Realtime may have changed on their way: it cuts
// char(n) and bit(n), and sends null for a NaN. The table has them as they are.
func garbled(c cdc.Change) (names []string) {
	for _, column := range c.Columns {
		caveat := column.Caveat()
		if caveat != cdc.Truncated && caveat != cdc.NullOrNaN {
			continue
		}
		if v, err := c.Value(column.Name); err == nil && (v == nil) == (caveat == cdc.NullOrNaN) {
			names = append(names, column.Name)
		}
	}
	return names
}
