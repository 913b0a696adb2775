package mockserver

import (
	"github.com/gapless-go/gapless/mockserver/internal/memdb"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// The tables, and what is done with them.
type (
	// Table is a table and its first content.
	Table = memdb.Table
	// Column is a column of a table or a field of a composite type.
	Column = pgtype.Column
	// Row is the content of a row, or of some of its columns: column name to value.
	Row = memdb.Row
	// ReplicaIdentity says what of the old row an UPDATE or DELETE writes to the log.
	ReplicaIdentity = memdb.ReplicaIdentity
	// Tx is a transaction under way.
	Tx = memdb.Tx
	// FuncTx is the transaction of a function or trigger, as its caller.
	FuncTx = memdb.FuncTx
	// Function is a function of the database, which POST /rest/v1/rpc/NAME calls.
	Function = memdb.Function
	// Error is what PostgreSQL would say to a statement that it refuses.
	Error = pgtype.Error
)

// Who may do what.
type (
	// Policy decides whether a row may be read or written under the claims of a token.
	Policy = memdb.Policy
	// Policies are the row level security policies of a table.
	Policies = memdb.Policies
	// ChannelPolicy says whether somebody may use a private channel for everything.
	ChannelPolicy = memdb.ChannelPolicy
	// MessagePolicy is a policy on realtime.messages.
	MessagePolicy = memdb.MessagePolicy
	// MessagePolicies are the policies on realtime.messages.
	MessagePolicies = memdb.MessagePolicies
)

// The replica identities of tables.
const (
	IdentityDefault = memdb.IdentityDefault // the primary key
	IdentityFull    = memdb.IdentityFull    // the whole row
	IdentityIndex   = memdb.IdentityIndex   // Table.IdentityColumns
	IdentityNothing = memdb.IdentityNothing // nothing; a published table then refuses UPDATE and DELETE
)
