package phoenix

import (
	"encoding/json"
	"errors"
)

// Status of a phx_reply.
const (
	StatusOK    = "ok"
	StatusError = "error"
)

// ReplyPayload is the payload of a phx_reply.
type ReplyPayload struct {
	Status   string          `json:"status"`
	Response json.RawMessage `json:"response"`
}

// DecodeReply decodes the payload of a phx_reply.
func DecodeReply(payload []byte) (r ReplyPayload, err error) {
	if err := json.Unmarshal(payload, &r); err != nil {
		return r, err
	}
	if r.Status == "" {
		return r, errors.New("reply without a status")
	}
	return r, nil
}

// Reason returns the text of a refusal. The response is an object with a
// reason, or a bare string (6.2), or something else, whose JSON is returned.
func (r ReplyPayload) Reason() string {
	var object struct {
		Reason string `json:"reason"`
	}
	if json.Unmarshal(r.Response, &object) == nil && object.Reason != "" {
		return object.Reason
	}
	var text string
	if json.Unmarshal(r.Response, &text) == nil {
		return text
	}
	return string(r.Response)
}

// System is the payload of a system message.
type System struct {
	Extension string `json:"extension"`
	Status    string `json:"status"`
	Message   string `json:"message"`
	Channel   string `json:"channel,omitempty"` // the topic without its prefix
}

// Extensions of a system message.
const (
	ExtensionPostgresChanges = "postgres_changes"
	ExtensionSystem          = "system"
)

// MessageSubscribed is the system message that says that the bindings of a
// channel are in force.
const MessageSubscribed = "Subscribed to PostgreSQL"

// MessageReplicating is the system message that says that messages from the
// database are delivered.
const MessageReplicating = "Replication connection established"
