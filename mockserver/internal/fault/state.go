package fault

import (
	"cmp"
	"errors"
	"sync"
	"time"
)

// State is what is to go wrong. Whoever may fail asks it at the place where
// that would happen. It is safe for concurrent use.
type State struct {
	mu  sync.Mutex
	now InForce
}

// InForce is what Heal takes back.
type InForce struct {
	Upgrades           Refusals
	Joins              Reasons
	JoinsIgnored       Budget
	JoinDelay          time.Duration
	RefusalDelay       time.Duration // how long a refused join takes; 0: as usual
	SubscribedDelay    time.Duration
	SubscribedSilently Budget  // subscriptions of which the client is not told
	Subscriptions      Reasons // that fail
	Tokens             Reasons // that are refused
	HeartbeatsMuted    bool
	Backlog            int // 0: as usual

	Terminated Terminated

	Down     time.Time // until when the database is
	Full     time.Time // until when the database has no connection left
	Draining time.Time // until when the server is
	Crowded  time.Time // until when there are too many joins
	Over     time.Time // until when there are too many changes

	SlotDelay   time.Duration
	Polls       Budget // that fail
	SlowPolls   Budget // that take longer than the server waits for
	Dropped     OfTable
	Truncated   OfTable
	Doubled     OfTable
	Reordered   Budget
	ChangeDelay time.Duration
}

// Refusals are answers to upgrades.
type Refusals struct {
	Budget
	Status int
	Text   string
}

// Reasons are what the next failures say.
type Reasons struct {
	Budget
	Text string
}

// OfTable is a budget for changes of one table, or of any.
type OfTable struct {
	Budget
	Table string // with its schema; empty: any
}

func (b *OfTable) take(table string) bool {
	return (b.Table == "" || b.Table == table) && b.Take()
}

// Terminated counts the uses of database connections that were terminated
// between two queries: the server meets each of them once.
type Terminated struct {
	Rights        Budget    // checks of what a private channel may read
	Subscriptions Budget    // attempts to subscribe to changes
	Until         time.Time // after which the pool has noticed; zero: it never does
}

func (t *Terminated) take(b *Budget) bool {
	return (t.Until.IsZero() || time.Now().Before(t.Until)) && b.Take()
}

// Set changes the faults in force.
func (s *State) Set(do func(f *InForce)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(&s.now)
}

// Heal ends all of them.
func (s *State) Heal() { s.Set(func(f *InForce) { *f = InForce{} }) }

// Now returns a copy of the faults in force.
func (s *State) Now() InForce {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// ask reads the faults in force, and counts one down.
func ask[T any](s *State, read func(f *InForce) T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return read(&s.now)
}

// RefusedUpgrade returns how an upgrade is refused, if it is.
func (s *State) RefusedUpgrade() (status int, text string, refused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.Upgrades.Status, s.now.Upgrades.Text, s.now.Upgrades.Take()
}

func (s *State) reason(of func(f *InForce) *Reasons) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := of(&s.now); r.Take() {
		return r.Text
	}
	return ""
}

// RefusedJoin returns why a join is refused; empty: it is not.
func (s *State) RefusedJoin() string {
	return s.reason(func(f *InForce) *Reasons { return &f.Joins })
}

// FailedSubscription returns the message of a subscription that fails; empty: it
// does not.
func (s *State) FailedSubscription() string {
	return s.reason(func(f *InForce) *Reasons { return &f.Subscriptions })
}

// RefusedToken returns why another token is refused; empty: it is not.
func (s *State) RefusedToken() string {
	return s.reason(func(f *InForce) *Reasons { return &f.Tokens })
}

// JoinIgnored reports whether a join gets no answer.
func (s *State) JoinIgnored() bool {
	return ask(s, func(f *InForce) bool { return f.JoinsIgnored.Take() })
}

// RefusalDelay is how long a refused join takes.
func (s *State) RefusalDelay(usual time.Duration) time.Duration {
	return cmp.Or(s.Now().RefusalDelay, usual)
}

