package channel

import (
	"errors"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/link"
	"github.com/gapless-go/gapless/internal/phoenix"
)

const (
	// maxReplay is the most messages that the server replays.
	maxReplay = 25
	// replayWait is how long a channel waits for the sign that the replay is
	// over. An older server gives none.
	replayWait = 5 * time.Second
	// replayAtOnce bounds the time to that sign from a server that delivered
	// live already when it read what to replay: others look again after 500 ms.
	replayAtOnce = 400 * time.Millisecond
	// keptIDs is how many ids are remembered, so that no message comes twice.
	keptIDs = 1024
)

var errCastOverflow = errors.New("channel: broadcast dropped: the listener's queue is full")

// casts is the side of a channel that receives broadcasts. It is under the
// channel's mu.
type casts struct {
	listeners []*Listener
	began     bool     // the streams have started
	gap       *cdc.Gap // the one that is open, nil: none

	seen     idRing
	since    time.Time // from when on messages are asked for; zero: they are not
	joinedAt time.Time
	waiting  bool // for the end of a replay
	replayed int  // in the present join
	timer    *time.Timer
}

// replay is what the next join asks for: nothing where nothing can have been
// missed.
func (c *Channel) replay() *replayConfig {
	since := c.casts.since
	if !c.cfg.replay || since.IsZero() {
		return nil
	}
	return &replayConfig{Since: since.UnixMilli(), Limit: maxReplay}
}

// castsJoined handles the accepted join: from now on broadcasts come.
func (c *Channel) castsJoined() {
	k := &c.casts
	k.joinedAt, k.replayed = time.Now(), 0
	if !c.cfg.replay {
		c.castsWhole(NoReplay)
		return
	}
	k.waiting = true
	k.timer = time.AfterFunc(replayWait, func() {
		c.mu.Lock()
		defer c.unlock()
		if k.waiting && time.Since(k.joinedAt) >= replayWait {
			c.castsReplayed(false)
		}
	})
}

// castsReady handles the sign that the replay is over and that messages of the
// database are delivered.
func (c *Channel) castsReady() {
	if k := &c.casts; k.waiting {
		c.castsReplayed(time.Since(k.joinedAt) < replayAtOnce)
	}
}

// castsReplayed judges a replay that is over. gapless says that live messages
// have been delivered since it was read.
func (c *Channel) castsReplayed(gapless bool) {
	k := &c.casts
	switch {
	case k.since.IsZero(): // there was none
		c.castsWhole(NoReplay)
	case gapless && k.replayed < maxReplay && c.link.Version() == phoenix.V2:
		c.castsWhole(ReplayComplete)
	default:
		c.castsWhole(ReplayIncomplete)
	}
}

// castsWhole tells the streams that they are whole again, or that they start.
func (c *Channel) castsWhole(replay Replay) {
	k := &c.casts
	k.stop()
	g := cdc.Gap{Until: time.Now(), Reason: cdc.Started}
	if k.gap != nil {
		g = *k.gap
		g.Until = time.Now()
	}
	k.began, k.gap = true, nil
	for _, l := range k.listeners {
		l.queue.gap(g, replay)
	}
}

// castsLost handles the end of the join, or of the socket: from then on
// broadcasts may be missing. What a replay had still to bring is asked for
// again.
func (c *Channel) castsLost(reason cdc.GapReason, since time.Time, err error) {
	k := &c.casts
	k.stop()
	if !k.began || k.gap != nil {
		return
	}
	k.since = c.link.ServerTime(since).Add(-c.cfg.replayOverlap)
	k.gap = &cdc.Gap{Since: since, Reason: reason, Err: err}
	if len(c.bindings) == 0 && len(k.listeners) > 0 { // or else it has been told
		c.notices = append(c.notices, link.Notice{Topic: c.topic, Gap: k.gap})
	}
	for _, l := range k.listeners {
		l.queue.gap(*k.gap, NoReplay)
	}
}

// stop ends the wait for the end of a replay.
func (k *casts) stop() {
	k.waiting = false
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
}

// castsEnded ends the streams.
func (c *Channel) castsEnded(err error) {
	c.casts.stop()
	for _, l := range c.casts.listeners {
		l.queue.end(err)
	}
}

// broadcast handles a broadcast of the server.
func (c *Channel) broadcast(m phoenix.Message) {
	k := &c.casts
	if c.joined == "" || len(k.listeners) == 0 {
		return
	}
	b, vouched, err := readBroadcast(c.link.Version(), m, c.joined)
	if err != nil {
		c.notices = append(c.notices, link.Notice{Topic: c.topic, Dropped: err})
		return
	}
	if b.Replayed {
		k.replayed++
	}
	if vouched && b.ID != "" && !k.seen.add(b.ID) {
		return
	}
	for _, l := range k.listeners {
		if l.wants(b.Event) && !l.queue.push(b) {
			c.notices = append(c.notices, link.Notice{Topic: c.topic, Dropped: errCastOverflow})
		}
	}
}

// idRing remembers the last ids.
type idRing struct {
	ids  map[string]struct{}
	ring []string
	next int
}

// add reports whether the id is new.
func (r *idRing) add(id string) bool {
	if _, known := r.ids[id]; known {
		return false
	}
	if r.ids == nil {
		r.ids = map[string]struct{}{}
	}
	r.ids[id] = struct{}{}
	if len(r.ring) < keptIDs {
		r.ring = append(r.ring, id)
		return true
	}
	delete(r.ids, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % keptIDs
	return true
}
