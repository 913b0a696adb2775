package main

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
)

// Status is where a Sync and its cache are. It is what the page shows.
type Status struct {
	Phase          string        `json:"phase"`  // of the cache
	Filled         bool          `json:"filled"` // the index has had all that the table has
	Epoch          uint64        `json:"epoch"`
	Rows           int           `json:"rows"`      // of the cache
	Loaded         int           `json:"loaded"`    // rows that the reading of the table has read, which is under way or was the last
	Total          int           `json:"total"`     // rows of the table when that began
	Doubtful       int           `json:"doubtful"`  // rows that wait to be read because of an incomplete change
	Events         uint64        `json:"events"`    // of the stream
	Commit         time.Time     `json:"commit"`    // of the last event; zero before the first
	RoundTrip      float64       `json:"roundTrip"` // of the last mark, in milliseconds; 0: there was none
	GapCount       uint64        `json:"gapCount"`
	Contradictions uint64        `json:"contradictions"`
	Repaired       uint64        `json:"repaired"`
	Verification   *Verification `json:"verification"` // the last one; nil: there was none
	Written        int           `json:"written"`      // documents
	Removed        int           `json:"removed"`      // documents
	Gaps           []GapNote     `json:"gaps"`         // the last ones, the newest first
	Recent         []Recent      `json:"recent"`       // the last changes that are in the index, the newest first
	Refused        int           `json:"refused"`      // rows that the index does not take
	Trouble        string        `json:"trouble"`      // why a request is being made again, or empty
	Version        int           `json:"version"`      // grows whenever the index has changed
}

// Verification is a comparison of the cache with the table.
type Verification struct {
	At          time.Time `json:"at"`
	Rows        int       `json:"rows"`
	Differences int       `json:"differences"`
	Seconds     float64   `json:"seconds"`
}

// GapNote is a gap of the stream.
type GapNote struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Error  string    `json:"error"`
	Open   bool      `json:"open"`
	Healed *Healing  `json:"healed"` // nil: that is to come

	gap cdc.Gap
}

// Healing is what it took until the cache was in step again.
type Healing struct {
	Seconds float64 `json:"seconds"`
	Changes int     `json:"changes"` // rows that were not as in the table, and were put right
}

// Recent is a change that is in the index.
type Recent struct {
	Op       string    `json:"op"`
	Cause    string    `json:"cause"`
	ID       string    `json:"id"`
	Document *Document `json:"document"` // nil if it was removed
}

// kept is how many gaps and changes a Status shows.
const kept = 30

// tracker is what a Status has besides the cache's. It is safe for concurrent
// use.
type tracker struct {
	mu       sync.Mutex
	status   Status
	refused  map[string]string // rows that are not in the index, and why
	resynced int               // changes that the table was read for, since the last gap was noted
}

// Status returns the present one.
func (s *Sync) Status() Status {
	table := s.Table.Status()
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	now := s.status.status
	now.Gaps, now.Recent = slices.Clone(now.Gaps), slices.Clone(now.Recent)
	now.Phase, now.Epoch, now.Rows = table.Phase.String(), table.Epoch, table.Rows
	now.Loaded, now.Total, now.Doubtful = table.Loaded, table.Total, table.Doubtful
	now.Events, now.Commit, now.GapCount = table.Events, table.LastCommit, table.Gaps
	now.Contradictions, now.Repaired = table.Contradictions, table.Repaired
	now.RoundTrip = float64(table.MarkRTT.Microseconds()) / 1000
	if r := table.LastReport; !table.Verified.IsZero() {
		now.Verification = &Verification{table.Verified, r.Rows, r.Differences(), r.Took.Seconds()}
	}
	now.Refused = len(s.status.refused)
	for id, why := range s.status.refused {
		now.Trouble = fmt.Sprintf("%d rows are not in the index, such as %.100s: %s", now.Refused, id, why)
		break
	}
	if err := cmp.Or(table.Trouble, table.CheckpointErr); err != nil {
		now.Trouble = err.Error()
	}
	return now
}

// Retrying notes why a request to the index is being made again, for
// newRetrying.
func (s *Sync) Retrying(why error, wait time.Duration) {
	s.Log.Warn("a request failed and is made again", "error", why, "in", wait.Round(time.Millisecond))
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	s.status.status.Trouble = why.Error()
}

// phase notes the last gap of the cache, and that all before it have healed if
// it is in step. Gaps that follow one another at once may be noted as one.
func (t *tracker) phase(now cache.Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gap(now.LastGap)
	if now.Phase != cache.Synced {
		return
	}
	t.status.Filled = true
	for i := range t.status.Gaps {
		if note := &t.status.Gaps[i]; note.Healed == nil {
			note.Healed = &Healing{time.Since(note.At).Seconds(), t.resynced}
		}
	}
}

// gap notes a gap that opens or closes. The second value of one gap, with the
// same Since, completes the first.
func (t *tracker) gap(g cdc.Gap) {
	gaps := t.status.Gaps
	switch {
	case g.Since.IsZero() && g.Until.IsZero(): // there was none yet
		return
	case len(gaps) > 0 && gaps[0].gap.Since.Equal(g.Since) && (gaps[0].Open || gaps[0].gap.Until.Equal(g.Until)):
		gaps[0].Open, gaps[0].gap = g.Open(), g
		return
	}
	note := GapNote{At: time.Now(), Reason: g.Reason.String(), Open: g.Open(), gap: g}
	if g.Err != nil {
		note.Error = g.Err.Error()
	}
	t.status.Gaps, t.resynced = newest(gaps, note), 0
}

// refuse notes a row that is not in the index.
func (t *tracker) refuse(id string, why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused == nil {
		t.refused = map[string]string{}
	}
	t.refused[id] = fmt.Sprintf("%.300s", why.Error())
}

// taken notes a row that is in the index, or gone.
func (t *tracker) taken(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.refused, id)
}

// wrote notes that a batch is in the index.
func (t *tracker) wrote(b batch, written, removed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Written += written
	t.status.Removed += removed
	t.status.Trouble = ""
	t.status.Recent = newest(t.status.Recent, b.recent...)
	t.resynced += b.resynced
	if written+removed > 0 {
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
