package text_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/text"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"as it is":                 "as it is",
		"two\r\nlines\n":           "two lines",
		"\x1b[31mred\x1b[0m\x00":   "[31mred [0m",
		"a\xff\xfeb":               "a b",
		"left\u202eright":          "left right",
		"größer, 大きい":              "größer, 大きい",
		"   spaces   in it   ":     "spaces in it",
		strings.Repeat("x", 100):   strings.Repeat("x", 40) + "…",
		strings.Repeat("\n", 1000): "…",
	} {
		require.Equal(t, want, text.Clean(in, 40), "%q", in)
	}
}

func TestClean_ReadsNoMoreThanItReturns(t *testing.T) {
	long := strings.Repeat("\n", 1<<28)
	began := time.Now()
	text.Clean(long, 300)
	require.Less(t, time.Since(began), 100*time.Millisecond)
}

func FuzzClean(f *testing.F) {
	f.Add("a\nb\xff", 3)
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = max(0, min(n, 1000))
		out := text.Clean(s, n)
		require.True(t, utf8.ValidString(out))
		require.LessOrEqual(t, len(out), n+len("…"))
		require.NotContains(t, out, "\n")
	})
}
