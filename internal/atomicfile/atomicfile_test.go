package atomicfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/atomicfile"
)

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestCommit_ReplacesTheWholeFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(path, []byte("old content"), 0o644))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(path, link))
	f, err := atomicfile.Create(link)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString("new")
	require.NoError(t, err)
	old, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old content", string(old))
	require.NoError(t, f.Commit())
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new", string(got))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
	info, err = os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.Equal(t, []string{"file"}, names(t, dir))
}

func TestCommit_ThatFailsLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	f, err := atomicfile.Create(path)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(path, "in the way"), 0o700))
	require.Error(t, f.Commit())
	require.Equal(t, []string{"file"}, names(t, dir))
}

func TestSweep_RemovesOnlyItsOwn(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	f, err := atomicfile.Create(path)
	require.NoError(t, err)
	require.NoError(t, f.Close()) // as a process that was killed leaves it
	for _, name := range []string{".file.tmp", ".file.0123.tmp", ".file.0123456789abcdeg.tmp", "file.0123456789abcdef.tmp", ".other.0123456789abcdef.tmp"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	require.Len(t, names(t, dir), 6)
	atomicfile.Sweep(path)
	require.Len(t, names(t, dir), 5)
	require.NoFileExists(t, f.Name())
}

func TestLock_IsExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	first, second := open(), open()
	require.NoError(t, atomicfile.Lock(first))
	require.ErrorIs(t, atomicfile.Lock(second), atomicfile.ErrLocked)
	require.NoError(t, first.Close())
	require.NoError(t, atomicfile.Lock(second))
}
