package realtime

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/auth"
	"github.com/gapless-go/gapless/mockserver/internal/fault"
	"github.com/gapless-go/gapless/mockserver/internal/inspect"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// Server is the Realtime server: sockets, channels and the poller of the log.
//
// Its goroutines are two for each socket (see conn) and the poller. Close ends
// them and waits.
type Server struct {
	Faults fault.State // those in force
	Sent   inspect.Log // what clients have sent

	db       project.Database
	verifier *auth.Verifier
	timing   Timing
	limits   Limits
	events   rateCounter // of broadcasts that were sent and delivered
	changes  rateCounter // of row changes that were sent
	joins    rateCounter
	tracks   rateCounter // of presence
	log      *slog.Logger
	started  time.Time
	seed     uint64
	chance   *fault.Chance
	tap      *inspect.Tap // nil: there is no inspector
	present  presences

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	wg   sync.WaitGroup // sockets and the poller; Add under mu

	mu       sync.Mutex
	closed   bool
	opened   int // sockets, ever
	attached int // channels, ever
	conns    []*conn
	users    int // of them, those that have, or had, a channel
	members  map[world][]*channel
	subs     map[uint32][]*project.Subscription // by their tables, in the order in which they were made
	poller   *poller                            // nil: nobody reads the log
	pollers  int                                // ever
	free     func()                             // frees the connections that are taken; nil: none are
	counting bool                               // changes are counted, since the first subscription
	asleep   time.Time                          // since when there is no subscription

	publication *string   // at the last look; nil: there was none
	republished bool      // the publication has changed since it was looked at
	checked     time.Time // when it was
}

// world is the set of channels that hear each other's broadcasts: a private
// and a public channel of one name do not.
type world struct {
	name    string
	private bool
}

// Options are those of New.
type Options struct {
	Timing Timing
	Limits Limits
	Log    *slog.Logger
	Seed   uint64
	Tap    *inspect.Tap // nil: nothing of what passes is kept
}

// New makes a server, which Begin begins.
func New(db project.Database, v *auth.Verifier, opts Options) *Server {
	rt := &Server{
		db: db, verifier: v, tap: opts.Tap,
		timing: opts.Timing.withDefaults(), limits: opts.Limits.withDefaults(), log: opts.Log,
		started: time.Now(), seed: opts.Seed, chance: fault.NewChance(opts.Seed, fault.StreamFaults),
		members: map[world][]*channel{}, subs: map[uint32][]*project.Subscription{},
	}
	rt.present.worlds = map[world][]*presence{}
	rt.events.begin(opts.Limits.EventsPerSecond, rt.timing.RateTick)
	rt.changes.begin(opts.Limits.EventsPerSecond, rt.timing.RateTick)
	rt.joins.begin(opts.Limits.JoinsPerSecond, rt.timing.RateTick)
	rt.tracks.begin(opts.Limits.PresenceEventsPerSecond, rt.timing.RateTick)
	rt.ctx, rt.stop = context.WithCancel(context.Background())
	return rt
}

// Close kills every socket and waits for every goroutine. It may be called
// twice.
func (rt *Server) Close() {
	rt.mu.Lock()
	rt.closed = true
	rt.mu.Unlock()
	rt.stop()
	rt.wg.Wait()
}

// enter counts a goroutine that close waits for; false: it is too late.
func (rt *Server) enter() bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.closed {
		return false
	}
	rt.wg.Add(1)
	return true
}

// Go runs do on a goroutine that Close waits for; false: it is too late.
func (rt *Server) Go(do func()) bool {
	if !rt.enter() {
		return false
	}
	go func() {
		defer rt.wg.Done()
		do()
	}()
	return true
}

// Context ends with Close.
func (rt *Server) Context() context.Context { return rt.ctx }

// Pause waits for d, or less when ctx or the server ends, which it reports as
// false.
func (rt *Server) Pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-rt.ctx.Done():
	}
	return false
}

// sockets returns the open sockets in the order in which they were opened.
func (rt *Server) sockets() []*conn {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return slices.Clone(rt.conns)
}

// attach makes a channel one that hears the broadcasts of its world.
func (rt *Server) attach(ch *channel) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.attached++
	ch.number = rt.attached
	w := ch.world()
	rt.members[w] = append(rt.members[w], ch)
}

// detach undoes attach and ends the channel's subscriptions.
func (rt *Server) detach(ch *channel) {
	rt.unsubscribe(ch)
	rt.mu.Lock()
	defer rt.mu.Unlock()
	w := ch.world()
	rt.members[w] = without(rt.members[w], ch)
	if len(rt.members[w]) == 0 {
		delete(rt.members, w)
	}
}

// without returns a copy of the list without x, for those who read the old one.
func without[T comparable](list []T, x T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(y T) bool { return y == x })
}
