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
	_, err := newDocument("7", row{"a": []byte("1")}, []string{"a", "b"})
	require.EqualError(t, err, `row 7: column "b": it is not there`)
}

func TestStoredIsRestored(t *testing.T) {
	d, err := newDocument("a/7", row{"n": []byte("12345678901234567890.10"), "t": []byte(`"<text>"`), "z": []byte("null")}, []string{"n", "t", "z"})
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

func TestRowID(t *testing.T) {
	for text, want := range map[string]string{`9223372036854775807`: "9223372036854775807", `"x y"`: "x y", `-1`: "-1"} {
		id, ok := rowID(row{"id": []byte(text)}, "id")
		require.True(t, ok)
		require.Equal(t, want, id)
	}
	for _, text := range []string{`null`, `""`, `true`, `[1]`, `{}`, ``} {
		_, ok := rowID(row{"id": []byte(text)}, "id")
		require.False(t, ok, text)
	}
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
			t.Skip()
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
