package inspect

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/redact"
)

const (
	maxPassed      = 5_000
	maxPassedBytes = 16 << 20
	// maxShown is how much of one frame is shown without being asked for.
	maxShown = 8 << 10
)

// Tap keeps what passed last, for the inspector. It is safe for concurrent use;
// nil keeps nothing.
type Tap struct {
	mu    sync.Mutex
	list  []passed // the last ones
	bytes int
	count uint64 // ever
}

// passed is a frame, or a note of what happened otherwise.
type passed struct {
	n       uint64 // from 1
	at      time.Time
	socket  int // 0: of none
	dir     string
	version phoenix.Version
	binary  bool
	raw     []byte // as it came, tokens and all; of a note, the text
	event   string // of a note
}

// The directions, as seen from the server.
const (
	passedIn   = "in"
	passedOut  = "out"
	passedNote = "note"
)

// In keeps a frame that came from a socket.
func (t *Tap) In(socket int, v phoenix.Version, binary bool, raw []byte) {
	t.frame(socket, passedIn, v, binary, raw)
}

// Out keeps a frame that went to a socket.
func (t *Tap) Out(socket int, v phoenix.Version, binary bool, raw []byte) {
	t.frame(socket, passedOut, v, binary, raw)
}

func (t *Tap) frame(socket int, dir string, v phoenix.Version, binary bool, raw []byte) {
	if t != nil {
		t.add(passed{socket: socket, dir: dir, version: v, binary: binary, raw: bytes.Clone(raw)})
	}
}

// Note keeps what else happened: to a socket, or to the server where it is 0.
func (t *Tap) Note(socket int, event, format string, args ...any) {
	if t != nil {
		t.add(passed{socket: socket, dir: passedNote, event: event, raw: fmt.Appendf(nil, format, args...)})
	}
}

func (t *Tap) add(p passed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	p.n, p.at = t.count, time.Now()
	t.list = append(t.list, p)
	t.bytes += len(p.raw)
	for len(t.list) > maxPassed || t.bytes > maxPassedBytes && len(t.list) > 1 {
		t.bytes -= len(t.list[0].raw)
		t.list[0] = passed{}
		t.list = t.list[1:]
	}
}

// since returns what passed after the n-th, but only the last ones if these are
// more than most.
func (t *Tap) since(n uint64, most int) []passed {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := min(len(t.list), most)
	if t.count-n < uint64(fresh) {
		fresh = int(t.count - n)
	}
	return append([]passed(nil), t.list[len(t.list)-fresh:]...)
}

// last returns the number of what passed last.
func (t *Tap) last() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}

// get returns the n-th.
func (t *Tap) get(n uint64) (passed, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.list) == 0 || n < t.list[0].n || n > t.count {
		return passed{}, false
	}
	return t.list[n-t.list[0].n], true
}

// shownFrame is what the inspector gets of a frame, without keys and tokens.
type shownFrame struct {
	N         uint64 `json:"n"`
	At        string `json:"at"` // RFC 3339, in UTC
	Socket    int    `json:"socket,omitempty"`
	Dir       string `json:"dir"`
	Topic     string `json:"topic,omitempty"`
	Event     string `json:"event"`
	UserEvent string `json:"user_event,omitempty"` // of a binary broadcast
	Meta      string `json:"meta,omitempty"`       // of a binary broadcast: JSON
	JoinRef   string `json:"join_ref,omitempty"`   // JSON
	Ref       string `json:"ref,omitempty"`        // JSON
	Size      int    `json:"size"`                 // of the frame, in bytes
	Binary    bool   `json:"binary,omitempty"`
	Text      string `json:"text"`              // the payload, or the whole of what cannot be read
	Summary   string `json:"summary,omitempty"` // what is worth knowing of it, where that is not its beginning
	Cut       bool   `json:"cut,omitempty"`     // there is more of it
}

// shown reads and redacts a frame. The text is cut to most bytes.
func (p passed) shown(most int) shownFrame {
	s := shownFrame{
		N: p.n, At: p.at.UTC().Format("2006-01-02T15:04:05.000Z"), Socket: p.socket, Dir: p.dir, Event: p.event,
		Size: len(p.raw), Binary: p.binary, Text: string(p.raw),
	}
	if p.dir == passedNote {
		s.Text = redact.String(s.Text)
	} else {
		p.read(&s, most)
	}
	return s
}

// read takes a frame apart.
func (p passed) read(s *shownFrame, most int) {
	from := phoenix.FromServer
	if p.dir == passedIn {
		from = phoenix.FromClient
	}
	m, err := phoenix.Decode(p.version, from, p.binary && p.version == phoenix.V2, p.raw)
	if err != nil {
		s.Event = "unreadable"
		s.setText(p.raw, most)
		return
	}
	s.Topic, s.Event, s.UserEvent = redact.String(m.Topic), redact.String(m.Event), redact.String(m.UserEvent)
	s.JoinRef, s.Ref = redact.String(string(m.JoinRef)), redact.String(string(m.Ref))
	s.Meta = printable(redact.Text(m.Meta))
	s.setText(m.Payload, most)
	if !s.Cut {
		s.Summary = summary(m.Event, []byte(s.Text))
	}
}

// setText redacts a text and cuts it to most bytes. Of a long one no more is
// redacted than what makes sure that no token is cut before it is known as one.
func (s *shownFrame) setText(text []byte, most int) {
	const margin = 8 << 10
	text, far := cutText(text, most+margin)
	safe, near := cutText([]byte(printable(redact.Text(text))), most)
	s.Text, s.Cut = string(safe), far || near
}

// cutText cuts text at the beginning of a character.
func cutText(text []byte, most int) (short []byte, cut bool) {
	if len(text) <= most {
		return text, false
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most], true
}

// maxSummary bounds what stands in one line of the page.
const maxSummary = 400

// summary puts the part of a payload first that one looks for.
func summary(event string, payload []byte) string {
	var p struct {
		Status, Message string
		Response        json.RawMessage
		Data            struct {
			Type, Schema, Table string
			Record              json.RawMessage
			OldRecord           json.RawMessage `json:"old_record"`
		}
		Event   string
		Payload json.RawMessage
	}
	if json.Unmarshal(payload, &p) != nil {
		return ""
	}
	text := ""
	switch event {
	case phoenix.EventPostgresChanges:
		row := p.Data.Record
		if row == nil {
			row = p.Data.OldRecord
		}
		text = fmt.Sprintf("%s %s.%s %s", p.Data.Type, p.Data.Schema, p.Data.Table, row)
	case phoenix.EventReply:
		text = fmt.Sprintf("%s %s", p.Status, p.Response)
	case phoenix.EventSystem:
		text = p.Status + ": " + p.Message
	case phoenix.EventBroadcast, phoenix.EventPresence:
		if p.Event != "" {
			text = fmt.Sprintf("%s %s", p.Event, p.Payload)
		}
	}
	if len(text) > maxSummary {
		text = strings.ToValidUTF8(text[:maxSummary], "")
	}
	return text
}

// printable returns text as it is and bytes in hexadecimal.
func printable(b []byte) string {
	if utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 {
		return string(b)
	}
	return hex.EncodeToString(b)
}
