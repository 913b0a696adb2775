package cdc

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"unsafe"

	"github.com/gapless-go/gapless/internal/rowjson"
)

// Event is a change with its rows decoded.
type Event[T any] struct {
	Change

	// New is the new row, zero for a Delete. The fields of columns that
	// Change.Missing names are zero, too, whatever the table has.
	New T
	// Old is what is known of the old row, zero for an Insert: the columns of
	// the replica identity, see Change.OldRecord. OldMissing names the others.
	Old T
}

// AsOption changes what As and Merge take.
type AsOption uint8

// AnyColumns lets the fields of T be without a column: those of columns that the
// change does not have stay as they are.
const AnyColumns AsOption = 1

// As decodes the rows of a change into T. It is safe for concurrent use. T may
// be:
//
//   - a struct. A column goes into the field whose db tag names it, or else
//     whose json tag does, or else whose name is the column's if case and
//     underscores are ignored: created_at goes into CreatedAt. A tag of "-"
//     takes a field out. The fields of embedded structs are the struct's own,
//     as in encoding/json. Columns without a field are ignored. See "Fields
//     without a column" in the package comment;
//   - a map with keys of type string, with the columns that the row has.
//     map[string]any gets natural values, see Change.Value;
//   - a type whose pointer is a json.Unmarshaler. It gets the whole row;
//   - a pointer to one of these, nil where there is no row.
//
// The package comment tells which Go types take which PostgreSQL types.
//
// The error is, or wraps,
//
//   - ErrGap if the change is a gap; the event has Gap and nothing else;
//   - a *TypeError if T is none of the above, or has two fields for one column
//     or a field that no column fits into, see CheckType;
//   - a *DecodeError if the row does not fit into T; the event has the Change
//     but no rows. It wraps ErrMissing if a field has no column, and a
//     realtime.PanicError if a method of a type in T panicked;
//   - an *IncompleteError if the change does not carry its row, see Incomplete.
//     The event has what could be decoded. It must not be taken for the row.
//
// A column that an Update left alone and that is therefore Missing is no error.
func As[T any](c Change, opts ...AsOption) (e Event[T], err error) {
	e.Change = c
	if c.Gap != nil {
		return e, ErrGap
	}
	plan, err := planOf(reflect.TypeFor[T]())
	if err != nil {
		return e, err
	}
	if plan.Direct {
		err = e.put(plan, strict(opts))
	} else {
		err = e.decode(plan, strict(opts))
	}
	if err != nil {
		return Event[T]{Change: c}, c.decodeError(err)
	}
	return e, c.incompleteError()
}

// put decodes the rows where they are.
func (e *Event[T]) put(plan *rowjson.Plan, strict bool) (err error) {
	if e.Record != nil {
		err = plan.Put(unsafe.Pointer(&e.New), shared(e.Columns), e.places.Of(newRow, e.Record), strict)
	}
	if e.OldRecord != nil && err == nil {
		err = plan.Put(unsafe.Pointer(&e.Old), shared(e.Columns), e.places.Of(oldRow, e.OldRecord), false)
	}
	return err
}

// decode decodes the rows by reflection, which needs them on the heap.
func (e *Event[T]) decode(plan *rowjson.Plan, strict bool) (err error) {
	var rows struct{ New, Old T }
	if e.Record != nil {
		err = plan.Decode(reflect.ValueOf(&rows.New).Elem(), shared(e.Columns), e.places.Of(newRow, e.Record), strict)
	}
	if e.OldRecord != nil && err == nil {
		err = plan.Decode(reflect.ValueOf(&rows.Old).Elem(), shared(e.Columns), e.places.Of(oldRow, e.OldRecord), false)
	}
	e.New, e.Old = rows.New, rows.Old
	return err
}

// strict reports whether a field that a tag gives a column must have it.
func strict(opts []AsOption) bool {
	return !slices.Contains(opts, AnyColumns)
}

func planOf(t reflect.Type) (*rowjson.Plan, error) {
	plan, err := rowjson.PlanOf(t)
	if err != nil {
		return nil, &TypeError{GoType: t.String(), Reason: err.Error()}
	}
	return plan, nil
}

// shared returns the columns as rowjson has them, in the same memory.
func shared(columns []Column) []rowjson.Column {
	return unsafe.Slice((*rowjson.Column)(unsafe.SliceData(columns)), len(columns))
}

var _ = rowjson.Column(Column{}) // of the same layout

// decodeError returns the *DecodeError for an error of package rowjson.
func (c *Change) decodeError(err error) error {
	e := &DecodeError{Schema: c.Schema, Table: c.Table, Err: err}
	var of *rowjson.Error
	if errors.As(err, &of) {
		e.Column, e.Type, e.GoType, e.Err = of.Column, of.Type, of.GoType.String(), of.Err
	}
	if errors.Is(err, rowjson.ErrNoColumn) {
		e.Err = fmt.Errorf("%w, or the role may not read it: %w", e.Err, ErrMissing)
	}
	return e
}

// incompleteError returns the *IncompleteError of a change that does not carry
// its row, or nil.
func (c *Change) incompleteError() error {
	if reason := c.Incomplete(); reason != Complete {
		return &IncompleteError{Schema: c.Schema, Table: c.Table, Reason: reason, Missing: c.Missing, Errors: c.Errors}
	}
	return nil
}

// CheckType returns the *TypeError that As would return for T, or nil. It lets
// a program fail when it starts and not at its first change.
func CheckType[T any]() error {
	_, err := planOf(reflect.TypeFor[T]())
	return err
}

// Value returns the value of a column in the new row, as the Go type that
// suits it best:
//
//	int2, int4, int8, oid           int64
//	numeric                         json.Number, with all its digits
//	float4, float8                  float64
//	bool                            bool
//	bytea                           []byte
//	timestamptz, timestamp, date    time.Time, in UTC, see Infinity
//	json, jsonb, composites, hstore json.RawMessage
//	arrays                          []any
//	null                            nil
//	everything else                 string
//
// Of a type that this package does not know (a domain, a type of an extension,
// every type in a change that came by Broadcast), numbers become json.Number,
// and arrays json.RawMessage.
//
// The error is ErrMissing if the row does not have the column, or a
// *DecodeError.
func (c Change) Value(column string) (any, error) { return c.valueIn(c.Record, column) }

// OldValue is Value for the old row.
func (c Change) OldValue(column string) (any, error) { return c.valueIn(c.OldRecord, column) }

func (c *Change) valueIn(row []byte, column string) (any, error) {
	var raw []byte
	text := rowjson.Cursor{Text: row}
	if row != nil {
		for text.Open('{'); text.More('}'); {
			if key, value := text.Key(), text.Value(); string(key) == column {
				raw = value
			}
		}
		if err := text.End(); err != nil {
			return nil, c.decodeError(&rowjson.Error{Column: column, GoType: reflect.TypeFor[any](), Err: err})
		}
	}
	if raw == nil {
		return nil, fmt.Errorf("%w: %q", ErrMissing, clip(column, maxName))
	}
	typ := ""
	for _, of := range c.Columns {
		if of.Name == column {
			typ = of.Type
		}
	}
	v := rowjson.NewValue(typ, raw)
	x, err := v.Natural()
	if err != nil {
		return nil, c.decodeError(&rowjson.Error{Column: column, Type: typ, GoType: reflect.TypeFor[any](), Err: err})
	}
	return x, nil
}
