package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/enrich/deliver"
)

// once counts how often the effects of keys are done.
func once(t *testing.T, s deliver.Store[deliver.None], key string, fail error) (done, before bool) {
	t.Helper()
	before, err := s.Once(t.Context(), key, func(context.Context, deliver.None) error {
		done = true
		return fail
	})
	require.ErrorIs(t, err, fail)
	return done, before
}

func TestAStoreRemembersOnlyAfterSuccess(t *testing.T) {
	file, err := deliver.OpenFile(filepath.Join(t.TempDir(), "store"), 2)
	require.NoError(t, err)
	defer file.Close()
	for name, s := range map[string]deliver.Store[deliver.None]{"memory": deliver.NewMemory(2), "file": file} {
		t.Run(name, func(t *testing.T) {
			failed := errors.New("failed")
			for range 2 {
				done, before := once(t, s, "a", failed)
				require.True(t, done && !before)
			}
			done, before := once(t, s, "a", nil)
			require.True(t, done && !before)
			done, before = once(t, s, "a", nil)
			require.True(t, !done && before)
			for range 2 {
				done, _ = once(t, s, "", nil)
				require.True(t, done, "an empty key is not remembered")
			}
			once(t, s, "b", nil)
			once(t, s, "c", nil)
			for _, key := range []string{"b", "c"} {
				_, before = once(t, s, key, nil)
				require.True(t, before, "the last two are known")
			}
			done, _ = once(t, s, "a", nil)
			require.True(t, done, "the oldest of more than two is forgotten")
			require.Panics(t, func() { _, _ = s.Once(t.Context(), "p", func(context.Context, deliver.None) error { panic("oops") }) })
			done, _ = once(t, s, "p", nil)
			require.True(t, done)
		})
	}
}

// Of two at once with one key, the second waits, and does it if the first fails.
func TestAStoreDoesOneEffectOfAKeyAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := deliver.NewMemory(10)
		release := make(chan error)
		first := make(chan error)
		go func() {
			_, err := s.Once(t.Context(), "k", func(context.Context, deliver.None) error { return <-release })
			first <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Once(ctx, "k", nil)
		require.ErrorIs(t, err, context.Canceled)
		second := make(chan bool, 1)
		go func() {
			done := false
			_, _ = s.Once(t.Context(), "k", func(context.Context, deliver.None) error { done = true; return nil })
			second <- done
		}()
		synctest.Wait()
		require.Empty(t, second)
		failed := errors.New("failed")
		release <- failed
		require.ErrorIs(t, <-first, failed)
		require.True(t, <-second)
	})
}

// A later letter of a key takes the place of the one before; one too many, that of
// the oldest.
func TestMemoryKeepsTheLastLetters(t *testing.T) {
	s := deliver.NewMemory(2)
	for _, l := range []deliver.Letter{{Key: "a"}, {Key: "b"}, {Key: "a", Reason: "again"}} {
		require.NoError(t, s.Bury(t.Context(), l))
	}
	require.Equal(t, []deliver.Letter{{Key: "a", Reason: "again"}, {Key: "b"}}, s.Letters())
	require.NoError(t, s.Bury(t.Context(), deliver.Letter{Key: "c"}))
	require.Equal(t, []deliver.Letter{{Key: "b"}, {Key: "c"}}, s.Letters())
}

