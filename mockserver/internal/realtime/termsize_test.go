package realtime

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Sizes of huge numbers are known without writing them.
func TestTermSize_HugeExponents(t *testing.T) {
	numbers := strings.TrimSuffix(strings.Repeat("1e131071,", 500), ",")
	require.Positive(t, termSize([]byte("["+numbers+"]")))
}
