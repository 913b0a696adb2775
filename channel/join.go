package channel

import (
	"encoding/json"
	"time"

	"github.com/gapless-go/gapless/internal/backoff"
	"github.com/gapless-go/gapless/internal/link"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// lasting is how long a channel must have been live for its earlier failures
// to be forgotten.
const lasting = 30 * time.Second

// start attaches the channel to its link, once, and asks for its join.
func (c *Channel) start() error {
	c.mu.Lock()
	if c.state == Closed {
		defer c.mu.Unlock()
		return c.reason
	}
	first := c.step(start)
	c.mu.Unlock()
	if !first {
		return nil
	}
	err := c.link.Attach(c.wireTopic(), link.Handler{
		Up: c.up, Down: c.down, Receive: c.receive, Malformed: c.malformed,
		Join: c.join, JoinTimeout: c.joinTimeout, Waiting: c.waiting, Token: c.pushToken, Fail: c.fail,
	})
	c.mu.Lock()
	defer c.unlock()
	switch {
	case err != nil:
		c.close(err)
	case c.state == Closed: // left, or failed, while it was being attached
		c.link.Detach(c.wireTopic())
	default:
		c.attached = true
		c.request()
	}
	return err
}

// request asks the link for a turn to join.
func (c *Channel) request() { c.link.RequestJoin(c.wireTopic(), c.failures > 0) }

func (c *Channel) up() {
	c.mu.Lock()
	defer c.unlock()
	c.step(up)
	if c.state == Joining {
		c.stopTimer()
		c.request()
	}
}

// waiting keeps the reason for which the join has not been made.
func (c *Channel) waiting(err error) {
	c.mu.Lock()
	defer c.unlock()
	if c.state == Joining {
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

// joinConfig is what the channel asks for.
func (c *Channel) joinConfig() joinConfig {
	config := joinConfig{
		Private:         c.cfg.private,
		Broadcast:       broadcastConfig{Ack: c.cfg.ack, Self: c.cfg.self, Replay: c.replay(), Ready: c.cfg.replay},
		PostgresChanges: []wireBinding{},
	}
	if c.presence.handle != nil {
		config.Presence = &presenceConfig{Enabled: true, Key: c.cfg.presenceKey}
	}
	for _, b := range c.bindings {
		config.PostgresChanges = append(config.PostgresChanges, b.wire())
	}
	return config
}

// join makes the message of a join whose turn has come.
func (c *Channel) join(token string) (phoenix.Message, bool) {
	c.mu.Lock()
	defer c.unlock()
	if c.state != Joining || c.pending != "" {
		return phoenix.Message{}, false
	}
	payload := joinPayload{Config: c.joinConfig(), AccessToken: token}
	text, err := json.Marshal(payload)
	if err != nil { // strings and booleans always marshal
		c.close(err)
		return phoenix.Message{}, false
	}
	c.pending = c.link.NextRef()
	c.joined = "" // the server ends an earlier join of the topic, even if it refuses this one
	c.token, c.fresh = token, token
	c.systemError, c.pushedAt = "", time.Time{}
	return phoenix.Message{JoinRef: c.pending, Ref: c.pending, Topic: c.wireTopic(), Event: phoenix.EventJoin, Payload: text}, true
}

func (c *Channel) joinTimeout() {
	c.mu.Lock()
	defer c.unlock()
	if c.state == Joining && c.pending != "" {
		c.pending = ""
		c.degrade(unanswered, errUnanswered)
	}
}

// accepted handles the ok to a join.
func (c *Channel) accepted(response json.RawMessage, whole time.Time) {
	c.joined, c.pending = c.pending, ""
	ids, err := echoedIDs(c.bindings, response)
	if err != nil {
		c.giveUp(&MismatchError{Topic: c.topic, Detail: err.Error()})
		return
	}
	routes := newRoutes(c.subs, ids)
	c.routes.Store(&routes)
	c.step(accepted)
	c.notices = append(c.notices, link.Notice{Topic: c.topic, Joined: true})
	if c.fresh != c.token {
		c.push(c.fresh)
	}
	c.castsJoined()
	c.presenceJoined()
	if len(c.bindings) == 0 {
		c.subscribed(whole)
		return
	}
	c.after(c.cfg.liveTimeout, func() { c.degrade(unanswered, errNotLive) })
}

// refused handles the error to a join.
func (c *Channel) refused(reply phoenix.ReplyPayload) {
	c.pending = ""
	reason := reply.Reason()
	code, v := judgeJoin(reason)
	c.retryOrGiveUp(refused, v, &JoinError{Topic: c.topic, Code: code, Reason: reason})
}

// retryOrGiveUp goes on after the server refused or ended a join.
func (c *Channel) retryOrGiveUp(in input, v verdict, err error) {
	if v == replaceToken && !c.link.RejectToken(c.token) {
		v = giveUp
	}
	if v == giveUp {
		c.giveUp(err)
		return
	}
	c.degrade(in, err)
}

// degrade notes why the channel is not live and has it try again later.
func (c *Channel) degrade(in input, err error) {
	if !c.step(in) && c.state != Degraded {
		return
	}
	if !c.liveSince.IsZero() && time.Since(c.liveSince) >= lasting {
		c.failures = 0
	}
	c.liveSince = time.Time{}
	c.reason = err
	wait := backoff.Full(c.failures, c.cfg.backoffMin, c.cfg.backoffMax)
	c.failures++
	c.after(wait, c.tryAgain)
}

func (c *Channel) tryAgain() {
	if c.step(retry) {
		c.pending = ""
		c.request()
	}
}

// giveUp ends the channel for a reason that trying again does not remove, and
// tells the server if it believes in the join.
func (c *Channel) giveUp(err error) {
	if c.current() != "" {
		_ = c.sendLeave() // a courtesy: the socket may be down
	}
	c.close(err)
}

func (c *Channel) fail(err error) {
	c.mu.Lock()
	defer c.unlock()
	c.close(err)
}

// pushToken brings a fresh token to the server.
func (c *Channel) pushToken(token string) {
	c.mu.Lock()
	defer c.unlock()
	c.fresh = token
	if c.joined != "" && token != c.token {
		c.push(token)
	}
}

// push sends a token on a joined channel. There is no reply; the server
// subscribes again with the new claims and says so in a few seconds. A push
// that fails costs the channel when the old token expires, which is a gap then.
func (c *Channel) push(token string) {
	payload, err := json.Marshal(struct {
		AccessToken string `json:"access_token"`
	}{token})
	if err == nil {
		err = c.link.Send(phoenix.Message{JoinRef: c.joined, Ref: c.link.NextRef(), Topic: c.wireTopic(),
			Event: phoenix.EventAccessToken, Payload: payload})
	}
	if err != nil {
		c.notices = append(c.notices, link.Notice{Topic: c.topic, Dropped: err})
		return
	}
	c.token = token
	c.pushedAt = time.Now()
}
