package enrich

import (
	"context"
	"iter"

	"github.com/gapless-go/gapless/cache"
)

// Table is what a join asks of a table. A *cache.Table is one, and so is what
// JoinTables and GroupBy make. What a table of one's own cannot do, a join refuses:
// Fetch, At and Grace need a *cache.Table, and so does CatchUp of a result.
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
