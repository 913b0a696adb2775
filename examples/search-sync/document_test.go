package main

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHashIsOfTheContent(t *testing.T) {
	document := func(fields string) Document {
		var r row
		require.NoError(t, json.Unmarshal([]byte(fields), &r))
		d, err := newDocument("1", r, []string{"a", "b"})
		require.NoError(t, err)
		return d
	}
	first := document(`{"a":4.50,"b":{"x":[1,"y",null],"z":true},"other":1}`)
	for _, same := range []string{
		`{"b":{"z":true,"x":[1.0,"y",null]},"a":4.5}`,
		`{"a":45e-1,"b": { "x" : [ 10e-1, "\u0079", null ], "z": true } }`,
	} {
		require.Equal(t, first.Hash, document(same).Hash, same)
	}
	for _, different := range []string{
		`{"a":4.51,"b":{"x":[1,"y",null],"z":true}}`,
		`{"a":"4.5","b":{"x":[1,"y",null],"z":true}}`,
		`{"a":-4.5,"b":{"x":[1,"y",null],"z":true}}`,
		`{"a":45,"b":{"x":[1,"y",null],"z":true}}`,
		`{"a":null,"b":{"x":[1,"y",null],"z":true}}`,
		`{"a":4.5,"b":{"x":["y",1,null],"z":true}}`,
	} {
		require.NotEqual(t, first.Hash, document(different).Hash, different)
	}
}

func TestDocumentNamesWhatItCannotRead(t *testing.T) {
	_, err := newDocument("7", row{"a": "1"}, []string{"a", "b"})
	require.EqualError(t, err, `row 7: column "b" is not there`)
}

func TestStoredIsRestored(t *testing.T) {
	d, err := newDocument("a/7", row{"n": "12345678901234567890.10", "t": `"<text>"`, "z": ""}, []string{"n", "t", "z"})
	require.NoError(t, err)
	text, err := json.Marshal(d.stored())
	require.NoError(t, err)
	back, err := restored(text)
	require.NoError(t, err)
	require.Equal(t, d, back)
	for _, strange := range []string{``, `[]`, `{"n":1}`, `{"sync_id":7}`} {
		_, err := restored([]byte(strange))
		require.Error(t, err, strange)
	}
}

func TestKeyIn(t *testing.T) {
	for text, want := range map[value]string{`9223372036854775807`: "9223372036854775807", `"x y"`: "x y", `-1`: "-1", ``: ""} {
		require.Equal(t, want, keyIn("id")(row{"id": text}))
	}
	require.Empty(t, keyIn("id")(row{}))
}

// A row is the same whether it came by the stream, by the REST API, or from a
// checkpoint.
func TestValuesAreWrittenInOneWay(t *testing.T) {
	read := func(text string) (r row) {
		require.NoError(t, json.Unmarshal([]byte(text), &r))
		return r
	}
	first := read(`{"a": {"y": [1, "ü<"], "x": null}, "b": null, "c": 4.50, "d": "\u00fc&", "e": true}`)
	require.Equal(t, first, read(`{"a":{"x":null,"y":[1,"\u00fc\u003c"]},"b":null,"c":4.50,"d":"ü\u0026","e":true}`))
	require.Equal(t, value("4.50"), first["c"], "with every digit")
	text, err := json.Marshal(first)
	require.NoError(t, err)
	require.Equal(t, first, read(string(text)))
	require.NotEqual(t, first, read(strings.Replace(string(text), "4.50", `"4.50"`, 1)))
	var v value
	require.Error(t, v.UnmarshalJSON([]byte(`{"a"`)))
}

// Two numbers have one canonical form if and only if they are equal.
func FuzzCanonicalNumber(f *testing.F) {
	for _, pair := range []string{"4.50 4.5", "0 -0", "0.000 0e5", "100 1e2", "1e300 1", "12 1.2", "-1 1", "0.10 0.01", "10E-1 1"} {
		a, b, _ := strings.Cut(pair, " ")
		f.Add(a, b)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, xOK := rational(a)
		y, yOK := rational(b)
		if !xOK || !yOK {
			t.Skip("not two JSON numbers of moderate size")
		}
		require.Equal(t, x.Cmp(y) == 0, canonicalNumber(a) == canonicalNumber(b), "%s and %s", a, b)
	})
}

// rational is the value of a JSON number of moderate size.
func rational(text string) (*big.Rat, bool) {
	if len(text) > 40 || !json.Valid([]byte(text)) || !strings.ContainsAny(text[:1], "-0123456789") {
		return nil, false
	}
	if _, e, ok := strings.Cut(strings.ToLower(text), "e"); ok && len(e) > 4 {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}
