// Package phoenix is the wire form of Supabase Realtime: Phoenix messages in
// serializer 1.0.0 (JSON objects) and 2.0.0 (JSON arrays and five kinds of
// binary frames). It is pure: bytes in, values out, no I/O and no state, so
// that client and mock server share it.
package phoenix

import (
	"encoding/json"
	"strconv"
	"time"
)

// Version is a serializer of the Phoenix protocol.
type Version uint8

const (
	V1 Version = 1 // vsn 1.0.0: text frames, one JSON object each
	V2 Version = 2 // vsn 2.0.0: text frames, one JSON array each, and binary frames
)

// String returns the value of the vsn query parameter.
func (v Version) String() string { return strconv.Itoa(int(v)) + ".0.0" }

// form is what a text frame begins with.
func (v Version) form() byte {
	if v == V2 {
		return '['
	}
	return '{'
}

// Events and topics that Phoenix and Realtime define.
const (
	TopicPhoenix = "phoenix"   // the topic of heartbeats
	TopicPrefix  = "realtime:" // what every channel's topic begins with

	EventHeartbeat       = "heartbeat"
	EventJoin            = "phx_join"
	EventLeave           = "phx_leave"
	EventReply           = "phx_reply"
	EventClose           = "phx_close"
	EventError           = "phx_error"
	EventAccessToken     = "access_token"
	EventSystem          = "system"
	EventPostgresChanges = "postgres_changes"
	EventBroadcast       = "broadcast"
	EventPresence        = "presence"
	EventPresenceState   = "presence_state"
	EventPresenceDiff    = "presence_diff"
)

// Ref is the reference of a message, as the JSON text that stood on the wire:
// a string ("\"7\"", quotes included) or, from some clients, a number. The
// zero Ref is null. The server echoes a ref verbatim, so equal refs have equal
// text.
type Ref string

// NewRef returns the ref that this module's client sends for n.
func NewRef(n uint64) Ref { return Ref(`"` + strconv.FormatUint(n, 10) + `"`) }

// text returns what a binary frame holds in the place of the ref.
func (r Ref) text() string {
	var s string
	if json.Unmarshal([]byte(r), &s) == nil {
		return s
	}
	return string(r)
}

// refOfText is the inverse of text.
func refOfText(s string) Ref {
	if s == "" {
		return ""
	}
	b, _ := json.Marshal(s) // a string always marshals
	return Ref(b)
}

// Kind says which form a message has on the wire. The zero Kind is a text
// frame; the others are the binary kinds 0 to 4 of serializer 2.0.0.
type Kind uint8

const (
	Text          Kind = iota // JSON in a text frame
	Push                      // binary kind 0; its layout differs by sender, see Side
	Reply                     // binary kind 1, from the server
	Broadcast                 // binary kind 2, from the server
	UserPush                  // binary kind 3, from the client: a broadcast
	UserBroadcast             // binary kind 4, from the server: a broadcast
)

// Side is the sender of a frame.
type Side uint8

const (
	FromClient Side = iota
	FromServer
)

// Message is one frame, decoded.
type Message struct {
	Kind    Kind
	JoinRef Ref
	Ref     Ref
	Topic   string
	Event   string // EventBroadcast for the two user kinds, EventReply for a Reply

	// Payload is JSON text in a Text message and in a user broadcast whose
	// JSON is true; bytes that nobody has looked at otherwise. The server does
	// not check the JSON of a user broadcast: it may be malformed.
	Payload []byte

	Status    string // of a binary Reply
	UserEvent string // of the two user kinds
	Meta      []byte // of the two user kinds: JSON, or empty
	JSON      bool   // of the two user kinds: Payload claims to be JSON
}

// IsTTL reports whether the server persists a broadcast for so long: whole seconds,
// 72 hours at most; 0 is as long as it keeps others.
func IsTTL(ttl time.Duration) bool {
	return ttl >= 0 && ttl <= 72*time.Hour && ttl%time.Second == 0
}
