package deliver

import (
	"context"
	"encoding/json"
	"time"

	"github.com/gapless-go/gapless/enrich"
)

// Consumer has an effect for each value of a stream, at least once each. Store,
// Key and Handle are required.
type Consumer[T, Tx any] struct {
	Store Store[Tx]
	// Key is what an effect is remembered by: the same when the value is delivered
	// again, and different for others. See ChangeKey. Empty: it is not remembered.
	Key func(T) string
	// Handle is the effect. It is called from several goroutines, and again with
	// the same value if it fails. Its context ends when Grace is over; see Run.
	Handle func(ctx context.Context, tx Tx, v T) error
	// Lane is what is kept in order: the values of a lane are handled one after
	// the other, and one that fails holds up those behind it until it is handled
	// or buried. Others go on. Nil: all are one lane.
	Lane func(T) string
	// Workers is how many values are handled at once. 0: 1.
	Workers int
	// Position is where the source goes on behind a value after a restart, such as
	// the number of a row of an outbox; empty if there is no such thing. What is
	// saved is the position up to which all values are handled or buried. Nil:
	// nothing is saved.
	Position func(T) string
	// SaveEvery is how often that is saved, if it has changed. 0: 1 s.
	SaveEvery time.Duration
	Retry     Retry
	// MaxPending is how many values are under way: those that are neither handled
	// nor buried. With more, none is pulled. Values that are handled do not count,
	// however long one before them takes. 0: 10,000.
	MaxPending int
	// Grace is for how long Run lets attempts go on that are under way when its
	// context ends. 0: 10 s. Less than 0: their context ends at once.
	Grace time.Duration
	// Encode writes the value for a dead letter. Nil: as JSON.
	Encode func(T) ([]byte, error)
	// Failed, if set, is called after each attempt that failed, with the number of
	// attempts that counted and whether the value is given up. It must not wait, and
	// is called by one goroutine at a time.
	Failed func(v T, attempt int, err error, buried bool)
}

// Run handles the values of the stream until it ends. A value whose key is
// remembered, or was buried, is not handled again. One that fails is tried again,
// and buried in the store with its last error in the end; a store that fails is
// asked again for ever. If Handle has succeeded and only the mark fails, only the
// mark is tried again, but in a store whose effects are part of a transaction.
//
// To stop, end ctx: nothing more is pulled and no further attempt begins. Attempts
// under way, and marks of effects that were done, have Grace to end; then the
// context of the handlers ends, and Run waits until they have returned. A process
// that exits when Run has returned has cut no attempt short.
//
// It returns nil when the stream has ended and all is handled or buried; the
// stream's error, after the same; or ctx's error. The last position is saved
// before it returns, within 10 s; an error of that is wrapped with the other. A
// panic of Key, Lane, Position or Handle is a failed attempt of the value, one of
// the stream or of Failed ends Run; they are *PanicErrors.
func (c Consumer[T, Tx]) Run(ctx context.Context, in enrich.Stream[T]) error {
	if c.Store == nil || c.Key == nil || c.Handle == nil {
		return &enrich.ConfigError{Operator: "Consumer", Field: "Store, Key, Handle", Reason: "is missing"}
	}
	if c.Workers < 0 || c.MaxPending < 0 || c.SaveEvery < 0 || c.Retry.Attempts < 0 {
		return &enrich.ConfigError{Operator: "Consumer", Field: "Workers, MaxPending, SaveEvery, Retry", Reason: "must not be negative"}
	}
	return newRun(c).run(ctx, in)
}

// Resume returns the position that was saved last, to begin the source behind;
// empty if none was.
func (c Consumer[T, Tx]) Resume(ctx context.Context) (string, error) { return c.Store.Position(ctx) }

// filled returns the consumer with defaults for what is 0.
func (c Consumer[T, Tx]) filled() Consumer[T, Tx] {
	c.Workers = max(c.Workers, 1)
	c.Retry = c.Retry.filled()
	if c.MaxPending == 0 {
		c.MaxPending = 10_000
	}
	if c.SaveEvery == 0 {
		c.SaveEvery = time.Second
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	if c.Encode == nil {
		c.Encode = func(v T) ([]byte, error) { return json.Marshal(v) }
	}
	return c
}
