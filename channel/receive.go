package channel

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/secret"
	"github.com/gapless-go/gapless/internal/text"
)

const (
	// confirmWindow is how long after a push of a token a "Subscribed to
	// PostgreSQL" is taken for its answer. The server needs 1 to 3 s, a newer one
	// up to 10 s more.
	confirmWindow = 15 * time.Second
	// maxReason bounds the text of the server in an error.
	maxReason = 4096
)

// receive takes one message of the channel's topic. Messages that are unknown,
// or of an earlier join, are ignored. All decoding is done without mu.
func (c *Channel) receive(ctx context.Context, m phoenix.Message, whole time.Time) {
	c.guard("a channel's reader", func() {
		if m.Event == phoenix.EventPostgresChanges {
			c.change(ctx, m.Payload, whole)
			return
		}
		c.mu.Lock()
		c.lastWhole = whole
		presence, listening := c.presence, len(c.listeners) > 0
		c.mu.Unlock()
		switch {
		case m.Event == phoenix.EventReply:
			c.reply(m)
		case m.Event == phoenix.EventSystem:
			c.system(m, whole)
		case m.Event == phoenix.EventBroadcast && listening:
			c.broadcast(m, whole)
		case m.Event == phoenix.EventPresenceState && presence != nil:
			presence.state(m, whole)
		case m.Event == phoenix.EventPresenceDiff && presence != nil:
			presence.diff(m, whole)
		case m.Event == phoenix.EventClose, m.Event == phoenix.EventError:
			c.ended(m, whole)
		}
	})
}

// change decodes the payload of a change and hands it to the subscriptions. It
// may block, in a subscription that is to block.
func (c *Channel) change(ctx context.Context, payload []byte, whole time.Time) {
	routes := c.routes.Load()
	if routes == nil || len(*routes) == 0 {
		return // nobody asked for changes, or the reply to the join has not come
	}
	change, ids, err := cdc.Decode(payload)
	if err != nil {
		c.undecodable(whole, err, inUndecodable)
		return
	}
	for _, r := range routes.of(ids) {
		if r.sub.bindings[r.binding].matches(&change) {
			change.Binding = r.binding
			r.sub.inbox.push(ctx, &change, sizeOf(&change), whole)
		}
	}
	c.lastChange = whole
}

// heard returns when the stream of changes was last known to be whole: when the
// server sent the last thing that shows that the subscription is in force. It is
// the reader's, and called under mu.
func (c *Channel) heard() time.Time {
	if !c.doubted.IsZero() && time.Since(c.pushed) < 2*confirmWindow {
		return c.doubted
	}
	if c.lastChange.After(c.lastConfirmed) {
		return c.lastChange
	}
	return c.lastConfirmed
}

// malformed takes a frame that could not be decoded.
func (c *Channel) malformed(err *phoenix.MalformedError, whole time.Time) {
	c.guard("a channel's reader", func() {
		switch err.Event {
		case phoenix.EventBroadcast:
			c.undecodable(whole, err, inBroadcastUndecodable)
		case phoenix.EventPresenceState, phoenix.EventPresenceDiff:
			c.undecodable(whole, err, inRosterUndecodable)
		case phoenix.EventPostgresChanges:
			c.undecodable(whole, err, inUndecodable)
		case phoenix.EventSystem, phoenix.EventClose, phoenix.EventError:
			c.unheard(whole, err)
		default:
			c.undecodable(whole, err, inUndecodable, inBroadcastUndecodable, inRosterUndecodable)
		}
	})
}

// unheard notes a message about the join itself that could not be read. It may
// have said that the join or the subscription is over, after which nothing comes:
// the channel joins anew.
func (c *Channel) unheard(whole time.Time, err error) {
	c.mu.Lock()
	defer c.unlock()
	if c.m.join == joinAccepted && c.m.state != Leaving {
		c.apply(inEnded, cause{since: whole, reason: cdc.Undecodable, err: err})
	}
}

// undecodable notes a message that could not be read, and what it may have been.
func (c *Channel) undecodable(whole time.Time, err error, kinds ...input) {
	c.mu.Lock()
	defer c.unlock()
	c.lastWhole = whole
	for _, in := range kinds {
		c.apply(in, cause{since: whole, reason: cdc.Undecodable, err: err})
		c.replay.spoilt = c.replay.spoilt || in == inBroadcastUndecodable
	}
}

// reply is a phx_reply, decoded.
type reply struct {
	ok       bool
	reason   string        // of a refusal
	id       string        // of a broadcast that the server stored
	bindings []wireBinding // of a join
	misread  error         // what is beside the status could not be read
	err      error         // the reply could not be read, or there is none
}

// reply decodes a reply that somebody waits for, and hands it over.
func (c *Channel) reply(m phoenix.Message) {
	c.mu.Lock()
	_, waited := c.awaited[m.Ref]
	c.mu.Unlock()
	if !waited {
		return
	}
	r := decodeReply(m)
	c.mu.Lock()
	defer c.unlock()
	if f, ok := c.awaited[m.Ref]; ok { // or it has been given up meanwhile
		delete(c.awaited, m.Ref)
		f(r)
	}
}

