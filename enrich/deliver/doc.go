// Package deliver has an effect for each value of a stream, at least once, and
// once where the effect is in PostgreSQL.
//
//	stream ──▶ Consumer ──▶ lanes ──▶ Store.Once: known? effect, mark
//	                          │                       │
//	                          │ fails, too often      ▼
//	                          └────────▶ dead letter; position past all that is over
//
// A [Consumer] hands the values out to workers, in order within each lane. It
// tries again what fails, with growing pauses, and buries what goes on to fail: a
// dead letter with the reason, in the [Store]. One bad value holds up its lane for
// so long, and no other. Burying is final: the key counts as done, however often
// the value is delivered, until Retry of the store takes the letter back.
//
// # Stopping
//
// End the context of [Consumer.Run] and wait until it returns. Nothing more is
// pulled and no attempt begins; those under way have Consumer.Grace to end, so that
// no request is cut whose receiver may have it already; what was done is marked, and
// the position is saved. Give the process more time to stop than Grace and the 10 s
// in which the position is saved.
//
// # What it promises
//
// The source decides what can be promised. Realtime delivers at most once: a
// change that was lost is in a gap and nobody delivers it again, whatever the
// consumer does. What must not be missed is therefore read from a table: an
// [Outbox], or a cache.Table's Changes with WithInitial. Then every value has its
// effect at least once.
//
// Once it is where the mark and the effect are one transaction: in [Postgres],
// for what is written through the *sql.Tx. For an effect elsewhere (a mail, a
// request) the process may end between effect and mark, in every store; pass the
// key along for the other side to recognize the repetition by. A mark that cannot be
// written while the process lives repeats nothing: it is tried again alone. In
// Postgres that is not so: mark and commit are one, and if the commit fails the
// handler is called again.
//
// A restart is given again what was handled behind a value that was not. It is
// recognized by its marks, so the store must remember as many keys.
//
// # Stores
//
//	            marks survive      effect and mark       processes
//	Memory      nothing            apart                 one
//	File        the process        apart                 one
//	Postgres    the process        one transaction       several
//	Outbox      the process        one transaction, or   several
//	                               apart (Outbox.Apart)
package deliver
