// Package postgres is a Supabase project on a real PostgreSQL, for tests and
// for local work without Docker: the socket, REST API and sign-in of package
// mockserver, on tables, policies, triggers and functions that are SQL.
//
//	func TestOrders(t *testing.T) {
//		server := postgres.Start(t, postgres.Options{
//			Schema: `create table orders (id bigint generated always as identity primary key, status text);
//				alter publication supabase_realtime add table orders`,
//			Config: mockserver.Config{Timing: mockserver.Fast()},
//		})
//		// Point the program under test at server.URL() and server.AnonKey(), and
//		// write with SQL at server.DatabaseURL().
//	}
//
// New starts a PostgreSQL of its own (StartCluster) from the binaries on the
// machine, version 14 or newer, or works on one that is given by its URL, as a
// superuser, with wal_level logical. It makes of the database what a project
// has: the roles anon, authenticated and service_role, the schemas auth and
// realtime, and the publication supabase_realtime, into which tables are put by
// SQL.
//
// # How it works
//
// A temporary replication slot streams the log by pgoutput into a bounded
// queue. It reads a publication of its own, supabase_realtime_mockserver, which
// event triggers keep in step with the tables of supabase_realtime: the real
// server takes no row filters, column lists or publish_via_partition_root of that. A poller takes from that with the real server's timings, or those of
// Config.Timing, and asks PostgreSQL for all changes of a look together: the
// catalogue as it is then, what only it can write as JSON, the filters that
// only it can decide, and, in the role and with the claims of each subscriber,
// which rows they see. An error of any of that loses the look and the slot, and
// nothing tells of it, as with the real server. A second slot streams
// realtime.messages. REST requests run in a transaction with the role and the
// claims of the caller, in sessions of the role authenticator, which has no right
// but to act as the API's roles (mockserver_authenticator where a database that was
// given has another one). Another role that a token names must be granted to it. Statements end
// after 3 s for anon and 8 s for authenticated, and what a request sets in its
// session ends with it.
//
// # What is faithful
//
// The SQL of the recordings of Supabase Realtime 2.129.8 on PostgreSQL 15, run
// on this server, yields the recorded messages: every type of value with its
// losses (unless Options.Exact), replica identities, TOAST, filters, rights,
// row level security asked at delivery, errors 400, 401 and 413, broadcasts from
// the database, replay.
//
// # What is not
//
//   - "Subscribed to PostgreSQL" does not wait for the slot, and what is committed
//     before that is there is lost, as with the real server. A slot waits for the
//     transactions that are under way. With the timing Fast the slot comes first.
//   - A transaction that is in the log already and that no snapshot sees yet is
//     waited for. The real server reads the log so late that it hardly meets
//     with one, and would take its rows for hidden.
//   - Stored generated columns, which pgoutput leaves out before PostgreSQL 18,
//     are computed from the row. One of a row in which an unchanged TOAST value
//     is missing is left out. A table whose primary key has one gets the replica
//     identity full, without which its old key would not be known; subscribers get
//     no more of the old row than that key.
//   - A transaction of more than 2000 changes, or 64 MB, is looked at in parts.
//   - The size of a change for error 413 is an estimate.
//   - The table realtime.subscription tells who is subscribed, and nothing is read
//     from it. Rows go as soon as a subscription ends. A server that starts deletes
//     all of them. A table that was in the database before is left alone.
//   - realtime.messages has no partitions: rows of more than three days ago are
//     deleted, every hour.
//   - Of the REST API there is no embedding, and there are no aggregates, PUT or
//     CSV; filters, columns and orders are all there. Settings of a role but
//     statement_timeout are not applied.
//   - Of the faults of mockserver.Server those about tables in memory find none:
//     Publish, and those for rows. All others work, those for changes without the
//     name of a table. ExhaustConnections really takes them; RestartDatabase only
//     pretends, while Cluster.Crash is real.
//   - The pauses between attempts to read the log grow to 50 times Timing.Poll,
//     and after the sixth the server gives up until somebody subscribes, as the
//     real one does. With mockserver.Fast that is a fifth of a second.
package postgres
