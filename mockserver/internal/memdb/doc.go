// Package memdb is a project's database in memory: tables with transactions, a
// write-ahead log, visibility, policies and triggers in Go, users, and the messages
// that it broadcasts. Database implements project.Database.
package memdb
