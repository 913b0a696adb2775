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
// With Config.Admin, which the command sets, the server has all of that over
// HTTP, below /mock/v1/:
//
//	GET    faults                 what can be asked for: names, parameters, defaults
//	POST   faults                 {"name":"drop-changes","params":{"times":3}}
//	POST   heal                   ends all faults, and the schedule
//	POST   schedule               {"seed":7,"n":20,"within":"60s"}, or {"faults":[{"at":"1.5s","name":…},…]}
//	DELETE schedule               stops it
//	GET    sockets                the open sockets and their channels
//	DELETE sockets/{socket}       kills one
//	GET    tables                 what there is
//	GET    tables/{table}/rows    its rows; ?limit=
//	POST   tables/{table}/rows    inserts a row or a list of rows
//	PATCH  tables/{table}/rows    {"set":{…},"where":{…}}; an empty where is every row
//	DELETE tables/{table}/rows    {"where":{…}}
//	POST   tables/{table}/truncate
//	POST   transactions           [{"insert":"orders","rows":[…]},{"update":"orders","set":{…},"where":{…}},{"delete":"orders","where":{…}}]
//
// Answers are JSON, or 204 without a body; what is refused is a status of 4xx
// with {"error":…}, and the database's code where it is the database that
// refuses. Durations are strings such as "1.5s", or milliseconds. There is no
// key; web pages of other origins are refused.
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
// the server, made to be left open beside an editor: the sockets with their
// channels and bindings, frames as they pass, what happened otherwise (faults,
// requests, sockets that ended, and how), the tables with their rows, and a
// button for every fault. Frames can be filtered by socket, topic, event and
// text; the filter stands in the address. It shows no keys and tokens. The ?
// key lists the others.
//
// # Recording and playing
//
// A Recorder is a proxy between any client and any project, this one or a real
// one, that writes a transcript of their conversation: frames, the lives of
// sockets, requests and answers, without keys and tokens. A Player plays the
// server's side of a transcript to a client that behaves as the recorded one
// did, and tells of the first thing in which it does not. So a session with a
// real project becomes a test that needs none. With the command:
//
//	mockserver -proxy https://abc.supabase.co -record session.jsonl
//	mockserver -play session.jsonl
//
// # What is faithful
//
// Realtime's messages are checked against recordings of Supabase Realtime
// 2.129.8 on PostgreSQL 15: their order, their refs, the words of errors, the
// times at which things happen, the form of every type of value with the
// losses that Realtime has in store for some (NaN is null, char(n) comes cut
// short), replica identities, unchanged TOAST values, filters, and policies
// that are asked of the row as it is when the log is read.
//
// Values are read, written and ordered as PostgreSQL does it, including exact
// numbers, infinite and BC dates, arrays and composites, with its errors.
// Transactions are all or nothing. The REST API's statuses, headers and errors
// are PostgREST's.
//
// # What is not
//
//   - There is no SQL: no triggers or functions but those in Go, no views, foreign keys, checks, or
//     unique constraints but the primary key; a domain does not check, and no
//     column is computed.
//   - Text is ordered by its bytes. Intervals, ranges, network addresses, money
//     and types that the server does not know are kept as the text that was
//     given, without a check, and ordered as text. The time zone is UTC. Arrays
//     do not keep lower bounds.
//   - Regular expressions are Go's.
//   - Transactions do not wait for each other: see Server.Tx.
//   - Of the REST API there are the reading and writing of one table, with all
//     filters but full text search and those for arrays and ranges; no embedded
//     tables, JSON paths, aggregates, PUT or CSV. Functions are called by POST
//     with a JSON object. What is not there is answered with an error that says
//     so.
//   - Of the Auth API there are sign-in with a password, refresh, the user,
//     logout, and the making and removing of users by the service. A refresh token is good once, without the ten seconds of grace
//     that Supabase gives.
//   - A stored message is dropped when there are more than 100,000, or 64 MiB of
//     them, and not only after three days.
package mockserver
