package cache

import (
	"context"
	"errors"
	"time"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/backoff"
	"github.com/gapless-go/gapless/internal/patience"
	"github.com/gapless-go/gapless/internal/postgrest"
)

const (
	retryMin       = 250 * time.Millisecond
	retryMax       = 15 * time.Second
	requestTimeout = 60 * time.Second
)

// kind is a kind of request. That one has worked says that a refusal of another of
// its kind may pass.
type kind uint8

const (
	ofTable  kind = iota // what the table is
	ofRows               // reads of it
	ofMarks              // the Marker's row
	ofStream             // the channel
	ofPages              // lists of pages, as a whole
	kinds
)

// again does something that needs the network until it succeeds, or fails for
// a reason that does not pass.
func (t *Table[K, T]) again(ctx context.Context, of kind, try func() error) error {
	for n := 0; ; n++ {
		err := try()
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if reshapedBy(err) {
			signal(t.reshaped)
			return err
		}
		if errors.Is(err, errRepeated) {
			return err // for fromTheStart
		}
		switch final := t.judge(of, err); {
		case err == nil:
			return nil
		case final:
			return t.source.fail(err)
		}
		if err := sleep(ctx, max(backoff.Full(n, retryMin, retryMax), retryAfter(err))); err != nil {
			return err
		}
	}
}

// judge notes how a request went, and reports whether an error is final: one that
// does not pass is, and a refusal if it persists, or if nothing of its kind has
// worked. Status has the others.
func (t *Table[K, T]) judge(of kind, err error) (final bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	past := &t.past[of]
	var request *postgrest.Error
	switch {
	case err == nil:
		past.Worked()
	case channelRefusal(err), errors.Is(err, errRepeated), errors.As(err, &request) && request.Refusal():
		final = past.Refused(time.Now())
	default:
		final = !temporary(err)
	}
	if !final && past.trouble != err {
		past.trouble, t.status.Trouble = err, nil
		for _, p := range t.past {
			if t.status.Trouble == nil {
				t.status.Trouble = p.trouble
			}
		}
		t.tellTrouble(t.status.Trouble)
		t.signal()
	}
	return final
}

// requests is how requests of a kind went. Refusals pass: gateways answer so while a
// project restarts or is deployed, and the REST API while it does not know the
// present schema.
type requests struct {
	patience.Patience
	trouble error // why one is being made again; nil: none is
}

// channelRefusal reports whether the server has refused the channel.
func channelRefusal(err error) bool {
	var join *channel.JoinError
	var subscribe *channel.SubscribeError
	return errors.As(err, &join) || errors.As(err, &subscribe)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retryAfter is what the server asked for.
func retryAfter(err error) time.Duration {
	var e *postgrest.Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// temporary reports whether a read may succeed later.
func temporary(err error) bool {
	var e *postgrest.Error
	return errors.As(err, &e) && e.Temporary()
}

// isAway reports whether an error is that the database cannot be reached, or is
// about to stop or start.
func isAway(err error) bool {
	var e *postgrest.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case "PGRST000", "PGRST001", "PGRST002", "57P01", "57P02", "57P03":
		return true
	}
	return false
}

// smallerPage reports whether a page of fewer rows may succeed where this one
// was too large, or took too long.
func smallerPage(err error) bool {
	var e *postgrest.Error
	return errors.Is(err, postgrest.ErrTooLarge) || errors.As(err, &e) && e.Code == "57014"
}
