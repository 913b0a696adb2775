package realtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/realtime"
)

// consumer iterates a subscription in a goroutine and hands what comes to the
// test.
type consumer struct {
	t      *testing.T
	ch     *channel.Channel
	sub    *channel.Subscription
	items  chan cdc.Change
	ended  chan error
	resume chan struct{}
	mu     sync.Mutex
	held   bool
}

// orders is the binding that most tests use.
var orders = channel.Binding{Schema: "public", Table: "orders"}

// subscribe makes a channel with a subscription to orders and consumes it.
func subscribe(t *testing.T, c *realtime.Client, topic string, opts ...channel.Option) *consumer {
	t.Helper()
	ch, err := c.Channel(topic, opts...)
	require.NoError(t, err)
	sub, err := ch.Subscribe(orders)
	require.NoError(t, err)
	return consume(t, ch, sub)
}

func consume(t *testing.T, ch *channel.Channel, sub *channel.Subscription) *consumer {
	c := &consumer{t: t, ch: ch, sub: sub, items: make(chan cdc.Change), ended: make(chan error, 1), resume: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for change, err := range sub.Changes(ctx) {
			if err != nil {
				c.ended <- err
				return
			}
			c.mu.Lock()
			held := c.held
			c.mu.Unlock()
			if held {
				select {
				case <-c.resume:
				case <-ctx.Done():
				}
			}
			select {
			case c.items <- change:
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return c
}

// pause makes the consumer stop at the next item that it takes.
func (c *consumer) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

func (c *consumer) unpause() {
	c.mu.Lock()
	c.held = false
	c.mu.Unlock()
	c.resume <- struct{}{}
}

// next waits for the next value.
func (c *consumer) next() cdc.Change {
	c.t.Helper()
	select {
	case change := <-c.items:
		return change
	case err := <-c.ended:
		require.FailNow(c.t, "the stream has ended", "%v", err)
	case <-time.After(2 * time.Hour):
		require.FailNow(c.t, "nothing came", "state %v", c.ch.Status())
	}
	return cdc.Change{}
}

func (c *consumer) requireChange(id int) cdc.Change {
	c.t.Helper()
	change := c.next()
	require.Nil(c.t, change.Gap, "a gap where change %d was expected", id)
	record := change.Record
	if change.Op == cdc.Delete {
		record = change.OldRecord
	}
	var row struct {
		ID int `json:"id"`
	}
	require.NoError(c.t, json.Unmarshal(record, &row))
	require.Equal(c.t, id, row.ID)
	return change
}

func (c *consumer) requireGap() cdc.Gap {
	c.t.Helper()
	change := c.next()
	require.NotNil(c.t, change.Gap, "change %s where a gap was expected", change.Record)
	return *change.Gap
}

func (c *consumer) requireNothing(d time.Duration) {
	c.t.Helper()
	select {
	case change := <-c.items:
		require.FailNow(c.t, "unexpected value", "%+v", change)
	case err := <-c.ended:
		require.FailNow(c.t, "the stream has ended", "%v", err)
	case <-time.After(d):
	}
}

// requireEnd waits for the end of the stream.
func (c *consumer) requireEnd() error {
	c.t.Helper()
	select {
	case err := <-c.ended:
		return err
	case change := <-c.items:
		require.FailNow(c.t, "unexpected value", "%+v", change)
	case <-time.After(2 * time.Hour):
		require.FailNow(c.t, "the stream goes on", "state %v", c.ch.Status())
	}
	return nil
}

func requireStarted(t *testing.T, c *consumer) {
	t.Helper()
	gap := c.requireGap()
	require.Equal(t, cdc.Started, gap.Reason)
	require.True(t, gap.Since.IsZero())
	require.False(t, gap.Open())
}

// tokens is a token source whose tokens are all different.
type tokens struct {
	lifetime time.Duration
	mu       sync.Mutex
	calls    int
	fail     error
	busy     bool
	overlap  bool
	delay    time.Duration
}

func (s *tokens) next(ctx context.Context) (string, time.Time, error) {
	s.mu.Lock()
	s.calls++
	n, fail, delay := s.calls, s.fail, s.delay
	s.overlap = s.overlap || s.busy
	s.busy = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.busy = false
		s.mu.Unlock()
	}()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return "", time.Time{}, ctx.Err()
		}
	}
	if fail != nil {
		return "", time.Time{}, fail
	}
	return token(n, time.Now().Add(s.lifetime)), time.Time{}, nil
}

func (s *tokens) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *tokens) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func token(n int, exp time.Time) string {
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"role": "authenticated", "sub": fmt.Sprint(n), "exp": exp.Unix()}).SignedString([]byte("secret"))
	if err != nil {
		panic(err)
	}
	return text
}

var errSource = errors.New("the identity provider is away")

// safeBuffer keeps a log.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *safeBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
