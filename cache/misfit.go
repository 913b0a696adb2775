package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/internal/rowjson"
	"github.com/gapless-go/gapless/internal/text"
)

// Misfit is what becomes of a row that does not fit into T, such as one with a
// value out of the range of its field, or a null where the field has none. See
// WithMisfits.
type Misfit uint8

const (
	// SetAside removes the row from the cache and keeps its key, until a version
	// that fits comes, or the row is deleted. Status.SetAside counts such rows,
	// View.SetAside lists them with their errors, and WithSetAside puts them into a
	// feed. It is the default: readers see no row that the table does not have, and
	// the other rows of the table do not depend on this one.
	SetAside Misfit = iota
	// KeepOld is SetAside, but the cache keeps the last version of the row that
	// did fit, which counts as Doubtful.
	KeepOld
	// EndRun ends Run with the error.
	EndRun
)

// RowError is a row of the table that does not fit into T.
type RowError struct {
	Schema, Table string
	Key           string // the row's, as text
	Err           error  // a *cdc.DecodeError, which names the column
}

func (e *RowError) Error() string {
	return fmt.Sprintf("cache: table %s.%s, row %s does not fit: %v", e.Schema, e.Table, e.Key, e.Err)
}

func (e *RowError) Unwrap() error { return e.Err }

// misfit is a row that was set aside.
type misfit struct {
	err   *RowError
	event moment // when the event came that brought it; 0: it came by a read
	load  uint32 // the last load that confirmed it
}

// isMisfit reports whether an error is about one row: neither about a column that
// the table lacks, nor a panic.
func isMisfit(err error) bool {
	var decode *cdc.DecodeError
	var panicked *rescue.Error
	return errors.As(err, &decode) && !errors.Is(err, cdc.ErrMissing) && !errors.As(err, &panicked)
}

// misfit returns the row of a record that does not fit. All that is decoded of it is
// its key, which has to fit.
func (s *source[K, T]) misfit(c cdc.Change, err error) (shown[K, T], error) {
	if s.misfits == EndRun || !isMisfit(err) {
		return shown[K, T]{}, err
	}
	raw := c.Record
	c.Record = only(raw, s.api.Key)
	event, of := cdc.As[T](c, cdc.AnyColumns)
	if of != nil {
		return shown[K, T]{}, err
	}
	k := s.key(event.New)
	return shown[K, T]{key: k, raw: raw, err: &RowError{s.schema, s.api.Name, text.Clean(fmt.Sprint(k), 100), err}}, nil
}

// only returns the members of a row that have these names.
func only(row json.RawMessage, names []string) json.RawMessage {
	if row == nil {
		return nil
	}
	kept := []byte{'{'}
	c := rowjson.Cursor{Text: row}
	for in := c.Enter('{'); in && c.More('}'); {
		name := string(c.Key())
		value := c.Value()
		if !slices.Contains(names, name) {
			continue
		}
		if len(kept) > 1 {
			kept = append(kept, ',')
		}
		quoted, _ := json.Marshal(name)
		kept = append(append(append(kept, quoted...), ':'), value...)
	}
	return append(kept, '}')
}

// typed decodes a change. misfit is why the new row does not fit into T: then the
// event has its key alone. That the row before does not is no error: no more than
// its key is needed.
func (r *runner[K, T]) typed(c *cdc.Change) (e cdc.Event[T], misfit, err error) {
	e, err = cdc.As[T](*c, cdc.AnyColumns)
	if r.opts.misfits == EndRun || !isMisfit(err) {
		return e, nil, err
	}
	c.OldRecord = only(c.OldRecord, r.source.api.Key)
	if e, err = cdc.As[T](*c, cdc.AnyColumns); !isMisfit(err) {
		return e, nil, err
	}
	misfit = err
	c.Record = only(c.Record, r.source.api.Key)
	if e, err = cdc.As[T](*c, cdc.AnyColumns); isMisfit(err) {
		return e, nil, misfit // the key does not fit, either
	}
	return e, misfit, err
}

// setAside takes a row that does not fit.
func (c *core[K, T]) setAside(k K, m misfit, cause Cause) {
	before, known := c.misfits.Peek(k)
	if _, there := c.rows.Peek(k); there && !c.keepsOld {
		c.remove(k, CauseMisfit)
	}
	if !known && c.bound.evicts() && c.misfits.Len() >= c.bound.limit {
		return // a cache of a part of the table remembers no more than that
	}
	c.misfits.Set(k, &m)
	if !known || before.err.Error() != m.err.Error() {
		c.lastMisfit = m.err
		c.net = append(c.net, Change[K, T]{Op: cdc.Update, Key: k, Err: m.err, Cause: cause, Pos: c.pos})
	}
}

// size is how many rows the table has, as far as the cache knows.
func (c *core[K, T]) size() int {
	n := c.rows.Len()
	for k := range c.misfits.All() {
		if _, there := c.rows.Peek(k); !there {
			n++
		}
	}
	return n
}

// SetAside returns the rows that do not fit into T, each with a *RowError, in no
// particular order. See WithMisfits.
func (v View[K, T]) SetAside() iter.Seq2[K, error] {
	return func(yield func(K, error) bool) {
		for k, m := range v.misfits.All() {
			if !yield(k, m.err) {
				return
			}
		}
	}
}
