package channel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/link"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// answerWindow is how long after a push of a token a "Subscribed to
// PostgreSQL" is taken for its answer. The server needs 1 to 3 s.
const answerWindow = 15 * time.Second

var errOverflow = errors.New("channel: change dropped: the subscription's queue is full")

// receive takes one message of the channel's topic. Messages that are unknown,
// or of an earlier join, are ignored.
func (c *Channel) receive(ctx context.Context, m phoenix.Message, whole time.Time) {
	if m.Event == phoenix.EventPostgresChanges {
		c.change(ctx, m.Payload, whole)
		return
	}
	c.mu.Lock()
	defer c.unlock()
	switch m.Event {
	case phoenix.EventReply:
		c.reply(m, whole)
	case phoenix.EventSystem:
		if m.JoinRef == "" || m.JoinRef == c.joined { // serializer 1.0.0 has no join_ref here
			c.system(m.Payload, whole)
		}
	case phoenix.EventBroadcast:
		c.broadcast(m)
	case phoenix.EventPresenceState:
		c.presenceState(m)
	case phoenix.EventPresenceDiff:
		c.presenceDiff(m)
	case phoenix.EventClose, phoenix.EventError:
		ref := m.JoinRef
		if ref == "" {
			ref = m.Ref // where serializer 1.0.0 has it
		}
		if ref != "" && ref == c.current() { // after a second join of a topic, the first one's close comes late
			c.ended(m, whole)
		}
	}
}

// change decodes the payload of a change and hands it to the subscriptions. It
// may block, in a subscription that is to block, and so it runs outside mu.
func (c *Channel) change(ctx context.Context, payload []byte, whole time.Time) {
	routes := c.routes.Load()
	if routes == nil || len(*routes) == 0 {
		return // nobody asked for changes, or the reply to the join has not come
	}
	change, ids, err := cdc.Decode(payload)
	if err != nil {
		c.malformed(&phoenix.MalformedError{Topic: c.wireTopic(), Event: phoenix.EventPostgresChanges, Err: err}, whole)
		return
	}
	c.lastChange.Store(int64(whole.Sub(c.made)))
	for _, r := range routes.of(ids) {
		r.sub.deliver(ctx, &change, r.binding)
	}
}

// heard returns until when the stream was surely whole when the server last sent
// something for this topic that shows that the subscription is in force.
func (c *Channel) heard() time.Time {
	after := time.Duration(c.lastChange.Load())
	if change := c.made.Add(after); after > 0 && change.After(c.lastMessage) {
		return change
	}
	return c.lastMessage
}

// malformed notes a frame that may have held a change and could not be read.
func (c *Channel) malformed(err *phoenix.MalformedError, whole time.Time) {
	c.mu.Lock()
	defer c.unlock()
	c.notices = append(c.notices, link.Notice{Topic: c.topic, Dropped: err})
	c.passingGap(cdc.Undecodable, whole, err)
}

func (c *Channel) reply(m phoenix.Message, whole time.Time) {
	switch {
	case m.Ref == "":
	case m.Ref == c.pending:
		r, err := phoenix.DecodeReply(m.Payload)
		switch {
		case c.state != Joining:
			// left meanwhile: the reply to the leave follows
		case err != nil:
			c.pending = ""
			c.degrade(refused, fmt.Errorf("channel: join %q: unreadable reply: %w", c.topic, err))
		case r.Status == phoenix.StatusOK:
			c.accepted(r.Response, whole)
		default:
			c.refused(r)
		}
	case m.Ref == c.leaveRef:
		if c.state == Leaving {
			c.close(ErrClosed)
		}
	case c.presenceReply(m):
	default:
		c.answered(m)
	}
}

// system handles a system message of the current join.
func (c *Channel) system(payload []byte, whole time.Time) {
	var s phoenix.System
	if json.Unmarshal(payload, &s) != nil || c.joined == "" {
		return
	}
	switch {
	case s.Extension == phoenix.ExtensionSystem && s.Status == phoenix.StatusError:
		c.systemError = s.Message // a phx_close follows
	case s.Extension == phoenix.ExtensionSystem && s.Message == phoenix.MessageReplicating:
		c.castsReady()
	case s.Extension != phoenix.ExtensionPostgresChanges:
	case s.Status == phoenix.StatusOK:
		c.subscribed(whole)
	case isParameterError(s.Message):
		c.giveUp(&SubscribeError{Topic: c.topic, Message: s.Message})
	default:
		c.subscribeFailed(&SubscribeError{Topic: c.topic, Message: s.Message})
	}
}

