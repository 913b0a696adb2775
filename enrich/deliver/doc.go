// Package deliver has an effect for each value of a stream, at least once, and
// once where the effect is in PostgreSQL.
//
//	stream ──▶ Consumer ──▶ lanes ──▶ Store.Once: known? effect, mark
//	                          │                       │
//	                          │ fails, too often      ▼
//	                          └────────▶ dead letter; position past all that is over
//
// A [Consumer] hands the values out to workers, in order within each lane. It
// tries again what fails, with growing pauses, and puts aside what goes on to
// fail: a dead letter with the reason, in the [Store]. One bad value holds up
// its lane for so long, and no other.
//
// # What it promises
//
// The source decides what can be promised. Realtime delivers at most once: a
// change that was lost is in a gap and nobody delivers it again, whatever the
// consumer does. What must not be missed is therefore read from a table: an
// outbox with numbered rows, which a restart reads from [Consumer.Resume] on, or a
// cache.Table's Changes with WithInitial. Then every value has its effect at least
// once.
//
// Once it is where the mark and the effect are one transaction: in [Postgres],
// for what is written through the *sql.Tx. For an effect elsewhere (a mail, a
// request) the process may end between effect and mark, in every store; give the
// key along for the other side to know the repetition by.
//
// # Stores
//
//	            marks survive      effect and mark       processes
//	Memory      nothing            apart                 one
//	File        the process        apart                 one
//	Postgres    the process        one transaction       several
package deliver
