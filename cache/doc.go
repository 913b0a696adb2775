// Package cache keeps a copy of a table in memory that heals itself to equal the
// table: it reads the table, follows its changes over Supabase Realtime, and
// reads again where changes may have been lost.
package cache
