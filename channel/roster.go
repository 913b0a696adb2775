package channel

import (
	"encoding/json"
	"slices"
)

// Meta is one presence under a key: each channel that tracks is one.
type Meta struct {
	Ref     string          // which the server gives: another payload has another
	Payload json.RawMessage // the object that was tracked
}

// roster is who is present: the metas of each key.
type roster map[string][]Meta

// rosterDiff is what has changed in a roster. An update is a key in both.
type rosterDiff struct{ joined, left roster }

// sync makes the roster equal to the state that the server sent, and returns
// the difference: metas are the same if their refs are.
func (r roster) sync(state roster) (d rosterDiff) {
	d = rosterDiff{roster{}, roster{}}
	for key, metas := range r {
		d.left.add(key, without(metas, state[key]))
	}
	for key, metas := range state {
		d.joined.add(key, without(metas, r[key]))
	}
	r.apply(d)
	return d
}

// apply makes a change: first what joined, behind what is there, and then what
// left. Unknown keys and refs that leave are ignored. It returns what has
// really changed.
func (r roster) apply(d rosterDiff) (done rosterDiff) {
	done = rosterDiff{roster{}, roster{}}
	for key, metas := range d.joined {
		fresh := without(metas, r[key])
		r.add(key, fresh)
		done.joined.add(key, fresh)
	}
	for key, metas := range d.left {
		gone := common(r[key], metas)
		r.remove(key, gone)
		done.left.add(key, gone)
	}
	return done
}

// merge adds a later change to one that has not been taken: who came and went
// in between was never there.
func (d rosterDiff) merge(later rosterDiff) {
	for key, metas := range later.joined {
		back := common(d.left[key], metas)
		d.left.remove(key, back)
		d.joined.add(key, without(metas, back))
	}
	for key, metas := range later.left {
		passed := common(d.joined[key], metas)
		d.joined.remove(key, passed)
		d.left.add(key, without(metas, passed))
	}
}

func (d rosterDiff) empty() bool { return len(d.joined) == 0 && len(d.left) == 0 }

func (r roster) add(key string, metas []Meta) {
	if len(metas) > 0 {
		r[key] = append(slices.Clip(r[key]), metas...)
	}
}

func (r roster) remove(key string, metas []Meta) {
	if len(metas) == 0 {
		return
	}
	if r[key] = without(r[key], metas); len(r[key]) == 0 {
		delete(r, key)
	}
}

// copy returns a roster that others may change.
func (r roster) copy() roster {
	out := make(roster, len(r))
	for key, metas := range r {
		out[key] = slices.Clone(metas)
	}
	return out
}

// without returns the metas whose refs are not among the others'.
func without(metas, others []Meta) []Meta {
	return filter(metas, func(m Meta) bool { return !has(others, m.Ref) })
}

// common returns the metas whose refs are among the others'.
func common(metas, others []Meta) []Meta {
	return filter(metas, func(m Meta) bool { return has(others, m.Ref) })
}

func filter(metas []Meta, keep func(Meta) bool) (kept []Meta) {
	for _, m := range metas {
		if keep(m) {
			kept = append(kept, m)
		}
	}
	return kept
}

func has(metas []Meta, ref string) bool {
	return slices.ContainsFunc(metas, func(m Meta) bool { return m.Ref == ref })
}

// wireRoster is a roster as the server writes it.
type wireRoster map[string]struct {
	Metas []map[string]json.RawMessage `json:"metas"`
}

// roster reads the metas: the payloads with the server's two refs in them.
func (w wireRoster) roster() (roster, error) {
	r := roster{}
	for key, entry := range w {
		for _, fields := range entry.Metas {
			var m Meta
			if err := json.Unmarshal(fields["phx_ref"], &m.Ref); err != nil {
				return nil, err
			}
			delete(fields, "phx_ref")
			delete(fields, "phx_ref_prev")
			m.Payload, _ = json.Marshal(fields) // JSON that has been read
			r.add(key, []Meta{m})
		}
	}
	return r, nil
}

// readRoster decodes the payload of a presence_state.
func readRoster(payload []byte) (roster, error) {
	var w wireRoster
	if err := json.Unmarshal(payload, &w); err != nil {
		return nil, err
	}
	return w.roster()
}

// readRosterDiff decodes the payload of a presence_diff.
func readRosterDiff(payload []byte) (d rosterDiff, err error) {
	var w struct{ Joins, Leaves wireRoster }
	if err := json.Unmarshal(payload, &w); err != nil {
		return d, err
	}
	if d.joined, err = w.Joins.roster(); err == nil {
		d.left, err = w.Leaves.roster()
	}
	return d, err
}
