package replay

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/redact"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// serveSocket serves a socket in the place of a recorded one.
func (p *Player) serveSocket(w http.ResponseWriter, r *http.Request) {
	s := p.take(r)
	if s == nil {
		http.Error(w, "the transcript has no such socket, or is over", http.StatusServiceUnavailable)
		return
	}
	defer p.wg.Done()
	var decision *step
	select {
	case decision = <-s.decided:
	case <-r.Context().Done():
		return
	case <-p.ctx.Done():
		http.Error(w, "the player has ended", http.StatusServiceUnavailable)
		return
	}
	if decision.Dir == "upgrade_refused" {
		var answer refusedUpgrade
		if json.Unmarshal([]byte(decision.Frame), &answer) != nil || answer.Status < 100 {
			answer.Status = http.StatusBadGateway
		}
		answer.send(w)
		return
	}
	p.serveOpened(w, r, s)
}

func (p *Player) serveOpened(w http.ResponseWriter, r *http.Request, s *played) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return // and Accept has answered
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(maxProxied)
	p.mu.Lock()
	s.ws = ws
	close(s.ready)
	p.mu.Unlock()
	parted := make(chan struct{})
	stop := context.AfterFunc(p.ctx, func() {
		defer close(parted)
		p.part(ws)
	})
	defer func() {
		if !stop() {
			<-parted
		}
	}()
	for {
		typ, frame, err := ws.Read(context.Background()) // ends with the socket, which part ends
		if err != nil {
			p.left(s)
			return
		}
		if beat, ok := p.receive(s, typ == websocket.MessageBinary, frame); ok {
			_ = ws.Write(context.Background(), websocket.MessageText, beat)
		}
	}
}

// take finds the recorded socket in whose place one is to be: nil if there is
// none, or if the player is closed.
func (p *Player) take(r *http.Request) *played {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.err != nil {
		return nil
	}
	wanted := r.URL.Query().Get("vsn")
	var other *step
	for _, s := range p.steps {
		if s.Dir != "open" || s.come {
			continue
		}
		if recorded := s.socket.query; wanted == recorded.Get("vsn") && r.URL.Query().Has("vsn") == recorded.Has("vsn") {
			p.came(s)
			p.wg.Add(1)
			return s.socket
		}
		if other == nil {
			other = s
		}
	}
	e := &DifferenceError{Transcript: p.name, What: "a socket opens", Want: "no more sockets", Got: "one more, vsn " + quoted(wanted)}
	if other != nil {
		e.Line, e.Socket, e.At = other.number, other.Conn, "vsn"
		e.Want, e.Got = quoted(other.socket.query.Get("vsn")), quoted(wanted)
	}
	p.differ(e)
	return nil
}

func quoted(s string) string { return string(rawjson.Must(s)) }

// differ ends the play, unless it is over. The caller holds mu.
func (p *Player) differ(e *DifferenceError) {
	if p.at < len(p.steps) {
		p.failLocked(e)
	}
}

// left notes that the client's socket has ended.
func (p *Player) left(s *played) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.gone || p.ctx.Err() != nil {
		return
	}
	s.gone = true
	for _, sent := range s.sends {
		if !sent.come {
			p.differ(&DifferenceError{Transcript: p.name, Line: sent.number, Socket: s.name, What: sent.what(), Want: "it to be sent", Got: "the end of the socket"})
			return
		}
	}
	if s.end != nil {
		p.came(s.end)
	}
}

// part ends a socket that is open when the play ends before its time. A client
// that differs is told where.
func (p *Player) part(ws *websocket.Conn) {
	p.mu.Lock()
	var e *DifferenceError
	differs := errors.As(p.err, &e)
	p.mu.Unlock()
	if !differs {
		_ = ws.CloseNow()
		return
	}
	reason := "differs from the transcript"
	if e.Line > 0 {
		reason += " line " + strconv.Itoa(e.Line)
	}
	if e.At != "" && len(e.At) < 60 {
		reason += " at " + e.At
	}
	_ = ws.Close(websocket.StatusPolicyViolation, reason)
}

