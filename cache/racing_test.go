//go:build race

package cache_test

func init() { divergenceSeeds = 1 } // the detector makes it ten times slower
