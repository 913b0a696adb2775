// Package mockserver is a Supabase project in memory, for tests of programs
// that use Realtime: tables, the REST API to read and write them (PostgREST),
// sign-in (Auth), and the Realtime websocket, which tells of their changes.
// There is nothing to install and no database.
//
// A client, this module's or any other, is given the server's URL and key in
// the place of a project's:
//
//	func TestOrders(t *testing.T) {
//		server := mockserver.Start(t, mockserver.Config{
//			Tables: []mockserver.Table{{
//				Name: "orders",
//				Columns: []mockserver.Column{
//					{Name: "id", Type: "bigserial"},
//					{Name: "status", Type: "text", NotNull: true},
//				},
//				PrimaryKey: []string{"id"},
//			}},
//		})
//		// Point the program under test at server.URL() and server.AnonKey(),
//		// and then change something:
//		err := server.Insert("orders", mockserver.Row{"status": "open"})
//		…
//	}
//
// Changes made by Server's methods, in a transaction of Server.Tx or one of
// their own, and those made by REST requests come out of the socket alike.
//
// # Virtual time
//
// With Config.InMemory the server has no network: Server.HTTPClient reaches it
// over pipes, for websockets too. The whole of it then works within a bubble
// of testing/synctest, on virtual time: token lifetimes, heartbeats, polls and
// backoffs pass at once, and commit timestamps are those of the bubble. Start
// the server inside the bubble.
//
// Outside of a bubble the server takes as long for things as a real one does,
// such as half a second to notice a change, unless Config.Timing is Fast or
// says otherwise.
//
// # Who may do what
//
// Server.PublishableKey and Server.SecretKey are the keys of the project, and
// Server.AnonKey and Server.ServiceKey the same as JWTs, as older projects have
// them. No other key is accepted.
// Server.UserToken and Server.Sign make tokens; Config.Users may sign in for
// theirs at /auth/v1/token. What a role may read and write, Table.Grants says,
// and under row level security the policies of the table, which are Go
// functions. Private channels ask Config.Messages, or Config.Channels.
//
// # Broadcasts and presence
//
// Broadcasts of clients, in text and binary, go to everybody who has joined the
// topic, in the form that their serializer has for them. So do those over HTTP,
// and those from the database, which Server and Tx make: RealtimeSend,
// RealtimeSendBinary and BroadcastChanges. These are stored for replay, if they
// are private.
//
// Presence is told of at once, as a single node of the real server does it.
//
// Config.Limits has the limits of a project; RealisticLimits are those of a
// real one.
//
// # Things that go wrong
//
// Server has methods that lose connections (KillSockets, Drain, Restart), hold
// them up or leave them without answers (BlockSockets, MuteHeartbeats), refuse,
// delay or ignore joins, fail, delay or repeat subscriptions, close or crash
// channels, and expire tokens. Changes may come late, twice, cut short or in
// another order. The REST API may be slow, stale, cut, or answer with any
// status (FaultREST). SetPolicies and HideRows change who sees what.
//
// Realtime loses changes in twelve ways, most of which no message tells of. Each
// is here, by a method that does to the server what happens to a real one:
//
//	L1  no socket, no channel, or not subscribed yet  KillSockets, CloseChannels, DelaySubscribed, …
//	L2  a slot that comes later than "Subscribed"      DelaySlot
//	L3  a poll that fails                              FailPolls, TimeOutPolls, or a filter that does it
//	L4  a database that restarts, a slot taken away    RestartDatabase, TerminateConnections, ExhaustConnections, LoseSlot
//	L5  workers that have stopped                      StopWorkers, or a database away for long
//	L6  workers that start and forget subscriptions    RestartWorkers
//	L7  too many events                                ExceedRate, or Limits.EventsPerSecond
//	L8  another publication                            Resubscribe, Publish
//	L9  rows out of sight, filters, TRUNCATE           HideRows, SetPolicies, Truncate
//	L10 a client that reads too slowly                 LimitBacklog
//	L11 tokens that expire or are refused              ExpireTokens, RefuseTokens
//	L12 changes over 1 MB                              TruncateChanges
//
// All of them can be asked for by name, too: Server.Faults lists the names and
// their parameters, and Server.Inject does it. RandomFaults makes a schedule of
// them from a seed, and Server.Play plays it. Under one schedule, Config.Seed
// and program, in virtual time, the same happens each time. Heal ends all that
// is in force.
//
// Server.Sent is what clients have sent, and Server.Connections who they are.
//
// # From other languages
//
// With Config.Admin, which the command sets, the server has all of that over HTTP,
// below /mock/v1/: faults, schedules, sockets, tables and transactions. See
// docs/mock.md. There is no key; web pages of other origins are refused.
//
// # The command
//
//	go run github.com/gapless-go/gapless/mockserver/cmd/mockserver -schema schema.json
//
// serves a schema file (see LoadSchema) on a port, for programs in any
// language, and /mock/v1/ and the inspector with it.
//
// # The inspector
//
// With Config.Inspector, which the command sets, there is a page at the root of
// the server: the sockets with their channels, frames as they pass, what happened
// otherwise, the tables with their rows, and a button for every fault. It shows no
// keys and tokens.
//
// # Recording and playing
//
// A Recorder writes what passes between a client and a project, and a Player plays
// the project's side of it: see package replay.
//
// # Where things are
//
// This package is the public face. Imports run downward, which a test holds:
//
//	mockserver            Config, Server, the methods that make things go wrong, LoadSchema
//	mockserver/cachesql   the cache's SQL functions, in memory
//	mockserver/replay     Recorder and Player
//	mockserver/on/postgres   a project's database on PostgreSQL
//	internal/memdb        a project's database in memory
//	internal/realtime     sockets, channels, broadcasts, presence, the reading of the log
//	internal/rest         PostgREST: its language, answers, errors
//	internal/inspect      what passed, the inspector, /mock/v1/
//	internal/fault        faults by name, schedules, and what is in force
//	internal/wire         row changes as they are sent, filters, frames
//	internal/auth         sign-in, tokens, keys
//	internal/front        the listener, answers, CORS, the check of Host
//	internal/project      the port: what the server needs of a database
//	internal/pgtype       PostgreSQL's values: text, order, JSON, errors
//
// # What is faithful, and what is not
//
// Messages are checked against recordings of Supabase Realtime 2.129.8 on
// PostgreSQL 15, values and their errors against PostgreSQL, and the REST API
// against PostgREST. There is no SQL in memory, and of the REST and Auth APIs there
// is what an application of one table at a time needs: docs/mock.md lists it. What is
// not there is answered with an error that says so.
package mockserver
