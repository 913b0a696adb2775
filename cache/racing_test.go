//go:build race

package cache_test

// The detector makes it ten times slower. What it leaves out .ci/nightly has.
func init() {
	divergenceSeeds, hotEvery = 1, hotEvery[1:2]
	*simSeeds = envInt("GAPLESS_SEEDS", 80)
}
