package mockserver

import (
	"maps"
	"slices"
	"time"
)

// Resubscribe does what the server does when the tables of the publication
// have changed: it deletes all subscriptions, and makes them anew after
// Timing.ResubscribeMin to ResubscribeMax, which it tells each channel by
// another "Subscribed to PostgreSQL". What is committed between the two is
// never delivered, and nothing else tells of it.
//
// When the server notices by itself that the publication has changed, it makes
// them anew at once, for all channels.
func (s *Server) Resubscribe() {
	rt := s.realtime
	rt.resubscribe(rt.chance.between(rt.timing.ResubscribeMin, rt.timing.ResubscribeMax))
}

// Publish adds a table to the publication, or removes it. Changes of a table
// that is not in the publication are not delivered, but a binding on a whole
// schema gets those of a table that was added only after the server has
// noticed, which it does within Timing.Publication. It then does what
// Resubscribe does, at once; a channel one of whose bindings has no table any more gets
// an error instead, and no changes until it joins again. The error says that
// there is no such table.
func (s *Server) Publish(table string, on bool) error {
	return s.db.Publish(table, on)
}

// resubscribe deletes all subscriptions and has their channels subscribe again
// after d.
func (rt *realtime) resubscribe(d time.Duration) {
	for _, ch := range rt.unsubscribeAll() {
		ch.conn.post(0, func() {
			if !ch.ended.Load() {
				ch.loseUntil(d)
			}
		})
	}
}

// publicationChanged reports, once in a while, whether the publication has
// changed since it was asked last.
func (rt *realtime) publicationChanged() bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if time.Since(rt.checked) < rt.timing.Publication {
		return false
	}
	rt.noticePublication()
	changed := rt.republished
	rt.checked, rt.republished = time.Now(), false
	return changed
}

// unsubscribeAll deletes all subscriptions and returns the channels that had
// some.
func (rt *realtime) unsubscribeAll() (channels []*channel) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	seen := map[*channel]bool{}
	for _, t := range slices.Sorted(maps.Keys(rt.subs)) {
		for _, s := range rt.subs[t] {
			if ch := ownerOf(s).ch; !seen[ch] {
				seen[ch] = true
				channels = append(channels, ch)
			}
		}
	}
	rt.removeAll()
	rt.asleep = time.Now()
	return channels
}

// loseUntil subscribes after d, to changes that are committed after that.
func (ch *channel) loseUntil(d time.Duration) {
	ch.subscribeIn(max(d, 1))
	ch.lossy = true
}
