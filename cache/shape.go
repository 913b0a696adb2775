package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/rowjson"
)

// shape is what the columns of the table are, as far as that is known: from the
// database's description, which tells their types; from reads, which tell their
// names; and from the stream, which tells both, but for generated columns. DDL
// changes rows without an event, so that a shape that is another one ends the epoch:
// the rows are read again, as a whole. Of columns that T has no field for nobody
// wants to know. It is safe for concurrent use.
type shape struct {
	takes    func(column string) bool // T has it
	names    []string                 // of the columns of a struct T, as far as it tells them
	required []string                 // those that a tag names, and that are not optional

	mu        sync.Mutex
	described []cdc.Column        // never changed but replaced; nil: nobody has told
	labels    map[string][]string // of enums
	streamed  []cdc.Column        // of the last event
	read      []string            // sorted names of the columns that T has and that reads have shown
	any       bool                // there has been a read with a row

	narrowed int         // how few columns are asked for, see selection
	fits     atomic.Bool // some row has fitted into T
}

// errReshaped ends reads whose rows are of another shape than those before.
var errReshaped = fmt.Errorf("%w: the columns of the table have changed", errEpochOver)

func newShape[T any]() *shape {
	t := reflect.TypeFor[T]()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	s := &shape{takes: func(string) bool { return true }}
	if t.Kind() == reflect.Struct && !isWhole(t) {
		var known sync.Map // of names; a table has few
		s.takes = func(column string) bool {
			takes, ok := known.Load(column)
			if !ok {
				takes = fieldFor(t, column) != nil
				known.Store(column, takes)
			}
			return takes.(bool)
		}
		s.names, s.required = rowjson.Columns(t)
	}
	return s
}

// columns are those that are known with their types, for As. They are one slice
// until that changes.
func (s *shape) columns() []cdc.Column {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.described == nil {
		return s.streamed
	}
	return s.described
}

// missing is the error about a column that T has a field for and that is gone: its
// values would be zero, which no row has had.
func (s *source[K, T]) missing(column string) error {
	return &cdc.DecodeError{Schema: s.schema, Table: s.api.Name, Column: column, GoType: reflect.TypeFor[T]().String(),
		Err: fmt.Errorf("the table has no such column, or the role may not read it: %w", cdc.ErrMissing)}
}