// receive compares what a client sent with what the recorded one did. It
// returns the answer to a heartbeat.
func (p *Player) receive(s *played, binary bool, frame []byte) (answer []byte, ok bool) {
	m, err := phoenix.Decode(s.version, phoenix.FromClient, binary && s.version == phoenix.V2, frame)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && m.Topic == phoenix.TopicPhoenix && m.Event == phoenix.EventHeartbeat {
		return s.beat(m)
	}
	want := p.counterpart(s, m, err == nil)
	safe := string(redact.Frame(s.version, phoenix.FromClient, binary && s.version == phoenix.V2, frame))
	if want == nil {
		p.differ(&DifferenceError{Transcript: p.name, Socket: s.name, What: "a frame more", Want: "no further frame of that topic", Got: safe})
		return nil, false
	}
	at, wanted, got := p.compare(s, want, m, err == nil, frame, binary)
	if at == "" {
		p.came(want)
		return nil, false
	}
	if at == whole {
		at, wanted, got = "", want.redacted(), safe
	}
	p.differ(&DifferenceError{Transcript: p.name, Line: want.number, Socket: s.name, What: want.what(), At: at, Want: wanted, Got: got})
	return nil, false
}

// beat answers a heartbeat, unless the recorded one had no answer.
func (s *played) beat(m phoenix.Message) (answer []byte, ok bool) {
	s.beaten++
	if s.beaten <= len(s.beats) && !s.beats[s.beaten-1] {
		return nil, false
	}
	answer, _, err := phoenix.Append(nil, s.version, phoenix.FromServer, wire.Reply(m.Topic, "", m.Ref, phoenix.StatusOK, "{}"))
	return answer, err == nil
}

// counterpart returns the recorded frame that one is to be like: the first on
// that topic that has not come. Frames that cannot be read are a topic.
func (p *Player) counterpart(s *played, m phoenix.Message, readable bool) *step {
	for _, sent := range s.sends {
		if sent.come {
			continue
		}
		recorded, err := sent.message()
		if readable != (err == nil) {
			continue
		}
		if !readable || p.matcher.like(recorded.Topic, m.Topic) {
			return sent
		}
	}
	return nil
}

// whole is the place of a difference that is not within a payload.
const whole = "."

// compare returns where a frame differs from the recorded one, and what is
// there. at is empty if they are alike.
func (p *Player) compare(s *played, want *step, m phoenix.Message, readable bool, frame []byte, binary bool) (at, wanted, got string) {
	if !readable {
		if string(want.Bytes()) != string(frame) || binary != (want.Kind == "binary") {
			return whole, "", ""
		}
		return "", "", ""
	}
	r, _ := want.message() // counterpart has read it
	switch {
	case r.Kind != m.Kind:
		return whole, "", ""
	case r.Event != m.Event:
		return "event", quoted(r.Event), quoted(m.Event)
	case (r.Ref == "") != (m.Ref == ""):
		return "ref", wire.RefText(r.Ref), wire.RefText(m.Ref)
	case r.UserEvent != m.UserEvent:
		return "user event", quoted(r.UserEvent), quoted(m.UserEvent)
	}
	if mine, known := s.refs[r.JoinRef]; r.Event != phoenix.EventJoin && (known && mine != m.JoinRef || (r.JoinRef == "") != (m.JoinRef == "")) {
		return "join_ref", wire.RefText(mine), wire.RefText(m.JoinRef)
	}
	for _, part := range []struct {
		name      string
		want, got []byte
	}{{"payload", r.Payload, m.Payload}, {"metadata", r.Meta, m.Meta}} {
		if at, wanted, got := p.matcher.diff(part.name, part.want, part.got); at != "" {
			return at, wanted, got
		}
	}
	p.matcher.like(r.Topic, m.Topic)
	s.refs[r.Ref], s.refs[r.JoinRef] = m.Ref, m.JoinRef
	return "", "", ""
}
