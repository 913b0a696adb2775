// Package house holds the shape of the module: which package may import which,
// and that no exported name of the core gives a user another module's type. It
// has tests only.
package house
