package cdc

import (
	"fmt"
	"reflect"
)

// Merge returns the new row of an Update that left some columns out because it
// did not change them (Change.Missing): those columns are as they are in before,
// which is the row as it was, and all others as in the change. It leaves before
// and what it points to alone; what the two rows have in common they share.
//
// T is as in As, but neither a pointer nor a json.Unmarshaler, nor a struct in
// which another is embedded by pointer: those give a *TypeError. A change without a
// new row, such as a Delete, is an error. The other errors are those of As: a
// gap is ErrGap, and a change that does not carry its row an *IncompleteError.
// With an error, the row is before.
//
// Merge is safe for concurrent use.
func Merge[T any](c Change, before T, opts ...AsOption) (T, error) {
	if c.Gap != nil {
		return before, ErrGap
	}
	plan, err := planOf(reflect.TypeFor[T]())
	if err != nil {
		return before, err
	}
	if !plan.Mergeable() {
		return before, &TypeError{GoType: reflect.TypeFor[T]().String(), Reason: "columns cannot be set one by one"}
	}
	if c.Op == Delete || c.Record == nil {
		return before, fmt.Errorf("cdc: merge: %v has no new row", c.Op)
	}
	if err := c.incompleteError(); err != nil {
		return before, err
	}
	after := before
	dst := reflect.ValueOf(&after).Elem()
	if err := plan.Decode(dst, shared(c.Columns), c.places.Of(newRow, c.Record), strict(opts)); err != nil {
		return before, c.decodeError(err)
	}
	if dst.Kind() == reflect.Map { // which plan.Decode made anew
		addMissing(dst, reflect.ValueOf(before), c.Missing)
	}
	return after, nil
}

// addMissing copies the named entries of one map to another.
func addMissing(to, from reflect.Value, names []string) {
	for _, name := range names {
		key := reflect.ValueOf(name).Convert(to.Type().Key())
		if v := from.MapIndex(key); v.IsValid() {
			to.SetMapIndex(key, v)
		}
	}
}