// sawRow takes the columns of a row that was read. The error is errReshaped if there
// is one that was not there before, and names one that is there no more.
func (s *source[K, T]) sawRow(row json.RawMessage) error {
	var names []string
	text := rowjson.Cursor{Text: row}
	for in := text.Enter('{'); in && text.More('}'); text.Value() {
		if name := string(text.Key()); s.shape.takes(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	s.shape.mu.Lock()
	defer s.shape.mu.Unlock()
	before, any := s.shape.read, s.shape.any
	if any && slices.Equal(before, names) {
		return nil
	}
	for _, name := range slices.Concat(before, s.shape.required) {
		if _, there := slices.BinarySearch(names, name); !there {
			return s.missing(name)
		}
	}
	if s.shape.read, s.shape.any = names, true; any {
		return errReshaped
	}
	return nil
}

// describe asks the database what the table is, and reports whether it is another
// one than before: a column has come, or is of another type, or the labels of its
// enum are others.
func (s *source[K, T]) describe(ctx context.Context, marked bool) (another bool, err error) {
	fresh := *s
	if err := fresh.open(ctx, marked); err != nil {
		return false, err
	}
	if !slices.Equal(fresh.api.Key, s.api.Key) {
		return false, s.disagree("the table's is (%v) now", fresh.api.Key)
	}
	return s.shape.tell(fresh.columns, fresh.labels, s.missing)
}

// tell takes a description.
func (s *shape) tell(columns []cdc.Column, labels map[string][]string, missing func(string) error) (another bool, err error) {
	columns = slices.DeleteFunc(slices.Clone(columns), func(c cdc.Column) bool { return !s.takes(c.Name) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(columns) == 0 { // it is not told this time
		return false, nil
	}
	for _, name := range s.required {
		if byName(columns, name) < 0 {
			return true, missing(name)
		}
	}
	before, names := s.described, s.labels
	s.described, s.labels = columns, labels
	for _, c := range before {
		i := byName(columns, c.Name)
		if i < 0 {
			return true, missing(c.Name)
		}
		another = another || columns[i].Type != c.Type || !slices.Equal(names[c.Name], labels[c.Name])
	}
	return another || len(before) > 0 && len(before) != len(columns), nil
}

func byName(columns []cdc.Column, name string) int {
	return slices.IndexFunc(columns, func(c cdc.Column) bool { return c.Name == name })
}

// streamedShape is what the loop knows of the columns of events.
type streamedShape struct {
	columns []cdc.Column
	lacking []string // columns of T that the table has and the stream does not send: generated ones
	read    []string // of shape, when lacking was found out
}

// news takes the columns of an event, and reports whether the table is another one
// than before.
func (m *streamedShape) news(columns []cdc.Column, s *shape) (another bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := len(columns) == len(m.columns) && (unsafe.SliceData(columns) == unsafe.SliceData(m.columns) || slices.Equal(columns, m.columns))
	if same && len(m.read) == len(s.read) && unsafe.SliceData(m.read) == unsafe.SliceData(s.read) {
		return false
	}
	before := m.columns
	m.columns, m.read, m.lacking = columns, s.read, nil
	for _, name := range s.read {
		if byName(columns, name) < 0 {
			m.lacking = append(m.lacking, name)
		}
	}
	for _, name := range s.required {
		if !s.any && byName(columns, name) < 0 { // it is generated, or there is none: a read tells
			m.lacking = append(m.lacking, name)
		}
	}
	if same {
		return false
	}
	s.streamed = columns
	for _, c := range columns {
		if !s.takes(c.Name) {
			continue
		}
		was, is := byName(before, c.Name), byName(s.described, c.Name)
		switch {
		case is >= 0 && s.described[is].Type == c.Type:
		case was >= 0:
			another = another || before[was].Type != c.Type
		case is >= 0:
			another = another || isPlainType(s.described[is].Type) && isPlainType(c.Type)
		}
		if _, there := slices.BinarySearch(s.read, c.Name); s.any && !there {
			another = true
		}
	}
	for _, c := range before {
		if s.takes(c.Name) && byName(columns, c.Name) < 0 {
			another = true // a read tells whether it is gone
		}
	}
	return another
}

// isPlainType reports whether the description of the API and the stream have one
// name for a type.
func isPlainType(typ string) bool {
	for len(typ) > 0 && typ[0] == '_' {
		typ = typ[1:]
	}
	switch typ {
	case "int2", "int4", "int8", "float4", "float8", "numeric", "bool", "text", "varchar", "bpchar", "uuid", "bytea",
		"json", "jsonb", "timestamptz", "timestamp", "date", "time", "timetz":
		return true
	}
	return false
}

// checkShape looks at the columns of an event.
func (r *runner[K, T]) checkShape(ctx context.Context, c cdc.Change) {
	first := r.streamed.columns == nil
	if len(c.Columns) == 0 {
		return
	}
	another := r.streamed.news(c.Columns, r.source.shape)
	if first || another {
		r.core.alike.know(c.Columns)
	}
	if another {
		r.reshape(ctx)
	}
}

// reshape begins another epoch, in which the whole table is read.
func (r *runner[K, T]) reshape(ctx context.Context) {
	select {
	case <-r.reshaped:
	default:
	}
	r.reread.Store(true)
	now := time.Now()
	r.gap(ctx, cdc.Gap{Since: now, Until: now, Reason: cdc.Reshaped})
}

// redescribe asks what the table is at the beginning of an epoch.
func (r *runner[K, T]) redescribe(ctx context.Context) error {
	return r.again(ctx, ofTable, func() error {
		another, err := r.source.describe(ctx, r.opts.marker != nil)
		if another {
			r.reread.Store(true)
			r.source.shape.widen()
		}
		return err
	})
}

// reshapedBy reports whether a read has failed because of the shape.
func reshapedBy(err error) bool { return errors.Is(err, errReshaped) }
