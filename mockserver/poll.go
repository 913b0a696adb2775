package mockserver

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/gapless-go/gapless/internal/phoenix"
)

// maxChanges is how many changes one look at the log takes, about: a
// transaction is always taken whole.
const maxChanges = 100

// deliverAll sends changes to their subscribers: all of them, or with an error
// none. The query of a poll gives all of its changes or fails. Over the limit
// of events the server reads the log all the same, and sends nothing.
func (p *poller) deliverAll(all []found) (delivered bool, err error) {
	if err := p.rt.faults.failedPoll(len(all)); err != nil {
		return false, err
	}
	if p.rt.overLimit(all) {
		return false, nil
	}
	for _, f := range all {
		if len(f.deliveries) > 0 {
			p.take(f)
			delivered = true
		}
	}
	if p.rt.faults.mixesPolls() {
		p.mix()
	}
	return delivered, nil
}

// overLimit reports whether what a poll gave is discarded, and counts it
// otherwise: each subscriber of each change.
func (rt *realtime) overLimit(all []found) bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.changes.exceeded() || rt.faults.rateExceeded() {
		return true
	}
	for _, f := range all {
		for _, d := range f.deliveries {
			rt.changes.add(len(d.subs))
		}
	}
	return false
}

// found is a change in the log, and what is to be sent of it.
type found struct {
	table      *table // nil: of a database that the server does not hold itself
	deliveries []delivery
}

// changeLog is what a poller reads.
type changeLog interface {
	// next takes changes in commit order: whole transactions, up to and with the
	// one in which max changes are reached. It returns how many it took, and
	// those of them that are published. With an error they are lost.
	next(max int) (taken int, all []found, err error)
	// ready reports whether what is committed from now on will be read.
	ready() bool
	// failed returns why the log could not be opened; nil: it could, or may yet.
	failed() error
	// close gives up what has not been read. Twice is fine.
	close()
}

// slotLog reads the log of the server's own database.
type slotLog struct {
	*slot
	rt *realtime
}

func (l slotLog) ready() bool   { return true }
func (l slotLog) failed() error { return nil }

func (l slotLog) next(max int) (taken int, all []found, err error) {
	changes := l.slot.next(max)
	for _, c := range changes {
		if !c.table.published.Load() || l.rt.faults.changeDropped(c.table) {
			continue
		}
		deliveries, err := l.rt.match(c)
		if err != nil {
			return len(changes), nil, err
		}
		all = append(all, found{c.table, deliveries})
	}
	return len(changes), all, nil
}

// delivery is one change in one form for some subscriptions.
type delivery struct {
	data []byte
	subs []*subscription
}

// match finds who gets a change, and in which form: subscriptions of one role
// that select the same columns share one.
func (rt *realtime) match(c walChange) (deliveries []delivery, err error) {
	groups := map[string][]*subscription{}
	for _, s := range rt.subscribed(c.table) {
		if s.wants(c) {
			groups[s.role] = append(groups[s.role], s)
		}
	}
	if len(groups) == 0 && !slices.ContainsFunc(c.table.columns, func(column tableColumn) bool { return hasJSON(column.Type) }) {
		return nil, nil // nothing of which the poll could fail for everybody
	}
	change, err := newChange(c)
	if err != nil {
		return nil, err
	}
	change.tooLarge = change.tooLarge || rt.faults.changeTruncated(c.table)
	for _, role := range slices.Sorted(maps.Keys(groups)) {
		forRole, err := rt.matchRole(change, role, groups[role])
		if err != nil {
			return nil, err
		}
		deliveries = append(deliveries, forRole...)
	}
	return deliveries, nil
}

// matchRole is match for the subscriptions of one role.
func (rt *realtime) matchRole(c *change, role string, subs []*subscription) (deliveries []delivery, err error) {
	t := c.table
	v := view{change: c, may: make([]bool, len(t.columns)), errors: "null"}
	for i := range v.may {
		v.may[i] = rt.db.canSelect(role, t, i)
	}
	form := view.data
	switch {
	case c.op != "DELETE" && len(t.pk) == 0:
		form, v.errors = view.refused, `["Error 400: Bad Request, no primary key"]`
	case c.op != "DELETE" && slices.ContainsFunc(t.pk, func(i int) bool { return !v.may[i] }):
		form, v.errors = view.refused, `["Error 401: Unauthorized"]`
	default: // filters and policies are not asked about the errors above
		if c.tooLarge {
			v.errors = `["Error 413: Payload Too Large"]`
		}
		if subs, err = rt.visibleTo(c, subs); err != nil {
			return nil, err
		}
	}
	for _, group := range groupBySelect(subs) {
		v.selected = t.selection(group[0].columns)
		deliveries = append(deliveries, delivery{data: form(v), subs: group})
	}
	return deliveries, nil
}

// visibleTo returns those of the subscriptions whose filters the change passes
// and who may see the row, as it is now. A DELETE is shown to everybody.
func (rt *realtime) visibleTo(c *change, subs []*subscription) (visible []*subscription, err error) {
	for _, s := range subs {
		passes, err := s.passes(c)
		if err != nil {
			return nil, err
		}
		if passes && (c.op == "DELETE" || rt.db.visible(c.table, c.table.key(entry{row: c.new}), s.claims)) {
			visible = append(visible, s)
		}
	}
	return visible, nil
}

// passes reports whether all filters hold: for the new row, or for what is
// known of a deleted one. A column that is not there passes no filter.
func (s *subscription) passes(c *change) (bool, error) {
	values := c.record
	if c.op == "DELETE" {
		values = c.old
	}
	for i := range s.filters {
		f := &s.filters[i]
		if values[f.index] == nil {
			return false, nil
		}
		if ok, err := f.matches(values[f.index]); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// groupBySelect groups subscriptions by the columns that they select, in the
// server's order of groups: those that select all come first.
func groupBySelect(subs []*subscription) [][]*subscription {
	groups := map[string][]*subscription{}
	for _, s := range subs {
		key := strings.Join(s.columns, "\x00")
		groups[key] = append(groups[key], s)
	}
	sorted := slices.Collect(maps.Values(groups))
	slices.SortFunc(sorted, func(a, b []*subscription) int { return slices.Compare(a[0].columns, b[0].columns) })
	return sorted
}

// selection marks the columns that a selection shows, which always are those
// of the primary key, too.
func (t *table) selection(names []string) []bool {
	selected := make([]bool, len(t.columns))
	for i, column := range t.columns {
		selected[i] = names == nil || slices.Contains(names, column.Name) || slices.Contains(t.pk, i)
	}
	return selected
}

// send puts the change into the mailbox of each channel's socket: one message
// a channel, with the ids of all of its bindings that match, the last one
// first. One that is late misses the channels that have ended by now.
func (d delivery) send(late bool) {
	var channels []*channel
	bindings := map[*channel][]*subscription{}
	for _, s := range d.subs {
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
		slices.SortFunc(bindings[ch], func(a, b *subscription) int { return cmp.Compare(b.order, a.order) })
		ids := make([]int, len(bindings[ch]))
		for i, s := range bindings[ch] {
			ids[i] = s.id
		}
		if payload == nil || !slices.Equal(ids, its) { // which most channels have alike
			payload, its = appendPayload(d.data, ids), ids
		}
		m := phoenix.Message{Topic: ch.topic, Event: phoenix.EventPostgresChanges, Payload: payload}
		ch.conn.post(len(payload), func() { ch.conn.send(m) })
	}
}
