package enrich

import (
	"context"
	"iter"
	"time"

	"github.com/gapless-go/gapless/cache"
)

// Table is what a join asks of a table. A *cache.Table is one, and so is what
// JoinTables and GroupBy make. Fetch needs a Fetcher besides, and joins as of a
// time a Historian.
type Table[K comparable, R any] interface {
	// Get returns the row of a key as it is, without waiting.
	Get(k K) (R, bool)
	// Phase tells whether the rows can be relied on.
	Phase() cache.Phase
	// WaitSynced blocks until they can.
	WaitSynced(ctx context.Context) error
	// WaitFor blocks until a row is as wanted.
	WaitFor(ctx context.Context, k K, ok func(row R, there bool) bool) error
	// Changes is the feed of changes.
	Changes(ctx context.Context, opts ...cache.FeedOption) iter.Seq2[cache.Change[K, R], error]
}

// Fetcher reads a row of a table that is not in memory.
type Fetcher[K comparable, R any] interface {
	Fetch(ctx context.Context, k K) (row R, found bool, err error)
}

// Historian knows what rows were before.
type Historian[K comparable, R any] interface {
	AsOf(k K, at time.Time) cache.Version[R]
}

// committer tells how far the stream behind a table has come.
type committer interface{ Status() cache.Status }
