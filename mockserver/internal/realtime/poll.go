package realtime

import (
	"cmp"
	"slices"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// maxChanges is how many changes one look at the log takes, about: a
// transaction is always taken whole.
const maxChanges = 100

// deliverAll sends changes to their subscribers: all of them, or with an error
// none. The query of a poll gives all of its changes or fails. Over the limit
// of events the server reads the log all the same, and sends nothing.
func (p *poller) deliverAll(all []project.Change) (delivered bool, err error) {
	if err := p.rt.Faults.FailedPoll(len(all)); err != nil {
		return false, err
	}
	if p.rt.overLimit(all) {
		return false, nil
	}
	for _, f := range all {
		if len(f.Deliveries) > 0 {
			p.take(f)
			delivered = true
		}
	}
	if p.rt.Faults.MixesPolls() {
		p.mix()
	}
	return delivered, nil
}

// overLimit reports whether what a poll gave is discarded, and counts it
// otherwise: each subscriber of each change.
func (rt *Server) overLimit(all []project.Change) bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.changes.exceeded() || rt.Faults.RateExceeded() {
		return true
	}
	for _, f := range all {
		for _, d := range f.Deliveries {
			rt.changes.add(len(d.Subs))
		}
	}
	return false
}

// send puts the change into the mailbox of each channel's socket: one message
// a channel, with the ids of all of its bindings that match, the last one
// first. One that is late misses the channels that have ended by now.
func send(d project.Delivery, late bool) {
	var channels []*channel
	bindings := map[*channel][]*owner{}
	for _, sub := range d.Subs {
		s := ownerOf(sub)
		if late && s.ch.ended.Load() {
			continue
		}
		if _, ok := bindings[s.ch]; !ok {
			channels = append(channels, s.ch)
		}
		bindings[s.ch] = append(bindings[s.ch], s)
	}
	var payload []byte
	var its []int
	for _, ch := range channels {
		slices.SortFunc(bindings[ch], func(a, b *owner) int { return cmp.Compare(b.order, a.order) })
		ids := make([]int, len(bindings[ch]))
		for i, s := range bindings[ch] {
			ids[i] = s.id
		}
		if payload == nil || !slices.Equal(ids, its) { // which most channels have alike
			payload, its = wire.AppendPayload(d.Data, ids), ids
		}
		m := phoenix.Message{Topic: ch.topic, Event: phoenix.EventPostgresChanges, Payload: payload}
		ch.conn.post(len(payload), func() { ch.conn.send(m) })
	}
}
