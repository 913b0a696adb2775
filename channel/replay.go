package channel

import (
	"hash/maphash"
	"time"

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
	// It counts from a moment before which the reply to the join cannot have been
	// sent. When the two were read says nothing: after a pause both come at once.
	replayAtOnce = 400 * time.Millisecond
	// clockMargin is how much the difference to the server's clock may be wrong:
	// it comes from a header with whole seconds.
	clockMargin = 3 * time.Second
	// kept is how many ids, and hashes of messages without one, are remembered.
	kept = 1024
	// maxID is the longest id that is remembered; the server's are UUIDs. In
	// version 1.0.0 any client can write one.
	maxID = 128
)

// replayer decides what a join asks to be replayed, and whether that was all.
// It is under the channel's mu.
type replayer struct {
	since    time.Time // by the server's clock; zero: nothing is asked for
	asked    time.Time // when the join was made
	answered time.Time // the reply to it was sent after that
	owed     bool      // since is that of a loss whose replay is not over
	waiting  bool      // for the end of the replay
	replayed int       // messages of it
	twins    int       // of these, some that were taken for live ones without an id
	spoilt   bool      // one could not be read
	timer    timer

	ids       idRing
	remembers bool // live, which is for channels that ask for replays
	live      []liveText
	next      int
	window    time.Time // since, by this machine's clock
}

func (r *replayer) stop() {
	r.waiting = false
	r.timer.stop()
}

// replayFrom has the next join ask for what is missing since a time, or since an
// earlier one for which that has not been made good.
func (c *Channel) replayFrom(lost time.Time) {
	window := lost.Add(-c.cfg.replayOverlap - clockMargin)
	if c.replay.owed && !window.Before(c.replay.window) {
		return
	}
	c.replay.since = c.link.ServerTime(window)
	c.replay.window, c.replay.owed = window, true
}

// replayStarts begins the wait for the end of the replay of an accepted join.
func (c *Channel) replayStarts() {
	r := &c.replay
	if !c.cfg.replay || c.m.join != joinAccepted {
		return
	}
	r.answered, r.replayed, r.twins, r.spoilt, r.waiting = r.asked, 0, 0, false, true
	if c.lastWhole.After(r.asked) {
		r.answered = c.lastWhole
	}
	c.after(&r.timer, replayWait, func() { c.replayEnds(false) })
}

// replayReady takes the sign that the replay is over and that messages of the
// database are delivered.
func (c *Channel) replayReady() {
	c.replayEnds(time.Since(c.replay.answered) < replayAtOnce)
}

// replayEnds judges a replay that is over. Seamless says that live messages have
// been delivered since it was read.
func (c *Channel) replayEnds(seamless bool) {
	r := &c.replay
	if !r.waiting {
		return
	}
	r.stop()
	r.owed = false
	result := ReplayIncomplete
	switch {
	case r.since.IsZero(): // there was none
		result = NoReplay
	case seamless && r.replayed < maxReplay && r.twins == 0 && !r.spoilt && c.link.Version() == phoenix.V2:
		result = ReplayComplete
	}
	c.apply(inReplayed, cause{replay: result})
}

// isNew reports whether a broadcast has not been delivered. Its id is known if
// the server vouches for it. A message that was stored for a client comes live
// without an id, and by replay with one: there the text decides.
func (r *replayer) isNew(b *Broadcast, vouched bool, now time.Time) bool {
	switch {
	case vouched && b.ID != "" && !r.ids.add(b.ID):
		return false
	case b.Replayed:
		if r.forgetLive(b) {
			r.twins++
			return false
		}
	case r.remembers && b.ID == "":
		r.rememberLive(b, now)
	}
	return true
}

// liveText stands for a live message without an id.
type liveText struct {
	hash uint64
	at   time.Time
}

func (r *replayer) rememberLive(b *Broadcast, now time.Time) {
	if len(r.live) < kept {
		r.live = append(r.live, liveText{})
	}
	r.live[r.next%kept] = liveText{r.hash(b), now}
	r.next++
}

// forgetLive reports whether there was a live message with the text of a
// replayed one, in the time that the replay covers. One is for one.
func (r *replayer) forgetLive(b *Broadcast) bool {
	hash := r.hash(b)
	for i := range r.live {
		if r.live[i].hash == hash && r.live[i].at.After(r.window) {
			r.live[i] = liveText{}
			return true
		}
	}
	return false
}

func (r *replayer) hash(b *Broadcast) uint64 {
	var h maphash.Hash
	h.SetSeed(hashSeed)
	h.WriteString(b.Event)
	h.WriteByte(0)
	h.Write(b.Payload)
	h.WriteByte(0)
	h.Write(b.Binary)
	return h.Sum64()
}

var hashSeed = maphash.MakeSeed()

// idRing remembers the last ids.
type idRing struct {
	ids  map[string]struct{}
	ring []string
	next int
}

// add reports whether the id is new.
func (r *idRing) add(id string) bool {
	if len(id) > maxID {
		return true
	}
	if _, known := r.ids[id]; known {
		return false
	}
	if r.ids == nil {
		r.ids = map[string]struct{}{}
	}
	r.ids[id] = struct{}{}
	if len(r.ring) < kept {
		r.ring = append(r.ring, id)
		return true
	}
	delete(r.ids, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % kept
	return true
}
