package channel

import (
	"context"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/link"
)

// Subscription is one ordered stream of the changes that its bindings ask for.
// Channel.Subscribe makes one; it lives as long as its channel.
type Subscription struct {
	ch       *Channel
	bindings []Binding
	first    int // the index of bindings[0] among all bindings of the channel
	queue    *queue
	busy     atomic.Bool
}

// Changes joins the channel if that has not been done, and returns the stream.
//
// The stream is in the order in which the server sent the changes, which is
// that of their commits. A value whose Gap is set is no change but a place
// where changes may be missing; the first is the start of the stream (reason
// Started), which comes when the server has confirmed the subscription, maybe
// after changes that were committed before. A change that several bindings of
// the subscription ask for comes once for each, told apart by Change.Binding.
//
// The stream survives losses of the connection and expired tokens. It ends
// with an error, after everything that came before it: ctx's when that ends,
// ErrClosed after Leave or the client's Close, a *JoinError, *SubscribeError
// or *MismatchError when the server refuses for good, or the client's own
// error when that cannot connect at all.
//
// Ending the iteration loses nothing: a later call goes on where it stopped,
// as far as the queue held out. One iteration at a time; a second concurrent
// one ends at once with ErrBusy. The loop blocks while there is nothing to
// take.
func (s *Subscription) Changes(ctx context.Context) iter.Seq2[cdc.Change, error] {
	return func(yield func(cdc.Change, error) bool) {
		if !s.busy.CompareAndSwap(false, true) {
			yield(cdc.Change{}, ErrBusy)
			return
		}
		defer s.busy.Store(false)
		if err := s.ch.start(); err != nil {
			yield(cdc.Change{}, err)
			return
		}
		for {
			c, err := s.queue.pop(ctx)
			if err != nil {
				yield(cdc.Change{}, err)
				return
			}
			if !yield(*c, nil) {
				return
			}
		}
	}
}

// Bindings returns what the subscription asks for. Change.Binding is an index
// into it.
func (s *Subscription) Bindings() []Binding { return slices.Clone(s.bindings) }

// deliver queues a change for one of the bindings, unless the binding did not
// ask for it.
func (s *Subscription) deliver(ctx context.Context, c *cdc.Change, binding int) {
	if !s.bindings[binding].matches(c) {
		return
	}
	c.Binding = binding
	fate := s.queue.push(ctx, c)
	if fate == overflow {
		s.ch.link.Observe(link.Notice{Topic: s.ch.topic, Gap: &cdc.Gap{Since: time.Now(), Reason: cdc.Overflow}})
	}
	if fate == overflow || fate == dropped {
		s.ch.link.Observe(link.Notice{Topic: s.ch.topic, Dropped: errOverflow})
	}
}
