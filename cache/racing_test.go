//go:build race

package cache_test

import "os"

// The detector makes it ten times slower. What it leaves out .ci/nightly has, which
// sets GAPLESS_WHOLE.
func init() {
	if os.Getenv("GAPLESS_WHOLE") != "" {
		return
	}
	divergenceSeeds, hotEvery = 1, hotEvery[1:2]
	waits, verifications = 2, 1
	*simSeeds = envInt("GAPLESS_SEEDS", 60)
}
