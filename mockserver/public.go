package mockserver

import (
	"io"

	"github.com/gapless-go/gapless/mockserver/cachesql"
	"github.com/gapless-go/gapless/mockserver/internal/auth"
	"github.com/gapless-go/gapless/mockserver/internal/fault"
	"github.com/gapless-go/gapless/mockserver/internal/inspect"
	"github.com/gapless-go/gapless/mockserver/internal/memdb"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/realtime"
	"github.com/gapless-go/gapless/mockserver/replay"
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

// DefaultSecret is the JWT secret where Config has none.
const DefaultSecret = auth.DefaultSecret

// VerificationKey is a public key for tokens signed by RS256, ES256 or EdDSA.
type VerificationKey = auth.VerificationKey

// Recording and playing: see package replay.
type (
	// Recorder is a proxy that writes a transcript of what passes.
	Recorder = replay.Recorder
	// RecorderConfig says what a Recorder stands before.
	RecorderConfig = replay.RecorderConfig
	// Player plays the server's side of a transcript.
	Player = replay.Player
	// PlayerConfig says how a Player plays.
	PlayerConfig = replay.PlayerConfig
	// DifferenceError says in what a client differs from a transcript.
	DifferenceError = replay.DifferenceError
)

// ErrPlayerClosed says that a Player was closed before its end.
var ErrPlayerClosed = replay.ErrPlayerClosed

// NewRecorder is replay.NewRecorder.
func NewRecorder(w io.Writer, cfg RecorderConfig) (*Recorder, error) {
	return replay.NewRecorder(w, cfg)
}

// NewPlayer is replay.NewPlayer.
func NewPlayer(r io.Reader, cfg PlayerConfig) (*Player, error) { return replay.NewPlayer(r, cfg) }

// InstallCache adds to a Config what install.sql of package cache/sql adds to a
// database: the table rt_mark and the functions rt_describe, rt_chunk, rt_digest
// and rt_keys, in the schema public, for the roles authenticated, service_role
// and those of more, such as anon with anon.sql. Functions of other names that
// cfg has are kept.
func InstallCache(cfg *Config, more ...string) {
	cfg.Tables, cfg.Functions = cachesql.Install(cfg.Tables, cfg.Functions, more...)
}

// User is an account of the Auth API.
type User = auth.User

// Things that go wrong.
type (
	// Fault is something that goes wrong, asked for by its name.
	Fault = fault.Fault
	// FaultInfo describes a fault that can be asked for.
	FaultInfo = fault.Info
	// FaultParam describes one member of Fault.Params.
	FaultParam = fault.Param
	// FaultError says which fault could not be injected, and why.
	FaultError = fault.Error
	// ScheduledFault is a fault and when it is injected.
	ScheduledFault = fault.Scheduled
	// RESTFault is what goes wrong with requests to the REST API. Its zero value fits
	// every request and harms none.
	RESTFault = fault.REST
)

// ErrUnknownFault says that there is no fault of a name.
var ErrUnknownFault = fault.ErrUnknown

// The Realtime server, and what it tells of itself.
type (
	// Limits are the limits of the project, each of which a zero lifts.
	Limits = realtime.Limits
	// Timing is how long the Realtime server takes for what it does.
	Timing = realtime.Timing
	// Connection is an open socket.
	Connection = inspect.Connection
	// JoinedChannel is a topic that a socket has joined.
	JoinedChannel = inspect.JoinedChannel
	// Frame is a message that a client sent.
	Frame = inspect.Frame
)

// RealisticLimits returns the limits of a self-hosted server as it comes.
func RealisticLimits() Limits { return realtime.RealisticLimits() }

// Fast returns the timing for tests that run in real time: nothing waits for
// longer than a few milliseconds, and on PostgreSQL a look at the log follows a
// commit at once. Only the timeouts are the real ones.
func Fast() Timing { return realtime.Fast() }

// Extensions of realtime.messages, as its policies see them.
const (
	ExtensionBroadcast = realtime.ExtensionBroadcast
	ExtensionPresence  = realtime.ExtensionPresence
)
