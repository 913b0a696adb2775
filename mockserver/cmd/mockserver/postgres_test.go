package main

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForPostgres(t *testing.T) {
	_, ok := forPostgres([]string{"-addr", "x"})
	require.False(t, ok)
	rest, ok := forPostgres([]string{"-v", "-postgres", "-db", "x"})
	require.True(t, ok)
	require.Equal(t, []string{"-v", "-db", "x"}, rest)
}

// The command is built and run, and says what is wrong with its arguments.
func TestServePostgres(t *testing.T) {
	var errors bytes.Buffer
	require.Equal(t, 0, run(t.Context(), []string{"-postgres", "-h"}, io.Discard, &errors))
	require.Contains(t, errors.String(), "-pg-bin")
	require.Equal(t, 2, run(t.Context(), []string{"-postgres", "-nope"}, io.Discard, &errors))
	require.Equal(t, 1, run(t.Context(), []string{"-postgres", "-pg-bin", t.TempDir()}, io.Discard, &errors))
	require.Contains(t, errors.String(), "not installed")
}
