package channel

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gapless-go/gapless/internal/link"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// start attaches the channel to its link, once, and asks for its join.
func (c *Channel) start() error {
	c.mu.Lock()
	if c.m.state != Idle {
		defer c.mu.Unlock()
		if c.m.state == Closed {
			return c.reason
		}
		return nil
	}
	c.m, _ = c.m.next(inStart) // so that nobody else attaches it; the request follows
	c.mu.Unlock()
	err := c.link.Attach(c.wireTopic(), link.Handler{
		Up:          func() { c.guard("Up", func() { c.happen(inUp, cause{}) }) },
		Down:        c.down,
		Receive:     c.receive,
		Malformed:   c.malformed,
		Join:        c.join,
		JoinTimeout: func() { c.guard("JoinTimeout", c.joinTimeout) },
		Waiting:     c.waiting,
		Token:       func(token string) { c.guard("Token", func() { c.pushToken(token) }) },
		Fail:        func(err error) { c.guard("Fail", func() { c.happen(inFail, cause{err: err}) }) },
	})
	if err != nil {
		err = fmt.Errorf("channel: %q: %w", c.topic, err)
	}
	c.mu.Lock()
	defer c.unlock()
	switch {
	case err != nil:
		c.apply(inFail, cause{err: err})
	case c.m.state == Closed: // left, or failed, while it was being attached
		c.link.Detach(c.wireTopic())
	default:
		c.attached = true
		if c.m.state == Joining && c.m.join == joinNone {
			c.link.RequestJoin(c.wireTopic(), false)
		}
	}
	return err
}

// waiting keeps the reason for which the join has not been made.
func (c *Channel) waiting(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m.state == Joining || c.m.state == Degraded {
		c.reason = err
	}
}

type joinPayload struct {
	Config      joinConfig `json:"config"`
	AccessToken string     `json:"access_token,omitempty"`
}

// joinConfig is sent whole: without config the server falls into a legacy
// mode, and what it cannot read it replaces by a default in silence.
type joinConfig struct {
	Private         bool            `json:"private"`
	Broadcast       broadcastConfig `json:"broadcast"`
	Presence        *presenceConfig `json:"presence,omitempty"`
	PostgresChanges []wireBinding   `json:"postgres_changes"`
}

type broadcastConfig struct {
	Ack    bool          `json:"ack"`
	Self   bool          `json:"self"`
	Replay *replayConfig `json:"replay,omitempty"` // never null: a public channel is refused for the key alone
	// Ready asks for a sign that messages of the database are delivered, which
	// comes behind those that are replayed.
	Ready bool `json:"replication_ready,omitempty"`
}

type replayConfig struct {
	Since int64 `json:"since"` // in milliseconds
	Limit int   `json:"limit"`
}

type presenceConfig struct {
	Enabled bool   `json:"enabled"`
	Key     string `json:"key,omitempty"`
}

func (c *Channel) joinConfig() joinConfig {
	config := joinConfig{
		Private:         c.cfg.private,
		Broadcast:       broadcastConfig{Ack: c.cfg.ack, Self: c.cfg.self, Ready: c.cfg.replay},
		PostgresChanges: []wireBinding{},
	}
	if c.cfg.replay && !c.replay.since.IsZero() { // nothing is asked for where nothing can have been missed
		config.Broadcast.Replay = &replayConfig{Since: c.replay.since.UnixMilli(), Limit: maxReplay}
	}
	if c.presence != nil {
		config.Presence = &presenceConfig{Enabled: true, Key: c.cfg.presenceKey}
	}
	for _, b := range c.bindings {
		config.PostgresChanges = append(config.PostgresChanges, b.wire())
	}
	return config
}

