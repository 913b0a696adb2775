package channel

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"slices"
)

// PresenceMeta is one presence under a key: each channel that tracks is one.
type PresenceMeta struct {
	Ref     string          // which the server gives: another payload has another
	Payload json.RawMessage // the object that was tracked
}

// metaID names a meta: those of a key have different refs.
type metaID struct{ key, ref string }

// meta is the rest of one. Those of a key are in the order of their numbers.
type meta struct {
	number  int
	payload json.RawMessage
}

// roster is who is present. It is flat, so that the cost of a change is that of
// the metas in it, however many a key has.
type roster map[metaID]meta

// rosterDiff is what has changed in a roster. An update is a key in both.
type rosterDiff struct{ joined, left roster }

func newDiff() rosterDiff { return rosterDiff{roster{}, roster{}} }

func (d rosterDiff) empty() bool { return len(d.joined)+len(d.left) == 0 }

// until returns what has to change in r to make it later.
func (r roster) until(later roster) rosterDiff {
	return rosterDiff{joined: later.without(r), left: r.without(later)}
}

// without returns the metas that other does not have.
func (r roster) without(other roster) roster {
	rest := roster{}
	for id, m := range r {
		if _, ok := other[id]; !ok {
			rest[id] = m
		}
	}
	return rest
}

// apply makes a change: first what joined and then what left. It returns what
// has really changed: who is there already does not join, and who is unknown
// does not leave.
func (r roster) apply(d rosterDiff) rosterDiff {
	done := newDiff()
	for id, m := range d.joined {
		if _, ok := r[id]; !ok {
			r[id], done.joined[id] = m, m
		}
	}
	for id := range d.left {
		if m, ok := r[id]; ok {
			done.left[id] = m
			delete(r, id)
		}
	}
	return done
}

// merge adds a later change: who came and went in between was never there.
func (d rosterDiff) merge(later rosterDiff) {
	for id, m := range later.joined {
		if _, ok := d.left[id]; ok {
			delete(d.left, id)
		} else {
			d.joined[id] = m
		}
	}
	for id, m := range later.left {
		if _, ok := d.joined[id]; ok {
			delete(d.joined, id)
		} else {
			d.left[id] = m
		}
	}
}

// byKey returns a copy that shares nothing with r.
func (r roster) byKey() map[string][]PresenceMeta {
	type entry struct {
		metaID
		meta
	}
	entries := make([]entry, 0, len(r))
	for id, m := range r {
		entries = append(entries, entry{id, m})
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.number, b.number) })
	out := make(map[string][]PresenceMeta)
	for _, e := range entries {
		out[e.key] = append(out[e.key], PresenceMeta{Ref: e.ref, Payload: bytes.Clone(e.payload)})
	}
	return out
}

// rosterReader decodes rosters and numbers their metas.
type rosterReader struct{ metas int }

var errMetaWithoutRef = errors.New("channel: presence: a meta without a ref")

// state decodes the payload of a presence_state.
func (n *rosterReader) state(payload []byte) (roster, error) {
	var w wireRoster
	if err := json.Unmarshal(payload, &w); err != nil {
		return nil, err
	}
	return n.roster(w)
}

// diff decodes the payload of a presence_diff.
func (n *rosterReader) diff(payload []byte) (d rosterDiff, err error) {
	var w struct{ Joins, Leaves wireRoster }
	if err := json.Unmarshal(payload, &w); err != nil {
		return d, err
	}
	if d.joined, err = n.roster(w.Joins); err == nil {
		d.left, err = n.roster(w.Leaves)
	}
	return d, err
}

// wireRoster is a roster as the server writes it.
type wireRoster map[string]struct {
	Metas []json.RawMessage `json:"metas"`
}

func (n *rosterReader) roster(w wireRoster) (roster, error) {
	r := make(roster, len(w))
	var fields map[string]json.RawMessage // the payload with the server's two refs in it
	for key, entry := range w {
		for _, text := range entry.Metas {
			clear(fields)
			id := metaID{key: key}
			if err := json.Unmarshal(text, &fields); err != nil {
				return nil, err
			}
			if id.ref = firstRef(text, fields); id.ref == "" {
				return nil, errMetaWithoutRef
			}
			delete(fields, "phx_ref")
			delete(fields, "phx_ref_prev")
			payload, _ := json.Marshal(fields) // JSON that has been read
			n.metas++
			r[id] = meta{n.metas, payload}
		}
	}
	return r, nil
}

// firstRef returns the ref that the server has given a meta. A payload may have
// a phx_ref of its own, which the server writes behind it.
func firstRef(text []byte, fields map[string]json.RawMessage) (ref string) {
	if bytes.Count(text, []byte(`"phx_ref"`)) == 1 {
		_ = json.Unmarshal(fields["phx_ref"], &ref)
		return ref
	}
	d := json.NewDecoder(bytes.NewReader(text))
	_, _ = d.Token() // {
	for d.More() {
		var value json.RawMessage
		key, _ := d.Token()
		if d.Decode(&value) != nil || key == "phx_ref" && json.Unmarshal(value, &ref) == nil {
			break
		}
	}
	return ref
}
