package cdc

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/gapless-go/gapless/internal/rowjson"
)

// Op is what happened to a row. TRUNCATE is not among them: Realtime never
// delivers it.
type Op uint8

const (
	Insert Op = iota + 1
	Update
	Delete
)

// String returns the SQL word: INSERT, UPDATE or DELETE.
func (o Op) String() string {
	switch o {
	case Insert:
		return "INSERT"
	case Update:
		return "UPDATE"
	case Delete:
		return "DELETE"
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// Column is a column of the changed table as the server names it.
type Column struct {
	Name string `json:"name"`
	// Type is pg_type.typname: "int8", "_int4" for an array, "bpchar" for
	// char(n), the name of an enum or a domain; no schema and no modifier. It
	// is empty in a change that came by Broadcast, which has no types.
	Type string `json:"type"`
}

// Change is one value of a stream: one row change as the server said it, or,
// if Gap is set, a place where changes may be missing.
//
// The byte slices and slices of a Change are read only: they may be shared
// with other changes. A field may be set to another slice.
//
// Changes are not to be compared whole, by reflect.DeepEqual and what rests on it:
// one that was decoded has more in it than one of the same fields made by hand.
type Change struct {
	// Gap, when not nil, makes this value a gap in the stream and no row
	// change: every other field is zero.
	Gap *Gap

	Op     Op
	Schema string // of a partition, its own, not its parent's
	Table  string

	// Committed is the time of the commit, in UTC, cut to milliseconds. It is
	// equal for all rows of a transaction, neither unique nor monotone over
	// transactions, and zero where the server sent none (some Errors, and
	// changes that came by Broadcast).
	Committed time.Time

	// Columns lists what the subscriber may see of the table, in the table's
	// order, as it was when the server read the change and not when the change
	// was made. It is empty when Errors say 400 or 401, and in a change that
	// came by Broadcast.
	Columns []Column

	// Record is the new row, a JSON object; nil for a Delete. OldRecord is what
	// is known of the old row; nil for an Insert. How much that is depends on
	// the table's replica identity: the primary key by default, the whole row
	// with FULL (for a Delete under row level security, the key even so).
	Record    json.RawMessage
	OldRecord json.RawMessage

	// Missing names the columns that are in Columns and not in Record. In an
	// Update without Errors they are unchanged and were stored out of line
	// (TOAST): their value is what it was, which is not null.
	Missing []string

	// Errors is what the server says went wrong with this change, verbatim.
	// See Incomplete.
	Errors []string

	// Binding is the index, in the subscription that delivered the change, of
	// the binding that it is for.
	Binding int

	places *rowjson.Places // in Record and OldRecord, as Decode found them
}

const (
	newRow = iota // Record
	oldRow        // OldRecord
)

// Incomplete is the reason why a change does not carry its row.
type Incomplete uint8

const (
	// Complete is a change with all that there is to know of it.
	Complete Incomplete = iota
	// NoPrimaryKey (400): the table has no primary key; nothing of the row came.
	NoPrimaryKey
	// Unauthorized (401): the role may not read every column of the primary
	// key; nothing of the row came. Filters are not applied to such changes.
	Unauthorized
	// TooLarge (413): the change was over 1 MiB. Record and OldRecord hold only
	// the fields of at most 64 bytes, and none that are null; even the primary
	// key may be missing.
	TooLarge
	// OtherError is an error that this version of the package does not know.
	OtherError
	// Unidentified is a Delete without a single column of the deleted row, so
	// that nobody can tell which it was. The server reports no error: either
	// the role may read no column of the table, or the replica identity is an
	// index that has nothing of the primary key and the table has row level
	// security.
	Unidentified
)

// Incomplete returns the reason why the change does not carry its row, or
// Complete. A complete change may still have Missing columns, and an OldRecord
// with the replica identity alone.
func (c Change) Incomplete() Incomplete {
	for _, e := range c.Errors {
		switch {
		case strings.HasPrefix(e, "Error 400"):
			return NoPrimaryKey
		case strings.HasPrefix(e, "Error 401"):
			return Unauthorized
		case strings.HasPrefix(e, "Error 413"):
			return TooLarge
		}
	}
	switch {
	case len(c.Errors) > 0:
		return OtherError
	case c.Op == Delete && rowjson.Empty(c.OldRecord):
		return Unidentified
	}
	return Complete
}

// OldMissing names the columns that are in Columns and not in OldRecord: what
// the replica identity leaves out of an Update or a Delete. It is nil for an
// Insert.
func (c Change) OldMissing() []string {
	if c.OldRecord == nil {
		return nil
	}
	names, text := namesOf(c.Columns), rowjson.Cursor{Text: c.OldRecord}
	_, members := text.Row(names, nil)
	return names.Missing(members)
}

// String returns the reason in words.
func (i Incomplete) String() string {
	switch i {
	case Complete:
		return "complete"
	case NoPrimaryKey:
		return "no primary key"
	case Unauthorized:
		return "unauthorized"
	case TooLarge:
		return "payload too large"
	case OtherError:
		return "server error"
	case Unidentified:
		return "nothing known of the deleted row"
	}
	return fmt.Sprintf("Incomplete(%d)", uint8(i))
}

// Gap says that changes may be missing at its place in the stream: Realtime
// delivers at most once and replays nothing. What a consumer wants to be sure
// of it reads from the table after a gap has closed.
type Gap struct {
	// Since is when the stream was last known to be whole, by this machine's
	// clock; zero when it never was. The server is up to a second or so behind
	// the database, so a lost change may have been committed a little earlier.
	Since time.Time
	// Until is when the stream was whole again, as far as the server has said, by
	// this machine's clock: no change committed after it is part of this gap. A
	// server that starts says so before it reads its log: see Channel.WaitLive. It
	// is zero while the gap
	// is open: the stream tells at once that it may be losing changes, and
	// tells with a second Gap, of the same Since, when that is over.
	Until time.Time
	// Reason is the first cause; Err is the error behind it, where there is one.
	Reason GapReason
	Err    error
	// Lost counts the changes that were certainly lost (an Overflow knows), and
	// is 0 where nobody can tell.
	Lost int
}

// Open reports whether the gap is not over yet.
func (g Gap) Open() bool { return g.Until.IsZero() }

// String describes the gap in one line.
func (g Gap) String() string {
	s := "gap: " + g.Reason.String()
	if g.Err != nil {
		s += ": " + g.Err.Error()
	}
	if g.Open() {
		return s + " (open)"
	}
	return s
}

// GapReason is what a gap comes from.
type GapReason uint8

const (
	// Started is the beginning of every stream: what was committed before the
	// server first confirmed the subscription was not delivered.
	Started GapReason = iota + 1
	// Disconnected: the socket was lost.
	Disconnected
	// Closed: the server ended the channel (phx_close after a system error, a
	// token that expired or was refused) while the socket lived on.
	Closed
	// Crashed: the channel failed on the server (phx_error).
	Crashed
	// Resubscribed: the server said "Subscribed to PostgreSQL" again, unasked.
	// It does so after it deleted and made anew all subscriptions, because the
	// publication changed.
	Resubscribed
	// SubscriptionFailed: the server reported an error of the subscription that
	// it says it will try again.
	SubscriptionFailed
	// Overflow: the consumer was slower than the stream and its queue was full.
	Overflow
	// Undecodable: a frame or a payload that may have held a change could not
	// be read.
	Undecodable
	// MarkLost: of numbered marks that a table cache writes into the stream, one
	// did not come: changes beside it may have been lost without a word.
	MarkLost
	// Silent: what a table cache wrote did not come, for longer than a change
	// takes.
	Silent
	// Suspended: the process was stopped for a while, as on a laptop whose lid
	// was closed.
	Suspended
	// Reshaped: the columns of the table have changed, which changes rows without
	// an event.
	Reshaped
)

// String returns the reason in words.
func (r GapReason) String() string {
	switch r {
	case Started:
		return "started"
	case Disconnected:
		return "disconnected"
	case Closed:
		return "channel closed by the server"
	case Crashed:
		return "channel crashed on the server"
	case Resubscribed:
		return "resubscribed by the server"
	case SubscriptionFailed:
		return "subscription failed"
	case Overflow:
		return "queue overflow"
	case Undecodable:
		return "undecodable message"
	case MarkLost:
		return "a mark was lost"
	case Silent:
		return "a mark did not come"
	case Suspended:
		return "the process was suspended"
	case Reshaped:
		return "the table's columns have changed"
	}
	return fmt.Sprintf("GapReason(%d)", uint8(r))
}
