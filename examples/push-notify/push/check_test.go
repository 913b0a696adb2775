package push

import (
	"bytes"
	"cmp"
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gapless-go/gapless/mockserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// checkInMemory checks in virtual time.
func checkInMemory(t *testing.T, o CheckOptions) (out string, err error) {
	var b bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		o.server = mockserver.Config{InMemory: true, Seed: o.Seed}
		o.For = cmp.Or(o.For, 5*time.Second)
		err = Check(t.Context(), &b, o)
	})
	return b.String(), err
}

func TestCheckPasses(t *testing.T) {
	for seed := range uint64(2) {
		out, err := checkInMemory(t, CheckOptions{Seed: seed, Faults: 25, For: 12 * time.Second})
		require.NoError(t, err, out)
		require.Regexp(t, `(?m)^repeated by the crash +[1-9]`, out, "the crash comes between sending and marking")
		require.Regexp(t, `(?m)^restarts +[3-9], one of them behind a crash`, out)
	}
}

// spoiled is a Sender that does something else with the nth notification.
type spoiled struct {
	Sender
	n     *atomic.Int64
	nth   int64
	live  bool // of those that were broadcast
	spoil func(ctx context.Context, to Sender, d Device, n Notification) error
}

func (s spoiled) Send(ctx context.Context, d Device, n Notification) error {
	if strings.HasPrefix(n.Key, liveKey) == s.live && s.n.Add(1) == s.nth {
		return s.spoil(ctx, s.Sender, d, n)
	}
	return s.Sender.Send(ctx, d, n)
}

func spoil(nth int64, how func(ctx context.Context, to Sender, d Device, n Notification) error) func(Sender) Sender {
	n := new(atomic.Int64)
	return func(s Sender) Sender { return spoiled{s, n, nth, false, how} }
}

func TestCheckNoticesOneThatIsMissing(t *testing.T) {
	out, err := checkInMemory(t, CheckOptions{tamper: spoil(20, func(context.Context, Sender, Device, Notification) error { return nil })})
	require.EqualError(t, err, "not every device was told once and in order")
	require.Regexp(t, `(?m)^missing +1 event-\d+/\d+\nsent twice +0`, out)
}

func TestCheckNoticesOneThatIsSentTwice(t *testing.T) {
	out, err := checkInMemory(t, CheckOptions{tamper: spoil(20, func(ctx context.Context, to Sender, d Device, n Notification) error {
		for to.Send(ctx, d, n) != nil {
		}
		for to.Send(ctx, d, n) != nil {
		}
		return nil
	})})
	require.EqualError(t, err, "not every device was told once and in order")
	require.Regexp(t, `(?m)^sent twice +1 event-\d+/\d+`, out)
}

func TestCheckNoticesAnotherOrder(t *testing.T) {
	out, err := checkInMemory(t, CheckOptions{tamper: spoil(20, func(_ context.Context, to Sender, d Device, n Notification) error {
		go func() {
			time.Sleep(3 * time.Second)
			for to.Send(context.Background(), d, n) != nil {
			}
		}()
		return nil
	})})
	require.EqualError(t, err, "not every device was told once and in order")
	require.Regexp(t, `(?m)^out of order +[1-9]`, out)
}

func TestCheckNoticesABroadcastThatIsToldTwice(t *testing.T) {
	n := new(atomic.Int64)
	out, err := checkInMemory(t, CheckOptions{tamper: func(s Sender) Sender {
		return spoiled{s, n, 3, true, func(ctx context.Context, to Sender, d Device, n Notification) error {
			for range 2 {
				for to.Send(ctx, d, n) != nil {
				}
			}
			return nil
		}}
	}})
	require.EqualError(t, err, "not every device was told once and in order")
	require.Regexp(t, `(?m)^sent twice +1 "Order \d+ is arriving"/\d+`, out)
}

// A file that is lost has everything sent again.
func TestCheckNoticesThatNothingIsRemembered(t *testing.T) {
	out, err := checkInMemory(t, CheckOptions{forget: true})
	require.EqualError(t, err, "not every device was told once and in order")
	require.Regexp(t, `(?m)^sent twice +[1-9]`, out)
}
