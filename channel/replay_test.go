package channel

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIDRingForgetsTheOldest(t *testing.T) {
	var r idRing
	for n := range kept {
		require.True(t, r.add(string(rune(n))))
	}
	require.False(t, r.add(string(rune(0))))
	require.True(t, r.add("one more"))
	require.Len(t, r.ids, kept)
	require.True(t, r.add(string(rune(0))))
}

func TestIDRingKeepsNoLongIDs(t *testing.T) {
	var r idRing
	require.True(t, r.add(strings.Repeat("x", maxID+1)))
	require.True(t, r.add(strings.Repeat("x", maxID+1)))
	require.Empty(t, r.ids)
	require.True(t, r.add(strings.Repeat("x", maxID)))
	require.False(t, r.add(strings.Repeat("x", maxID)))
}
