package mockserver

import (
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/fault"
)

// terminated counts the uses of database connections that were terminated
// between two queries: the server meets each of them once.
type terminated struct {
	rights        fault.Budget // checks of what a private channel may read
	subscriptions fault.Budget // attempts to subscribe to changes
	until         time.Time    // after which the pool has noticed; zero: it never does
}

func (t *terminated) set(n int, until time.Time) {
	*t = terminated{rights: fault.Budget(n), subscriptions: fault.Budget(n), until: until}
}

func (t *terminated) noticed() bool { return !t.until.IsZero() && !time.Now().Before(t.until) }

// rightsTerminated reports whether a check of rights meets a terminated
// connection.
func (f *faults) rightsTerminated() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.terminated.noticed() && f.terminated.rights.Take()
}

// subscriptionTerminated reports whether a subscription meets a terminated
// connection.
func (f *faults) subscriptionTerminated() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.terminated.noticed() && f.terminated.subscriptions.Take()
}

// TerminateConnections terminates the server's connections to the database, as
// pg_terminate_backend does. The database stays up. The slot is lost and made
// anew at once.
//
// A query on a terminated connection fails, and the server does not say so: the
// next n joins of private channels are refused as "Unauthorized: You do not have
// permissions to read from this Channel topic: …", as if a policy had refused
// them, and another token closes a private channel with these words. The next n
// subscriptions to changes fail with "Unable to subscribe to changes with given
// parameters. An exception happened …: FATAL 57P01 …", which the server does
// not try again by itself. After that everything works again. A negative n is
// until further notice, which is n = 0.
func (s *Server) TerminateConnections(n int) {
	f := &s.realtime.faults
	f.set(func() { f.terminated.set(n, time.Time{}) })
	if n != 0 {
		s.realtime.loseSlot(0)
	}
}

// codeAdminShutdown is the error of a connection that was terminated.
const codeAdminShutdown = "57P01"

// connectionTerminated is PostgreSQL's error in the words of the server's
// driver.
const connectionTerminated = "FATAL " + codeAdminShutdown + " (admin_shutdown) terminating connection due to administrator command"
