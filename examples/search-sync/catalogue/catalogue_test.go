package catalogue_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/examples/search-sync/catalogue"
)

func TestSymbols(t *testing.T) {
	symbols, err := catalogue.Symbols()
	require.NoError(t, err)
	require.Greater(t, len(symbols), 3000)
	require.Less(t, len(symbols), 6000)
	kinds := map[string]int{}
	for _, s := range symbols {
		kinds[s.Kind]++
		require.NotEmpty(t, s.Package)
		require.NotEmpty(t, s.Name)
		require.NotEmpty(t, s.Signature)
		require.NotContains(t, s.Package, "internal")
		require.Equal(t, s.Kind == "method", strings.Contains(s.Name, "."), s.Name)
	}
	require.Len(t, kinds, 4)
	require.Contains(t, symbols, catalogue.Symbol{
		Package: "io", Name: "ReadAll", Kind: "func", Signature: "func ReadAll(r Reader) ([]byte, error)",
		Synopsis: "ReadAll reads from r until an error or EOF and returns the data it read.",
	})
	require.True(t, slices.IsSortedFunc(symbols, func(a, b catalogue.Symbol) int {
		return strings.Compare(strings.ReplaceAll(a.Package, "/", "\x00"), strings.ReplaceAll(b.Package, "/", "\x00"))
	}))
}
