package signin_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// supabase-go brings storage-go, which has no licence, so that none of it is in
// the module that everybody gets: neither required nor required by others.
func TestModule_HasNothingOfSupabaseGo(t *testing.T) {
	for _, file := range []string{"../../go.mod", "../../go.sum"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NotEmpty(t, text)
		require.NotContains(t, string(text), "supabase-community", file)
	}
}
