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
// # Time
//
// With Config.InMemory the server has no network: Server.HTTPClient reaches it
// over pipes, for websockets too. The whole of it then works within a bubble of
// testing/synctest, on virtual time; start it inside the bubble. Outside of one
// the server takes as long for things as a real one does, such as half a second to
// notice a change, unless Config.Timing is Fast or says otherwise.
//
// # Who may do what
//
// Server.PublishableKey and Server.SecretKey are the keys of the project, and
// Server.AnonKey and Server.ServiceKey the same as JWTs. No other key is accepted.
// Server.UserToken and Server.Sign make tokens; Config.Users may sign in for
// theirs. What a role may read and write, Table.Grants says, and under row level
// security the policies of the table, which are Go functions. Private channels ask
// Config.Messages, or Config.Channels. Config.Limits has the limits of a project;
// RealisticLimits are those of a real one.
//
// # Things that go wrong
//
// Server has a method for everything that goes wrong with a real project: sockets
// that end or hang, joins that are refused, tokens that expire, a REST API that is
// slow, stale or cut, and each of the twelve ways in which Realtime loses changes.
// Each has a name, too, see Server.Faults and Server.Inject; RandomFaults makes a
// schedule from a seed, which Server.Play plays. Under one schedule, Config.Seed
// and program, in virtual time, the same happens each time. Heal ends all that is
// in force.
//
// # More
//
// The command mockserver/cmd/mockserver serves a schema file (LoadSchema), and
// with Config.Inspector and Config.Admin, which it sets, a page that shows what
// passes, and the same over HTTP for tests in any language. Package replay records
// and plays sessions, and mockserver/on/postgres is the same on PostgreSQL.
// docs/mock.md lists the losses, the times, the limits and the API over HTTP, and
// what is faithful and what is not: there is no SQL in memory.
package mockserver

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
//	internal/joint        how mockserver/on/postgres starts a server on its database
//	internal/project      the port: what the server needs of a database
//	internal/pgtype       PostgreSQL's values: text, order, JSON, errors
