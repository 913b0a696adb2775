package realtime

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver/internal/fault"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// receive handles one message of the client, on the goroutine process as all
// methods of a channel that are not said to run elsewhere.
func (c *conn) receive(m phoenix.Message) {
	ch := c.channel(m.Topic)
	switch {
	case m.Topic == phoenix.TopicPhoenix && m.Event == phoenix.EventHeartbeat:
		if !c.rt.Faults.Now().HeartbeatsMuted {
			c.send(wire.Reply(m.Topic, "", m.Ref, phoenix.StatusOK, "{}"))
		}
	case m.Event == phoenix.EventJoin && strings.HasPrefix(m.Topic, phoenix.TopicPrefix):
		c.join(ch, m)
	case m.Event == phoenix.EventLeave && ch == nil:
		c.send(wire.Reply(m.Topic, m.JoinRef, m.Ref, phoenix.StatusOK, "{}"))
	case ch == nil:
		c.send(wire.Reply(m.Topic, "", m.Ref, phoenix.StatusError, `{"reason":"unmatched topic"}`))
	default:
		ch.receive(m)
	}
}

// channel returns the joined channel of that topic, or nil.
func (c *conn) channel(topic string) *channel {
	for _, ch := range c.channels {
		if ch.topic == topic {
			return ch
		}
	}
	return nil
}

// channel is one joined topic of a socket. Its first fields never change, and
// any goroutine may read them; the others are of the socket's process.
type channel struct {
	conn    *conn
	topic   string // realtime:name
	name    string
	joinRef phoenix.Ref
	config  joinConfig
	number  int // of the join, in the server; under rt.mu

	who         bearer
	rights      rights // of who
	replaySince time.Time
	replayLimit int               // 0: no replay
	replays     []project.Message // to be sent when the join has been answered
	replayed    map[string]bool   // their ids: they are not delivered live
	present     *presence         // nil: it is not
	calls       int               // about its presence, since callsFrom
	callsFrom   time.Time
	ended       atomic.Bool // any goroutine may read it
	fresh       bool        // begin has not run yet
	told        bool        // the client was told that it is subscribed
	lossy       bool        // the next subscriptions begin with what is committed after them
	subscribe   *time.Timer // the next attempt to subscribe, or nil
	expiry      *time.Timer // of the token, or nil
}

func (ch *channel) world() world { return world{ch.name, ch.config.private} }

// after runs do on the socket's process after d, unless the channel has ended
// by then. The caller stops the timer in end.
func (ch *channel) after(d time.Duration, do func()) *time.Timer {
	return time.AfterFunc(d, func() {
		ch.conn.post(0, func() {
			if !ch.ended.Load() {
				do()
			}
		})
	})
}

// settleTime is how long a channel takes from the reply to its join to its
// subscriptions, with a database that is awake. If the topic is joined again
// within that time, the first channel ends before it has said anything.
const settleTime = 500 * time.Microsecond

// begin does what follows the reply to the join.
func (ch *channel) begin() {
	if !ch.fresh {
		return
	}
	ch.fresh = false
	ch.replay()
	if len(ch.config.bindings) > 0 {
		ch.subscribeIn(ch.conn.rt.timing.Subscribed + ch.conn.rt.Faults.Now().SubscribedDelay - settleTime)
	}
	if ch.config.ready {
		ch.system(phoenix.ExtensionSystem, phoenix.StatusOK, "Replication connection established")
	}
	ch.syncPresence()
}

// receive handles a message to the channel. Unknown events are not answered,
// and a join_ref that is not the channel's matters to a leave alone.
func (ch *channel) receive(m phoenix.Message) {
	ch.begin() // on the real server that stands in the channel's own mailbox before m
	switch m.Event {
	case phoenix.EventLeave:
		if m.JoinRef == ch.joinRef {
			ch.ok(m.Ref)
			ch.close()
		}
	case phoenix.EventAccessToken:
		ch.accessToken(m.Payload)
	case phoenix.EventBroadcast:
		ch.broadcast(m)
	case phoenix.EventPresence:
		ch.presence(m)
	}
}

