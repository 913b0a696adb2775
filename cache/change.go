package cache

import (
	"fmt"
	"reflect"

	"github.com/gapless-go/gapless/cdc"
)

// Position is a place in the life of a Table. An epoch goes from one gap of the
// stream to the next; Seq counts the events within it. Positions of one Table
// can be compared, those of two cannot.
type Position struct{ Epoch, Seq uint64 }

func (p Position) before(q Position) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Seq < q.Seq
}

// Change is a net change of the cache: one row that is there now and was not,
// is not the same, or is gone. An event that leaves the row as it was makes
// none, and what was lost in a gap comes as the changes by which the cache was
// put right.
type Change[K comparable, T any] struct {
	Op       cdc.Op
	Key      K
	Old, New T // Old is what this cache had, which may be older than what the database had
	Cause    Cause
	Pos      Position
	// InitialEnd says that this value is no change: the feed has told every row of
	// the table. See WithInitial.
	InitialEnd bool
	// Phase, when not nil, says that this value is no change: the Table has come
	// to that phase, and what it published before has been told. See WithPhases.
	Phase *Phase
	// Err, when not nil, says that this value is no change of the cache: the table
	// has a row of this key that does not fit into T. See WithSetAside.
	Err error
}

// Cause is how the cache came to know of a change.
type Cause uint8

const (
	// CauseStream is an event of the stream.
	CauseStream Cause = iota
	// CauseSnapshot is the first reading of the table, and the rows that a feed
	// with WithInitial begins with.
	CauseSnapshot
	// CauseResync is the reading of the table behind a gap.
	CauseResync
	// CauseRepair is the reading of rows that were in doubt, or found to be
	// wrong.
	CauseRepair
	// CauseEvicted is a row that had to make room for others; it may be in the
	// table still. See WithMaxRows.
	CauseEvicted
	// CauseMisfit is a row that is in the table still, in a version that does not
	// fit into T. See WithMisfits.
	CauseMisfit
)

// String returns the cause in words.
func (c Cause) String() string {
	switch c {
	case CauseStream:
		return "stream"
	case CauseSnapshot:
		return "snapshot"
	case CauseResync:
		return "resync"
	case CauseRepair:
		return "repair"
	case CauseEvicted:
		return "evicted"
	case CauseMisfit:
		return "misfit"
	}
	return fmt.Sprintf("Cause(%d)", uint8(c))
}

// fold makes one change of two of one key, the second behind the first. It
// reports false if they come to nothing; what it returns for an Insert and a
// Delete is no change then.
func fold[K comparable, T any](first, second Change[K, T], equal func(a, b T) bool) (Change[K, T], bool) {
	out := second
	out.Old = first.Old
	switch {
	case first.Op == cdc.Insert && second.Op == cdc.Delete:
		return out, false
	case first.Op == cdc.Insert:
		out.Op = cdc.Insert
	case first.Op == cdc.Delete:
		out.Op = cdc.Update
	}
	return out, out.Op != cdc.Update || !equal(out.Old, out.New)
}

// flat reports whether == compares all of a type. Of a time it compares the
// pointer to the zone, too, which is one and the same for all that cdc decodes.
func flat(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.String,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	case reflect.Array:
		return flat(t.Elem())
	case reflect.Struct:
		if t == timeType {
			return true
		}
		for i := range t.NumField() {
			if !flat(t.Field(i).Type) {
				return false
			}
		}
		return true
	}
	return false
}
