package replay

import (
	"bytes"
	"context"
	"time"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/internal/phoenix"
)

// play goes through the transcript: it waits for what is the client's, and
// does what is the server's.
func (p *Player) play() {
	defer p.wg.Done()
	last := int64(0)
	for i, s := range p.steps {
		p.mu.Lock()
		p.at = i
		p.mu.Unlock()
		if s.client {
			if !p.await(s) {
				break
			}
		} else if !p.pause(s.MS-last) || !p.carryOut(s) {
			break
		}
		last = s.MS
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.at = len(p.steps)
	}
	close(p.over)
}

// await waits for a step of the client.
func (p *Player) await(s *step) bool {
	for {
		p.mu.Lock()
		come, moved := s.come, p.moved
		p.mu.Unlock()
		if come {
			return true
		}
		select {
		case <-moved:
		case <-p.ctx.Done():
			return false
		}
	}
}

// came notes a step of the client. The caller holds mu.
func (p *Player) came(s *step) {
	s.come = true
	close(p.moved)
	p.moved = make(chan struct{})
}

// pause waits as long as the recorded server did.
func (p *Player) pause(ms int64) bool {
	if p.speed == 0 || ms <= 0 {
		return p.ctx.Err() == nil
	}
	t := time.NewTimer(time.Duration(float64(ms) / p.speed * float64(time.Millisecond)))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}

// carryOut does what the server did. It reports false when the play has ended.
func (p *Player) carryOut(s *step) bool {
	switch s.Dir {
	case "opened", "upgrade_refused":
		s.socket.decided <- s
		if s.Dir == "upgrade_refused" {
			return true
		}
		select {
		case <-s.socket.ready:
			return true
		case <-p.ctx.Done():
			return false
		}
	case "recv":
		p.say(s)
	case "close":
		p.hangUp(s)
	case "http_response":
		p.mu.Lock()
		p.came(s) // its handler waits for that
		p.mu.Unlock()
		select {
		case <-s.sent:
		case <-p.ctx.Done():
		}
	}
	return p.ctx.Err() == nil
}

// say sends a frame. A client that is gone does not get it.
func (p *Player) say(s *step) {
	p.mu.Lock()
	ws, gone := s.socket.ws, s.socket.gone
	frame := p.translate(s)
	p.mu.Unlock()
	if ws == nil || gone {
		return
	}
	typ := websocket.MessageText
	if s.Kind == "binary" {
		typ = websocket.MessageBinary
	}
	_ = ws.Write(context.Background(), typ, frame) // an error: the client is gone, which its reader tells; part ends it
}

// translate writes a frame of the server with the client's refs and UUIDs. The
// caller holds mu.
func (p *Player) translate(s *step) []byte {
	raw := s.Bytes()
	p.matcher.heard(raw)
	m, err := s.message()
	if err != nil {
		return raw
	}
	ref, joinRef := s.socket.translated(m.Ref), s.socket.translated(m.JoinRef)
	payload := p.matcher.translate(m.Payload)
	topic := string(p.matcher.translate([]byte(m.Topic)))
	if ref == m.Ref && joinRef == m.JoinRef && topic == m.Topic && bytes.Equal(payload, m.Payload) {
		return raw
	}
	m.Ref, m.JoinRef, m.Payload, m.Topic = ref, joinRef, payload, topic
	frame, _, err := phoenix.Append(nil, s.socket.version, phoenix.FromServer, m)
	if err != nil {
		return raw // a ref of more than 255 bytes, which a binary frame cannot have
	}
	return frame
}

func (s *played) translated(r phoenix.Ref) phoenix.Ref {
	if mine, ok := s.refs[r]; ok {
		return mine
	}
	return r
}

// hangUp ends a socket as the server did.
func (p *Player) hangUp(s *step) {
	p.mu.Lock()
	ws := s.socket.ws
	s.socket.gone = true
	p.mu.Unlock()
	switch {
	case ws == nil:
	case s.end.Code == int(websocket.StatusAbnormalClosure):
		_ = ws.CloseNow()
	default:
		_ = ws.Close(websocket.StatusCode(s.end.Code), s.end.Reason)
	}
}