// ok answers a message to the channel.
func (ch *channel) ok(ref phoenix.Ref) {
	ch.conn.push(wire.Reply(ch.topic, ch.joinRef, ref, phoenix.StatusOK, "{}"))
}

// push sends a message of the channel's own, which has its join_ref.
func (ch *channel) push(event string, payload []byte) {
	ch.conn.push(phoenix.Message{JoinRef: ch.joinRef, Topic: ch.topic, Event: event, Payload: payload})
}

// end takes the channel out of the server without a word.
func (ch *channel) end() {
	ch.ended.Store(true)
	for _, t := range []*time.Timer{ch.subscribe, ch.expiry} {
		if t != nil {
			t.Stop()
		}
	}
	ch.conn.rt.detach(ch)
	ch.conn.rt.untrack(ch)
	ch.conn.channels = slices.DeleteFunc(slices.Clone(ch.conn.channels), func(other *channel) bool { return other == ch })
}

// closing returns the message that says that the channel is gone. Its ref is
// the join_ref, by which clients of serializer 1.0.0 know the channel.
func (ch *channel) closing(event, payload string) phoenix.Message {
	return phoenix.Message{JoinRef: ch.joinRef, Ref: ch.joinRef, Topic: ch.topic, Event: event, Payload: []byte(payload)}
}

// close ends the channel with phx_close.
func (ch *channel) close() {
	ch.end()
	ch.conn.push(ch.closing(phoenix.EventClose, "{}"))
}

// Crash ends the channel with phx_error.
func (ch *channel) Crash() {
	ch.end()
	ch.conn.push(ch.closing(phoenix.EventError, `{"reason":"channel_crash"}`))
}

// watchToken closes the channel when its token expires.
func (ch *channel) watchToken() {
	if ch.expiry != nil {
		ch.expiry.Stop()
	}
	if ch.who.expires.IsZero() {
		return
	}
	ch.expiry = ch.after(time.Until(ch.who.expires), func() {
		if _, err := ch.conn.rt.bearer(ch.who.token); err != nil {
			ch.Shutdown(err.SystemText())
			return
		}
		ch.watchToken() // the clock was set back
	})
}

// accessToken takes a new token. There is no answer to a good one: when the
// channel has bindings they are subscribed to again after a while, and until
// then the old claims hold for them.
func (ch *channel) accessToken(payload []byte) {
	message, _ := rawjson.Object(payload)
	token, ok := rawjson.Text(message["access_token"])
	if !ok || strings.HasPrefix(token, "sb_") || token == ch.who.token {
		return
	}
	rt := ch.conn.rt
	if message := rt.Faults.RefusedToken(); message != "" {
		ch.Shutdown(message)
		return
	}
	who, err := rt.bearer(token)
	if err != nil {
		ch.Shutdown(err.SystemText())
		return
	}
	if ch.config.private && rt.Faults.RightsTerminated() {
		ch.Shutdown(notPermitted + ch.name)
		return
	}
	if ch.config.private && rt.Faults.Outage() != nil {
		ch.Shutdown(fault.NoDatabase)
		return
	}
	may := rt.readRights(ch.name, ch.config, who.claims)
	switch {
	case may.unknown:
		ch.Shutdown(fault.NoDatabase)
		return
	case may.none():
		ch.Shutdown(notPermitted + ch.name)
		return
	case may.lost(ch.rights):
		ch.Shutdown("You no longer have permission to read from this Channel topic: " + ch.name)
		return
	}
	ch.who, ch.rights = who, may
	ch.watchToken()
	if len(ch.config.bindings) > 0 {
		ch.subscribeIn(ch.conn.chance.Between(rt.timing.ResubscribeMin, rt.timing.ResubscribeMax))
	}
}

const notPermitted = "You do not have permissions to read from this Channel topic: "
