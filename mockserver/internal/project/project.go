// Package project is what the mock server needs of a database that it does not
// hold itself. Package mockserver/on/postgres has one.
package project

import (
	"context"
	"errors"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// Claims are the claims of a token, as encoding/json decodes them.
type Claims = map[string]any

// Row is the content of a row, or of some of its columns: column name to
// value.
//
// A value may be nil (NULL), a bool, any integer or float, a string, []byte, a
// time.Time, a time.Duration (an interval), a json.RawMessage, a json.Number, a
// *big.Int, a fmt.Stringer, a pointer to one of these, a slice (an array, of
// several dimensions where it is nested), or a map or struct (for json, jsonb
// and composite columns, by its JSON). A string is what one would write in
// quotes in SQL: PostgreSQL's input text for the type of the column, so "{1,2}"
// is an array, "42" an int8, and text in a jsonb column must be JSON.
type Row map[string]any

// RoleOf returns the database role of claims; empty where they name none.
func RoleOf(claims Claims) string {
	role, _ := claims["role"].(string)
	return role
}

// Caller is on whose behalf something is done in the database.
type Caller struct {
	Role   string
	Claims Claims
}

// Filter is one condition of a binding: "column=not.op.value".
type Filter struct {
	Column string
	Op     string
	Value  string // of in: an array literal
	Negate bool
}

// Binding is what a client subscribes to. Schema and Table are names as it
// gave them, in which % and _ are wildcards, or * for all.
type Binding struct {
	Event         string // INSERT, UPDATE, DELETE, or * for all
	Schema, Table string
	Filters       []Filter
	Columns       []string // selected; nil: all
}

// Subscription is a binding on one table. Only Owner and From are set after it
// was made, and not while it is in use.
type Subscription struct {
	Owner any       // of the server
	From  time.Time // changes committed before are not delivered; zero: all that are read are

	Table   uint32 // by which the server finds the subscriptions of a change
	Event   string
	Caller  Caller
	Columns []string // selected, sorted; nil: all
	State   any      // of the database
}

// Error is what PostgreSQL says to a statement that it refuses.
type Error = pgtype.Error

// Delivery is one change in one form for some subscriptions.
type Delivery struct {
	Data []byte // the value of "data" of the message
	Subs []*Subscription
}

// Change is a row change that somebody may be subscribed to.
type Change struct {
	Table      string // with its schema
	Deliveries []Delivery
}

// Subscribers returns the subscriptions on a table, in the order in which they
// were made.
type Subscribers func(table uint32) []*Subscription

// Log is a reader of what is committed, from when it is open on.
type Log interface {
	// Next takes changes in commit order: whole transactions, up to and with
	// the one in which about max changes are reached. TooLarge is asked once of
	// each change that somebody is subscribed to, whether it is to be treated as
	// one that is too large. It does not wait for
	// changes, but for the database, which is asked who may see them. With an
	// error all that the log has not given is lost, and it is of no more use.
	Next(ctx context.Context, max int, subs Subscribers, tooLarge func(table string) bool) ([]Change, error)
	// Opened returns a channel that is closed when the log is open, or could not be
	// opened: see Err.
	Opened() <-chan struct{}
	// Err returns why the log could not be opened.
	Err() error
	// Close gives up what has not been read. Twice is fine.
	Close()
}

// Message is a row of realtime.messages, which the database broadcasts.
type Message struct {
	ID, Topic, Event string
	Private          bool
	Binary           bool
	Payload          []byte // jsonb, or the bytes of a binary one
}

// Access is what may be done with a private channel.
type Access struct {
	Topic     string // without its prefix
	Extension string // broadcast or presence
	Write     bool   // or else read
}

// Table describes a table to people.
type Table struct {
	Schema     string   `json:"schema"`
	Name       string   `json:"name"`
	Columns    []Column `json:"columns"`
	PrimaryKey []string `json:"primary_key"`
	RLS        bool     `json:"rls"`
	Published  bool     `json:"published"`
	Identity   string   `json:"replica_identity"`
	Rows       int      `json:"rows"` // perhaps estimated; -1: unknown
}

// Column describes a column of a Table.
type Column struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	NotNull bool   `json:"not_null"`
}

