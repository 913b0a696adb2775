package main

import (
	"slices"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cdc"
)

// Status is what a Sync has done so far. It is what the page shows.
type Status struct {
	Reading  bool      `json:"reading"` // the table is being read
	Read     Reading   `json:"read"`    // the last or present reading of the table
	Total    int       `json:"total"`   // rows of the table when that began
	Readings int       `json:"readings"`
	Applied  int       `json:"applied"` // changes
	Pending  int       `json:"pending"` // rows that wait to be read because of an incomplete change
	Commit   time.Time `json:"commit"`  // of the last applied change; zero before the first
	GapCount int       `json:"gapCount"`
	Gaps     []GapNote `json:"gaps"`    // the last ones, the newest first
	Recent   []Recent  `json:"recent"`  // the last applied changes, the newest first
	Trouble  string    `json:"trouble"` // why a request is being made again, or empty
	Version  int       `json:"version"` // grows whenever the index may have changed
}

// Reading is one reading of the whole table.
type Reading struct {
	Rows    int     `json:"rows"`
	Written int     `json:"written"` // documents that differed
	Removed int     `json:"removed"` // documents whose row is gone
	Seconds float64 `json:"seconds"`
}

// GapNote is a gap of the stream.
type GapNote struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Error  string    `json:"error"`
	Open   bool      `json:"open"`
	Read   *Reading  `json:"read"` // the reading that repaired it; nil if that is to come

	since time.Time
}

// Recent is a change that is in the index.
type Recent struct {
	Op       string    `json:"op"`
	ID       string    `json:"id"`
	Document *Document `json:"document"` // nil if it was removed
}

// kept is how many gaps and changes a Status shows.
const kept = 30

// tracker is a Status that is being made. It is safe for concurrent use.
type tracker struct {
	mu     sync.Mutex
	status Status
}

// Status returns the present one.
func (s *Sync) Status() Status {
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	now := s.status.status
	now.Gaps, now.Recent = slices.Clone(now.Gaps), slices.Clone(now.Recent)
	return now
}

// Retrying notes why a request is being made again, for newRetrying.
func (s *Sync) Retrying(why error, wait time.Duration) {
	s.Log.Warn("a request failed and is made again", "error", why, "in", wait.Round(time.Millisecond))
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	s.status.status.Trouble = why.Error()
}

// gap notes a gap that opens or closes. The second value of one gap, with the
// same Since, completes the first.
func (t *tracker) gap(g cdc.Gap) {
	t.mu.Lock()
	defer t.mu.Unlock()
	note := GapNote{At: time.Now(), Reason: g.Reason.String(), Open: g.Open(), since: g.Since}
	if g.Err != nil {
		note.Error = g.Err.Error()
	}
	gaps := t.status.Gaps
	if len(gaps) > 0 && gaps[0].Open && gaps[0].since.Equal(g.Since) {
		gaps[0].Open = g.Open()
		return
	}
	t.status.GapCount++
	t.status.Gaps = newest(gaps, note)
}

// reading notes how far a reading of the table is. total is 0 but for its
// first page.
func (t *tracker) reading(r Reading, total int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Reading, t.status.Read, t.status.Trouble = true, r, ""
	if total > 0 {
		t.status.Total = total
	}
	t.status.Total = max(t.status.Total, r.Rows)
	t.status.Version++
}

// read notes the end of a reading.
func (t *tracker) read(r Reading) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Reading, t.status.Read, t.status.Trouble = false, r, ""
	t.status.Total = r.Rows
	t.status.Readings++
	t.status.Version++
	for i := range t.status.Gaps {
		if note := &t.status.Gaps[i]; !note.Open && note.Read == nil {
			note.Read = &r
		}
	}
}

// applied notes that a batch is in the index.
func (t *tracker) applied(b batch, pending int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Applied += b.changes
	t.status.Pending = pending
	t.status.Trouble = ""
	if !b.committed.IsZero() {
		t.status.Commit = b.committed
	}
	t.status.Recent = newest(t.status.Recent, b.recent...)
	if len(b.documents) > 0 {
		t.status.Version++
	}
}

// newest puts values, the newest last, before others, the newest first, and
// keeps some of them. It leaves the others as they are, since a Status may
// share them.
func newest[T any](others []T, values ...T) []T {
	all := slices.Clone(values)
	slices.Reverse(all)
	all = append(all, others...)
	return all[:min(len(all), kept)]
}
