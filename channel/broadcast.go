package channel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// Broadcast is a message to everybody on a topic, or, if Gap is set, a place in
// the stream where broadcasts may be missing.
type Broadcast struct {
	Event string
	// Payload is JSON text that nobody may have checked: the server passes on
	// what a client says is JSON. It is nil in a binary broadcast, and where the
	// sender left it out.
	Payload json.RawMessage
	// Binary is the payload of a binary broadcast, nil otherwise.
	Binary []byte

	// ID is that of a message from the database, or what the sender of one over
	// HTTP has chosen; empty for all others.
	ID string
	// Replayed says that the message was sent before the channel joined. See
	// ReplayBroadcasts.
	Replayed bool

	Gap *cdc.Gap
	// Replay, beside a Gap that is over, says what of the messages from the
	// database is missing.
	Replay Replay
}

func (b *Broadcast) size() int { return len(b.Payload) + len(b.Binary) }

// Change decodes what the database function realtime.broadcast_changes has
// sent. See cdc.DecodeBroadcast for its errors and for how its values differ
// from those of a Subscription.
func (b Broadcast) Change() (cdc.Change, error) { return cdc.DecodeBroadcast(b.Payload) }

// Replay is what a gap says about private messages from the database, which
// the server stores and a channel can have again. Broadcasts of clients, and
// over HTTP, are not stored: of those any may be missing.
type Replay uint8

const (
	// NoReplay: the channel asked for no replay.
	NoReplay Replay = iota
	// ReplayComplete: every message that was not delivered live has come, and
	// stands in the stream between the beginning of the gap and its end. It holds
	// for transactions that took no longer than WithReplayOverlap says.
	ReplayComplete
	// ReplayIncomplete: older messages may be missing. The server replays the
	// newest 25 and so many came, or it may have begun to deliver live only after
	// the replay, or one could not be read, or it is spoken to in version 1.0.0, in
	// which it leaves out the binary ones of the 25.
	ReplayIncomplete
)

// String returns the name of the value.
func (r Replay) String() string {
	switch r {
	case NoReplay:
		return "no replay"
	case ReplayComplete:
		return "replay complete"
	case ReplayIncomplete:
		return "replay possibly incomplete"
	}
	return fmt.Sprintf("Replay(%d)", uint8(r))
}

// Listener is one ordered stream of the broadcasts of a channel. Channel.Listen
// makes one; it lives as long as its channel.
type Listener struct {
	ch     *Channel
	events []string
	inbox  *inbox[Broadcast]
}

var broadcastTraits = traits[Broadcast]{
	size: (*Broadcast).size,
	note: func(b *Broadcast, g cdc.Gap, r Replay) { b.Gap, b.Replay = &g, r },
}

// Listen returns a stream of the broadcasts with one of these events, or of all
// if none is given. It must be called before the channel joins: ErrJoined
// otherwise, and what ended the channel if it is over.
func (c *Channel) Listen(events ...string) (*Listener, error) {
	for _, e := range events {
		if !utf8.ValidString(e) {
			return nil, fmt.Errorf("channel: event %q is not UTF-8", e)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.settled(); err != nil { // a stream that began later would not say so
		return nil, err
	}
	bounds := c.cfg.queue
	bounds.Full = Overflow
	l := &Listener{ch: c, events: slices.Clone(events), inbox: newInbox(broadcastTraits, bounds, c.overflowed)}
	c.listeners = append(c.listeners, l)
	c.streams[broadcasts] = append(c.streams[broadcasts], l.inbox)
	return l, nil
}

// Broadcasts joins the channel if that has not been done, and returns the
// stream.
//
// The broadcasts of one sender come in the order in which it sent them; those
// of the channel itself only with SelfBroadcasts. Messages from the database
// come in the order of their commits, each once, but replayed ones may stand
// behind live ones that are newer. A value whose Gap is set is no broadcast: the
// first is the start of the stream (reason Started); a loss of the connection
// is one at its beginning and another at its end, as with Subscription.Changes.
//
// A consumer that is slower than the stream overflows its queue (see
// WithQueue), which is a gap; a listener never holds up the socket.
//
// The stream ends with an error, after everything that came before it, as
// Subscription.Changes does. Ending the iteration loses nothing: a later call
// goes on where it stopped, as far as the queue held out. One iteration at a
// time; a second concurrent one ends at once with ErrBusy.
func (l *Listener) Broadcasts(ctx context.Context) iter.Seq2[Broadcast, error] {
	return stream(ctx, l.ch, l.inbox)
}

func (l *Listener) wants(event string) bool {
	return len(l.events) == 0 || slices.Contains(l.events, event)
}

// broadcast takes a broadcast of the server.
func (c *Channel) broadcast(m phoenix.Message, whole time.Time) {
	join := c.joined()
	if join == "" {
		return
	}
	b, vouched, err := readBroadcast(c.link.Version(), m, join)
	if err != nil {
		c.undecodable(whole, err, inBroadcastUndecodable)
		return
	}
	c.mu.Lock()
	if b.Replayed {
		c.replay.replayed++
	}
	isNew := c.replay.isNew(&b, vouched, whole)
	c.mu.Unlock()
	if !isNew {
		return
	}
	for _, l := range c.listeners { // which are fixed since the join
		if l.wants(b.Event) {
			l.inbox.push(context.Background(), &b, b.size(), whole)
		}
	}
}

// broadcastMeta is what the server says of a broadcast.
type broadcastMeta struct {
	ID       string `json:"id"`
	Replayed bool   `json:"replayed"`
}

var errNotBroadcast = errors.New("channel: a broadcast that cannot be read")

// readBroadcast decodes a broadcast. vouched says that its metadata is the
// server's own: that of a text message is whatever its sender wrote, unless the
// channel itself sent it, as it does a replay. In version 1.0.0 the two cannot
// be told apart. Nothing of m's bytes is kept.
func readBroadcast(v phoenix.Version, m phoenix.Message, joined phoenix.Ref) (b Broadcast, vouched bool, err error) {
	var meta broadcastMeta
	switch m.Kind {
	case phoenix.UserBroadcast:
		b.Event, vouched = m.UserEvent, true
		if m.JSON {
			b.Payload = slices.Clone(m.Payload)
		} else {
			b.Binary = append([]byte{}, m.Payload...)
		}
		if len(m.Meta) > 0 && json.Unmarshal(m.Meta, &meta) != nil {
			return b, false, errNotBroadcast
		}
	case phoenix.Text:
		var text struct {
			Event   string          `json:"event"`
			Payload json.RawMessage `json:"payload"`
			Meta    json.RawMessage `json:"meta"`
		}
		if json.Unmarshal(m.Payload, &text) != nil {
			return b, false, errNotBroadcast
		}
		b.Event, b.Payload, vouched = text.Event, text.Payload, v == phoenix.V1 || m.JoinRef == joined
		_ = json.Unmarshal(text.Meta, &meta) // what a client wrote there is its own affair
	default:
		return b, false, errNotBroadcast
	}
	b.ID, b.Replayed = meta.ID, meta.Replayed && vouched
	return b, vouched, nil
}
