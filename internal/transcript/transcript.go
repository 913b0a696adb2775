// Package transcript holds conversations recorded between small raw websocket
// clients and a real Supabase Realtime 2.129.8 on PostgreSQL 15.18, in both
// protocol versions. They are the ground truth that the tests of this module
// hold its codec, its decoder, its client and its mock server against.
//
// testdata/schema.sql has the tables, policies and publication of the
// database. Tokens are signed with Secret. Recorded frames are one JSON object
// a line; see Line. The recording server ran on an Erlang that orders the keys
// of small JSON objects alphabetically; key order means nothing.
package transcript

import (
	"bufio"
	"bytes"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"
)

// Secret signs every token of the recordings (HS256).
const Secret = "super-secret-jwt-token-with-at-least-32-characters-long"

//go:embed testdata
var files embed.FS

// Transcript is one recorded conversation.
type Transcript struct {
	Name     string `json:"-"` // file name without .jsonl, such as "05-rls.vsn1"
	Scenario string `json:"scenario"`
	Notes    string `json:"notes"`
	Query    string `json:"url_query"`
	Lines    []Line `json:"-"`
}

// Line is one thing that happened.
type Line struct {
	MS    int64  `json:"t_ms"`           // milliseconds since the recording began
	Conn  string `json:"conn,omitempty"` // which socket, where there are several
	Dir   string `json:"dir"`            // send, recv; open, opened, upgrade_refused, close, error; sql, sql_done; http_request, http_response; note
	Kind  string `json:"kind"`           // text, binary (frame is base64), sql, meta, pong, note
	Frame string `json:"frame"`
}

// At returns when the line happened, since the recording began.
func (l Line) At() time.Duration { return time.Duration(l.MS) * time.Millisecond }

// IsFrame reports whether the line is a websocket message.
func (l Line) IsFrame() bool {
	return (l.Dir == "send" || l.Dir == "recv") && (l.Kind == "text" || l.Kind == "binary")
}

// Bytes returns the frame as it was on the wire. Read has checked that it can.
func (l Line) Bytes() []byte {
	if l.Kind != "binary" {
		return []byte(l.Frame)
	}
	b, err := base64.StdEncoding.DecodeString(l.Frame)
	if err != nil {
		panic("transcript: " + err.Error())
	}
	return b
}

// FrameLine returns the line of a frame that is sent or received.
func FrameLine(conn, dir string, binary bool, frame []byte) Line {
	if binary {
		return Line{Conn: conn, Dir: dir, Kind: "binary", Frame: base64.StdEncoding.EncodeToString(frame)}
	}
	return Line{Conn: conn, Dir: dir, Kind: "text", Frame: string(frame)}
}

// Version returns the vsn parameter of a socket, "1.0.0" where it gave none.
func (t Transcript) Version(conn string) string {
	for _, l := range t.Lines {
		if l.Dir == "open" && l.Conn == conn {
			u, err := url.Parse(l.Frame)
			if err == nil && u.Query().Has("vsn") {
				return u.Query().Get("vsn")
			}
			return "1.0.0"
		}
	}
	return "1.0.0"
}

// Names lists the transcripts in order.
func Names() []string {
	entries, err := files.ReadDir("testdata")
	if err != nil {
		panic("transcript: " + err.Error())
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".jsonl"); ok {
			names = append(names, name)
		}
	}
	return names
}

// Load returns the transcript of that name.
func Load(name string) (Transcript, error) {
	f, err := Open(name)
	if err != nil {
		return Transcript{Name: name}, err
	}
	defer f.Close()
	return Read(name, f)
}

// Open opens the file of the transcript of that name.
func Open(name string) (fs.File, error) { return files.Open(path.Join("testdata", name+".jsonl")) }

// maxLine bounds one line of a file, which holds one frame.
const maxLine = 64 << 20

// Read reads a transcript. The name is for errors, which give the line. Kinds
// of lines that it does not know are kept.
func Read(name string, r io.Reader) (Transcript, error) {
	t := Transcript{Name: name}
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	n := 0
	for in.Scan() {
		n++
		var into any = &t
		var line Line
		if n > 1 {
			into = &line
		}
		err := json.Unmarshal(in.Bytes(), into)
		if err == nil && line.Kind == "binary" {
			_, err = base64.StdEncoding.DecodeString(line.Frame)
		}
		if err != nil {
			return t, fmt.Errorf("transcript %s line %d: %w", name, n, err)
		}
		if n > 1 {
			t.Lines = append(t.Lines, line)
		}
	}
	if err := in.Err(); err != nil {
		return t, fmt.Errorf("transcript %s line %d: %w", name, n+1, err)
	}
	if n == 0 {
		return t, fmt.Errorf("transcript %s: it is empty", name)
	}
	return t, nil
}

// Writer writes a transcript. It is safe for concurrent use. The first error
// ends the writing; Err returns it.
type Writer struct {
	mu    sync.Mutex
	w     io.Writer
	began time.Time
	err   error
}

// NewWriter writes the first line, which t has all of.
func NewWriter(w io.Writer, t Transcript) *Writer {
	tw := &Writer{w: w, began: time.Now()}
	tw.put(t)
	return tw
}

// Add writes a line, at the present time.
func (w *Writer) Add(l Line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.MS = time.Since(w.began).Milliseconds()
	w.put(l)
}

func (w *Writer) put(v any) {
	if w.err != nil {
		return
	}
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if w.err = enc.Encode(v); w.err == nil {
		_, w.err = w.w.Write(line.Bytes())
	}
}

// Err returns what ended the writing, if something did.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Schema returns the SQL that made the recorded database.
func Schema() string {
	b, err := files.ReadFile("testdata/schema.sql")
	if err != nil {
		panic("transcript: " + err.Error())
	}
	return string(b)
}
