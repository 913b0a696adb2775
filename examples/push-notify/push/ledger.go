package push

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gapless-go/gapless/enrich/deliver"
)

// ledger is the Sender of the check: it writes down who was told what.
type ledger struct {
	mu      sync.Mutex
	told    map[int64][]string // by device, in order
	live    map[int64][]string // the same of what was broadcast, by its title
	crashed map[string]bool    // what a process had sent and not marked when it ended
	quiet   bool               // there are no more orders
}

func newLedger() *ledger {
	return &ledger{told: map[int64][]string{}, live: map[int64][]string{}, crashed: map[string]bool{}}
}

func (l *ledger) Send(_ context.Context, d Device, n Notification) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.HasPrefix(n.Key, liveKey) {
		l.live[d.ID] = append(l.live[d.ID], n.Title)
	} else {
		l.told[d.ID] = append(l.told[d.ID], n.Key)
	}
	return nil
}

// heard is how often a device was told of what was broadcast.
func (l *ledger) heard() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, titles := range l.live {
		n += len(titles)
	}
	return n
}

func (l *ledger) calm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.quiet = true
}

func (l *ledger) isCalm() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.quiet
}

// lastWords reports whether something was sent and not marked.
func (l *ledger) lastWords() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.crashed) > 0
}

// flaky fails every tenth time, before anything is sent.
type flaky struct{ to Sender }

var errFlaky = errors.New("the service is busy")

func (f *flaky) Send(ctx context.Context, d Device, n Notification) error {
	if rand.IntN(10) == 0 {
		return errFlaky
	}
	return f.to.Send(ctx, d, n)
}

// mortal is a store of a process that ends in the middle of things: from then
// on, effects still happen and nothing is remembered.
type mortal struct {
	deliver.Store[deliver.None]
	dead atomic.Bool
	sent *ledger
}

func (m *mortal) Once(ctx context.Context, key string, effect func(context.Context, deliver.None) error) (bool, error) {
	return m.Store.Once(ctx, key, func(inner context.Context, tx deliver.None) error {
		err := effect(inner, tx)
		if err != nil || !m.dead.Load() {
			return err
		}
		if strings.Contains(key, "/") { // a device was told, and not only an event dealt with
			m.sent.mu.Lock()
			m.sent.crashed[key] = true
			m.sent.mu.Unlock()
		}
		<-ctx.Done()
		return ctx.Err()
	})
}

func (m *mortal) SavePosition(ctx context.Context, position string) error {
	if m.dead.Load() {
		return nil // and it is not saved
	}
	return m.Store.SavePosition(ctx, position)
}
