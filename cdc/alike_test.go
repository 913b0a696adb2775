package cdc_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
)

func recordedPayloads(t testing.TB) (list [][]byte) {
	for _, name := range transcript.Names() {
		eachFrame(t, name, phoenix.EventPostgresChanges, func(_ frame, m phoenix.Message) { list = append(list, bytes.Clone(m.Payload)) })
	}
	require.Greater(t, len(list), 300)
	return list
}

func TestDecode_RecordedAsEncodingJSONReads(t *testing.T) {
	for _, p := range recordedPayloads(t) {
		c, _, err := cdc.Decode(p)
		require.NoError(t, err)
		checkDecoded(t, p, c)
	}
}

// TestDecode_DamagedAsEncodingJSONReads: payloads that were cut and changed.
// Package channel has such a test for whole frames.
func TestDecode_DamagedAsEncodingJSONReads(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	taken := 0
	payloads := slices.DeleteFunc(recordedPayloads(t), func(p []byte) bool { return len(p) > 2000 })
	for i := range 8_000 {
		p := mutate(random, bytes.Clone(payloads[i%len(payloads)]))
		if c, _, err := cdc.Decode(p); err == nil {
			taken++
			require.True(t, json.Valid(p), "%q", p)
			checkDecoded(t, p, c)
		}
	}
	require.Greater(t, taken, 200)
}

// mutate makes one to three small changes, mostly of bytes that mean something
// in JSON.
func mutate(random *rand.Rand, p []byte) []byte {
	for range 1 + random.IntN(3) {
		i := random.IntN(len(p))
		switch random.IntN(6) {
		case 0:
			p = p[:max(i, 1)]
		case 1:
			p[i] = byte(random.IntN(256))
		case 2:
			const meaning = `{}[]:,"\0-.eE+1 tfnu` + "\n\x01\x7f"
			p[i] = meaning[random.IntN(len(meaning))]
		case 3:
			p = append(p[:i], p[i+1:]...)
		case 4: // a piece twice
			j := min(len(p), i+random.IntN(40))
			p = append(p[:j:j], p[i:]...)
		default: // a digit or letter for another
			p[i] = p[random.IntN(len(p))]
		}
		if len(p) == 0 {
			return []byte("0")
		}
	}
	return p
}

// TestAs_RowsKeepNoFrame: the values of a row share memory with each other, as
// far as they are short, and with nothing else.
func TestAs_RowsKeepNoFrame(t *testing.T) {
	record := []byte(`{"a": "one", "b": {"x": 1}, "c": ["two", "three"], "d": 12.50, "e": "` + strings.Repeat("e", 300) + `"}`)
	type row struct {
		A string
		B json.RawMessage
		C []string
		D json.Number
		E string
	}
	c := cdc.Change{Op: cdc.Insert, Columns: []cdc.Column{{"a", "text"}, {"b", "jsonb"}, {"c", "_text"}, {"d", "numeric"}, {"e", "text"}}, Record: record}
	e, err := cdc.As[row](c)
	require.NoError(t, err)
	want := row{"one", json.RawMessage(`{"x": 1}`), []string{"two", "three"}, "12.50", strings.Repeat("e", 300)}
	for i := range record {
		record[i] = '#'
	}
	require.Equal(t, want, e.New)
	e.New.B = append(e.New.B, "###############################"...)
	e.New.B[0] = '#'
	require.Equal(t, want.C, e.New.C)
	require.Equal(t, want.A, e.New.A)
	require.Equal(t, want.D, e.New.D)
}
