// Package pgoutput decodes the messages of PostgreSQL's logical replication
// with the plugin pgoutput, protocol version 1 and values as text: "Logical
// Replication Message Formats" in PostgreSQL's documentation.
package pgoutput

import "time"

// Message is one of Begin, Commit, Relation, Insert, Update, Delete and
// Other.
type Message interface{ message() }

// Begin begins a transaction. Those that did not commit are not sent.
type Begin struct {
	Final  uint64 // LSN of the commit
	Commit time.Time
	XID    uint32
}

// Commit ends a transaction.
type Commit struct {
	End uint64 // LSN behind the transaction
	At  time.Time
}

// Relation describes a table as it was, before its first change and when it
// was altered.
type Relation struct {
	ID       uint32
	Schema   string
	Name     string
	Identity Identity
	Columns  []Column
}

// Identity is a table's replica identity.
type Identity byte

// The replica identities.
const (
	IdentityDefault Identity = 'd'
	IdentityNothing Identity = 'n'
	IdentityFull    Identity = 'f'
	IdentityIndex   Identity = 'i'
)

// Column is a column of a Relation.
type Column struct {
	Key  bool // part of the replica identity
	Name string
	Type uint32 // OID
}

// Insert is a new row.
type Insert struct {
	Relation uint32
	New      Tuple
}

// Update is a row that was updated. Old is nil unless the replica identity is
// full or its columns have changed; then those that are not part of it are
// Null.
type Update struct {
	Relation uint32
	Old      Tuple
	New      Tuple
}

// Delete is a row that was deleted: its replica identity, all else Null.
type Delete struct {
	Relation uint32
	Old      Tuple
}

// Other is a message that is not decoded: a type, an origin, a TRUNCATE or a
// logical message.
type Other byte

func (Begin) message()    {}
func (Commit) message()   {}
func (Relation) message() {}
func (Insert) message()   {}
func (Update) message()   {}
func (Delete) message()   {}
func (Other) message()    {}

// Tuple has a value for each column of the Relation.
type Tuple []Value

// Value is a column's value.
type Value struct {
	Kind Kind
	Text []byte // of Text: PostgreSQL's output of the value
}

// Kind is what is known of a value.
type Kind byte

// The kinds of values.
const (
	Null      Kind = 'n'
	Unchanged Kind = 'u' // stored out of line, and not set by the UPDATE
	Text      Kind = 't'
)
