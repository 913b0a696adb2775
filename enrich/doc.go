// Package enrich joins streams of events with tables, with each other, and
// tables with tables. Each output says whether it may rest on lost or stale
// data: a stream of Realtime is at most once, and a join that does not tell
// would make a loss look like a fact.
//
//	events ─────────▶ Join ◀──────── cache.Table      an event with a row: as it is now, or was then
//	                   │
//	events ──▶ JoinStreams ◀── events                 two events within a window
//	                   │
//	                   ├──▶ Dedup ──▶ Parallel ──▶ effect, or deliver.Consumer
//
//	cache.Table ──▶ JoinTables ◀── cache.Table        a row with the row that it names
//	                   │
//	                   └──▶ cache.Table ──▶ GroupBy ──▶ cache.Table
//
// Streams are pulled. An operator that is not asked does not ask, so a slow
// consumer slows the source, whose queue is bounded and tells of its overflow.
// What an operator holds is bounded, too, by a number that has to be given.
// Nothing runs before a Stream is iterated, and nothing any more after that;
// tables made of tables do their work in their Run.
//
// # A stream with a table
//
// [Join] finds the row of each event. The row is the latest: what the table has
// when the event is pulled. That cannot be repeated: of a row that has changed
// since the event, it is the present state. With [Lookup.At] it is the version of
// the event's own time, an equal time included, as the rows of one transaction
// have one commit time, to the millisecond. Both times must be commit times of one
// database. Captured counts for more than either: what an event carries with it
// was so when it was made.
//
// When there is no row, [Miss] says what happens; there is no default. A change
// of the table makes no output, unless [Reemit] asks for that; to have all
// results follow both sides, join tables. Before the table is Synced nothing is
// pulled.
//
// # Two streams
//
// [JoinStreams] needs a [Window], and none is without a bound. The watermark is the
// earlier side's latest time. Rows without a partner come out once, when their
// window is over: at its end and Grace behind it. A side that is silent does not
// hold that up for ever: after Idle it is taken to go on as the clock on the wall
// does.
//
// Tumbling windows are not "within five minutes of": two events a second apart
// may be in two of them. That is what [Interval] is.
//
// # Tables
//
// [JoinTables] and [GroupBy] make tables: with Get, views, indexes, a feed of
// changes, phases. A row that goes takes back what was made of it. In one process
// there is nothing more to it than an index of the foreign keys that changes with
// the result in one step.
//
// # Keys
//
// Keys are compared by ==. One that does not equal itself, such as a NaN or a struct
// that contains one, matches nothing, as null does in SQL, and nothing is held or
// kept for it. Join takes its event for one without a key; JoinStreams and JoinTables
// for one with a null key: it comes out alone, at once, if the kind of the join gives
// such. In GroupBy its row is in no group, Dedup lets its value pass, Parallel keeps it
// in no order. To PostgreSQL all NaNs are equal: where they have to match, use a key of
// another type, such as the number's text.
//
// # What an output rests on
//
//	Joined.Gap, Pair.Gap   events may be missing at this place of the stream
//	Joined.Degraded        the table was not Synced, or the event was let go before its time
//	Joined.Trust           what is known of the row as of the event's time
//	Pair.Incomplete        events of the window may be missing
//	Table.Phase            Stale: changes of one of the tables may be missing
//
// # Goroutines
//
//	reads an input     Join with Park, Grace or Reemit; JoinStreams, two; Parallel
//	reads the table    Join with Park, Grace or Reemit; Run of tables, one for each
//	works              Parallel, n
//
// All have ended when the loop over the Stream has, or when Run returns. They end
// their inputs by the context that those are given.
package enrich
