package realtime

import (
	"encoding/json"
	"time"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
)

// maxReplay is the most messages that a join brings, and the number without a
// limit of its own.
const maxReplay = 25

// readReplay reads what a join asks for. It returns why the join is refused, if
// it is.
func (ch *channel) readReplay() (reason string) {
	if ch.config.replay == nil {
		return ""
	}
	const invalid = "UnableToReplayMessages: Replay params are not valid"
	params, _ := rawjson.Object(ch.config.replay)
	since, ok := integer(params["since"])
	if !ok {
		return invalid
	}
	limit := int64(maxReplay)
	if rawjson.Present(params["limit"]) {
		if limit, ok = integer(params["limit"]); !ok {
			return invalid
		}
	}
	ch.replaySince, ch.replayLimit = time.UnixMilli(since), int(min(max(limit, 1), maxReplay))
	return ""
}

// findReplays finds what a join asks for, when broadcasts come already: what is
// found here is not delivered live as well.
func (ch *channel) findReplays() (err error) {
	if ch.replayLimit == 0 || !ch.rights.broadcasts {
		return nil
	}
	ch.replays, err = ch.conn.rt.storedSince(ch.name, ch.replaySince, ch.replayLimit)
	ch.replayed = map[string]bool{}
	for _, m := range ch.replays {
		ch.replayed[m.ID] = true
	}
	return err
}

func integer(raw json.RawMessage) (int64, bool) {
	n, err := json.Number(raw).Int64()
	return n, err == nil
}

// replay sends what findReplays has found: JSON as text of the channel's own,
// bytes as a binary frame, which clients of serializer 1.0.0 do not get.
func (ch *channel) replay() {
	for _, m := range ch.replays {
		b := broadcastOf(m)
		b.meta = rawjson.Must(map[string]any{"id": m.ID, "replayed": true})
		if b.json {
			b.payload = compactJSON(b.payload)
			b = broadcast{kind: phoenix.Text, payload: b.object()}
		}
		v := ch.conn.version
		if message, ok := b.message(v, ch.topic); ok {
			message.JoinRef = ch.joinRef // which a binary one has no place for
			if frame, binary, err := phoenix.Append(nil, v, phoenix.FromServer, message); err == nil {
				ch.conn.pushFrame(frame, binary)
			}
		}
	}
	ch.replays = nil
}

// broadcastOf returns a message of the database as clients get it live.
func broadcastOf(m project.Message) broadcast {
	return broadcast{
		kind: phoenix.UserBroadcast, event: m.Event, json: !m.Binary, payload: m.Payload,
		id: m.ID, meta: rawjson.Must(map[string]string{"id": m.ID}),
	}
}

// relayStored relays a message of the database, unless that is away or there are
// too many.
func (rt *Server) relayStored(m project.Message) {
	b := broadcastOf(m)
	switch {
	case rt.Faults.Outage() != nil, rt.events.exceeded(), rt.limits.tooLarge(b.size):
		return
	}
	rt.events.add(1)
	if err := rt.relay(world{m.Topic, m.Private}, b, nil); err != nil {
		rt.log.Warn("message from the database not sent", "topic", m.Topic, "err", err)
	}
}
