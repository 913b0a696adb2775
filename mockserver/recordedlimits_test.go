package mockserver_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver"
)

// Of its floods scenario 19 has the beginnings. These functions write the
// rest, as the notes of the recording tell of it.

// floods fills in the first part of scenario 19.
func floods(t *testing.T, lines []transcript.Line) []transcript.Line {
	lines = broadcastFlood(t, lines)
	return changeFlood(t, lines)
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

// changeFlood has the changes of the first three transactions that are not in
// the recording, and the single rows that followed: from the first one that
// came one knows when each was written.
func changeFlood(t *testing.T, lines []transcript.Line) []transcript.Line {
	first := slices.IndexFunc(lines, func(l transcript.Line) bool { return strings.Contains(l.Frame, `"record":{"id": 1,`) })
	single := slices.IndexFunc(lines, func(l transcript.Line) bool { return strings.Contains(l.Frame, `"record":{"id": 20014,`) })
	require.Positive(t, first)
	require.Positive(t, single)
	began, wrote := committedAt(t, lines[first]), committedAt(t, lines[single])
	statement := slices.IndexFunc(lines, func(l transcript.Line) bool { return l.Dir == "sql" && strings.Contains(l.Frame, "(1,1000)") })
	var more []transcript.Line
	for i := range 90 {
		at := lines[statement].At() + wrote.Sub(began) + time.Duration(i-14)*1002*time.Millisecond
		more = append(more, transcript.Line{MS: at.Milliseconds(), Dir: "sql", Kind: "sql", Frame: fmt.Sprintf("insert into t_items(id) values (%d)", 20000+i)})
	}
	for id := 4; id <= 3000; id++ {
		batch := began.Add(time.Duration((id-1)/1000) * time.Second)
		frame := strings.Replace(lines[first].Frame, `"record":{"id": 1,`, fmt.Sprintf(`"record":{"id": %d,`, id), 1)
		frame = strings.Replace(frame, began.Format(millis), batch.Format(millis), 1)
		at := lines[first].MS + int64((id-1)/1000)*1000
		more = append(more, transcript.Line{MS: at, Conn: "pf", Dir: "recv", Kind: "text", Frame: frame})
	}
	lines = slices.Concat(lines[:first+3], more, lines[first+3:])
	slices.SortStableFunc(lines, func(a, b transcript.Line) int { return int(a.MS - b.MS) })
	return lines
}

const millis = "2006-01-02T15:04:05.000Z"

func committedAt(t *testing.T, l transcript.Line) time.Time {
	at, err := time.Parse(millis, committed.FindStringSubmatch(l.Frame)[1])
	require.NoError(t, err)
	return at
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
