package deliver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// File is a Store in a file, for one process. OpenFile opens it. An effect is
// done first and remembered then, so that one whose process ends in between is
// done again.
//
// It is a list of lines that only grows, each written to disk before the call
// returns, and written anew when most of it is out of date. A line that was not
// written to its end, as when the machine stops, is dropped.
type File struct {
	path  string
	marks marks

	mu       sync.Mutex
	f        *os.File
	size     int64 // of what is whole
	torn     bool  // there may be more in the file than that
	lines    int
	position string
	letters  int
}

// entry is a line: a key, a position or a letter.
type entry struct {
	Key      *string `json:"k,omitempty"`
	Position *string `json:"p,omitempty"`
	Letter   *Letter `json:"d,omitempty"`
}

// OpenFile opens a Store, and makes its file if there is none. It remembers the
// last max keys, and all letters. The error is one of the file system, or says
// that the file is none of ours.
func OpenFile(path string, max int) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("deliver: %w", err)
	}
	s := &File{path: path, f: f, marks: newMarks(max)}
	if err := s.load(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("deliver: %s: %w", path, err)
	}
	return s, nil
}

func (s *File) load() error {
	r := bufio.NewReader(s.f)
	for {
		line, err := r.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF):
			if len(line) > 0 {
				s.torn = true
			}
			return nil
		case err != nil:
			return err
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("line %d: %w", s.lines+1, err)
		}
		s.lines++
		s.size += int64(len(line))
		s.note(e)
	}
}

func (s *File) note(e entry) {
	switch {
	case e.Key != nil:
		s.marks.mu.Lock()
		s.marks.add(*e.Key)
		s.marks.mu.Unlock()
	case e.Position != nil:
		s.position = *e.Position
	case e.Letter != nil:
		s.letters++
	}
}

// Once is as Store says.
func (s *File) Once(ctx context.Context, key string, effect func(context.Context, None) error) (bool, error) {
	return s.marks.once(ctx, key, effect, func() error { return s.append(entry{Key: &key}) })
}

// Position is as Store says.
func (s *File) Position(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position, nil
}

// SavePosition is as Store says.
func (s *File) SavePosition(_ context.Context, position string) error {
	if err := s.append(entry{Position: &position}); err != nil {
		return &StoreError{"save the position", err}
	}
	return nil
}

// Bury is as Store says, but that all letters of a key are kept.
func (s *File) Bury(_ context.Context, letter Letter) error {
	if err := s.append(entry{Letter: &letter}); err != nil {
		return &StoreError{"bury", err}
	}
	return nil
}

// Letters reads the letters from the file, the oldest first.
func (s *File) Letters() ([]Letter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Letter
	data, err := os.ReadFile(s.path)
	if err != nil {
		return nil, &StoreError{"read", err}
	}
	for line := range bytes.Lines(data[:min(int64(len(data)), s.size)]) {
		var e entry
		if json.Unmarshal(line, &e) == nil && e.Letter != nil {
			out = append(out, *e.Letter)
		}
	}
	return out, nil
}

// Close closes the file. What comes after that fails.
func (s *File) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.f.Close()
}

// append writes a line to disk. What a failed write may have left is cut off
// before the next.
func (s *File) append(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.torn {
		if err := s.f.Truncate(s.size); err != nil {
			return err
		}
	}
	s.torn = true
	if _, err := s.f.WriteAt(append(line, '\n'), s.size); err != nil {
		return err
	}
	if err := s.f.Sync(); err != nil {
		return err
	}
	s.torn = false
	s.size += int64(len(line)) + 1
	s.lines++
	s.note(e)
	if s.lines > 2*(s.marks.max+s.letters)+1000 {
		return s.rewrite()
	}
	return nil
}

// rewrite puts a file in the place of this one that has what counts.
func (s *File) rewrite() error {
	var b bytes.Buffer
	lines := 0
	put := func(e entry) {
		line, _ := json.Marshal(e) // of strings, numbers and a time
		b.Write(append(line, '\n'))
		lines++
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	for line := range bytes.Lines(data[:s.size]) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		if e.Letter != nil {
			put(e)
		}
	}
	for _, k := range s.marks.keys() {
		put(entry{Key: &k})
	}
	put(entry{Position: &s.position})
	return s.replace(b.Bytes(), lines)
}

func (s *File) replace(content []byte, lines int) error {
	f, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync()); err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	_ = s.f.Close()
	s.f, s.size, s.lines = f, int64(len(content)), lines
	return nil
}
