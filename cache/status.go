package cache

import (
	"fmt"
	"time"

	"github.com/gapless-go/gapless/cdc"
)

// Phase is how much of the table the cache has, and how fresh.
//
//	Joining ──live──▶ Settling ──▶ Loading ──all pages──▶ CatchingUp ──▶ Synced
//	                     ▲                                                  │
//	                     └───── stream whole again ─── Stale ◀──── gap ─────┘
//
// A gap leads to Stale from each of them, and an end of the gap to Settling. A
// checkpoint makes Stale of Joining.
type Phase uint8

const (
	// Joining: the stream has not begun. The cache is empty.
	Joining Phase = iota
	// Settling: the stream is whole, as far as the server has said. The reading of
	// the table waits until what was committed before can be seen by it, and until a
	// server that starts reads its log: a mark tells, or a change, or three settle
	// times.
	Settling
	// Loading: the table is being read, page by page. Rows that a page has not
	// shown yet are missing, or those of an earlier epoch.
	Loading
	// CatchingUp: all has been read; the stream may be behind what was read.
	CatchingUp
	// Synced: the cache equals the table, but for what is under way in the stream,
	// for rows that are set aside (Status.SetAside), and for what no client can see
	// (see the package's documentation).
	Synced
	// Stale: changes may be missing. The rows are those from before the gap.
	Stale
)

// String returns the phase in words.
func (p Phase) String() string {
	switch p {
	case Joining:
		return "joining"
	case Settling:
		return "settling"
	case Loading:
		return "loading"
	case CatchingUp:
		return "catching up"
	case Synced:
		return "synced"
	case Stale:
		return "stale"
	}
	return fmt.Sprintf("Phase(%d)", uint8(p))
}

// step is something that moves a Table from one phase to another.
type step uint8

const (
	gapOpened step = iota
	gapClosed
	settled
	loaded
	caughtUp
	restored
	computed // all of a computed Table
)

// next is the one place where phases move. A step that does not belong to the
// phase, such as the end of a load that a gap has overtaken, moves nothing.
func (p Phase) next(s step) Phase {
	switch {
	case s == gapOpened && p == Joining:
		return Joining // there is nothing yet that could be stale
	case s == gapOpened, s == restored:
		return Stale
	case s == gapClosed:
		return Settling
	case s == computed:
		return Synced
	case s == settled && p == Settling:
		return Loading
	case s == loaded && p == Loading:
		return CatchingUp
	case s == caughtUp && p == CatchingUp:
		return Synced
	}
	return p
}

// Status is where a Table is.
type Status struct {
	Phase Phase
	Epoch uint64 // grows with every gap
	Rows  int
	// Doubtful counts rows whose last event did not say everything (a value that
	// is stored out of line and was not in the cache, an event that was too
	// large, one out of order). They are as they were, until they are read.
	Doubtful int
	// OldestDoubt is for how long the oldest of them has been in doubt without
	// having been read since.
	OldestDoubt time.Duration
	// Behind is how late the stream is, as far as that is known: for how long
	// the oldest mark has been awaited, or how much later the last event came
	// than others of this epoch.
	Behind time.Duration
	// Loaded counts the rows that the load under way, or the last one, has read;
	// Total is how many there were when it began, as far as that is known.
	Loaded, Total int

	LastEvent  time.Time     // when the last event came, by this machine's clock
	LastCommit time.Time     // when it was committed, by the database's; to the millisecond
	LastMark   time.Time     // when the last mark came; zero without a Marker
	MarkRTT    time.Duration // how long it took from before it was written

	Events   uint64 // that have come
	Received int64  // bytes of the answers of the REST API
	Gaps     uint64 // of the stream, its start included
	// LastGap is the last one, with its reason.
	LastGap cdc.Gap
	// Contradictions counts events that did not fit the row that was there: a
	// sign of changes lost without a word, or, under row level security or a
	// filter, of rows that came into view.
	Contradictions uint64
	Repaired       uint64 // rows that were read anew and were not what the cache had
	Evicted        uint64
	// VersionErr says that the columns of WithVersion have been seen to begin again
	// for a row that was deleted and inserted. They count for nothing since.
	VersionErr error
	// SetAside counts rows that do not fit into T; Misfit is why the last one does
	// not, a *RowError, or did not. See WithMisfits and View.SetAside.
	SetAside int
	Misfit   error

	Verified   time.Time // when the last verification ended; zero: there was none
	LastReport Report    // what it found

	Saved         time.Time // when the last checkpoint was saved
	CheckpointErr error     // why the last one could not be saved, or be read

	// Trouble is why a request is being made again; nil if none is.
	Trouble error
}
