//go:build race

package cache

func init() { modelChanges, modelTime = 2, 2 } // three would take minutes
