// Package atomicfile replaces a file as a whole: whoever reads it, and whoever
// comes after a crash, finds the old content or the new.
package atomicfile

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ErrLocked is the error of Lock for a file that another holder has locked.
var ErrLocked = errors.New("the file is in use by another process")

// File is the new content of a file, in a temporary file beside it. Commit puts
// it in place, Abort drops it.
type File struct {
	*os.File
	path string
}

// Create makes a temporary file for the new content of path, in the same
// directory, under a random name, readable by its owner alone. A path that is a
// symbolic link stands for the file that it leads to.
func Create(path string) (*File, error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails
	f, err := os.OpenFile(prefix(path)+hex.EncodeToString(random)+suffix, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &File{f, path}, nil
}

const suffix = ".tmp"

func prefix(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".")
}

// Commit writes the content to disk and puts it in the place of the file. The
// file stays open. If Commit fails before the new content is in place, the
// temporary file is removed and closed.
func (f *File) Commit() error {
	err := f.Sync()
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		f.Abort()
		return err
	}
	return SyncDir(f.path)
}

// Abort closes and removes the temporary file.
func (f *File) Abort() {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// SyncDir writes the directory of path to disk: a file that was made or renamed
// in it is there after a crash.
func SyncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !unsupported(err) {
		return fmt.Errorf("sync the directory: %w", err)
	}
	return nil
}

// Sweep removes the temporary files that crashed processes have left beside path.
// The caller must be the only one to write path, see Lock.
func Sweep(path string) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	entries, _ := os.ReadDir(filepath.Dir(path))
	for _, e := range entries {
		name := filepath.Join(filepath.Dir(path), e.Name())
		middle, ours := strings.CutPrefix(name, prefix(path))
		middle, named := strings.CutSuffix(middle, suffix)
		if _, err := hex.DecodeString(middle); ours && named && err == nil && len(middle) == 16 {
			_ = os.Remove(name)
		}
	}
}