// decodeReply decodes a reply. The response is an object with a reason, or with
// an error, or a bare string, or something else, whose text is the reason then.
func decodeReply(m phoenix.Message) (r reply) {
	p := struct {
		Status   string          `json:"status"`
		Response json.RawMessage `json:"response"`
	}{m.Status, m.Payload}
	if m.Kind == phoenix.Text {
		r.err = json.Unmarshal(m.Payload, &p)
	}
	if r.err == nil && p.Status == "" {
		r.err = errors.New("reply without a status")
	}
	r.ok = p.Status == phoenix.StatusOK
	if r.err != nil || m.Kind != phoenix.Text {
		return r
	}
	var response struct {
		Reason, Error, ID stringOrNot
		Bindings          []wireBinding `json:"postgres_changes"`
	}
	err := json.Unmarshal(p.Response, &response)
	if r.ok {
		r.id, r.bindings, r.misread = string(response.ID), response.Bindings, err
		return r
	}
	var bare string
	if json.Unmarshal(p.Response, &bare) != nil {
		bare = string(p.Response)
	}
	r.reason = said(cmp.Or(string(response.Reason), string(response.Error), bare))
	return r
}

// said is a text of the server that is fit for an error.
func said(s string) string {
	return text.Clean(secret.Plain(s[:min(len(s), 4*maxReason)]), maxReason)
}

// stringOrNot is a string, and empty where there is something else.
type stringOrNot string

func (s *stringOrNot) UnmarshalJSON(text []byte) error {
	_ = json.Unmarshal(text, (*string)(s))
	return nil
}

var errNotSystem = errors.New("channel: a system message that cannot be read")

// anyText is a string, or the JSON text of something else.
type anyText string

func (s *anyText) UnmarshalJSON(text []byte) error {
	if json.Unmarshal(text, (*string)(s)) != nil {
		*s = anyText(text)
	}
	return nil
}

// system takes a system message of the present join.
func (c *Channel) system(m phoenix.Message, whole time.Time) {
	var s struct{ Extension, Status, Message anyText }
	err := json.Unmarshal(m.Payload, &s)
	message := said(string(s.Message))
	if join := c.joined(); join == "" || m.JoinRef != "" && m.JoinRef != join { // serializer 1.0.0 has no join_ref here
		return
	}
	if err != nil {
		if m.JoinRef != "" {
			c.unheard(whole, errNotSystem)
		}
		return
	}
	c.mu.Lock()
	defer c.unlock()
	if c.m.join != joinAccepted { // given up meanwhile
		return
	}
	failed := cause{since: c.heard(), reason: cdc.SubscriptionFailed, err: &SubscribeError{Topic: c.topic, Message: message}}
	switch {
	case s.Extension == phoenix.ExtensionSystem && s.Status == phoenix.StatusError:
		c.systemError = message // a phx_close follows
	case s.Extension == phoenix.ExtensionSystem && s.Message == phoenix.MessageReplicating:
		c.replayReady()
	case s.Extension != phoenix.ExtensionPostgresChanges:
	case s.Status == phoenix.StatusOK:
		c.subscribed(whole)
	default:
		c.refused(inSubscribeRefused, judgeSubscribe(string(s.Message)), failed)
	}
}

// subscribed takes the server's confirmation that it delivers changes. It comes
// after a join, after a push of a token, and, unasked, after the server has
// deleted and made anew its subscriptions: then changes may be missing.
func (c *Channel) subscribed(whole time.Time) {
	if c.m.state == Live && c.pushes > 0 && time.Since(c.pushed) < confirmWindow {
		c.pushes--
		c.doubted = c.heard() // it may be the unasked one: then another follows
	} else {
		c.apply(inSubscribed, cause{since: c.heard(), reason: cdc.Resubscribed})
		c.doubted = time.Time{}
	}
	c.lastConfirmed = whole
}

// ended takes the end of the present join by the server.
func (c *Channel) ended(m phoenix.Message, whole time.Time) {
	ref := m.JoinRef
	if ref == "" {
		ref = m.Ref // where serializer 1.0.0 has it
	}
	c.mu.Lock()
	defer c.unlock()
	if ref == "" || ref != c.joinRef { // after a second join of a topic, the first one's close comes late
		return
	}
	why, v := cause{since: whole, reason: cdc.Closed, err: errUnprompted}, tryAgain
	switch {
	case c.m.state == Leaving:
		why.err = ErrClosed
	case m.Event == phoenix.EventError:
		why.reason, why.err = cdc.Crashed, errCrashed
	case c.systemError != "":
		why.err, v = &JoinError{Topic: c.topic, Reason: c.systemError}, judgeSystem(c.systemError)
	}
	c.refused(inEnded, v, why)
}

// down takes the loss of the socket.
func (c *Channel) down(whole time.Time, err error) {
	c.guard("Down", func() {
		c.mu.Lock()
		defer c.unlock()
		if c.m.state == Leaving {
			err = ErrClosed
		}
		c.apply(inDown, cause{since: whole, reason: cdc.Disconnected, err: err})
	})
}

// joinOver is the error of what was sent on a join that is over.
func joinOver(err error) error {
	if err == nil {
		return errEnded
	}
	return fmt.Errorf("%w: %w", errEnded, err)
}
