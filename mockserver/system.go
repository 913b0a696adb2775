package mockserver

import (
	"encoding/json"

	"github.com/gapless-go/gapless/internal/phoenix"
)

// system sends a system message about the channel.
func (ch *channel) system(extension, status, message string) {
	ch.push(phoenix.EventSystem, mustJSON(phoenix.System{
		Extension: extension, Status: status, Message: message, Channel: ch.name,
	}))
}

// shutdown says why and closes the channel. The socket lives on.
func (ch *channel) shutdown(message string) {
	ch.system(phoenix.ExtensionSystem, phoenix.StatusError, message)
	ch.close()
}

// mustJSON encodes what always can be.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("mockserver: " + err.Error())
	}
	return b
}
