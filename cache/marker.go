package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/postgrest"
	"github.com/gapless-go/gapless/realtime"
)

// markTable is the table of marks, which package sql makes.
const markTable = "rt_mark"

// Marker writes marks into the stream of changes: it updates a row of its own
// in the table rt_mark, and the Tables that have the Marker wait for that
// change to come. What the database did before a mark has come when the mark
// has. See WithMarker.
//
// A Marker is for any number of Tables of one client, and is what makes one
// consistent Cut of them possible. It is safe for concurrent use.
type Marker struct {
	api       postgrest.Table
	inserting chan struct{} // capacity 1: one at a time

	mu     sync.Mutex
	id     string                // of the row; empty: there is none yet
	tables map[chan cdc.Gap]bool // where Tables are told of losses that others found
}

// NewMarker makes a Marker that acts as the client does. The database must have
// what package sql installs, and the client must be signed in, or use the
// service key: a mark belongs to a user. It makes no request until a Table
// with the Marker is run.
func NewMarker(client *realtime.Client) *Marker {
	return &Marker{inserting: make(chan struct{}, 1), api: postgrest.Table{
		Client: client, Schema: "public", Name: markTable, Key: []string{"id"}}}
}

// row returns the id of the Marker's row, which it inserts if there is none.
func (m *Marker) row(ctx context.Context) (string, error) {
	select {
	case m.inserting <- struct{}{}:
		defer func() { <-m.inserting }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if id := m.known(); id != "" {
		return id, nil
	}
	row, err := m.api.Insert(ctx, struct{}{})
	if err != nil {
		return "", fmt.Errorf("cache: a marker needs the table public.%s of package sql, and a user: %w", markTable, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.id = row.Key[0]
	return m.id, nil
}

// known returns the id of the row, empty if there is none or no Marker.
func (m *Marker) known() string {
	if m == nil {
		return ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id
}

// join makes losses known that other Tables of the Marker find, until leave is
// called. Whatever the server lost before a mark, it lost for all of them.
func (m *Marker) join() (losses chan cdc.Gap, leave func()) {
	losses = make(chan cdc.Gap, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tables == nil {
		m.tables = map[chan cdc.Gap]bool{}
	}
	m.tables[losses] = true
	return losses, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.tables, losses)
	}
}

// lost tells the other Tables of a loss.
func (m *Marker) lost(from chan cdc.Gap, g cdc.Gap) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for to := range m.tables {
		if to != from {
			select {
			case to <- g:
			default: // there is one already
			}
		}
	}
}

// forget has the next call of row make another one.
func (m *Marker) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.id == id {
		m.id = ""
	}
}

// mark is a mark that was written.
type mark struct {
	seq int64     // one more than that of the mark before, in the order of their commits
	at  time.Time // by the database's clock, shortly before its commit
}

// write writes a mark.
func (m *Marker) write(ctx context.Context, id string) (mark, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	row, err := m.api.Update(ctx, []string{id}, map[string]any{"at": time.Now().UTC()})
	switch {
	case errors.Is(err, postgrest.ErrNoRow):
		m.forget(id)
		return mark{}, errMarkGone
	case err != nil:
		return mark{}, err
	}
	return readMark(row.JSON)
}

// readMark reads a row of rt_mark, or what the stream has of it.
func readMark(row []byte) (mark, error) {
	var read struct {
		Seq *int64
		At  time.Time
	}
	if err := json.Unmarshal(row, &read); err != nil || read.Seq == nil {
		return mark{}, errors.New("cache: a mark without a number")
	}
	return mark{*read.Seq, read.At}, nil
}
