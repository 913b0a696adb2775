package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/gapless-go/gapless/internal/atomicfile"
)

// ErrInUse is the error of OpenFile for a file that another File holds, in this
// process or in another one.
var ErrInUse = atomicfile.ErrLocked

// File is a Store in a file, for one process. OpenFile opens it. An effect is
// done first and remembered then, so that one whose process ends in between is
// done again.
//
// It is a header and a list of records that only grows, each with a checksum and
// written to disk before the call returns. When most of it is out of date it is
// written anew; a disk without room for that is no error of the call. What a crash
// has left of the last record is dropped.
type File struct {
	path  string
	marks marks

	mu       sync.Mutex
	f        *os.File // it is locked
	at       content
	limit    int  // with more lines it is written anew
	moved    bool // the directory does not surely have the file that is open
	position string
}

// OpenFile opens a Store, and makes its file if there is none. It remembers the
// last max keys, and all letters: max should be no less than the values that may
// be handled while one of another lane waits, or a restart handles some of them
// again.
//
// The error is one of the file system, or ErrInUse, or says that the file is none
// of ours or which of its records is damaged. Such a file is left as it is.
func OpenFile(path string, max int) (*File, error) {
	s := &File{path: path, marks: newMarks(max)}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("deliver: file %s: %w", path, err)
	}
	return s, nil
}

// open opens and locks the file. One that was replaced meanwhile is opened anew.
func (s *File) open() error {
	for {
		f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		if s.f = f; s.regular() {
			err = atomicfile.Lock(f)
		} else {
			err = errors.New("it is no regular file")
		}
		if err == nil && !s.inPlace(f) {
			_ = f.Close()
			continue
		}
		if err == nil {
			err = s.load()
		}
		if err != nil {
			_ = f.Close()
			return err
		}
		atomicfile.Sweep(s.path)
		return nil
	}
}

func (s *File) regular() bool {
	info, err := s.f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// inPlace reports whether a file that is open is the one at the path.
func (s *File) inPlace(f *os.File) bool {
	open, err := f.Stat()
	there, err2 := os.Stat(s.path)
	return err == nil && err2 == nil && os.SameFile(open, there)
}

func (s *File) load() error {
	begin := make([]byte, len(header))
	n, err := io.ReadFull(s.f, begin)
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF && strings.HasPrefix(header, string(begin[:n])): // made by us, just now
		if _, err := s.f.WriteAt([]byte(header), 0); err != nil {
			return err
		}
		if err := s.f.Sync(); err != nil {
			return err
		}
		s.moved = true
	case err != nil && err != io.ErrUnexpectedEOF:
		return err
	case string(begin) != header:
		return errors.New("it is no file of this package, or of another version: it does not begin with " + strings.TrimSpace(header))
	}
	s.at, err = readRecords(io.NewSectionReader(s.f, int64(len(header)), 1<<62), s.note)
	s.limit = s.enough()
	return err
}

// note takes a record that is in the file.
func (s *File) note(r record) {
	switch {
	case r.Key != nil:
		s.marks.mu.Lock()
		s.marks.add(string(*r.Key))
		s.marks.mu.Unlock()
	case r.Position != nil:
		s.position = string(*r.Position)
	case r.Letter != nil:
		s.marks.bury(string(r.Letter.Key))
	case r.Retried != nil:
		s.marks.release(string(*r.Retried))
	}
}

// enough is how many lines the file may have.
func (s *File) enough() int { return 2*(s.marks.max+len(s.marks.buried)) + 1000 }

// Once is as Store says.
func (s *File) Once(ctx context.Context, key string, effect func(context.Context, None) error) (bool, error) {
	return s.marks.once(ctx, key, effect, func() error { return s.append(record{Key: (*anyText)(&key)}) })
}

// Position is as Store says.
func (s *File) Position(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position, nil
}

// SavePosition is as Store says.
func (s *File) SavePosition(_ context.Context, position string) error {
	if err := s.append(record{Position: (*anyText)(&position)}); err != nil {
		return &StoreError{"save the position", err}
	}
	return nil
}

// Bury is as Store says.
func (s *File) Bury(_ context.Context, l Letter) error {
	letter := letterRecord{anyText(l.Key), anyText(l.Position), anyText(l.Reason), l.Attempts, l.Value, l.At}
	if err := s.append(record{Letter: &letter}); err != nil {
		return &StoreError{"bury", err}
	}
	return nil
}

