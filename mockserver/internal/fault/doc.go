// Package fault holds what the mock server is to do wrong: the faults that are in
// force (State), which the others ask, and those that can be asked for by name.
package fault
