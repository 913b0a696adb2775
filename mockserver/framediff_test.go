package mockserver_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// normalFrame is a message without what two runs may differ in, so that equal
// ones are equal values.
type normalFrame struct {
	topic   string
	head    string // the kind of a binary message, or the refs and the event of another
	payload string // JSON, or bytes in Go's quotes
	exact   string // what PostgreSQL has written in it, whose spaces and order the server passes on
}

func (f normalFrame) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s", f.topic, f.head, f.payload, f.exact))
}

// is reports whether the message is a text of that event.
func (f normalFrame) is(event string) bool { return strings.HasSuffix(f.head, " "+event) }

// sameChange reports whether both tell of one change, with the same columns.
func (f normalFrame) sameChange(other normalFrame) bool {
	data, _, isChange := strings.Cut(f.payload, `,"ids":`)
	otherData, _, _ := strings.Cut(other.payload, `,"ids":`)
	return isChange && f.is("postgres_changes") && other.is("postgres_changes") && data == otherData
}

// frameDiff says what differs between the messages that a socket should have
// got and those that it got: which are missing, which are too many, and which
// members of others are not as they should be. It is empty if nothing does.
func frameDiff(want, got []normalFrame) string {
	var diff strings.Builder
	w, g := 0, 0
	for _, same := range append(common(want, got), [2]int{len(want), len(got)}) {
		for ; w < same[0] && g < same[1]; w, g = w+1, g+1 {
			fmt.Fprintf(&diff, "message %d is not message %d of the recording:\n%s", g+1, w+1, memberDiff(want[w], got[g]))
		}
		for ; w < same[0]; w++ {
			fmt.Fprintf(&diff, "message %d of the recording is missing: %s\n", w+1, want[w])
		}
		for ; g < same[1]; g++ {
			fmt.Fprintf(&diff, "message %d is not in the recording: %s\n", g+1, got[g])
		}
		w, g = same[0]+1, same[1]+1
	}
	return diff.String()
}

// common returns the places of a longest common subsequence.
func common(a, b []normalFrame) (places [][2]int) {
	begin := 0
	for begin < len(a) && begin < len(b) && a[begin] == b[begin] {
		places = append(places, [2]int{begin, begin})
		begin++
	}
	end := 0
	for end < len(a)-begin && end < len(b)-begin && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	x, y := a[begin:len(a)-end], b[begin:len(b)-end]
	length := make([][]int, len(x)+1) // of the longest one of x[i:] and y[j:]
	for i := range length {
		length[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			length[i][j] = max(length[i+1][j], length[i][j+1])
			if x[i] == y[j] {
				length[i][j] = length[i+1][j+1] + 1
			}
		}
	}
	for i, j := 0, 0; i < len(x) && j < len(y); {
		switch {
		case x[i] == y[j]:
			places = append(places, [2]int{begin + i, begin + j})
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	for k := end; k > 0; k-- {
		places = append(places, [2]int{len(a) - k, len(b) - k})
	}
	return places
}

// memberDiff says in which members two messages differ.
func memberDiff(want, got normalFrame) string {
	var lines []string
	differ := func(where, want, got string) {
		if want != got {
			lines = append(lines, fmt.Sprintf("\t%s: want %s\n\t%s   got %s\n", where, want, strings.Repeat(" ", len(where)-1), got))
		}
	}
	differ("topic", want.topic, got.topic)
	differ("refs and event", want.head, got.head)
	w, errW := decoded(want.payload)
	g, errG := decoded(got.payload)
	if errW != nil || errG != nil {
		differ("payload", want.payload, got.payload)
	} else {
		valueDiff("payload", w, g, differ)
	}
	if len(lines) == 0 {
		differ("text of PostgreSQL", want.exact, got.exact)
	}
	return strings.Join(lines, "")
}

func decoded(payload string) (v any, err error) {
	d := json.NewDecoder(strings.NewReader(payload))
	d.UseNumber()
	return v, d.Decode(&v)
}

// valueDiff calls differ for the innermost values that differ.
func valueDiff(path string, want, got any, differ func(where, want, got string)) {
	if w, ok := want.(map[string]any); ok {
		if g, ok := got.(map[string]any); ok {
			all := maps.Clone(w)
			maps.Copy(all, g)
			for _, name := range slices.Sorted(maps.Keys(all)) {
				one, inWant := w[name]
				other, inGot := g[name]
				if !inWant || !inGot {
					differ(path+"."+name, orAbsent(one, inWant), orAbsent(other, inGot))
					continue
				}
				valueDiff(path+"."+name, one, other, differ)
			}
			return
		}
	}
	w, isList := want.([]any)
	if g, ok := got.([]any); ok && isList && len(w) == len(g) {
		for i := range w {
			valueDiff(fmt.Sprintf("%s[%d]", path, i), w[i], g[i], differ)
		}
		return
	}
	differ(path, orAbsent(want, true), orAbsent(got, true))
}

func orAbsent(v any, present bool) string {
	if !present {
		return "(absent)"
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}

func TestFrameDiff(t *testing.T) {
	f := func(topic, payload string) normalFrame {
		return normalFrame{topic: topic, head: "event", payload: payload}
	}
	a, b, c := f("a", `{"n":1}`), f("b", `{"n":1,"m":[1,{"x":null}]}`), f("c", `{}`)
	other := f("b", `{"n":1,"m":[1,{"x":"y"}],"k":9007199254740993}`)
	exact := a
	exact.exact = "{ }"
	binary := f("a", `"\x00"`)
	for _, x := range []struct {
		name      string
		want, got []normalFrame
		diff      string
	}{
		{"nothing", nil, nil, ""},
		{"equal", []normalFrame{a, b, c}, []normalFrame{a, b, c}, ""},
		{"missing", []normalFrame{a, b, c}, []normalFrame{a, c}, `message 2 of the recording is missing: b event {"n":1,"m":[1,{"x":null}]}` + "\n"},
		{"too many", []normalFrame{a, c}, []normalFrame{a, c, c}, "message 3 is not in the recording: c event {}\n"},
		{"order", []normalFrame{a, b}, []normalFrame{b, a}, "message 1 of the recording is missing: a event {\"n\":1}\nmessage 2 is not in the recording: a event {\"n\":1}\n"},
		{"members", []normalFrame{a, b, c}, []normalFrame{a, other, c}, "message 2 is not message 2 of the recording:\n" +
			"\tpayload.k: want (absent)\n\t           got 9007199254740993\n" +
			"\tpayload.m[1].x: want null\n\t                got \"y\"\n"},
		{"text of PostgreSQL", []normalFrame{a}, []normalFrame{exact}, "message 1 is not message 1 of the recording:\n\ttext of PostgreSQL: want \n\t                    got { }\n"},
		{"no JSON", []normalFrame{a}, []normalFrame{binary}, "message 1 is not message 1 of the recording:\n\tpayload: want {\"n\":1}\n\t         got \"\\x00\"\n"},
	} {
		require.Equal(t, x.diff, frameDiff(x.want, x.got), x.name)
	}
}
