// Package pgtype holds the types of PostgreSQL in memory: how values are read,
// written, ordered and cast, with PostgreSQL's errors. It knows no tables.
package pgtype
