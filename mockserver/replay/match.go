package replay

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/internal/redact"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
)

var (
	uuidText = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`)
	isoTime  = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::?\d\d)?)?`)
)

// matcher compares what a client sends with what another one did, up to what
// two runs of one program may differ in.
type matcher struct {
	uuids map[string]string // recorded → the client's
	back  map[string]string
	fixed map[string]bool // UUIDs that the server said first
}

func newMatcher() matcher {
	return matcher{uuids: map[string]string{}, back: map[string]string{}, fixed: map[string]bool{}}
}

// heard notes what the server says: its UUIDs are no client's to make up.
func (m *matcher) heard(b []byte) {
	for _, id := range uuidText.FindAll(b, -1) {
		if _, made := m.uuids[string(id)]; !made {
			m.fixed[string(id)] = true
		}
	}
}

// translate puts the client's UUIDs in the place of the recorded ones.
func (m *matcher) translate(b []byte) []byte {
	if len(m.uuids) == 0 || b == nil {
		return b
	}
	return uuidText.ReplaceAllFunc(b, func(id []byte) []byte {
		if mine, ok := m.uuids[string(id)]; ok {
			return []byte(mine)
		}
		return id
	})
}

// like reports whether two strings are alike, and remembers which UUIDs then
// stand for each other.
func (m *matcher) like(want, got string) bool {
	if want == got {
		return true
	}
	want, got = redact.String(want), redact.String(got)
	if shape(want) != shape(got) {
		return false
	}
	ids, mine := uuidText.FindAllString(want, -1), uuidText.FindAllString(got, -1)
	uuids, back := maps.Clone(m.uuids), maps.Clone(m.back)
	for i, id := range ids {
		if !m.pair(uuids, back, id, mine[i]) {
			return false
		}
	}
	m.uuids, m.back = uuids, back
	return true
}

func (m *matcher) pair(uuids, back map[string]string, id, mine string) bool {
	known, ok := uuids[id]
	other, taken := back[mine]
	switch {
	case m.fixed[id]:
		return id == mine
	case ok || taken:
		return known == mine && other == id
	}
	uuids[id], back[mine] = mine, id
	return true
}

// shape is a string without what may differ.
func shape(s string) string {
	return isoTime.ReplaceAllString(uuidText.ReplaceAllString(s, "<uuid>"), "<time>")
}

// diff compares two payloads and returns where they differ, and what is there:
// nothing if they are alike. What is no JSON is compared byte by byte. Only
// payloads that are alike say which UUIDs stand for each other.
func (m *matcher) diff(name string, want, got []byte) (at, wanted, mine string) {
	before := *m
	if at, wanted, mine = m.compare(name, want, got); at != "" {
		*m = before
	}
	return at, wanted, mine
}

func (m *matcher) compare(name string, want, got []byte) (at, wanted, mine string) {
	a, aErr := parsed(redact.Text(want))
	b, bErr := parsed(redact.Text(got))
	if aErr != nil || bErr != nil {
		if bytes.Equal(want, got) {
			return "", "", ""
		}
		return name, strconv.Quote(redact.String(string(want))), strconv.Quote(redact.String(string(got)))
	}
	return m.walk(name, a, b)
}

func parsed(b []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	err = dec.Decode(&v)
	return v, err
}

func (m *matcher) walk(at string, want, got any) (where, wanted, mine string) {
	switch w := want.(type) {
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			return m.walkObject(at, w, g)
		}
	case []any:
		if g, ok := got.([]any); ok && len(w) == len(g) {
			for i := range w {
				if where, wanted, mine := m.walk(at+"["+strconv.Itoa(i)+"]", w[i], g[i]); where != "" {
					return where, wanted, mine
				}
			}
			return "", "", ""
		}
	case string:
		if g, ok := got.(string); ok && m.like(w, g) {
			return "", "", ""
		}
	case json.Number:
		if g, ok := got.(json.Number); ok && (w == g || strings.HasSuffix(at, ".since") && len(w) == len(g)) {
			return "", "", ""
		}
	default:
		if want == got { // booleans and null
			return "", "", ""
		}
	}
	return at, string(rawjson.Must(want)), string(rawjson.Must(got))
}

func (m *matcher) walkObject(at string, want, got map[string]any) (where, wanted, mine string) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		member := at + "." + name
		g, ok := got[name]
		if !ok {
			return member, string(rawjson.Must(want[name])), "nothing"
		}
		if where, wanted, mine := m.walk(member, want[name], g); where != "" {
			return where, wanted, mine
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			return at + "." + name, "nothing", string(rawjson.Must(got[name]))
		}
	}
	return "", "", ""
}
