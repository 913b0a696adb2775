package inspect

import (
	"bytes"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// Frame is a message that a client sent.
type Frame struct {
	At     time.Time
	Socket int // counted from 1, in the order in which sockets were opened

	Binary bool
	Raw    []byte // the message as it came, tokens and all

	// What the message says, where it can be read at all. The refs are JSON
	// text: a string in quotes, or null.
	JoinRef, Ref string
	Topic, Event string
	Payload      json.RawMessage
}

// Connection is an open socket.
type Connection struct {
	Socket   int             `json:"socket"`  // its number, as Frame.Socket and faults have it
	Version  string          `json:"version"` // of the serializer: 1.0.0 or 2.0.0
	Role     string          `json:"role"`    // of the key that it was opened with
	Opened   time.Time       `json:"opened"`
	Backlog  int             `json:"backlog"`  // bytes that wait for it
	Channels []JoinedChannel `json:"channels"` // in the order in which they were joined
}

// JoinedChannel is a topic that a socket has joined.
type JoinedChannel struct {
	Topic    string            `json:"topic"` // with its prefix
	Private  bool              `json:"private"`
	Bindings []json.RawMessage `json:"bindings"` // those of postgres_changes, as the client sent them
	// Subscriptions is how many there are for the bindings, one for each table
	// that a binding fits; without any, the channel hears of no change.
	Subscriptions int `json:"subscriptions"`
}

const (
	maxLogged      = 10_000
	maxLoggedBytes = 16 << 20
)

// Log keeps the messages that clients sent last: up to 10,000 and 16 MB of them.
// It is safe for concurrent use.
type Log struct {
	mu     sync.Mutex
	frames []Frame
	bytes  int
}

// Add keeps a message of a socket.
func (l *Log) Add(socket int, binary bool, raw []byte, m phoenix.Message) {
	f := Frame{
		At: time.Now(), Socket: socket, Binary: binary, Raw: bytes.Clone(raw),
		JoinRef: wire.RefText(m.JoinRef), Ref: wire.RefText(m.Ref), Topic: m.Topic, Event: m.Event, Payload: bytes.Clone(m.Payload),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frames = append(l.frames, f)
	l.bytes += f.size()
	for len(l.frames) > maxLogged || l.bytes > maxLoggedBytes {
		l.bytes -= l.frames[0].size()
		l.frames[0] = Frame{}
		l.frames = l.frames[1:]
	}
}

func (f Frame) size() int { return len(f.Raw) + len(f.Payload) }

// All returns the messages in the order in which they were read.
func (l *Log) All() []Frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.frames)
}
