//go:build unix

package cputime

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUsed_CountsWorkAndNotWaiting(t *testing.T) {
	before := Used()
	time.Sleep(50 * time.Millisecond)
	require.Less(t, Used()-before, 40*time.Millisecond)
	for n := 0; Used()-before < 50*time.Millisecond; n++ {
	}
}
