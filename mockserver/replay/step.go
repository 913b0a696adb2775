package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/redact"
	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// step is a line of a transcript that a player waits for, if it is the
// client's, or carries out, if it is the server's.
type step struct {
	transcript.Line
	number int // in the file
	client bool
	come   bool          // a client's
	socket *played       // nil: of a request
	end    ended         // of a close
	asked  *httpAsked    // of a request
	answer *step         // to a request, if one was recorded
	text   httpText      // of a request or an answer
	sent   chan struct{} // closed when an answer has gone out, or cannot
}

// String tells which line it is.
func (s *step) String() string { return fmt.Sprintf("line %d, %s", s.number, s.what()) }

func (s *step) what() string {
	switch {
	case s.IsFrame():
		m, _ := s.message() // what cannot be read has no names
		return strings.TrimSuffix(s.Dir+" "+m.Event+" of "+m.Topic, " of ")
	case s.asked != nil:
		return s.asked.String()
	}
	return s.Dir
}

// message decodes a frame.
func (s *step) message() (phoenix.Message, error) {
	from := phoenix.FromServer
	if s.Dir == "send" {
		from = phoenix.FromClient
	}
	return phoenix.Decode(s.socket.version, from, s.Kind == "binary" && s.socket.version == phoenix.V2, s.Bytes())
}

// played is a recorded socket, and that of the client in its place. Its fields
// are guarded by Player.mu once the play has begun, but for those that never
// change.
type played struct {
	name    string
	query   url.Values
	version phoenix.Version
	sends   []*step // of the client, but for heartbeats
	beats   []bool  // by heartbeat: whether it was answered
	end     *step   // if the client ended it
	closed  bool    // its end is recorded
	openAt  *step

	beaten  int // heartbeats that came
	refused bool
	decided chan *step      // whether to open, from the player to the socket's handler
	ready   chan struct{}   // closed when it is open
	ws      *websocket.Conn // once ready
	gone    bool            // the client, or the server, has ended it
	refs    map[phoenix.Ref]phoenix.Ref
}

// script is what readSteps knows while it reads.
type script struct {
	steps    []*step
	sockets  map[string][]*played // those of that name, one after the other
	requests map[string]*step     // unanswered
}

// readSteps reads the lines of a transcript. The error says in which line what
// cannot be played is.
func readSteps(t transcript.Transcript) ([]*step, error) {
	s := script{sockets: map[string][]*played{}, requests: map[string]*step{}}
	for i, l := range t.Lines {
		if err := s.add(&step{Line: l, number: i + 2}); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+2, err)
		}
	}
	if len(s.steps) == 0 {
		return nil, errors.New("there is nothing to play in it")
	}
	return s.steps, nil
}

// add adds a line if it is one that is played.
func (s *script) add(l *step) error {
	switch {
	case l.Dir == "open":
		return s.open(l)
	case l.Dir == "http_request", l.Dir == "http_response":
		return s.http(l)
	}
	switch {
	case l.IsFrame(), l.Dir == "opened", l.Dir == "upgrade_refused", l.Dir == "close":
	default:
		return nil // SQL, notes, pongs
	}
	named := s.sockets[l.Conn]
	if len(named) == 0 {
		return fmt.Errorf("socket %q has not been opened", l.Conn)
	}
	l.socket = named[len(named)-1]
	switch {
	case l.IsFrame():
		s.frame(l)
	case l.Dir == "upgrade_refused":
		l.socket.refused = true
		s.steps = append(s.steps, l)
	case l.Dir == "opened":
		s.steps = append(s.steps, l)
	default:
		return s.close(l, named)
	}
	return nil
}

func (s *script) open(l *step) error {
	u, err := url.Parse(l.Frame)
	if err != nil {
		return err
	}
	l.client = true
	l.socket = &played{
		name: l.Conn, query: u.Query(), version: phoenix.V1, openAt: l, refs: map[phoenix.Ref]phoenix.Ref{},
		decided: make(chan *step, 1), ready: make(chan struct{}),
	}
	if m := wire.Serializer.FindStringSubmatch(u.Query().Get("vsn")); m != nil && m[1] == "2" {
		l.socket.version = phoenix.V2
	}
	s.sockets[l.Conn] = append(s.sockets[l.Conn], l.socket)
	s.steps = append(s.steps, l)
	return nil
}

// frame adds a frame, but for heartbeats and their answers.
func (s *script) frame(l *step) {
	m, err := l.message()
	beat := err == nil && m.Topic == phoenix.TopicPhoenix
	switch {
	case beat && l.Dir == "send" && m.Event == phoenix.EventHeartbeat:
		l.socket.beats = append(l.socket.beats, false)
		return
	case beat && l.Dir == "recv" && m.Event == phoenix.EventReply && len(l.socket.beats) > 0:
		l.socket.beats[len(l.socket.beats)-1] = true
		return
	case l.Dir == "send":
		l.client = true
		l.socket.sends = append(l.socket.sends, l)
	}
	s.steps = append(s.steps, l)
}

// close adds the end of a socket, the first of its name that has not ended.
// Where the line does not say whose doing it was, a close frame without a code
// was the client's. A refused upgrade has an end, too, in some recordings.
func (s *script) close(l *step, named []*played) error {
	i := slices.IndexFunc(named, func(p *played) bool { return !p.closed })
	if i < 0 {
		return fmt.Errorf("socket %q has ended before", l.Conn)
	}
	l.socket = named[i]
	l.socket.closed = true
	if l.socket.refused {
		return nil
	}
	if err := json.Unmarshal([]byte(l.Frame), &l.end); err != nil {
		return err
	}
	l.client = l.end.By == "client" || l.end.By == "" && l.end.Code == int(websocket.StatusNoStatusRcvd)
	if l.client {
		l.socket.end = l
	}
	s.steps = append(s.steps, l)
	return nil
}

// http adds a request that a client made, or its answer. Those of other
// recordings than a Recorder's stand for what happened elsewhere, and have no
// name.
func (s *script) http(l *step) error {
	if l.Conn == "" {
		return nil
	}
	var err error
	if l.text, err = parseHTTPText(l.Frame); err != nil {
		return err
	}
	if l.Dir == "http_request" {
		if l.asked, err = parseAsked(l.text); err != nil {
			return err
		}
		l.client = true
		s.requests[l.Conn] = l
	} else if request := s.requests[l.Conn]; request != nil && request.answer == nil {
		request.answer, l.sent = l, make(chan struct{})
	} else {
		return errors.New("it is an answer to no request")
	}
	s.steps = append(s.steps, l)
	return nil
}

// redacted returns the frame without keys and tokens.
func (s *step) redacted() string {
	from := phoenix.FromServer
	if s.client {
		from = phoenix.FromClient
	}
	return string(redact.Frame(s.socket.version, from, s.Kind == "binary", s.Bytes()))
}