// subscribed handles the server's confirmation that it delivers changes. It
// comes after a join, after a push of a token, and, unasked, after the server
// has deleted and made anew its subscriptions: then changes may be missing.
func (c *Channel) subscribed(whole time.Time) {
	now := time.Now()
	switch {
	case c.step(subscribed):
		c.stopTimer()
		c.reason = nil
		c.liveSince = now
		c.closeGap(now)
		c.notices = append(c.notices, link.Notice{Topic: c.topic, Live: true})
	case c.state != Live:
	case !c.pushedAt.IsZero() && now.Sub(c.pushedAt) < answerWindow:
		c.pushedAt = time.Time{}
	default:
		c.passingGap(cdc.Resubscribed, c.heard(), nil)
	}
	c.lastMessage = whole
}

// subscribeFailed handles an error that the server says it will try again.
func (c *Channel) subscribeFailed(err error) {
	c.openGap(cdc.SubscriptionFailed, c.heard(), err)
	if c.step(subscribeFailed) || c.state == Degraded {
		c.reason = err
		c.liveSince = time.Time{}
		c.after(c.cfg.liveTimeout, c.tryAgain)
	}
}

// ended handles the end of the current join by the server.
func (c *Channel) ended(m phoenix.Message, whole time.Time) {
	if c.state == Leaving {
		c.close(ErrClosed)
		return
	}
	c.joined, c.pending = "", ""
	v, reason, err := tryAgain, cdc.Closed, error(errUnprompted)
	switch {
	case m.Event == phoenix.EventError:
		reason, err = cdc.Crashed, errCrashed
	case c.systemError != "":
		v, err = judgeSystem(c.systemError), &JoinError{Topic: c.topic, Reason: c.systemError}
	}
	c.openGap(reason, whole, err)
	c.lost(reason, whole, err)
	c.retryOrGiveUp(ended, v, err)
}

// down handles the loss of the socket.
func (c *Channel) down(whole time.Time, err error) {
	c.mu.Lock()
	defer c.unlock()
	c.joined, c.pending = "", ""
	c.openGap(cdc.Disconnected, whole, err)
	c.lost(cdc.Disconnected, whole, err)
	if c.state == Leaving {
		c.close(ErrClosed)
		return
	}
	if c.step(down) {
		c.stopTimer() // the socket comes up by itself
	}
	if !c.liveSince.IsZero() && time.Since(c.liveSince) >= lasting {
		c.failures = 0
	}
	c.liveSince = time.Time{}
	if c.state == Joining || c.state == Degraded {
		c.reason = err
	}
}

// lost tells what depends on the join alone that it is over.
func (c *Channel) lost(reason cdc.GapReason, since time.Time, err error) {
	c.castsLost(reason, since, err)
	c.presenceLost(reason, since, err)
	c.unanswered(errors.Join(errEnded, err))
}

// openGap tells the streams that they may be losing changes from now on.
// Before a stream has started there is nothing to tell: it starts with a gap.
func (c *Channel) openGap(reason cdc.GapReason, since time.Time, err error) {
	if !c.everLive || c.inGap || c.state == Leaving {
		return
	}
	c.inGap = true
	g := cdc.Gap{Since: since, Reason: reason, Err: err}
	for _, s := range c.subs {
		s.queue.open(g)
	}
	c.noticeGap(g)
}

// closeGap tells the streams that they are whole again, or that they start.
func (c *Channel) closeGap(now time.Time) {
	g := cdc.Gap{Until: now, Reason: cdc.Started}
	for _, s := range c.subs {
		s.queue.finish(g)
	}
	c.everLive, c.inGap = true, false
}

// passingGap tells the streams of a gap that is over already.
func (c *Channel) passingGap(reason cdc.GapReason, since time.Time, err error) {
	if !c.everLive || c.inGap {
		return
	}
	g := cdc.Gap{Since: since, Until: time.Now(), Reason: reason, Err: err}
	for _, s := range c.subs {
		s.queue.finish(g)
	}
	c.noticeGap(g)
}

func (c *Channel) noticeGap(g cdc.Gap) {
	if len(c.bindings) > 0 {
		c.notices = append(c.notices, link.Notice{Topic: c.topic, Gap: &g})
	}
}
