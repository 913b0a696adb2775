//go:build race

package realtime_test

func init() { soakSize = 40_000 } // the detector makes it ten times slower
