package main

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/mockserver"
)

// checkInMemory checks in virtual time, with an index in memory.
func checkInMemory(t *testing.T, faults []func(*mockserver.Server), tamper func(*Sync)) (out string, err error) {
	var b bytes.Buffer
	bubble(t, func(t *testing.T) {
		s := settings{runFor: 3 * time.Second, maxRows: 500, sink: SinkOptions{Kind: "bleve"}}
		err = check(t.Context(), &b, checkOptions{
			settings: s, log: slog.New(slog.DiscardHandler), faults: faults,
			server: mockserver.Config{InMemory: true}, sink: newMemorySink(), tamper: tamper,
		})
	})
	return b.String(), err
}

func TestCheckPasses(t *testing.T) {
	out, err := checkInMemory(t, faults, nil)
	require.NoError(t, err, out)
	require.Regexp(t, `(?m)^differences +0$`, out)
	require.Regexp(t, `(?m)^gaps +[4-9] \(started, disconnected, channel closed by the server, `, out)
}

// dropping is a stream that loses the first delete.
type dropping struct{ Stream }

func (s dropping) Changes(ctx context.Context) iter.Seq2[cdc.Change, error] {
	return func(yield func(cdc.Change, error) bool) {
		dropped := false
		for c, err := range s.Stream.Changes(ctx) {
			if c.Op == cdc.Delete && !dropped {
				dropped = true
			} else if !yield(c, err) {
				return
			}
		}
	}
}

// A sync that loses one single change does not pass.
func TestCheckNoticesOneLostChange(t *testing.T) {
	out, err := checkInMemory(t, nil, func(s *Sync) { s.Stream = dropping{s.Stream} })
	require.EqualError(t, err, "the index is not equal to the table")
	require.Regexp(t, `(?m)^differences +1\n  document \d+ is not in the table\n$`, out)
}

// Behind a gap, the table is read, and makes good what was lost before.
func TestCheckOfALossThatAGapRepairs(t *testing.T) {
	out, err := checkInMemory(t, faults[:1], func(s *Sync) { s.Stream = dropping{s.Stream} })
	require.NoError(t, err, out)
}

// forgetful is an index that changes one field of what is written.
type forgetful struct{ Sink }

func (s forgetful) Upsert(ctx context.Context, docs []Document) error {
	for _, d := range docs {
		if d.Fields["name"] == "CaughtUp" { // which is in the table at the end, whatever the demo does
			d.Fields["kind"] = "func"
		}
	}
	return s.Sink.Upsert(ctx, docs)
}

func TestCheckNoticesOneWrongField(t *testing.T) {
	out, err := checkInMemory(t, faults, func(s *Sync) { s.Sink = forgetful{s.Sink} })
	require.EqualError(t, err, "the index is not equal to the table")
	require.Regexp(t, `(?m)^differences +1\n  row \d+: kind is var in the table and func in the index\n$`, out)
}

// A sync that stands still does not pass, and says so.
func TestCheckNoticesThatNothingHappens(t *testing.T) {
	_, err := checkInMemory(t, nil, func(s *Sync) { s.Stream = make(script) })
	require.ErrorContains(t, err, "the table was not read within 30s")
}

// The whole program with an index on disk, in real time.
func TestCheckOfBleve(t *testing.T) {
	var out bytes.Buffer
	s := settings{runFor: 2 * time.Second, maxRows: 500, sink: SinkOptions{Kind: "bleve"}}
	err := check(t.Context(), &out, checkOptions{settings: s, log: slog.New(slog.DiscardHandler), faults: faults})
	require.NoError(t, err, out.String())
}

func TestCompare(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
	rows := []mockserver.Row{
		{"id": int64(1), "n": int64(5), "price": json.Number("4.50"), "at": at, "name": "x", "none": nil},
		{"id": int64(2), "n": int64(5), "price": json.Number("4.50"), "at": at, "name": "x", "none": nil},
		{"id": int64(3), "n": int64(5)},
	}
	equal := map[string]any{
		"n": json.Number("5"), "price": json.Number("4.5"), "at": "2026-01-02T03:04:05.6789+00:00", "name": "x", "none": nil,
	}
	wrong := map[string]any{"n": "5", "price": json.Number("4.51"), "at": "2026-01-02T03:04:05.678+00:00", "name": nil, "none": ""}
	sink := newMemorySink(Document{ID: "1", Fields: equal}, Document{ID: "2", Fields: wrong}, Document{ID: "4"})
	differences, err := compare(rows, sink.All(t.Context()))
	require.NoError(t, err)
	require.Equal(t, []string{
		"document 4 is not in the table",
		"row 2: at is 2026-01-02 03:04:05.6789 +0000 UTC in the table and 2026-01-02T03:04:05.678+00:00 in the index",
		"row 2: n is 5 in the table and 5 in the index",
		"row 2: name is x in the table and <nil> in the index",
		"row 2: none is <nil> in the table and  in the index",
		"row 2: price is 4.50 in the table and 4.51 in the index",
		"row 3 is not in the index",
	}, differences)
}
