package transcript

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ChangeFlood fills in what the recording 19-limits leaves out of its flood of
// changes, as the notes in it tell: all changes of the first three transactions,
// of which it has three, and the single rows that were written a second apart,
// of which it has those that came back. When each was written follows from the
// first that came. It panics where the lines are not those of that recording.
func ChangeFlood(lines []Line) []Line {
	find := func(what string, is func(l Line) bool) int {
		i := slices.IndexFunc(lines, is)
		if i < 0 {
			panic("transcript: no line with " + what)
		}
		return i
	}
	has := func(what string) int {
		return find(what, func(l Line) bool { return strings.Contains(l.Frame, what) })
	}
	first, single := has(`"record":{"id": 1,`), has(`"record":{"id": 20014,`)
	statement := find("(1,1000)", func(l Line) bool { return l.Dir == "sql" && strings.Contains(l.Frame, "(1,1000)") })
	began, wrote := committedAt(lines[first]), committedAt(lines[single])
	var more []Line
	for i := range 90 {
		at := lines[statement].At() + wrote.Sub(began) + time.Duration(i-14)*1002*time.Millisecond
		more = append(more, Line{MS: at.Milliseconds(), Dir: "sql", Kind: "sql", Frame: fmt.Sprintf("insert into t_items(id) values (%d)", 20000+i)})
	}
	for id := 4; id <= 3000; id++ {
		batch := began.Add(time.Duration((id-1)/1000) * time.Second)
		frame := strings.Replace(lines[first].Frame, `"record":{"id": 1,`, fmt.Sprintf(`"record":{"id": %d,`, id), 1)
		frame = strings.Replace(frame, began.Format(millis), batch.Format(millis), 1)
		at := lines[first].MS + int64((id-1)/1000)*1000
		more = append(more, Line{MS: at, Conn: "pf", Dir: "recv", Kind: "text", Frame: frame})
	}
	lines = slices.Concat(lines[:first+3], more, lines[first+3:])
	slices.SortStableFunc(lines, func(a, b Line) int { return int(a.MS - b.MS) })
	return lines
}

const millis = "2006-01-02T15:04:05.000Z"

var committed = regexp.MustCompile(`"commit_timestamp":"([^"]+)"`)

func committedAt(l Line) time.Time {
	at, err := time.Parse(millis, committed.FindStringSubmatch(l.Frame)[1])
	if err != nil {
		panic("transcript: " + err.Error())
	}
	return at
}
