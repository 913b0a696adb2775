package realtime

import (
	"maps"
	"slices"
	"time"
)

// Resubscribe deletes all subscriptions and makes them anew after a while.
func (rt *Server) Resubscribe() {
	rt.resubscribe(rt.chance.Between(rt.timing.ResubscribeMin, rt.timing.ResubscribeMax))
}

// resubscribe deletes all subscriptions and has their channels subscribe again
// after d.
func (rt *Server) resubscribe(d time.Duration) {
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
func (rt *Server) publicationChanged() bool {
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
func (rt *Server) unsubscribeAll() (channels []*channel) {
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
