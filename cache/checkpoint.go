package cache

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/atomicfile"
	"github.com/gapless-go/gapless/internal/rescue"
)

// Checkpoint is where a Table's rows are kept for the next start. Its methods
// are called one at a time. They take no context: what is written ends with that
// of Run, or, for the last Save, a minute behind it, by an error of write. See
// WithCheckpoint.
type Checkpoint interface {
	// Load returns what was saved last, or an error that wraps fs.ErrNotExist
	// if nothing was. The Table closes it.
	Load() (io.ReadCloser, error)
	// Save replaces what was saved by what write writes, all of it or nothing:
	// when write or the saving fails, what was saved before is still there.
	Save(write func(io.Writer) error) error
}

// File is a Checkpoint in a file that only its owner may read. It is replaced as a
// whole, by way of another one of a random name in the same directory. While a
// Table runs it holds a lock, on a file with .lock behind the name: a second one,
// of this process or another, reads the checkpoint and does not save, which its
// Status.CheckpointErr tells, until the first has ended.
type File string

// Load opens the file.
func (f File) Load() (io.ReadCloser, error) { return os.Open(string(f)) }

// Save replaces the file.
func (f File) Save(write func(io.Writer) error) error {
	temporary, err := atomicfile.Create(string(f))
	if err != nil {
		return err
	}
	if err := write(temporary); err != nil {
		temporary.Abort()
		return err
	}
	if err := temporary.Commit(); err != nil {
		return err
	}
	return temporary.Close()
}

// locker is a Checkpoint that has one user at a time.
type locker interface{ lock() (io.Closer, error) }

func (f File) lock() (io.Closer, error) {
	name := string(f) + ".lock"
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("cache: %s is no regular file", name)
	}
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := atomicfile.Lock(file); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("cache: checkpoint %s: %w", string(f), err)
	}
	atomicfile.Sweep(string(f))
	return file, nil
}

// header is the first line of a checkpoint: the rows of another table, in another
// form, or that another user has seen, are not taken.
type header struct {
	Format  string   `json:"format"`
	Project string   `json:"project"`
	Role    string   `json:"role"`
	Subject string   `json:"subject"`
	Schema  string   `json:"schema"`
	Table   string   `json:"table"`
	Type    string   `json:"type"`
	Columns []string `json:"columns"`
	Filter  string   `json:"filter"`
	Rows    int      `json:"rows"`
	// Shape is the columns with their types, as far as they are known.
	Shape []cdc.Column `json:"shape"`
	// Saved is when, by this machine's clock.
	Saved time.Time `json:"saved"`
}

const checkpointFormat = "gapless cache 3"

func (t *Table[K, T]) header(rows int) header {
	return header{Format: checkpointFormat, Project: t.identity.Project, Role: t.identity.Role, Subject: t.identity.Subject, Schema: t.opts.schema, Table: t.name, Type: typeText(reflect.TypeFor[T](), 0),
		Columns: t.opts.columns, Filter: t.opts.filter.String(), Rows: rows, Shape: t.source.shape.columns(), Saved: time.Now().UTC()}
}

// typeText writes a type with the fields that it has, so that rows of another one
// are not taken.
func typeText(t reflect.Type, depth int) string {
	if t.Kind() != reflect.Struct || depth > 3 || t == timeType {
		return t.String()
	}
	s := t.String() + "{"
	for i := range t.NumField() {
		f := t.Field(i)
		s += f.Name + " " + typeText(f.Type, depth+1) + " " + string(f.Tag) + ";"
	}
	return s + "}"
}

// restore takes the rows of the checkpoint, and returns the view that it was
// of. They are stale until the table has been read. It waits for a token, which
// says whose rows they have to be. Its error is one that does not pass.
func (t *Table[K, T]) restore(ctx context.Context) (saved View[K, T], err error) {
	if t.opts.checkpoint == nil {
		return saved, nil
	}
	err = t.again(ctx, ofTable, func() (err error) { t.identity, err = t.client.Identity(ctx); return err })
	if err != nil {
		return saved, err
	}
	var rows []T
	err = rescue.Do("the Checkpoint of "+t.String(), func() (err error) { rows, err = t.loadCheckpoint(); return err })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return saved, nil
	case err != nil: // a start without is slower, and as right
		t.note(func(s *Status) { s.CheckpointErr = err })
		return saved, nil
	}
	for _, row := range rows {
		t.core.put(t.core.key(row), &entry[K, T]{value: row}, CauseSnapshot)
	}
	t.step(restored)
	return t.View(), nil
}

