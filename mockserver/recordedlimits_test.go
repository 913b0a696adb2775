package mockserver_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver"
)

// Of its floods scenario 19 has the beginnings. These functions write the
// rest, as the notes of the recording tell of it.

// floods fills in the first part of scenario 19.
func floods(t *testing.T, lines []transcript.Line) []transcript.Line {
	return transcript.ChangeFlood(broadcastFlood(t, lines))
}

// broadcastFlood has 2995 more broadcasts, each of which came back.
func broadcastFlood(t *testing.T, lines []transcript.Line) []transcript.Line {
	is := func(dir, text string) func(transcript.Line) bool {
		return func(l transcript.Line) bool {
			return l.Conn == "bf" && l.Dir == dir && strings.Contains(l.Frame, text)
		}
	}
	last := slices.IndexFunc(lines, is("recv", `{"i":4}`))
	sent := slices.IndexFunc(lines, is("send", `{"i":4}`))
	require.Positive(t, last)
	var flood []transcript.Line
	for i := 5; i < 3000; i++ {
		at := lines[last].MS + int64(i)
		text := strings.Replace(lines[sent].Frame, `"6"`, fmt.Sprintf(`"%d"`, i+2), 1)
		flood = append(flood,
			transcript.Line{MS: at, Conn: "bf", Dir: "send", Kind: "text", Frame: strings.Replace(text, `{"i":4}`, fmt.Sprintf(`{"i":%d}`, i), 1)},
			transcript.Line{MS: at, Conn: "bf", Dir: "recv", Kind: "text", Frame: strings.Replace(lines[last].Frame, `{"i":4}`, fmt.Sprintf(`{"i":%d}`, i), 1)},
		)
	}
	return slices.Insert(lines, last+1, flood...)
}

// lowered has the server stop at the end of the second part of scenario 19,
// which its recording shows by the codes alone.
func lowered(_ *testing.T, lines []transcript.Line) []transcript.Line {
	i := slices.IndexFunc(lines, func(l transcript.Line) bool {
		var end struct{ Code int }
		return l.Dir == "close" && json.Unmarshal([]byte(l.Frame), &end) == nil && end.Code == 1012
	})
	return slices.Insert(lines, i, transcript.Line{MS: lines[i].MS, Dir: "note", Frame: "server stopped"})
}

var stops = map[string]func(*testing.T, *mockserver.Server){
	"server stopped": fault(func(s *mockserver.Server) { s.CloseSockets(1012) }),
}
