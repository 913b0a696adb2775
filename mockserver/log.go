package mockserver

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

// Sent returns the messages that clients have sent, in the order in which they
// were read. The server keeps the last ones only: up to 10,000 messages and
// 16 MB.
func (s *Server) Sent() []Frame { return s.realtime.sent.all() }

const (
	maxLogged      = 10_000
	maxLoggedBytes = 16 << 20
)

// frameLog is a bounded list of frames.
type frameLog struct {
	mu     sync.Mutex
	frames []Frame
	bytes  int
}

func (l *frameLog) add(c *conn, binary bool, raw []byte, m phoenix.Message) {
	f := Frame{
		At: time.Now(), Socket: c.id, Binary: binary, Raw: bytes.Clone(raw),
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

func (l *frameLog) all() []Frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.frames)
}