// Letters reads the letters from the file, the oldest first.
func (s *File) Letters() ([]Letter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	letters, err := s.read()
	if err != nil {
		return nil, &StoreError{"read the letters", err}
	}
	var out []Letter
	for _, l := range letters {
		out = append(out, Letter{string(l.Key), string(l.Position), string(l.Reason), l.Attempts, l.Value, l.At})
	}
	return out, nil
}

// read returns the letters that the file has. It is called under mu.
func (s *File) read() (letters []*letterRecord, err error) {
	nth := map[anyText]int{}
	_, err = readRecords(io.NewSectionReader(s.f, int64(len(header)), s.at.size), func(r record) {
		switch {
		case r.Retried != nil:
			if n, there := nth[*r.Retried]; there {
				letters[n] = nil
				delete(nth, *r.Retried)
			}
		case r.Letter == nil:
		default:
			if n, there := nth[r.Letter.Key]; there {
				letters[n] = r.Letter
				return
			}
			nth[r.Letter.Key] = len(letters)
			letters = append(letters, r.Letter)
		}
	})
	kept := letters[:0]
	for _, l := range letters {
		if l != nil {
			kept = append(kept, l)
		}
	}
	return kept, err
}

// Retry removes a letter and returns it; false if there is none. Its key counts as
// new: its value is handled when it is delivered again.
// The letter is in no store then: a process that ends before it has handled the
// letter, or kept it elsewhere, loses it.
func (s *File) Retry(_ context.Context, key string) (Letter, bool, error) {
	letters, err := s.Letters()
	if err != nil {
		return Letter{}, false, err
	}
	for _, l := range letters {
		if l.Key == key {
			if err := s.append(record{Retried: (*anyText)(&key)}); err != nil {
				return Letter{}, false, &StoreError{"retry", err}
			}
			return l, true, nil
		}
	}
	return Letter{}, false, nil
}

// Close closes the file. What comes after that fails.
func (s *File) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.f.Close()
}

// append writes a record to disk. What a failed write may have left is cut off
// before the next.
func (s *File) append(r record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	line, sum, err := s.at.sum.line(r)
	if err != nil {
		return err
	}
	end := int64(len(header)) + s.at.size
	if s.at.torn {
		if err := s.f.Truncate(end); err != nil {
			return err
		}
	}
	s.at.torn = true
	if _, err := s.f.WriteAt(line, end); err != nil {
		return err
	}
	if err := s.f.Sync(); err != nil {
		return err
	}
	if s.moved {
		if err := atomicfile.SyncDir(s.path); err != nil {
			return err
		}
		s.moved = false
	}
	s.at = content{s.at.size + int64(len(line)), s.at.lines + 1, sum, false}
	if s.note(r); s.at.lines > s.limit {
		s.compact()
	}
	return nil
}

// compact writes the file anew if most of it is out of date. What was appended is
// on disk, whether that works or not; after a failure it is tried again when the
// file has twice the lines.
func (s *File) compact() {
	if s.limit = s.enough(); s.at.lines > s.limit && s.rewrite() != nil {
		s.limit = 2 * s.at.lines
	}
}

// rewrite puts a file in the place of this one that has what counts.
func (s *File) rewrite() error {
	letters, err := s.read()
	if err != nil {
		return err
	}
	next, err := atomicfile.Create(s.path)
	if err != nil {
		return err
	}
	at, err := s.write(next, letters)
	if err == nil {
		err = atomicfile.Lock(next.File)
	}
	if err != nil {
		next.Abort()
		return err
	}
	if err := next.Commit(); err != nil && !s.inPlace(next.File) {
		return err
	} else if err != nil {
		s.moved = true
	}
	_ = s.f.Close()
	s.f, s.at = next.File, at
	return nil
}

// write writes all that counts.
func (s *File) write(to io.Writer, letters []*letterRecord) (at content, err error) {
	var b strings.Builder
	b.WriteString(header)
	put := func(r record) {
		if err != nil {
			return
		}
		var line []byte
		line, at.sum, err = at.sum.line(r)
		b.Write(line)
		at.lines++
	}
	for _, l := range letters {
		put(record{Letter: l})
	}
	for _, k := range s.marks.keys() {
		put(record{Key: (*anyText)(&k)})
	}
	put(record{Position: (*anyText)(&s.position)})
	if err == nil {
		_, err = io.WriteString(to, b.String())
	}
	at.size = int64(b.Len() - len(header))
	return at, err
}
