// Package cache keeps a copy of a table in memory that heals itself to equal the
// table. It reads the table over the project's REST API, follows its changes
// over Realtime, and reads again where changes may have been lost.
//
//	orders, err := cache.New(client, "orders", func(o Order) int64 { return o.ID })
//	…
//	go orders.Run(ctx)
//	err = orders.WaitSynced(ctx)
//	order, ok := orders.Get(42)
//
// There is nothing to wire: New takes the client, the name of the table, and a
// function that finds the primary key in a row.
//
// # What a reader sees
//
// A [Table] always answers, without waiting: Get takes no lock. Each query is
// answered from one [View], which never changes; between two queries the table
// may have. A view has all that one batch of changes did, or nothing of it, and
// never half of a page that was read. [Table.Phase] says what the rows are worth:
// only in the phase Synced are they those of the database but for what is under
// way. After a gap they are those from before it, and the phase is Stale,
// until the table has been read again; the cache is not emptied for that.
//
// [Table.Changes] tells of every net change with its cause: the stream, the
// first reading of the table, the reading behind a gap, a repair. Who begins with
// nothing, or WithInitial, and carries out what it tells, has the view.
//
// # How it stays equal
//
//	Realtime ──changes──▶ ┌──────┐
//	                      │ core │──▶ View ──▶ readers, feeds, indexes
//	REST ──pages, rows──▶ └──────┘
//	  ▲                      │
//	  └──── marks, keys ─────┘
//
// A row that a page shows is taken unless an event of its key has come since
// the page was asked for, or shortly before (WithSettle): then the event is newer.
// A row that no page has shown is removed unless an event of it has come. So what
// was read and what was streamed come together whatever their order, and behind
// a gap the table is not loaded again into nothing but compared.
//
// # Rows in doubt
//
// Some events do not carry their whole row: a value that is stored out of line
// and was not changed, a change of more than a mebibyte, a null that may be a NaN,
// a char(n) of which Realtime sends one character. The row then stays as it was,
// and is in doubt, until it has been read. Status counts such rows and tells for
// how long the oldest has been one.
//
// Doubt is by column. A column is certain when an event carries it, or when a read
// has shown it that was asked for at t0, if no event that came since t0 − settle
// may have changed it without carrying it, and once the stream has passed the
// answer: a commit that changed the column behind the read has come by then, and
// carries it. So one read makes an unchanged value certain, however busy the row.
// The stream has passed the answer when a mark has come that was written behind
// it; without a Marker, after the settle time and as much longer as events come
// later than the quickest of them (Status.Behind).
//
// A value that each event garbles is certain when the row has been read behind
// the last event and settle. Until then, a row that is busier than that is shown
// as it was when it was read last: a row that the table had, never a mixture, and
// never the garbled value. It stays in doubt, and is read again every settle time.
//
// Whoever waits, waits for what was in doubt when the call began: for a read that
// begins behind it. Each row in doubt is read at once, 500 in one request. So what
// is waited for ends, whatever is written meanwhile. With L the time that a change
// takes to come by the stream (0.1 to 0.6 s, Status.Behind if the server is late),
// R the time of a request, S the settle time (2 s):
//
//	                                        levels 0, 1   levels 2, 3
//	age of a row, unless it is in doubt     L             L
//	  an unchanged value, first seen        R + S         2R + L
//	  a garbled value, shown                R + S         2R + L
//	  a garbled value, certain at rest      2R + 2S       S + 3R + 2L
//	  garbled, in a row busier than S       2R + 2S       S + 3R + 2L
//	Synced, behind the last page            R + 2S        3R + 2L
//	CatchUp                                               4R + 3L
//	Refresh                                 R + S         2R + L
//	Cut, in its first try (of two)                        5R + 4L
//	verdict of Verify on a page             S             R + L
//	a dead stream is found by a Marker in                 canary + timeout
//
// A load of n pages takes n·R more. What is not in the table waits for the network
// and for the server: while changes may be missing the phase is not Synced, a
// request that fails is made again (Status.Trouble), and CatchUp, Cut and Verify
// begin anew behind a gap. A stream that is late is not taken for one that is dead
// as long as marks, or events from before them, keep coming. While the database
// takes no marks nobody can tell a dead stream from a quiet one.
//
// An event that does not say which row it is of (a key that is garbled itself,
// such as a char(n) or NaN) puts the whole table in doubt, which is then read. Rows
// that change places in one transaction, as a deferrable key allows, are read, too.
//
// Exhaustive models of all interleavings, for loads and for a row that does not
// rest, and random simulations with everything that goes wrong, are among the
// tests.
//
// # Rows that do not fit
//
// A row with a value that its field of T cannot take does not end Run. It is read
// once more, as Realtime may have garbled it, and then set aside: it is not in the
// cache, and Status, View.SetAside, Hooks and a feed WithSetAside tell its key and
// its column. A version that fits brings it back. WithMisfits has other choices. A
// table of which the role may read some columns alone is read by the columns that T
// has. What is no single row's fault ends Run: a column of T that the table lacks, a
// first page of which no row fits, a key that does not fit.
//
// # The start
//
// A server that was idle confirms a subscription up to some seconds before it reads
// its log, and what is committed meanwhile never comes. With a Marker the table is
// read when the first mark has come, which proves that it does. Without one it is
// read when the first change has come, or three settle times after the confirmation
// (6 s); until then the phase is Settling, at the start and behind a gap of over
// 30 s. What is left: a server that takes longer than that, such as one that waits
// for a transaction to end that was open when it began.
//
// # What is promised
//
// Realtime delivers at most once, and loses changes without a word in ways that
// no client can see. What can be promised depends on what the project has:
//
//	level  needs                        promise
//	0      nothing                      converges if nothing is lost without a word, and
//	                                    no change comes later than the settle time behind
//	                                    a gap; may step back by the delay of the stream
//	1      WithVerify                   a divergence lives for one verification period
//	                                    at most
//	2      WithMarker: the table        exact behind each load and CatchUp, if what the
//	       rt_mark of package sql       server loses without a word spares no mark;
//	                                    losses as long as WithCanary's time are gaps
//	3      its functions, and           the same in one round trip, and verification and
//	       WithVersion                  the reading behind a gap cost what differs
//
// Levels 2 and 3 rest on the order in which Realtime delivers: the table and the mark
// are two bindings of one channel, and the changes of a channel come in the order in
// which their transactions committed. So what was committed before a mark has come
// when the mark has, or is lost.
//
// At levels 0 and 1, a change that comes behind a gap, and later than the settle
// time, may leave a value out that is stored out of line. If another row has taken its
// key meanwhile, it is completed with that row's value, which stays until the value is
// changed, the table is verified, or there is another gap. With a Marker, rows are
// merged when the stream has come to where they were read, but for those that Fetch
// reads into a table that evicts.
//
// The level is found out, not chosen: a [Marker] finds what is installed. Levels
// are meant to be combined: a marker does not replace WithVerify.
//
// Whatever the level, row level security and filters cap it: the server does not
// tell of a row that an UPDATE takes out of the filter or out of sight, nor of
// one that a policy hides or shows because of another table. Such rows stay, or
// are missing, until they are verified. An INSERT into a table with row level
// security can be lost for good in the moment in which it is committed and not
// yet visible. TRUNCATE is never told: use DELETE, or verify. The primary
// database must answer the REST requests, not a replica.
//
// # Bounds
//
// Memory is that of the rows, and of what options ask for: indexes, a history of
// limited length, one waiting change per row and feed. WithMaxRows bounds the
// rows. Removed keys are remembered for the settle time and the length of a
// read.
//
// # Goroutines
//
// New starts none. Run is the loop that owns all state, and starts: one that
// takes the stream, one at a time that reads the table, and for a load another
// that reads the next page meanwhile, one that writes marks, one that saves
// checkpoints, and one that calls hooks while there is something to tell. It waits
// for all of them before it returns.
package cache
