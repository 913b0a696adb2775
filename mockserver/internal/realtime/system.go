package realtime

import (
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
)

// system sends a system message about the channel.
func (ch *channel) system(extension, status, message string) {
	ch.push(phoenix.EventSystem, rawjson.Must(phoenix.System{
		Extension: extension, Status: status, Message: message, Channel: ch.name,
	}))
}

// Shutdown says why and closes the channel. The socket lives on.
func (ch *channel) Shutdown(message string) {
	ch.system(phoenix.ExtensionSystem, phoenix.StatusError, message)
	ch.close()
}