// join makes the message of a join whose turn has come.
func (c *Channel) join(token string) (m phoenix.Message, ok bool) {
	c.guard("Join", func() {
		c.mu.Lock()
		defer c.unlock()
		if c.m.state != Joining || c.m.join != joinNone {
			return
		}
		text, err := json.Marshal(joinPayload{Config: c.joinConfig(), AccessToken: token})
		if err != nil { // strings and booleans always marshal
			c.apply(inFail, cause{err: err})
			return
		}
		ref := c.link.NextRef()
		c.apply(inSent, cause{})
		c.joinRef, c.token, c.fresh = ref, token, token
		c.replay.asked = time.Now()
		c.awaited[ref] = func(r reply) { c.joinReply(ref, r) }
		m, ok = phoenix.Message{JoinRef: ref, Ref: ref, Topic: c.wireTopic(), Event: phoenix.EventJoin, Payload: text}, true
	})
	return m, ok
}

func (c *Channel) joinTimeout() { c.happen(inRefused, cause{err: errUnanswered}) }

// joinReply takes the reply to a join.
func (c *Channel) joinReply(ref phoenix.Ref, r reply) {
	switch {
	case c.joinRef != ref || c.m.state != Joining: // it is over, or left: the reply to the leave follows
	case r.err != nil:
		c.apply(inRefused, cause{err: fmt.Errorf("channel: join %q: unreadable reply: %w", c.topic, r.err)})
	case !r.ok:
		code, v := judgeJoin(r.reason)
		c.refused(inRefused, v, cause{err: &JoinError{Topic: c.topic, Code: code, Reason: r.reason}})
	default:
		c.accepted(r)
	}
}

// accepted takes the ok to a join.
func (c *Channel) accepted(r reply) {
	ids, err := echoedIDs(c.bindings, r.bindings)
	if err = cmp.Or(r.misread, err); err != nil {
		c.leaveAndFail(&MismatchError{Topic: c.topic, Detail: said(err.Error())})
		return
	}
	c.routes.Store(newRoutes(c.subs, ids))
	c.apply(inAccepted, cause{})
	if c.fresh != c.token {
		c.push(c.fresh)
	}
	c.replayStarts()
	if c.presence != nil {
		c.presence.track.restart()
		c.sendTrack()
	}
}

// refused goes on after the server refused or ended a join, or will not
// subscribe: for good only if that has persisted, or has never worked. A token
// for which there is no other is not tried again.
func (c *Channel) refused(in input, v verdict, why cause) {
	history, final := &c.joins, false
	if in == inSubscribeRefused {
		history = &c.subscribes
	}
	switch v {
	case serverTries:
		in = inSubscribeFailed
	case replaceToken:
		final = !c.link.RejectToken(c.token, why.err)
	case giveUp:
		final = history.Refused(time.Now())
	}
	switch {
	case !final:
		repeated := c.m.state == Degraded && c.reason != nil && c.reason.Error() == why.err.Error()
		c.apply(in, why)
		if in != inEnded && !repeated {
			c.note(link.Notice{Refused: why.err})
		}
	case in == inSubscribeRefused:
		c.leaveAndFail(why.err)
	default:
		c.apply(in, why) // the streams lose what comes before the end
		c.apply(inFail, why)
	}
}

// leaveAndFail ends a channel that the server believes to be joined.
func (c *Channel) leaveAndFail(err error) {
	_ = c.send(&phoenix.Message{Event: phoenix.EventLeave}, nil) // a courtesy: the socket may be down
	c.apply(inFail, cause{err: err})
}

// pushToken brings a fresh token to the server.
func (c *Channel) pushToken(token string) {
	c.mu.Lock()
	defer c.unlock()
	c.fresh = token
	if c.m.join == joinAccepted && token != c.token {
		c.push(token)
	}
}

// push sends a token on a joined channel. There is no reply; the server
// subscribes again with the new claims and confirms that in a few seconds. A
// push that fails costs the channel when the old token expires, which is a gap
// then.
func (c *Channel) push(token string) {
	payload, err := json.Marshal(struct {
		AccessToken string `json:"access_token"`
	}{token})
	if err == nil {
		err = c.send(&phoenix.Message{Event: phoenix.EventAccessToken, Payload: payload}, nil)
	}
	if err != nil {
		c.note(link.Notice{Dropped: err})
		return
	}
	c.token = token
	now := time.Now()
	if now.Sub(c.pushed) >= confirmWindow {
		c.pushes = 0
	}
	c.pushes, c.pushed = c.pushes+1, now
}