// What a file remembers outlives the process, whose last line may be half
// written.
func TestAFileOutlivesItsProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := deliver.OpenFile(path, 3)
	require.NoError(t, err)
	for n := range 5 {
		once(t, s, fmt.Sprint(n), nil)
	}
	require.NoError(t, s.SavePosition(t.Context(), "seven"))
	require.NoError(t, s.Bury(t.Context(), deliver.Letter{Key: "bad", Reason: "it is", Value: []byte{0xff, 0}}))
	require.NoError(t, s.Close())
	_, err = s.Once(t.Context(), "late", func(context.Context, deliver.None) error { return nil })
	var store *deliver.StoreError
	require.ErrorAs(t, err, &store)

	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"k":"half a line, which is longer than what is written after it` + strings.Repeat(" ", 200))
	require.NoError(t, err)
	require.NoError(t, f.Close())

	for range 2 {
		s, err = deliver.OpenFile(path, 3)
		require.NoError(t, err)
		at, err := s.Position(t.Context())
		require.NoError(t, err)
		require.Equal(t, "seven", at)
		for n := 2; n < 5; n++ {
			_, before := once(t, s, fmt.Sprint(n), nil)
			require.True(t, before)
		}
		letters, err := s.Letters()
		require.NoError(t, err)
		require.Equal(t, []deliver.Letter{{Key: "bad", Reason: "it is", Value: []byte{0xff, 0}}}, letters)
		require.NoError(t, s.SavePosition(t.Context(), "seven"))
		require.NoError(t, s.Close())
	}
	require.NoError(t, os.WriteFile(path, []byte("something else\n"), 0o600))
	_, err = deliver.OpenFile(path, 3)
	require.ErrorContains(t, err, "no file of this package")
}

// A file does not grow with what it has forgotten, and loses nothing when it is
// written anew, though several write at once.
func TestAFileIsWrittenAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := deliver.OpenFile(path, 50)
	require.NoError(t, err)
	require.NoError(t, s.Bury(t.Context(), deliver.Letter{Key: "bad"}))
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for n := range 400 {
				_, err := s.Once(t.Context(), fmt.Sprint("key ", worker, n), func(context.Context, deliver.None) error { return nil })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, s.SavePosition(t.Context(), "the end"))
	require.NoError(t, s.Close())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(1200*40))
	s, err = deliver.OpenFile(path, 50)
	require.NoError(t, err)
	defer s.Close()
	at, _ := s.Position(t.Context())
	require.Equal(t, "the end", at)
	letters, err := s.Letters()
	require.NoError(t, err)
	require.Len(t, letters, 1)
	known := 0
	for worker := range 4 {
		for n := range 400 {
			_, err := s.Once(t.Context(), fmt.Sprint("key ", worker, n), func(context.Context, deliver.None) error { return errors.New("unknown") })
			if err == nil {
				known++
			}
		}
	}
	require.Equal(t, 50, known)
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is left beside it")
}

// A file that is written anew has the position, the letters and the last keys, and
// goes on to forget the oldest. It may be read by its owner alone.
func TestAFileThatIsWrittenAnewHasAllThatCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := deliver.OpenFile(path, 3)
	require.NoError(t, err)
	private := func() os.FileInfo {
		t.Helper()
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		return info
	}
	first := private()
	require.NoError(t, s.SavePosition(t.Context(), "seven"))
	require.NoError(t, s.Bury(t.Context(), deliver.Letter{Key: "bad"}))
	n := 0
	for ; os.SameFile(first, private()); n++ {
		require.Less(t, n, 2000)
		once(t, s, fmt.Sprint(n), nil)
	}
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 6, strings.Count(string(data), "\n"), "a header, a position, a letter, three keys")
	require.NoError(t, s.Close())

	s, err = deliver.OpenFile(path, 3)
	require.NoError(t, err)
	defer s.Close()
	at, err := s.Position(t.Context())
	require.NoError(t, err)
	require.Equal(t, "seven", at)
	letters, err := s.Letters()
	require.NoError(t, err)
	require.Len(t, letters, 1)
	once(t, s, "new", nil)
	for _, key := range []string{"new", fmt.Sprint(n - 1), fmt.Sprint(n - 2)} {
		_, before := once(t, s, key, nil)
		require.True(t, before, key)
	}
	done, _ := once(t, s, fmt.Sprint(n-3), nil)
	require.True(t, done, "the oldest had to make room")
}

// Letters are kept, and do not have the file written anew each time.
func TestAFileWithManyLetters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := deliver.OpenFile(path, 1)
	require.NoError(t, err)
	defer s.Close()
	first, err := os.Stat(path)
	require.NoError(t, err)
	for n := range 1100 {
		require.NoError(t, s.Bury(t.Context(), deliver.Letter{Key: fmt.Sprint(n)}))
	}
	now, err := os.Stat(path)
	require.NoError(t, err)
	require.True(t, os.SameFile(first, now))
	letters, err := s.Letters()
	require.NoError(t, err)
	require.Len(t, letters, 1100)
}
