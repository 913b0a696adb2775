package mockserver

import (
	"log/slog"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/auth"
	"github.com/gapless-go/gapless/mockserver/internal/memdb"
)

// Config says what the server holds and how it behaves. The zero value is a
// server without tables.
type Config struct {
	// Tables are the tables that exist, all of them in the publication
	// supabase_realtime unless Table.Unpublished.
	Tables []memdb.Table
	// Functions are the functions of the database by their names, all of them
	// in the schema public, which every role may call.
	Functions map[string]memdb.Function
	// Users may sign in at /auth/v1/token.
	Users []auth.User

	// JWTSecret signs and verifies HS256 tokens; empty: DefaultSecret, or a random
	// one where package mockserver/on/postgres works on a database that was given.
	JWTSecret string
	// PublishableKey and SecretKey are the project's keys that are no JWTs. They
	// begin with sb_publishable_ and sb_secret_, stand for the roles anon and
	// service_role, and are taken as API keys, and in Authorization where they
	// equal the API key. Empty: keys that are derived from JWTSecret. See
	// Server.PublishableKey and Server.SecretKey.
	PublishableKey, SecretKey string
	// Keys are further keys that tokens may be signed with.
	Keys []auth.VerificationKey
	// TokenLifetime is that of access tokens given at sign-in and refresh;
	// 0: one hour.
	TokenLifetime time.Duration

	// MaxRows is the most rows that one answer of the REST API holds
	// (PostgREST's db-max-rows); 0: no limit.
	MaxRows int

	// ExposedSchemas are the schemas that the REST API shows, the first one being
	// that of requests which name none (PostgREST's db-schemas). Nil: public, and,
	// in memory, those of Tables.
	ExposedSchemas []string

	// Admin serves /mock/v1/, by which a test in any language asks for faults
	// and changes rows: see docs/mock.md. There is no key to it.
	Admin bool
	// Inspector serves a page at / and /inspect/ that shows sockets, frames as
	// they pass, and tables, and has a button for every fault. It keeps the last
	// 5,000 frames, up to 16 MB, and shows none of the keys and tokens in them.
	// It sets Admin, too, and has no key either.
	Inspector bool

	// InMemory serves connections made by Server.HTTPClient over pipes and no
	// others, which works within a testing/synctest bubble. Addr is not used.
	InMemory bool
	// Addr is the TCP address to listen on; empty: a free port of 127.0.0.1.
	Addr string

	// Logger receives what the server does, without keys, tokens or passwords;
	// nil: nothing is logged.
	Logger *slog.Logger

	// Channels says who may use private channels; nil: the roles authenticated
	// and service_role. Messages, where it is set, has the finer rules.
	Channels memdb.ChannelPolicy
	Messages memdb.MessagePolicies
	// Limits are the limits of the project; none by default.
	Limits Limits
	// Timing is how fast the Realtime server works.
	Timing Timing
	// Seed makes what is left to chance repeatable: the times that Timing does
	// not fix, and the order in which Server.ReorderChanges delivers.
	Seed uint64
}

// Claims are the claims of a token, as encoding/json decodes them.
type Claims = map[string]any
