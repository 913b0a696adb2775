package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

// checkInMemory checks in virtual time, with an index in memory.
func checkInMemory(t *testing.T, seed uint64, sink Sink) (out string, err error) {
	var b bytes.Buffer
	bubble(t, func(t *testing.T) {
		runFor := 12 * time.Second
		if seed == calm {
			runFor = 6 * time.Second
		}
		s := settings{runFor: runFor, maxRows: 200, seed: seed, sink: SinkOptions{Kind: "bleve"}}
		err = check(t.Context(), &b, checkOptions{
			settings: s, log: slog.New(slog.DiscardHandler), calm: seed == calm,
			server: mockserver.Config{InMemory: true, Seed: seed}, sink: sink,
		})
	})
	return b.String(), err
}

const calm = 1000 // a seed for no faults

func TestCheckPasses(t *testing.T) {
	for seed := range uint64(3) {
		out, err := checkInMemory(t, seed+1, newMemorySink())
		require.NoError(t, err, out)
		require.Regexp(t, `(?m)^differences +0$`, out)
		require.Regexp(t, `(?m)^served at the restart +\d+ rows, (joining|stale|settling|loading|catching up)$`, out)
		require.Regexp(t, `(?m)^gaps +([2-9]|\d\d) \(started, .*started`, out)
	}
}

// failing is an index that does wrong with what is written.
type failing struct {
	Sink
	remove func(ids []string) []string
	write  func(d Document)
}

func (s failing) Delete(ctx context.Context, ids []string) error {
	if s.remove != nil {
		ids = s.remove(ids)
	}
	return s.Sink.Delete(ctx, ids)
}

func (s failing) Upsert(ctx context.Context, docs []Document) error {
	for _, d := range docs {
		if s.write != nil {
			s.write(d)
		}
	}
	return s.Sink.Upsert(ctx, docs)
}

// losing loses the first removal that comes as late as that.
func losing(after time.Duration) failing {
	var start time.Time
	lost := false
	return failing{Sink: newMemorySink(), remove: func(ids []string) []string {
		if start.IsZero() {
			start = time.Now()
		}
		if lost || len(ids) == 0 || time.Since(start) < after {
			return ids
		}
		lost = true
		return ids[1:]
	}}
}

// A sync that loses one single change does not pass.
func TestCheckNoticesOneLostChange(t *testing.T) {
	out, err := checkInMemory(t, calm, losing(5*time.Second))
	require.EqualError(t, err, "the index is not equal to the table")
	require.Regexp(t, `(?m)^differences +1\n  document \d+ is not in the table\n$`, out)
}

// What the first follower has left behind, the second one finds.
func TestCheckOfALossThatARestartRepairs(t *testing.T) {
	out, err := checkInMemory(t, calm, losing(0))
	require.NoError(t, err, out)
}

func TestCheckNoticesOneWrongField(t *testing.T) {
	out, err := checkInMemory(t, 1, failing{Sink: newMemorySink(), write: func(d Document) {
		if d.Fields["name"] == "CaughtUp" { // which is in the table at the end, whatever the demo does
			d.Fields["kind"] = "func"
		}
	}})
	require.EqualError(t, err, "the index is not equal to the table")
	require.Regexp(t, `(?m)^differences +1\n  row \d+: kind is var in the table and func in the index\n$`, out)
}

// A sync that stands still does not pass, and says so.
func TestCheckNoticesThatNothingHappens(t *testing.T) {
	_, err := checkInMemory(t, calm, failing{Sink: newMemorySink(), write: func(d Document) {
		if d.Fields["name"] == "CaughtUp" {
			time.Sleep(2 * checkPatience)
		}
	}})
	require.ErrorContains(t, err, "the index has not caught up within "+checkPatience.String())
}

// The whole program with an index on disk, in real time.
func TestCheckOfBleve(t *testing.T) {
	var out bytes.Buffer
	s := settings{runFor: 2 * time.Second, maxRows: 500, seed: 3, sink: SinkOptions{Kind: "bleve"}}
	err := check(t.Context(), &out, checkOptions{settings: s, log: slog.New(slog.DiscardHandler), server: mockserver.Config{Seed: 3}})
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