func (t *Table[K, T]) loadCheckpoint() (rows []T, err error) {
	in, err := t.opts.checkpoint.Load()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	decoder := json.NewDecoder(bufio.NewReader(in))
	var h header
	if err := decoder.Decode(&h); err != nil {
		return nil, fmt.Errorf("cache: checkpoint: %w", err)
	}
	want := t.header(h.Rows)
	want.Saved, want.Shape = h.Saved, h.Shape // the columns are not known yet
	if !reflect.DeepEqual(h, want) {
		return nil, errors.New("cache: the checkpoint is of another project, user, table, type or choice of rows")
	}
	for range h.Rows {
		var text json.RawMessage
		err := decoder.Decode(&text)
		if err == nil && string(text) == "null" { // of a row that could not be saved
			continue
		}
		row, err2 := fromText[T](text, h.Shape)
		if err := cmp.Or(err, err2); err != nil {
			return nil, fmt.Errorf("cache: checkpoint, row %d of %d: %w", len(rows)+1, h.Rows, err)
		}
		rows = append(rows, row)
	}
	t.savedShape = h.Shape
	return rows, nil
}

// fromText reads a row. The values of a map have the types of their columns.
func fromText[T any](text json.RawMessage, columns []cdc.Column) (row T, err error) {
	if reflect.TypeFor[T]().Kind() != reflect.Map {
		return row, json.Unmarshal(text, &row)
	}
	e, err := cdc.As[T](cdc.Change{Op: cdc.Insert, Columns: columns, Record: text})
	return e.New, err
}

// saveNowAndThen saves the rows when they have changed, until ctx ends, and
// once more then.
func (t *Table[K, T]) saveNowAndThen(ctx context.Context, saved View[K, T]) {
	if t.opts.checkpoint == nil {
		return
	}
	ticker := time.NewTicker(t.opts.saveEvery)
	defer ticker.Stop()
	unlock := func() {}
	defer func() { unlock() }()
	l, locks := t.opts.checkpoint.(locker)
	for last := false; !last; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			last = true
		}
		if locks {
			held, err := l.lock()
			if err != nil {
				t.note(func(s *Status) { s.CheckpointErr = err })
				continue
			}
			locks, unlock = false, func() { _ = held.Close() }
		}
		if view := t.View(); view.phase == Synced || last && t.wasSynced.Load() { // else it may be half of a load
			if view.rows != saved.rows {
				t.save(ctx, view)
			}
			saved = view
		}
	}
}

func (t *Table[K, T]) save(ctx context.Context, view View[K, T]) {
	if ctx.Err() != nil {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer stop()
	}
	var odd error
	err := rescue.Do("the Checkpoint of "+t.String(), func() error {
		return t.opts.checkpoint.Save(func(w io.Writer) (err error) { odd, err = t.write(ctx, w, view); return err })
	})
	t.note(func(s *Status) {
		if s.CheckpointErr = cmp.Or(err, odd); err == nil {
			s.Saved = time.Now()
		}
	})
}

// write writes a view, and makes sure of each row that it can be read back. A row
// that cannot, such as one with an infinite date, is left out, and read from the
// table after a start: odd says so.
func (t *Table[K, T]) write(ctx context.Context, w io.Writer, view View[K, T]) (odd, err error) {
	out := bufio.NewWriterSize(w, 1<<16)
	encoder := json.NewEncoder(out)
	if err := encoder.Encode(t.header(view.Len())); err != nil {
		return nil, err
	}
	left, columns := 0, t.source.shape.columns()
	for k, row := range view.All() {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		text, err := json.Marshal(row)
		if err == nil {
			var back T
			if back, err = fromText[T](text, columns); err != nil || !t.core.equal(row, back) {
				err = fmt.Errorf("a %T does not come out of JSON as it went in", row)
			}
		}
		if err != nil {
			left, text = left+1, []byte("null")
			odd = cmp.Or(odd, fmt.Errorf("cache: checkpoint of %s, row %v: %w", t, k, err))
		}
		if _, err := out.Write(append(text, '\n')); err != nil {
			return nil, err
		}
	}
	if left > 0 && left == view.Len() {
		return nil, odd
	}
	return odd, out.Flush()
}
