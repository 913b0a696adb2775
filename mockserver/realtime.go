package mockserver

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/auth"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// realtime is the Realtime server: sockets, channels and the poller of the log.
//
// Its goroutines are two for each socket (see conn) and the poller. close ends
// them and waits.
type realtime struct {
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
	chance   *chance
	sent     frameLog
	tap      *tap // nil: there is no inspector
	faults   faults
	present  presences

	ctx  context.Context // ends with close
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

func newRealtime(db project.Database, v *auth.Verifier, cfg Config) *realtime {
	rt := &realtime{
		db: db, verifier: v,
		timing: cfg.Timing.withDefaults(), limits: cfg.Limits.withDefaults(), log: cfg.Logger,
		started: time.Now(), seed: cfg.Seed, chance: newChance(cfg.Seed, streamFaults),
		members: map[world][]*channel{}, subs: map[uint32][]*project.Subscription{},
	}
	if cfg.Inspector {
		rt.tap = &tap{}
	}
	rt.present.worlds = map[world][]*presence{}
	if rt.log == nil {
		rt.log = slog.New(slog.DiscardHandler)
	}
	rt.events.begin(cfg.Limits.EventsPerSecond, rt.timing.RateTick)
	rt.changes.begin(cfg.Limits.EventsPerSecond, rt.timing.RateTick)
	rt.joins.begin(cfg.Limits.JoinsPerSecond, rt.timing.RateTick)
	rt.tracks.begin(cfg.Limits.PresenceEventsPerSecond, rt.timing.RateTick)
	rt.ctx, rt.stop = context.WithCancel(context.Background())
	return rt
}

// close kills every socket and waits for every goroutine. It may be called
// twice.
func (rt *realtime) close() {
	rt.mu.Lock()
	rt.closed = true
	rt.mu.Unlock()
	rt.stop()
	rt.wg.Wait()
}

// enter counts a goroutine that close waits for; false: it is too late.
func (rt *realtime) enter() bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.closed {
		return false
	}
	rt.wg.Add(1)
	return true
}

// pause waits for d, or less when ctx or the server ends, which it reports as
// false.
func (rt *realtime) pause(ctx context.Context, d time.Duration) bool {
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
func (rt *realtime) sockets() []*conn {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return slices.Clone(rt.conns)
}

// attach makes a channel one that hears the broadcasts of its world.
func (rt *realtime) attach(ch *channel) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.attached++
	ch.number = rt.attached
	w := ch.world()
	rt.members[w] = append(rt.members[w], ch)
}

// detach undoes attach and ends the channel's subscriptions.
func (rt *realtime) detach(ch *channel) {
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
