package rescue_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/rescue"
)

func TestDo_ReturnsTheErrorOfTheCall(t *testing.T) {
	require.NoError(t, rescue.Do("here", func() error { return nil }))
	require.Equal(t, io.EOF, rescue.Do("here", func() error { return io.EOF }))
}

func TestDo_ReturnsAPanicWithItsStack(t *testing.T) {
	for _, value := range []any{"boom", 7, errors.New("boom"), strings.Repeat("x\n", 10_000)} {
		err := rescue.Do("the hook Lost", func() error { panic(value) })
		var p *rescue.Error
		require.ErrorAs(t, err, &p)
		require.Equal(t, value, p.Value)
		require.Contains(t, string(p.Stack), "TestDo_ReturnsAPanicWithItsStack")
		require.Contains(t, p.Error(), "panic in the hook Lost: ")
		require.Less(t, len(p.Error()), 1000)
		require.NotContains(t, p.Error(), "\n")
	}
}

func TestError_UnwrapsAnErrorValue(t *testing.T) {
	require.ErrorIs(t, rescue.Do("here", func() error { panic(io.EOF) }), io.EOF)
}

func TestDo_RecoversRuntimeErrors(t *testing.T) {
	var m map[string]int
	err := rescue.Do("here", func() error { m["a"] = 1; return nil })
	require.ErrorContains(t, err, "nil map")
}
