package mockserver

import (
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/memdb"
)

// SetPolicies puts other policies in the place of those that a table has, and
// switches row level security on where it was off. What is read after that is
// subject to them, and so are changes that were made before and have not been
// delivered yet. As with a real server, no message tells of rows that appear or
// disappear by it.
func (s *Server) SetPolicies(table string, p memdb.Policies) error {
	return s.db.SetPolicies(table, p)
}

// HideRows hides the rows whose columns equal those of where from the roles
// that row level security applies to, as if the policy for reading had changed:
// no message tells of it. It replaces what was hidden of the table before; an
// empty where hides nothing. The error says that the table has no row level
// security, or what where names wrongly.
func (s *Server) HideRows(table string, where memdb.Row) error {
	return s.db.HideRows(table, where)
}

// HideCommits makes the next n commits visible to others only after d, while
// Realtime may deliver their changes at once: PostgreSQL logs a commit before
// other transactions see it, by microseconds as a rule and for much longer where
// it waits for a synchronous replica. Under row level security the INSERT of a
// row that is not visible yet is lost for good. REST requests that write are
// answered when others see what they did; the methods of Server do not wait. A
// negative n is until further notice, which is n = 0.
func (s *Server) HideCommits(d time.Duration, n int) { s.db.HideCommits(d, n) }

// RealtimeSend is the database's function realtime.send, in a transaction of
// its own: it broadcasts a payload, which encoding/json must make an object of,
// to a topic, which is without the prefix "realtime:". The payload gets an id
// if it has none. The message goes out when the transaction has committed, at
// once, and is stored for replay if it is private. What is too large or over
// Limits.EventsPerSecond, or sent while the database is away, is stored only.
//
// Where the function would raise no more than a warning, and send nothing, an
// error is returned.
func (s *Server) RealtimeSend(payload any, event, topic string, private bool) error {
	return s.db.Run(func(tx *memdb.Tx) error { return tx.RealtimeSend(payload, event, topic, private) })
}

// RealtimeSendBinary is realtime.send_binary: RealtimeSend for bytes. Clients
// of serializer 1.0.0 do not get it.
func (s *Server) RealtimeSendBinary(payload []byte, event, topic string, private bool) error {
	return s.db.Run(func(tx *memdb.Tx) error { return tx.RealtimeSendBinary(payload, event, topic, private) })
}

// BroadcastChanges is realtime.broadcast_changes, as a row trigger of the table
// calls it: a private message with the operation (INSERT, UPDATE or DELETE) and
// the rows after and before it, nil where there is none. A column that a row
// does not name is null.
func (s *Server) BroadcastChanges(topic, event, operation, table string, after, before memdb.Row) error {
	return s.db.Run(func(tx *memdb.Tx) error { return tx.BroadcastChanges(topic, event, operation, table, after, before) })
}
