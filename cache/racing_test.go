//go:build race

package cache_test

func init() { divergenceSeeds, hotEvery = 1, hotEvery[1:2] } // the detector makes it ten times slower
