// Command mockserver serves the tables of a schema file as a Supabase project
// would, on one address: the REST API, sign-in, and Realtime with
// postgres_changes, broadcast and presence. It keeps everything in memory, or with
// -postgres in a real PostgreSQL.
//
//	go run github.com/gapless-go/gapless/mockserver/cmd/mockserver -schema schema.json
//
// The schema file is described at mockserver.LoadSchema. Without one it is
// mockserver.Demo: tables customers, orders and todos, and two users,
// ann@example.com and ben@example.com, whose password is "password".
//
// Below /mock/v1/ a test in any language asks for faults and changes rows; see
// package mockserver.
//
// The command prints the URLs, the keys and a token for each user, and serves
// until it is interrupted. A browser that opens the project URL finds the
// inspector: sockets, frames as they pass, tables, and buttons for faults.
//
//	go run github.com/gapless-go/gapless/mockserver/cmd/mockserver -proxy https://abc.supabase.co -record session.jsonl
//
// is no server of its own but a proxy before one, which writes down what passes
// until it is interrupted, without keys and tokens. And
//
//	go run github.com/gapless-go/gapless/mockserver/cmd/mockserver -play session.jsonl
//
// plays the server's side of such a file, once, to a client that behaves as the
// recorded one did. It ends with status 0 when that is done, or with status 1
// and the first difference. -speed 1 takes the time that the recording took.
//
//	go run github.com/gapless-go/gapless/mockserver/cmd/mockserver -postgres -schema schema.sql
//
// starts a PostgreSQL of its own from the binaries on the machine, in a temporary
// directory or, to keep what is in it, in that of -dir; or it works on the one of
// -db, as a superuser, whose wal_level must be logical. It makes of the database
// what a project has: the roles anon, authenticated and service_role, the schemas
// auth and realtime, the publication supabase_realtime. Here -schema is a file of
// SQL or a directory of them, each of which is applied once; without it a new
// private database gets the tables of the demo. -user is somebody who may sign in,
// with the password "password". -postgres -h has the other flags.
package main

import "github.com/gapless-go/gapless/mockserver/internal/command"

func main() { command.Main() }
