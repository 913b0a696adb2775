// Package fault holds what faults are made of: how often one is still to happen.
package fault
