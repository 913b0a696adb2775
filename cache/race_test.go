//go:build race

package cache

func init() { modelChanges = 2 } // three would take minutes
