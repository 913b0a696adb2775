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
// A row that a page shows is taken unless the stream has told of its key since
// the page was asked for, or shortly before (WithSettle): then the stream knows
// better. A row that no page has shown is removed unless the stream told of it.
// So what was read and what was streamed come together whatever their order,
// and behind a gap the table is not loaded again into nothing but compared. An
// exhaustive model of all interleavings, and random simulations with everything
// that goes wrong, are among the tests.
//
// An event that does not say all (a value that is stored out of line and was not
// changed, a change of more than a mebibyte, types that Realtime garbles) leaves
// its row in doubt: it stays as it was until it has been read. Status counts
// such rows.
//
// # What is promised
//
// Realtime delivers at most once, and loses changes without a word in ways that
// no client can see. What can be promised depends on what the project has:
//
//	level  needs                        promise
//	0      nothing                      converges if nothing is lost without a word; may
//	                                    step back by the delay of the stream behind a gap
//	1      WithVerify                   a divergence lives for one verification period
//	                                    at most
//	2      WithMarker: the table        exact behind each load and CatchUp, if what the
//	       rt_mark of package sql       server loses without a word spares no mark; with
//	                                    WithCanary, losses of that time and longer are
//	                                    gaps
//	3      its functions, and           the same in one round trip, and verification and
//	       WithVersion                  the reading behind a gap cost what differs
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
// checkpoints. It waits for all of them before it returns.
package cache