// User is an account.
type User struct {
	ID, Email, Phone, Role    string
	AppMetadata, UserMetadata []byte // JSON objects
	Claims                    Claims // further ones of its access tokens
	Created                   time.Time
}

// Session is what a client gets of a session.
type Session struct{ ID, RefreshToken string }

var (
	// ErrTaken says that another user has the ID, email or phone.
	ErrTaken = errors.New("its Email or Phone is another user's, or its ID")
	// ErrTokenUsed says that a refresh token has been used before.
	ErrTokenUsed = errors.New("the refresh token has been used")
)

// Users are the accounts of a project and their sessions. A user is nil where
// there is none.
type Users interface {
	CreateUser(ctx context.Context, u User, password string) error
	User(ctx context.Context, id string) (*User, error)
	// DeleteUser deletes the sessions, too, and reports whether there was a user.
	DeleteUser(ctx context.Context, id string) (bool, error)
	// SignIn opens a session of the user with that password.
	SignIn(ctx context.Context, email, phone, password string) (*User, Session, error)
	// Refresh takes a refresh token back and gives the next one.
	Refresh(ctx context.Context, token string) (*User, Session, error)
	HasSession(ctx context.Context, session string) (bool, error)
	// EndSessions ends that session (local), all others of the user (others), or
	// all of the user's.
	EndSessions(ctx context.Context, user, session, scope string) error
}

// ErrUnavailable says that the database could not be asked: it is away, or has
// no connection left, or the connection was lost.
var ErrUnavailable = errors.New("the database does not answer")

// Database is a project's database. It is safe for concurrent use. An error is
// an *Error, or ErrUnavailable, or another one.
type Database interface {
	Users
	// Subscribe makes the subscriptions of a binding: one for each published
	// table that its names fit, in the order of their names. The error is an
	// *Error where PostgreSQL refuses.
	Subscribe(ctx context.Context, who Caller, b Binding) ([]*Subscription, error)
	// Unsubscribe ends subscriptions. It does not wait for the database.
	Unsubscribe(subs []*Subscription)
	// OpenLog begins to open a log, which ends with ctx, and does not wait. Arrived is
	// called when there is something to take, if that is to be told, and does not
	// block.
	OpenLog(ctx context.Context, arrived func()) Log
	// Read, Write and Call carry out requests of the REST API, each in a transaction
	// as its caller. What Write and Call do is committed, and seen by others, when
	// they return. The error may be a *Refusal, too.
	Read(ctx context.Context, r *Request) (Page, error)
	Write(ctx context.Context, r *Request) (Written, error)
	Call(ctx context.Context, r *Request) (Called, error)
	// Describe describes what a role may read of a schema.
	Describe(ctx context.Context, who Caller, schema string) (Schema, error)
	// Tables describes the tables, the first 500 of them, and returns a number that
	// changes with every commit.
	Tables(ctx context.Context) ([]Table, uint64, error)
	// Rows returns rows of a table that Tables has described, as JSON objects in the
	// order of its primary key, and how many there are.
	Rows(ctx context.Context, t Table, offset, limit int) (rows [][]byte, count int, err error)
	// Messages calls ready, and from then on deliver for the messages that are
	// committed, in the order of their commits, until ctx ends or the connection
	// is lost, which the error says.
	Messages(ctx context.Context, ready func(), deliver func(Message)) error
	// Replay returns the newest private messages of a topic since a time, the
	// oldest first.
	Replay(ctx context.Context, topic string, since time.Time, limit int) ([]Message, error)
	// Permits asks the policies on realtime.messages.
	Permits(ctx context.Context, who Caller, a Access) (bool, error)
	// Exhaust takes all connections that the database has, and ends the server's
	// own before, until ctx ends.
	Exhaust(ctx context.Context) error
	// Publication returns a text that changes with the tables of the
	// publication.
	Publication(ctx context.Context) (string, error)
}
