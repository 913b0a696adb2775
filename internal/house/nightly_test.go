package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A fuzz target that is moved would not be run any more: go test finds nothing to
// fuzz and passes.
func TestNightly_NamesFuzzTargetsThatAre(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(root, ".ci/nightly"))
	require.NoError(t, err)
	named := regexp.MustCompile(`(?m)^\t\t(Fuzz\w+) (\./\S+)$`).FindAllStringSubmatch(string(script), -1)
	require.NotEmpty(t, named)
	for _, n := range named {
		files, err := filepath.Glob(filepath.Join(root, n[2], "*_test.go"))
		require.NoError(t, err)
		var all strings.Builder
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			all.Write(text)
		}
		require.Contains(t, all.String(), "func "+n[1]+"(", "%s is not in %s", n[1], n[2])
	}
}
