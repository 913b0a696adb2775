package phoenix

// Status of a phx_reply.
const (
	StatusOK    = "ok"
	StatusError = "error"
)

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
