// Package docs has the tests of what the documentation shows: each block of Go
// and of SQL in README.md, in the READMEs of directories and in docs/ is built and
// run, and each command exists.
//
// A block of Go is a whole program, or it names the program that completes it in a
// comment on the line before it:
//
//	<!-- go: search-index -->
//
// completes it by testdata/search-index.go, in the place of whose line "// BLOCK" it
// is put. The programs check what the block promises; one that needs PostgreSQL
// says that it is skipped where there is none. The output of a whole program is
// compared with the block of text that follows it, if one does.
//
// A block of SQL runs in a database of a project, behind the SQL of such a comment, if
// there is one:
//
//	<!-- sql: create table products (id bigint primary key) -->
package docs
