package realtime

import (
	"bytes"
	"encoding/json"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver/internal/auth"
	"github.com/gapless-go/gapless/mockserver/internal/fault"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// joinConfig is the payload of a join, as the server understands it.
type joinConfig struct {
	private  bool
	ack      bool            // broadcasts are answered
	self     bool            // broadcasts come back to their sender
	replay   json.RawMessage // what old broadcasts are asked for; nil: the key is not there
	ready    bool            // to be told that messages of the database are delivered
	presence bool
	key      string // of presence
	bindings []binding
	token    string // empty without hasToken
	hasToken bool   // or else that of the connection is taken
}

// binding is one entry of config.postgres_changes.
type binding struct {
	id     int
	object json.RawMessage            // as it came
	fields map[string]json.RawMessage // of object
}

// parseJoin reads the payload of a join. The server is lenient: what it cannot
// read has its default. But some payloads make it raise, and then the join is
// refused for that reason.
func parseJoin(payload []byte) (cfg joinConfig, reason string) {
	params, ok := rawjson.Object(payload)
	if !ok {
		return cfg, "UnknownErrorOnChannel: expected params to be a :map, got: `" + wire.InspectJSON(payload) + "`"
	}
	cfg.token, cfg.hasToken = joinToken(params)
	if !rawjson.Present(params["config"]) {
		return cfg, ""
	}
	config, ok := rawjson.Object(params["config"])
	if !ok {
		return cfg, "UnknownErrorOnChannel: no function clause matching in Access.get/3"
	}
	if rawjson.Present(config["broadcast"]) {
		broadcast, ok := rawjson.Object(config["broadcast"])
		if !ok {
			return cfg, "UnknownErrorOnChannel: no function clause matching in Access.get/3"
		}
		cfg.ack, cfg.self = rawjson.FlexibleBool(broadcast["ack"]), rawjson.FlexibleBool(broadcast["self"])
		cfg.replay = broadcast["replay"]
		cfg.ready = rawjson.Present(broadcast["replication_ready"]) && string(broadcast["replication_ready"]) != "false"
	}
	presence, _ := rawjson.Object(config["presence"])
	cfg.presence = rawjson.FlexibleBool(presence["enabled"])
	cfg.key = presenceKey(presence["key"])
	cfg.private = rawjson.FlexibleBool(config["private"])
	cfg.bindings, reason = parseBindings(config["postgres_changes"])
	return cfg, reason
}

// joinToken picks the token of a join. One that begins with sb_, or is no
// string, counts as none; then the connection's is taken.
func joinToken(params map[string]json.RawMessage) (token string, ok bool) {
	access, user := params["access_token"], params["user_token"]
	either := access
	if !rawjson.Present(access) || string(access) == "false" {
		either = user
	}
	if s, _ := rawjson.Text(either); strings.HasPrefix(s, "sb_") {
		return "", false
	}
	if s, ok := rawjson.Text(user); ok {
		return s, true
	}
	return rawjson.Text(access)
}

func parseBindings(raw json.RawMessage) (bindings []binding, reason string) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil, ""
	}
	for _, entry := range list {
		if !rawjson.Present(entry) {
			continue
		}
		fields, ok := rawjson.Object(entry)
		if !ok {
			return nil, "UnknownErrorOnChannel: expected a map, got: " + wire.InspectJSON(entry)
		}
		bindings = append(bindings, binding{id: bindingID(entry), object: entry, fields: fields})
	}
	return bindings, ""
}

// bindingID is a hash of the whole object of a binding, whatever the order of
// its keys: equal bindings have equal ids, on any channel and any socket.
func bindingID(object json.RawMessage) int {
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.UseNumber()
	var v any
	_ = dec.Decode(&v) // it has been read before
	h := fnv.New32a()
	_, _ = h.Write(rawjson.Must(v)) // which sorts the keys
	return int(h.Sum32() & (1<<27 - 1))
}

// echo returns the binding as the reply to the join has it: what came, with
// the id before it.
func (b binding) echo() []byte {
	rest := bytes.TrimSpace(b.object)[1:]
	out := append([]byte(`{"id":`), strconv.Itoa(b.id)...)
	if len(b.fields) > 0 {
		out = append(out, ',')
	}
	return append(out, rest...)
}

// join answers a join. A channel that the topic already has ends first, even
// if the new join is refused, but says so only after the reply.
func (c *conn) join(old *channel, m phoenix.Message) {
	faults := &c.rt.Faults
	if faults.JoinIgnored() {
		return
	}
	if old != nil {
		old.end()
	}
	if d := faults.Now().JoinDelay; d > 0 && !c.rt.Pause(c.ctx, d) {
		return
	}
	ch, reason := c.newChannel(m)
	if reason == "" {
		reason = ch.attach()
	}
	if reason == "" {
		c.accept(ch, m)
	} else if !c.refuseJoin(m, reason) {
		return
	}
	if old != nil {
		c.send(old.closing(phoenix.EventClose, "{}"))
	}
	if disconnects(reason) {
		c.close(websocket.StatusGoingAway)
	}
}

