// Package postgres is a Supabase project on a real PostgreSQL, for tests and
// for local work.
//
// StartCluster starts a private PostgreSQL from the binaries on the machine.
package postgres
