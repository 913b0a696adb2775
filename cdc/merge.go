package cdc

import (
	"errors"
	"reflect"
)

// ErrMerge is the error of Merge for a type whose parts cannot be set one by
// one.
var ErrMerge = errors.New("cdc: columns cannot be set one by one in this type")

// Merge returns the new row of an Update that left some columns out because it
// did not change them (Change.Missing): those columns are as they are in before,
// which is the row as it was, and all others as in the change. It leaves before
// and what it points to alone; what the two rows have in common they share.
//
// T is as in As, but neither a pointer nor a json.Unmarshaler, nor a struct in
// which another is embedded by pointer: those give ErrMerge. The other errors
// are those of As.
//
// Merge is safe for concurrent use.
func Merge[T any](c Change, before T) (T, error) {
	t := reflect.TypeFor[T]()
	plan, err := planOf(t)
	if err != nil {
		return before, err
	}
	if !mergeable(t) {
		return before, ErrMerge
	}
	after := before
	dst := reflect.ValueOf(&after).Elem()
	if err := plan.decode(dst, &c, c.Record); err != nil {
		return before, err
	}
	if t.Kind() == reflect.Map { // which plan.decode made anew
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

func mergeable(t reflect.Type) bool {
	switch {
	case reflect.PointerTo(t).Implements(jsonUnmarshalerType):
		return false
	case t.Kind() == reflect.Map:
		return true
	}
	return t.Kind() == reflect.Struct && !embedsPointer(t)
}

// embedsPointer reports whether a field of t is a struct embedded by pointer,
// through which a new row would write into the old one.
func embedsPointer(t reflect.Type) bool {
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.Anonymous {
			continue
		}
		if f.Type.Kind() == reflect.Pointer || f.Type.Kind() == reflect.Struct && embedsPointer(f.Type) {
			return true
		}
	}
	return false
}
