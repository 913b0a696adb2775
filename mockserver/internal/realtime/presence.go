package realtime

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// presenceKey is the key of a join: what it gives as a string or a number,
// or else a new UUID.
func presenceKey(raw json.RawMessage) string {
	if s, ok := rawjson.Text(raw); ok && s != "" {
		return s
	}
	if _, err := json.Number(raw).Float64(); err == nil {
		return string(raw)
	}
	return uuid.NewString()
}

// presences is who is present where. Its mutex orders what is told of them.
type presences struct {
	mu     sync.Mutex
	worlds map[world][]*presence // in the order in which they came
}

// presence is one channel that is present under its key, with a payload.
type presence struct {
	ch        *channel
	ref, prev string // phx_ref, and that of the payload before; empty: none
	payload   []byte // as pgtype.AppendJSONB writes it, so that equal ones are equal
}

// meta writes the presence as clients see it: the payload and its refs.
func (p *presence) meta() json.RawMessage {
	fields, _ := rawjson.Object(p.payload)
	fields["phx_ref"] = rawjson.Must(p.ref)
	if p.prev != "" {
		fields["phx_ref_prev"] = rawjson.Must(p.prev)
	}
	return rawjson.Must(fields)
}

// presentAs are the metas of one key.
type presentAs struct {
	Metas []json.RawMessage `json:"metas"`
}

// byKey groups presences.
func byKey(list ...*presence) map[string]*presentAs {
	keys := map[string]*presentAs{}
	for _, p := range list {
		key := p.ch.config.key
		if keys[key] == nil {
			keys[key] = &presentAs{}
		}
		keys[key].Metas = append(keys[key].Metas, p.meta())
	}
	return keys
}

type presenceDiff struct {
	Joins  map[string]*presentAs `json:"joins"`
	Leaves map[string]*presentAs `json:"leaves"`
}

// track makes a channel present, or changes its payload, which is to others
// that it leaves and joins.
func (rt *Server) track(ch *channel, payload []byte) {
	rt.present.mu.Lock()
	defer rt.present.mu.Unlock()
	fresh := &presence{ch: ch, ref: newRef(), payload: payload}
	diff := presenceDiff{Leaves: byKey()}
	list := slices.Clone(rt.present.worlds[ch.world()])
	if i := slices.Index(list, ch.present); i >= 0 {
		fresh.prev = ch.present.ref
		diff.Leaves = byKey(ch.present)
		list[i] = fresh
	} else {
		list = append(list, fresh)
	}
	diff.Joins = byKey(fresh)
	ch.present = fresh
	rt.present.worlds[ch.world()] = list
	rt.tell(ch.world(), diff)
}

// untrack undoes track.
func (rt *Server) untrack(ch *channel) {
	if ch.present == nil {
		return
	}
	rt.present.mu.Lock()
	defer rt.present.mu.Unlock()
	w := ch.world()
	rt.present.worlds[w] = without(rt.present.worlds[w], ch.present)
	if len(rt.present.worlds[w]) == 0 {
		delete(rt.present.worlds, w)
	}
	rt.tell(w, presenceDiff{Joins: byKey(), Leaves: byKey(ch.present)})
	ch.present = nil
}

// tell sends a diff to everybody in a world.
func (rt *Server) tell(w world, diff presenceDiff) {
	m := phoenix.Message{Topic: phoenix.TopicPrefix + w.name, Event: phoenix.EventPresenceDiff, Payload: rawjson.Must(diff)}
	f := frames{of: func(phoenix.Version) (phoenix.Message, bool) { return m, true }}
	for _, l := range rt.membersOf(w) {
		frame, _, _, _ := f.form(l.conn.version) // text always has a form
		l.conn.post(len(frame), func() {
			if l.rights.presence {
				l.conn.write(frame, false)
			}
		})
	}
}

// newRef makes a phx_ref.
func newRef() string {
	b := make([]byte, 12)
	_, _ = rand.Read(b) // never fails
	return base64.URLEncoding.EncodeToString(b)
}

// syncPresence tells the client who is present, once after the join.
func (ch *channel) syncPresence() {
	if !ch.config.presence || !ch.rights.presence || !ch.countTrack() {
		return
	}
	present := &ch.conn.rt.present
	present.mu.Lock()
	defer present.mu.Unlock()
	ch.push(phoenix.EventPresenceState, rawjson.Must(byKey(present.worlds[ch.world()]...)))
}

// presence handles a presence message of the client.
func (ch *channel) presence(m phoenix.Message) {
	message, _ := rawjson.Object(m.Payload)
	raw, given := message["event"]
	event, ok := rawjson.Text(raw)
	switch {
	case !given:
		ch.ok(m.Ref)
	case !ok:
		ch.Crash()
	case !ch.countCall():
		ch.Shutdown("Client presence rate limit exceeded")
	case strings.EqualFold(event, "track"):
		ch.track(m.Ref, message["payload"])
	case strings.EqualFold(event, "untrack"):
		ch.ok(m.Ref)
		ch.conn.rt.untrack(ch)
	default:
		ch.refusePresence(m.Ref, "{}")
	}
}

// track handles a track of the client. The reply comes before the diff, which
// on the real server it often does.
func (ch *channel) track(ref phoenix.Ref, raw json.RawMessage) {
	if raw == nil {
		raw = json.RawMessage("{}")
	}
	if !ch.mayWrite(ExtensionPresence) {
		ch.refusePresence(ref, "{}")
		return
	}
	v, err := pgtype.ParseJSON(string(raw))
	if _, ok := v.(pgtype.Object); err != nil || !ok {
		ch.refusePresence(ref, `{"reason":"Presence track payload must be a map"}`)
		return
	}
	payload := pgtype.AppendJSONB(nil, v)
	switch {
	case ch.present != nil && bytes.Equal(ch.present.payload, payload):
		ch.ok(ref)
	case ch.conn.rt.limits.tooLarge(func() int { return termSize(raw) }):
		ch.Shutdown("Track message size exceeded")
	case ch.countTrack():
		ch.ok(ref)
		ch.conn.rt.track(ch, payload)
	}
}

func (ch *channel) refusePresence(ref phoenix.Ref, response string) {
	ch.conn.push(wire.Reply(ch.topic, ch.joinRef, ref, phoenix.StatusError, response))
}

// countTrack counts what all channels tell of presence, and closes the channel
// when that is too much.
func (ch *channel) countTrack() bool {
	tracks := &ch.conn.rt.tracks
	if tracks.exceeded() {
		ch.Shutdown("Too many presence messages per second")
		return false
	}
	tracks.add(1)
	return true
}

// countCall counts what the channel does about its own presence.
func (ch *channel) countCall() bool {
	limits := ch.conn.rt.limits
	if limits.ClientPresenceCalls == 0 {
		return true
	}
	if now := time.Now(); ch.calls == 0 || now.Sub(ch.callsFrom) > limits.ClientPresenceWindow {
		ch.calls, ch.callsFrom = 0, now
	}
	ch.calls++
	return ch.calls <= limits.ClientPresenceCalls
}
