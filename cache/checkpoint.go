package cache

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/gapless-go/gapless/internal/rescue"
)

// Checkpoint is where a Table's rows are kept for the next start. Its methods
// are called one at a time. See WithCheckpoint.
type Checkpoint interface {
	// Load returns what was saved last, or an error that wraps fs.ErrNotExist
	// if nothing was. The Table closes it.
	Load() (io.ReadCloser, error)
	// Save replaces what was saved by what write writes, all of it or nothing:
	// when write or the saving fails, what was saved before is still there.
	Save(write func(io.Writer) error) error
}

// File is a Checkpoint in a file. It is replaced as a whole, by way of another
// one in the same directory with .tmp behind its name.
type File string

// Load opens the file.
func (f File) Load() (io.ReadCloser, error) { return os.Open(string(f)) }

// Save replaces the file.
func (f File) Save(write func(io.Writer) error) (err error) {
	temporary, err := os.OpenFile(string(f)+".tmp", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(write(temporary), temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(string(f)+".tmp", string(f))
	}
	if err != nil {
		_ = os.Remove(string(f) + ".tmp")
		return err
	}
	return syncDir(filepath.Dir(string(f)))
}

// syncDir makes a rename last.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(ignoreUnsupported(dir.Sync()), dir.Close())
}

func ignoreUnsupported(err error) error {
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrInvalid) {
		return nil
	}
	return err
}

// header is the first line of a checkpoint: the rows of another table, or in
// another form, are not taken.
type header struct {
	Format  string   `json:"format"`
	Schema  string   `json:"schema"`
	Table   string   `json:"table"`
	Type    string   `json:"type"`
	Columns []string `json:"columns"`
	Filter  string   `json:"filter"`
	Rows    int      `json:"rows"`
	// Saved is when, by this machine's clock.
	Saved time.Time `json:"saved"`
}

const checkpointFormat = "gapless cache 1"

func (t *Table[K, T]) header(rows int) header {
	return header{Format: checkpointFormat, Schema: t.opts.schema, Table: t.name, Type: typeText(reflect.TypeFor[T](), 0),
		Columns: t.opts.columns, Filter: t.opts.filter.String(), Rows: rows, Saved: time.Now().UTC()}
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
// of. They are stale until the table has been read.
func (t *Table[K, T]) restore() (saved View[K, T]) {
	if t.opts.checkpoint == nil {
		return saved
	}
	var rows []T
	err := rescue.Do("the Checkpoint of "+t.String(), func() (err error) { rows, err = t.loadCheckpoint(); return err })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return saved
	case err != nil: // a start without is slower, and as right
		t.note(func(s *Status) { s.CheckpointErr = err })
		return saved
	}
	for _, row := range rows {
		t.core.put(t.core.key(row), &entry[K, T]{value: row}, CauseSnapshot)
	}
	t.step(restored)
	return t.View()
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
	want.Saved = h.Saved
	if !reflect.DeepEqual(h, want) {
		return nil, errors.New("cache: the checkpoint is of another table, type or choice of rows")
	}
	for range h.Rows {
		var row T
		if err := decoder.Decode(&row); err != nil {
			return nil, fmt.Errorf("cache: checkpoint, row %d of %d: %w", len(rows)+1, h.Rows, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// saveNowAndThen saves the rows when they have changed, until ctx ends, and
// once more then.
func (t *Table[K, T]) saveNowAndThen(ctx context.Context, saved View[K, T]) {
	if t.opts.checkpoint == nil {
		return
	}
	ticker := time.NewTicker(t.opts.saveEvery)
	defer ticker.Stop()
	for last := false; !last; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			last = true
		}
		if view := t.View(); view.phase == Synced || last && t.wasSynced.Load() { // else it may be half of a load
			if view.rows.root != saved.rows.root {
				t.save(view)
			}
			saved = view
		}
	}
}

func (t *Table[K, T]) save(view View[K, T]) {
	err := rescue.Do("the Checkpoint of "+t.String(), func() error {
		return t.opts.checkpoint.Save(func(w io.Writer) error { return t.write(w, view) })
	})
	t.note(func(s *Status) {
		if s.CheckpointErr = err; err == nil {
			s.Saved = time.Now()
		}
	})
}

// write writes a view, and makes sure of each row that it can be read back.
func (t *Table[K, T]) write(w io.Writer, view View[K, T]) error {
	out := bufio.NewWriterSize(w, 1<<16)
	encoder := json.NewEncoder(out)
	if err := encoder.Encode(t.header(view.Len())); err != nil {
		return err
	}
	for k, row := range view.All() {
		text, err := json.Marshal(row)
		if err != nil {
			return fmt.Errorf("cache: checkpoint of %s, row %v: %w", t, k, err)
		}
		var back T
		if err := json.Unmarshal(text, &back); err != nil || !t.core.equal(row, back) {
			return fmt.Errorf("cache: checkpoint of %s, row %v: a %T does not come out of JSON as it went in", t, k, row)
		}
		if _, err := out.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	return out.Flush()
}
