package rowjson

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var pieces = []string{`{`, `}`, `[`, `]`, `,`, `:`, `"a"`, `"`, `1`, `-`, `0`, `.5`, `e`, `E+1`, `null`, `true`, `fals`, ` `, "\t", `\u00e9`, `\`, "\x01", "é", `"k":`, `\ud83d`, `\ude00`, "\xff", "\u2028"}

// TestCursorAcceptsWhatEncodingJSONAccepts compares the two on random text.
func TestCursorAcceptsWhatEncodingJSONAccepts(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	taken := 0
	for range 200_000 {
		var b strings.Builder
		for range 1 + random.IntN(8) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		if requireAlike(t, []byte(b.String())) {
			taken++
		}
	}
	require.Greater(t, taken, 5_000)
	for _, text := range []string{`"` + strings.Repeat("x", 20) + "\x1f" + `"`, `"\u12g4"`, `"\u123`, `01`, `-`, `1.`, `1e`, `[1,]`, `{"a":1,}`, `{"a"}`, `nul`, ``, `"abc`, `{"a":1 "b":2}`, `[1 2]`, `[}`, `{]`, `[[1}]`} {
		require.False(t, requireAlike(t, []byte(text)), text)
	}
}

// check returns an error if the text is not one JSON value.
func check(text []byte) error {
	c := Cursor{Text: text}
	c.skip()
	return c.End()
}

// requireAlike checks that a Cursor accepts what encoding/json does, and reads
// the same from it. It reports whether they accept the text.
func requireAlike(t testing.TB, text []byte) bool {
	var want any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	wrong := json.Unmarshal(text, new(json.RawMessage))
	if wrong == nil {
		require.NoError(t, d.Decode(&want), "%q", text)
	}
	err := check(text)
	if wrong != nil {
		require.Error(t, err, "%q", text)
		return false
	}
	require.NoError(t, err, "%q", text)
	c := Cursor{Text: text}
	require.Equal(t, want, anyOf(&c), "%q", text)
	require.NoError(t, c.End())
	return true
}

// anyOf reads a value as encoding/json does.
func anyOf(c *Cursor) any {
	switch c.Next() {
	case '{':
		m := map[string]any{}
		for c.Open('{'); c.More('}'); {
			key := string(c.Key())
			m[key] = anyOf(c)
		}
		return m
	case '[':
		list := []any{}
		for c.Open('['); c.More(']'); {
			list = append(list, anyOf(c))
		}
		return list
	case '"':
		s, _ := Unquote(c.Value())
		return s
	}
	switch s := string(c.Value()); s {
	case null:
		return nil
	case "true", "false":
		return s == "true"
	default:
		return json.Number(s)
	}
}

func TestDepth(t *testing.T) {
	for _, of := range []struct {
		open, close string
		depth       int
	}{{"[", "]", 1}, {`{"a":`, "}", 1}, {`[{"a":`, "}]", 2}, {`[[{"a": `, "} ] ]", 3}} {
		for times := range 200 {
			require.NoError(t, check([]byte(strings.Repeat(of.open, times)+"1"+strings.Repeat(of.close, times))))
		}
		most := maxDepth / of.depth
		require.NoError(t, check([]byte(strings.Repeat(of.open, most)+"1"+strings.Repeat(of.close, most))))
		require.Error(t, check([]byte(strings.Repeat(of.open, most+1)+"1"+strings.Repeat(of.close, most+1))))
		require.Error(t, check([]byte(strings.Repeat(of.open, 5_000_000))))
	}
	require.Error(t, check([]byte(strings.Repeat("[", 70)+strings.Repeat("]", 69))))
	require.Error(t, check([]byte(strings.Repeat("[", 70)+"}"+strings.Repeat("]", 70))))
}

// TestStringEnd: eight bytes at a time find what one at a time find.
func TestStringEnd(t *testing.T) {
	for b := range 256 {
		for at := 1; at < 20; at++ {
			text := bytes.Repeat([]byte{0xff}, 24)
			text[0], text[at], text[at+2] = '"', byte(b), '"'
			want := at + 3
			switch {
			case b == '"':
				want = at + 1
			case b < ' ', b == '\\': // and no escape follows
				want = ^at
			}
			require.Equal(t, want, stringEnd(text, 0), "%#x at %d", b, at)
		}
	}
}

func TestSplit(t *testing.T) {
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	for text, want := range map[string][]string{
		`[]`:    nil,
		" [ ] ": nil,
		"[{\"id\":1,\"t\":\"]}\\\"\"},\n {\"id\":-2.50e3, \"t\":null}] \n": {`{"id":1,"t":"]}\""}`, `{"id":-2.50e3, "t":null}`},
		`[{"a":` + deep + `},{"\u0061":2}]`:                                {`{"a":` + deep + `}`, `{"\u0061":2}`},
		`[1,"a",[true]]`:                                                   {`1`, `"a"`, `[true]`},
	} {
		rows, err := Split([]byte(text))
		require.NoError(t, err, text)
		var got []string
		for _, row := range rows {
			got = append(got, string(row))
		}
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "null", `{"id":1}`, `[{"id":1}`, `[{"id":1},]`, `[{"id":01}]`, `[{"id":1}][]`, "[\"a\x01\"]", `[{"id":1} {"id":2}]`} {
		rows, err := Split([]byte(text))
		require.Error(t, err, text)
		require.Nil(t, rows)
	}
}

func TestHas(t *testing.T) {
	row := []byte(`{"id": 1, "n\u0061me": null, "x": {"y": 2}}`)
	require.True(t, Has(row, nil))
	require.True(t, Has(row, []string{"id", "name"}))
	require.False(t, Has(row, []string{"id", "y"}))
	require.True(t, Has(row, []string{"x", "id", "name", "x", "id", "x", "id", "x", "id"}))
	for _, text := range []string{``, `[]`, `null`, `{"id":1`, `{"id":1}x`} {
		require.False(t, Has([]byte(text), []string{"id"}), text)
	}
}

func TestCursorStopsAtTheFirstMistake(t *testing.T) {
	for _, text := range []string{`{"a" 1}`, `{"a":1`, `{"a":tru}`, `{1:2}`, `{"a":1]`, `[`} {
		c := Cursor{Text: []byte(text)}
		for c.Open('{'); c.More('}'); {
			c.Key()
			c.Value()
		}
		require.Error(t, c.Err(), text)
		require.Nil(t, c.Key())
		require.Empty(t, c.Value())
		require.Zero(t, c.Next())
		require.False(t, c.Enter('['))
		require.False(t, c.More('}'))
		require.Error(t, c.End())
	}
}

func FuzzCursor(f *testing.F) {
	f.Add([]byte(`[{"id":1,"name":"a\n\ud83d\ude00"},{"id":2.5e-7,"name":null}]`))
	f.Add([]byte(strings.Repeat(`[{"a":`, 80)))
	f.Fuzz(func(t *testing.T, text []byte) {
		began := time.Now()
		_ = check(text)
		require.Less(t, time.Since(began), time.Second+time.Duration(len(text))*10*time.Microsecond)
		requireAlike(t, text)
		var want []json.RawMessage
		if rows, err := Split(text); json.Unmarshal(text, &want) == nil && want != nil {
			require.NoError(t, err)
			require.Equal(t, len(want), len(rows))
			for i := range rows {
				require.Equal(t, string(want[i]), string(rows[i]))
			}
		} else {
			require.Error(t, err)
		}
	})
}

// TestUnquote_AsEncodingJSON compares the two on text of all kinds of characters,
// and of none.
func TestUnquote_AsEncodingJSON(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	some := []string{"a", "text of more than eight bytes", "é", "ß", "\u07ff", "\u0800", "日本", "\ud7ff", "\ue000", "\uffff", "😀", "\U00010000", "\U0010ffff",
		`\n`, `\"`, `\\`, `\/`, `\u0041`, `\u00e9`, `\ud83d\ude00`, `\ud83d`, `\ude00`, `\u0000`,
		"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5", "\xff", "\xe6\x97", "\xf0\x9f\x98"}
	for range 100_000 {
		var b strings.Builder
		for range random.IntN(6) {
			b.WriteString(some[random.IntN(len(some))])
			if random.IntN(20) == 0 {
				b.WriteByte(byte(0x80 + random.IntN(128)))
			}
		}
		raw := []byte(`"` + b.String() + `"`)
		var want string
		require.NoError(t, json.Unmarshal(raw, &want), "%q", raw)
		got, ok := Unquote(raw)
		require.True(t, ok)
		require.Equal(t, want, got, "%q", raw)
	}
}
