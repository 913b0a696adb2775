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
	"net/url"
	"path"
	"strings"
	"time"
)

// Secret signs every token of the recordings (HS256).
const Secret = "super-secret-jwt-token-with-at-least-32-characters-long"

//go:embed testdata
var files embed.FS

// Transcript is one recorded conversation.
type Transcript struct {
	Name     string // file name without .jsonl, such as "05-rls.vsn1"
	Scenario string `json:"scenario"`
	Notes    string `json:"notes"`
	Query    string `json:"url_query"`
	Lines    []Line
}

// Line is one thing that happened.
type Line struct {
	MS    int64  `json:"t_ms"` // milliseconds since the recording began
	Conn  string `json:"conn"` // which socket, where there are several
	Dir   string `json:"dir"`  // send, recv; open, opened, upgrade_refused, close, error; sql, sql_done; http_request, http_response; note
	Kind  string `json:"kind"` // text, binary (frame is base64), sql, meta, pong, note
	Frame string `json:"frame"`
}

// At returns when the line happened, since the recording began.
func (l Line) At() time.Duration { return time.Duration(l.MS) * time.Millisecond }

// IsFrame reports whether the line is a websocket message.
func (l Line) IsFrame() bool {
	return (l.Dir == "send" || l.Dir == "recv") && (l.Kind == "text" || l.Kind == "binary")
}

// Bytes returns the frame as it was on the wire.
func (l Line) Bytes() []byte {
	if l.Kind != "binary" {
		return []byte(l.Frame)
	}
	b, err := base64.StdEncoding.DecodeString(l.Frame)
	if err != nil {
		panic("transcript: " + err.Error()) // the recordings are part of the program
	}
	return b
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
	t := Transcript{Name: name}
	b, err := files.ReadFile(path.Join("testdata", name+".jsonl"))
	if err != nil {
		return t, err
	}
	in := bufio.NewScanner(bytes.NewReader(b))
	in.Buffer(nil, 16<<20)
	for n := 1; in.Scan(); n++ {
		var into any = &t
		if n > 1 {
			t.Lines = append(t.Lines, Line{})
			into = &t.Lines[len(t.Lines)-1]
		}
		if err := json.Unmarshal(in.Bytes(), into); err != nil {
			return t, fmt.Errorf("transcript %s line %d: %w", name, n, err)
		}
	}
	return t, in.Err()
}

// Schema returns the SQL that made the recorded database.
func Schema() string {
	b, err := files.ReadFile("testdata/schema.sql")
	if err != nil {
		panic("transcript: " + err.Error())
	}
	return string(b)
}
