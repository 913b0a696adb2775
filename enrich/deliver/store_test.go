package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

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
	s := deliver.NewMemory(10)
	inside := make(chan struct{})
	release := make(chan error)
	first := make(chan error)
	go func() {
		_, err := s.Once(t.Context(), "k", func(context.Context, deliver.None) error { close(inside); return <-release })
		first <- err
	}()
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Once(ctx, "k", nil)
	require.ErrorIs(t, err, context.Canceled)
	second := make(chan bool)
	go func() {
		done := false
		_, _ = s.Once(t.Context(), "k", func(context.Context, deliver.None) error { done = true; return nil })
		second <- done
	}()
	failed := errors.New("failed")
	release <- failed
	require.ErrorIs(t, <-first, failed)
	require.True(t, <-second)
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
	_, err = f.WriteString(`{"k":"half a li`)
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
	require.ErrorContains(t, err, "line 1")
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