// attach has the channel hear broadcasts, so that none is missed behind those
// that are replayed. It returns why the join is refused, if it is.
func (ch *channel) attach() (reason string) {
	rt := ch.conn.rt
	rt.attach(ch)
	if ch.findReplays() != nil {
		rt.detach(ch)
		ch.rights = rights{} // what it has heard meanwhile goes nowhere
		return "UnableToReplayMessages: Realtime was unable to replay messages"
	}
	return ""
}

// accept makes the channel one of the socket and answers its join.
func (c *conn) accept(ch *channel, m phoenix.Message) {
	c.countUser()
	c.channels = append(c.channels, ch)
	c.send(wire.Reply(m.Topic, m.JoinRef, m.Ref, phoenix.StatusOK, ch.config.echo()))
	ch.watchToken()
	ch.subscribe = ch.after(settleTime, ch.begin)
}

// refuseJoin answers a join after a while, during which the socket does nothing
// else. It reports false when the socket ended meanwhile.
func (c *conn) refuseJoin(m phoenix.Message, reason string) bool {
	c.rt.log.Debug("join refused", "socket", c.id, "topic", m.Topic, "reason", reason)
	if !c.rt.Pause(c.ctx, c.rt.Faults.RefusalDelay(c.rt.timing.JoinErrorDelay)) {
		return false
	}
	response := rawjson.Must(map[string]string{"reason": reason})
	c.send(wire.Reply(m.Topic, m.JoinRef, m.Ref, phoenix.StatusError, string(response)))
	return true
}

// disconnects reports whether the server closes the socket behind a join that
// it refuses for that reason.
func disconnects(reason string) bool {
	return strings.HasPrefix(reason, "ClientJoinRateLimitReached:") || strings.HasPrefix(reason, "TenantNotFound:")
}

// newChannel checks a join in the server's order.
func (c *conn) newChannel(m phoenix.Message) (ch *channel, reason string) {
	name := strings.TrimPrefix(m.Topic, phoenix.TopicPrefix)
	if name == "" {
		return nil, "TopicNameRequired: You must provide a topic name"
	}
	config, reason := parseJoin(m.Payload)
	if reason == "" {
		reason = c.rt.joinFault()
	}
	if reason == "" {
		reason = c.overLimit()
	}
	if reason != "" {
		return nil, reason
	}
	who, err := c.joinBearer(config)
	if err != nil {
		return nil, err.JoinReason()
	}
	if config.private && c.rt.Faults.RightsTerminated() {
		return nil, "Unauthorized: " + notPermitted + name
	}
	if out := c.rt.Faults.Outage(); out != nil {
		return nil, out.Join
	}
	may := c.rt.readRights(name, config, who.claims)
	switch {
	case may.unknown:
		return nil, "UnableToConnectToProject: " + fault.NoDatabase
	case may.none():
		return nil, "Unauthorized: " + notPermitted + name
	case config.replay != nil && !config.private:
		return nil, "UnableToReplayMessages: Replay is not allowed for public channels"
	}
	ch = &channel{
		conn: c, topic: m.Topic, name: name, joinRef: m.JoinRef,
		config: config, who: who, rights: may, fresh: true,
	}
	return ch, ch.readReplay()
}

// joinFault returns the reason to refuse a join that has nothing to do with it.
func (rt *Server) joinFault() string {
	switch {
	case rt.Faults.Restarting():
		return "RealtimeRestarting: Realtime is restarting, please standby"
	case rt.Faults.JoinsExceeded():
		return "ClientJoinRateLimitReached: Too many joins per second"
	}
	return rt.Faults.RefusedJoin()
}

// joinBearer verifies the token of a join, or once more that of the
// connection.
func (c *conn) joinBearer(config joinConfig) (bearer, *auth.TokenError) {
	switch {
	case config.hasToken:
		return c.rt.bearer(config.token)
	case c.who.expires.IsZero():
		return c.who, nil
	}
	return c.rt.bearer(c.who.token)
}

// echo returns the response to the join: the bindings in their order.
func (cfg joinConfig) echo() string {
	var b strings.Builder
	b.WriteString(`{"postgres_changes":[`)
	for i, bound := range cfg.bindings {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(bound.echo())
	}
	b.WriteString("]}")
	return b.String()
}
