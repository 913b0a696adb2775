package cdc

import (
	"fmt"
	"reflect"
	"unsafe"
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

// As decodes the rows of a change into T. It is safe for concurrent use. T may
// be:
//
//   - a struct. A column goes into the field whose db tag names it, or else
//     whose json tag does, or else whose name is the column's if case and
//     underscores are ignored: created_at goes into CreatedAt. A tag of "-"
//     takes a field out. The fields of embedded structs are the struct's own,
//     as in encoding/json. Columns without a field are ignored, and so are
//     fields without a column;
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
//     but no rows;
//   - an *IncompleteError if the change does not carry its row, see Incomplete.
//     The event has what could be decoded. It must not be taken for the row.
//
// A column that an Update left alone and that is therefore Missing is no error.
func As[T any](c Change) (e Event[T], err error) {
	e.Change = c
	if c.Gap != nil {
		return e, ErrGap
	}
	plan, err := planOf(reflect.TypeFor[T]())
	if err != nil {
		return e, err
	}
	if !plan.fields.put(unsafe.Pointer(&e.New), unsafe.Pointer(&e.Old), &e.Change) {
		if e, err = byReflection[T](c, plan.decode); err != nil {
			return e, err
		}
	}
	if reason := c.Incomplete(); reason != Complete {
		return e, &IncompleteError{Schema: c.Schema, Table: c.Table, Reason: reason, Missing: c.Missing, Errors: c.Errors}
	}
	return e, nil
}

// byReflection is a function of its own because what reflection touches has to
// be on the heap.
func byReflection[T any](c Change, decode rowDecoder) (e Event[T], err error) {
	e.Change = c
	if c.Record != nil {
		err = decode(reflect.ValueOf(&e.New).Elem(), &c, c.Record)
	}
	if c.OldRecord != nil && err == nil {
		err = decode(reflect.ValueOf(&e.Old).Elem(), &c, c.OldRecord)
	}
	if err != nil {
		return Event[T]{Change: c}, err
	}
	return e, nil
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
	if row != nil {
		w := walkObject(row)
		for w.next() {
			if string(w.key) == column {
				raw = w.val
			}
		}
		if w.err != nil {
			return nil, c.decodeError(value{}, column, reflect.TypeFor[any](), w.err)
		}
	}
	if raw == nil {
		return nil, fmt.Errorf("%w: %q", ErrMissing, clip(column, maxName))
	}
	v := newValue(c.columnTypes()([]byte(column)), raw)
	x, err := v.natural()
	if err != nil {
		return nil, c.decodeError(v, column, reflect.TypeFor[any](), err)
	}
	return x, nil
}