// SubscribedSilently reports whether a client is not told of its subscriptions.
func (s *State) SubscribedSilently() bool {
	return ask(s, func(f *InForce) bool { return f.SubscribedSilently.Take() })
}

// MaxBacklog is how many bytes may wait for a socket.
func (s *State) MaxBacklog(usual int) int {
	return cmp.Or(s.Now().Backlog, usual)
}

// RightsTerminated reports whether a check of rights meets a terminated
// connection.
func (s *State) RightsTerminated() bool {
	return ask(s, func(f *InForce) bool { return f.Terminated.take(&f.Terminated.Rights) })
}

// SubscriptionTerminated reports whether a subscription meets a terminated
// connection.
func (s *State) SubscriptionTerminated() bool {
	return ask(s, func(f *InForce) bool { return f.Terminated.take(&f.Terminated.Subscriptions) })
}

// Outage is why the database does not answer.
type Outage struct {
	Join string // why a join is refused, in the words of the server
	REST string // the details of the REST API's error
}

// NoDatabase is what the server says while the database does not answer.
const NoDatabase = "Realtime was unable to connect to the project database"

// Outage returns why the database does not answer; nil: it does.
func (s *State) Outage() *Outage {
	switch now := s.Now(); {
	case time.Now().Before(now.Down):
		return &Outage{"UnableToConnectToProject: " + NoDatabase, "connection to server failed: Connection refused"}
	case time.Now().Before(now.Full):
		return &Outage{"DatabaseLackOfConnections: Database can't accept more connections, Realtime won't connect",
			"connection to server failed: FATAL:  sorry, too many clients already"}
	}
	return nil
}

// WhyAway returns why the database does not answer, for the REST API; empty: it
// does.
func (s *State) WhyAway() string {
	if out := s.Outage(); out != nil {
		return out.REST
	}
	return ""
}

// Restarting reports whether the server is away.
func (s *State) Restarting() bool { return time.Now().Before(s.Now().Draining) }

// JoinsExceeded reports whether there are too many joins.
func (s *State) JoinsExceeded() bool { return time.Now().Before(s.Now().Crowded) }

// RateExceeded reports whether there are too many changes.
func (s *State) RateExceeded() bool { return time.Now().Before(s.Now().Over) }

// ErrPollTimeout is the error of a poll that took too long.
var ErrPollTimeout = errors.New("the query took longer than 15 s")

// errPollFault is the error of a poll that is to fail.
var errPollFault = errors.New("the query was made to fail")

// FailedPoll returns the error of a poll that found so many changes.
func (s *State) FailedPoll(changes int) error {
	return ask(s, func(f *InForce) error {
		if changes > 0 && f.Polls.Take() {
			return errPollFault
		}
		return nil
	})
}

// PollTimedOut reports whether a poll that found something takes too long.
func (s *State) PollTimedOut(changes int) bool {
	return ask(s, func(f *InForce) bool { return changes > 0 && f.SlowPolls.Take() })
}

// ChangeDropped reports whether a change is lost.
func (s *State) ChangeDropped(table string) bool {
	return ask(s, func(f *InForce) bool { return f.Dropped.take(table) })
}

// ChangeTruncated reports whether a change comes as one that is too large.
func (s *State) ChangeTruncated(table string) bool {
	return ask(s, func(f *InForce) bool { return f.Truncated.take(table) })
}

// OnTheWay is what happens to a change between the poll and the channels.
type OnTheWay struct {
	Copies int
	Delay  time.Duration
	Pooled bool // it waits for others to be mixed with
	Last   bool // and it is the last that they wait for
}

// OnTheWay says what happens to a change of a table.
func (s *State) OnTheWay(table string) OnTheWay {
	return ask(s, func(f *InForce) OnTheWay {
		way := OnTheWay{Copies: 1, Delay: f.ChangeDelay, Pooled: f.Reordered.Take()}
		way.Last = way.Pooled && f.Reordered == 0
		if f.Doubled.take(table) {
			way.Copies = 2
		}
		return way
	})
}

// MixesPolls reports whether the changes of each poll are mixed.
func (s *State) MixesPolls() bool { return s.Now().Reordered < 0 }
