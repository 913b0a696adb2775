package realtime

import (
	"bytes"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// broadcast is a message to everybody who has joined the same name with the
// same privacy, in the form in which it was made, as that is how it is relayed.
type broadcast struct {
	kind    phoenix.Kind // Text, Broadcast, or UserBroadcast
	payload []byte       // of a Text the whole object, word for word

	event string // of a UserBroadcast
	json  bool   // of a UserBroadcast: payload claims to be JSON
	id    string // of a message from the database
	meta  []byte // of a UserBroadcast: an object, or nil
}

// unparsed is what the real server tells clients of serializer 1.0.0 of a
// binary push of Phoenix's own kind. It is not JSON.
const unparsed = `%{error: "unable to parse response"}`

// message returns what a client of the version gets, if it gets anything.
func (b broadcast) message(v phoenix.Version, topic string) (m phoenix.Message, ok bool) {
	m = phoenix.Message{Kind: b.kind, Topic: topic, Event: phoenix.EventBroadcast, Payload: b.payload,
		UserEvent: b.event, Meta: b.meta, JSON: b.json}
	if v == phoenix.V2 || b.kind == phoenix.Text {
		return m, true
	}
	m.Kind = phoenix.Text
	switch {
	case b.kind == phoenix.Broadcast:
		m.Payload = []byte(unparsed)
	case b.json:
		m.Payload = b.object()
	default:
		return phoenix.Message{}, false
	}
	return m, true
}

// object writes a UserBroadcast as the payload of a text message. What is in
// it is not checked: it may be no JSON.
func (b broadcast) object() []byte {
	text := append([]byte(`{"event":`), rawjson.Must(b.event)...)
	if b.meta != nil {
		text = append(append(text, `,"meta":`...), b.meta...)
	}
	text = append(append(text, `,"payload":`...), b.payload...)
	return append(text, `,"type":"broadcast"}`...)
}

// size is what the server measures a broadcast by.
func (b broadcast) size() int {
	if b.kind == phoenix.Text || b.json {
		return termSize(b.payload)
	}
	return len(b.payload)
}

// frames are the forms of one message that is sent to many.
type frames struct {
	of    func(v phoenix.Version) (m phoenix.Message, ok bool)
	forms [phoenix.V2 + 1]struct {
		made, ok, binary bool
		frame            []byte
	}
}

func (f *frames) form(v phoenix.Version) (frame []byte, binary, ok bool, err error) {
	form := &f.forms[v]
	if !form.made {
		var m phoenix.Message
		if m, form.ok = f.of(v); form.ok {
			if form.frame, form.binary, err = phoenix.Append(nil, v, phoenix.FromServer, m); err != nil {
				return nil, false, false, err
			}
		}
		form.made = true
	}
	return form.frame, form.binary, form.ok, nil
}

// relay sends a broadcast to everybody in a world but one channel, which may be
// nil. The error is that of a field too long for a binary frame: on the real
// server the sender's process dies of it, and nobody else gets anything.
func (rt *Server) relay(w world, b broadcast, except *channel) error {
	listeners := rt.membersOf(w)
	f := frames{of: func(v phoenix.Version) (phoenix.Message, bool) { return b.message(v, phoenix.TopicPrefix+w.name) }}
	for _, l := range listeners {
		if l == except {
			continue
		}
		frame, binary, ok, err := f.form(l.conn.version)
		if err != nil {
			return err
		}
		l.conn.post(len(frame), func() { l.hear(b.id, frame, binary, ok) })
	}
	return nil
}

// membersOf returns the channels of a world.
func (rt *Server) membersOf(w world) []*channel {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.members[w]
}

// hear passes a broadcast on to the client: one that it may read, and that it
// has not got by replay. It counts, even if its form is none for the client.
func (ch *channel) hear(id string, frame []byte, binary, ok bool) {
	if !ch.rights.broadcasts || id != "" && ch.replayed[id] {
		return
	}
	if ok {
		ch.conn.write(frame, binary)
	}
	events := &ch.conn.rt.events
	events.add(1)
	if events.exceeded() && !ch.ended.Load() {
		ch.Shutdown("Too many messages per second")
	}
}

// broadcast handles a broadcast of the client. One that it may not send is
// dropped without an answer.
//
// A payload that is no object makes the channel crash when somebody with
// serializer 2.0.0 is to get it, since that serializer cannot write it.
func (ch *channel) broadcast(m phoenix.Message) {
	if !ch.mayWrite(ExtensionBroadcast) {
		return
	}
	rt, b := ch.conn.rt, pushed(m)
	rt.events.add(1)
	if rt.limits.tooLarge(b.size) {
		ch.acknowledge(m.Ref, phoenix.StatusError, `"payload_size_exceeded"`)
		return
	}
	except := ch
	if ch.config.self {
		except = nil
	}
	unwritable := b.kind == phoenix.Text && !isObject(b.payload) && ch.heardByV2()
	if unwritable || rt.relay(ch.world(), b, except) != nil {
		ch.Crash()
		return
	}
	ch.acknowledge(m.Ref, phoenix.StatusOK, "{}")
}

// acknowledge answers a broadcast, if the channel wants answers.
func (ch *channel) acknowledge(ref phoenix.Ref, status, response string) {
	if ch.config.ack {
		ch.conn.push(wire.Reply(ch.topic, ch.joinRef, ref, status, response))
	}
}

// pushed reads a broadcast of the client. The metadata that it may have is
// dropped.
func pushed(m phoenix.Message) broadcast {
	switch m.Kind {
	case phoenix.UserPush:
		return broadcast{kind: phoenix.UserBroadcast, payload: m.Payload, event: m.UserEvent, json: m.JSON}
	case phoenix.Push:
		return broadcast{kind: phoenix.Broadcast, payload: m.Payload}
	}
	return broadcast{kind: phoenix.Text, payload: m.Payload}
}

func isObject(payload []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(payload), []byte("{")) }

// heardByV2 reports whether somebody with serializer 2.0.0 would get what the
// channel sends.
func (ch *channel) heardByV2() bool {
	for _, l := range ch.conn.rt.membersOf(ch.world()) {
		if l.conn.version == phoenix.V2 && (l != ch || ch.config.self) {
			return true
		}
	}
	return false
}
