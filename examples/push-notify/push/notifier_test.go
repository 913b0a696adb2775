package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/enrich/deliver"
	"github.com/gapless-go/gapless/mockserver"
)

// phone is a Sender that remembers, and answers as it is told.
type phone struct {
	mu     sync.Mutex
	got    []string
	answer func(d Device, nth int) error // nil: takes all
	tries  map[int64]int
}

func (p *phone) Send(_ context.Context, d Device, n Notification) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tries == nil {
		p.tries = map[int64]int{}
	}
	p.tries[d.ID]++
	if p.answer != nil {
		if err := p.answer(d, p.tries[d.ID]); err != nil {
			return err
		}
	}
	p.got = append(p.got, fmt.Sprintf("%d %s", d.ID, n.Body))
	return nil
}

func (p *phone) all() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.got...)
}

// shopWorld is a demo and a service, in virtual time.
type shopWorld struct {
	*testing.T
	demo    *Demo
	phone   *phone
	store   *deliver.Memory
	service *Service
}

func inShop(t *testing.T, f func(w *shopWorld)) {
	synctest.Test(t, func(t *testing.T) {
		w := &shopWorld{T: t, phone: &phone{}, store: deliver.NewMemory(1000)}
		var err error
		w.demo, err = NewDemo(mockserver.Config{InMemory: true})
		require.NoError(t, err)
		t.Cleanup(w.demo.Close)
		w.service, err = Open(Options{Project: w.demo.Project(), Senders: Senders{"phone": w.phone}, Store: w.store,
			MaxAge: 5 * time.Minute, Settle: 10 * time.Second, Every: 10 * time.Second, Live: true, Log: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = w.service.Run(ctx) }()
		t.Cleanup(func() { cancel(); <-done; require.NoError(t, w.service.Close()) })
		f(w)
	})
}

func (w *shopWorld) insert(table string, row mockserver.Row) {
	w.Helper()
	require.NoError(w, w.demo.Server.Insert(table, row))
}

func (w *shopWorld) ann(kinds ...string) {
	w.insert("customers", mockserver.Row{"id": 1, "name": "Ann"})
	for i, kind := range kinds {
		w.insert("devices", mockserver.Row{"id": i + 1, "customer_id": 1, "kind": kind, "address": "x"})
	}
	time.Sleep(20 * time.Second)
}

func (w *shopWorld) order(id int) {
	w.insert("orders", mockserver.Row{"id": id, "customer_id": 1, "status": "placed"})
	time.Sleep(5 * time.Second)
}

func TestEveryDeviceIsTold(t *testing.T) {
	inShop(t, func(w *shopWorld) {
		w.ann("phone", "phone")
		w.order(7)
		_, err := w.demo.Server.Update("orders", mockserver.Row{"status": "shipped"}, mockserver.Row{"id": 7})
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		require.Equal(t, []string{"1 Ann, your order 7 is placed.", "2 Ann, your order 7 is placed.",
			"1 Ann, your order 7 is shipped.", "2 Ann, your order 7 is shipped."}, w.phone.all())
	})
}

// A device whose sender fails is told later, in order, and the others not again.
func TestOneDeviceThatFailsHasTheOthersNotToldAgain(t *testing.T) {
	inShop(t, func(w *shopWorld) {
		w.phone.answer = func(d Device, nth int) error {
			if d.ID == 2 && nth < 4 {
				return errors.New("busy")
			}
			return nil
		}
		w.ann("phone", "phone")
		w.order(7)
		require.Equal(t, []string{"1 Ann, your order 7 is placed.", "2 Ann, your order 7 is placed."}, w.phone.all())
		require.EqualValues(t, 3, w.service.Notifier.Counters.Retried.Load())
	})
}

// A service that asks for a pause gets it, and the notification is not lost.
func TestRetryAfterIsKeptTo(t *testing.T) {
	for name, header := range map[string]func() string{
		"seconds": func() string { return "60" },
		"date":    func() string { return time.Now().Add(time.Minute).UTC().Format(http.TimeFormat) },
	} {
		t.Run(name, func(t *testing.T) {
			inShop(t, func(w *shopWorld) {
				w.phone.answer = func(_ Device, nth int) error {
					if nth > 1 {
						return nil
					}
					busy := &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {header()}}}
					return judgeAnswer("phone", busy, time.Now().Add(time.Hour))
				}
				w.ann("phone")
				w.order(7)
				time.Sleep(50 * time.Second)
				require.Empty(t, w.phone.all())
				require.EqualValues(t, 1, w.service.Notifier.Counters.Retried.Load())
				time.Sleep(10 * time.Second)
				require.Len(t, w.phone.all(), 1)
			})
		})
	}
}

func TestADeviceThatIsGoneIsForgotten(t *testing.T) {
	inShop(t, func(w *shopWorld) {
		w.phone.answer = func(d Device, _ int) error {
			if d.ID == 1 {
				return fmt.Errorf("410: %w", ErrGone)
			}
			return nil
		}
		w.ann("phone", "phone")
		w.order(7)
		rows, err := w.demo.Server.Rows("devices")
		require.NoError(t, err)
		require.Len(t, rows, 1)
		w.order(8)
		require.Len(t, w.phone.all(), 2)
		require.Equal(t, 1, w.phone.tries[1])
	})
}

func TestWhatIsRefusedIsBuried(t *testing.T) {
	inShop(t, func(w *shopWorld) {
		w.phone.answer = func(Device, int) error { return fmt.Errorf("too long: %w", ErrRefused) }
		w.ann("phone", "pigeon")
		w.order(7)
		require.Empty(t, w.phone.all())
		require.EqualValues(t, 2, w.service.Notifier.Counters.Refused.Load(), "for pigeons there is no sender")
		require.EqualValues(t, 1, w.service.Notifier.Counters.Buried.Load())
		letters := w.store.Letters()
		require.Len(t, letters, 1)
		require.Equal(t, "event-1/1", letters[0].Key)
		require.Equal(t, "too long: the notification was refused", letters[0].Reason)
	})
}

// What a trigger broadcasts goes straight to the devices, and not by the outbox.
func TestABroadcastIsToldAtOnce(t *testing.T) {
	inShop(t, func(w *shopWorld) {
		w.ann("phone", "phone")
		w.insert("orders", mockserver.Row{"id": 7, "customer_id": 1, "status": "arriving"})
		time.Sleep(time.Second)
		require.Equal(t, []string{"1 Ann, your order 7 is arriving.", "2 Ann, your order 7 is arriving."}, w.phone.all())
		events, err := w.demo.Server.Rows("order_events")
		require.NoError(t, err)
		require.Empty(t, events)
		w.insert("orders", mockserver.Row{"id": 8, "customer_id": 99, "status": "arriving"})
		w.phone.answer = func(Device, int) error { return errors.New("down") }
		w.insert("orders", mockserver.Row{"id": 9, "customer_id": 1, "status": "arriving"})
		time.Sleep(time.Minute)
		require.Len(t, w.phone.all(), 2, "nothing is tried again")
	})
}

// What cannot be sent in time is not sent late.
func TestWhatIsTooOldIsDropped(t *testing.T) {
	inShop(t, func(w *shopWorld) {
		down := true
		w.phone.answer = func(Device, int) error {
			if down {
				return errors.New("down")
			}
			return nil
		}
		w.ann("phone")
		w.order(7)
		time.Sleep(6 * time.Minute)
		w.phone.mu.Lock()
		down = false
		w.phone.mu.Unlock()
		w.order(8)
		require.Equal(t, []string{"1 Ann, your order 8 is placed."}, w.phone.all())
		require.EqualValues(t, 1, w.service.Notifier.Counters.TooOld.Load())
	})
}

// An order that is there before its customer's device waits for that, and is for
// nobody in the end.
func TestACustomerWhoIsLateIsWaitedFor(t *testing.T) {
	inShop(t, func(w *shopWorld) {
		w.ann()
		w.order(7)
		w.insert("devices", mockserver.Row{"id": 1, "customer_id": 1, "kind": "phone", "address": "x"})
		time.Sleep(10 * time.Second)
		require.Len(t, w.phone.all(), 1)
		w.insert("orders", mockserver.Row{"id": 8, "customer_id": 99, "status": "placed"})
		time.Sleep(time.Minute)
		require.EqualValues(t, 1, w.service.Notifier.Counters.Nobody.Load())
	})
}

// The first start does not begin with the orders of last year, and a number that
// comes late is no reason to miss an event, however long a commit takes.
func TestEventsThatAreYoungEnoughAreTold(t *testing.T) {
	inShop(t, func(w *shopWorld) {
		w.ann("phone")
		for id, age := range map[int]time.Duration{10: time.Hour, 21: time.Minute, 22: 0, 3: 4 * time.Minute, 4: 6 * time.Minute} {
			w.insert("order_events", mockserver.Row{"id": id, "customer_id": 1, "order_id": id, "status": "placed", "at": time.Now().Add(-age)})
			time.Sleep(15 * time.Second)
		}
		told := w.phone.all()
		slices.Sort(told)
		require.Equal(t, []string{"1 Ann, your order 21 is placed.", "1 Ann, your order 22 is placed.", "1 Ann, your order 3 is placed."}, told)
	})
}

func TestTerminalQuotesWhatMovesTheCursor(t *testing.T) {
	var b bytes.Buffer
	n := Notification{Key: "event-1", Body: "Ann\x1b[2J", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)}
	require.NoError(t, NewTerminal(&b).Send(t.Context(), Device{Address: "phone"}, n))
	require.Equal(t, "03:04:05  phone      \"Ann\\x1b[2J\"  (event-1)\n", b.String())
}

func TestFlags(t *testing.T) {
	env := map[string]string{}
	parse := func(key string, args ...string) error {
		_, err := ParseFlags(args, func(name string) string {
			if name == "PUSH_NOTIFY_KEY" {
				return key
			}
			return env[name]
		}, &bytes.Buffer{})
		return err
	}
	require.NoError(t, parse(""))
	require.NoError(t, parse("k", "-url", "https://x", "-store", "f"))
	require.ErrorContains(t, parse("", "-url", "https://x", "-store", "f"), "PUSH_NOTIFY_KEY")
	require.ErrorContains(t, parse("k", "-url", "https://x"), "-store")
	require.ErrorContains(t, parse("k", "-url", "https://x", "-store", "f", "-check"), "the demo")
	require.ErrorContains(t, parse("", "x"), "no flag")
	require.ErrorContains(t, parse("", "-max-age", "0s"), "positive")
	private, public, err := VAPIDKeys()
	require.NoError(t, err)
	env["PUSH_NOTIFY_VAPID_PRIVATE"], env["PUSH_NOTIFY_VAPID_PUBLIC"] = private, public
	require.ErrorContains(t, parse(""), "contact")
	require.NoError(t, parse("", "-contact", "ops@example.com"))
	_, env["PUSH_NOTIFY_VAPID_PUBLIC"], err = VAPIDKeys()
	require.NoError(t, err)
	require.ErrorContains(t, parse("", "-contact", "ops@example.com"), "no pair")
}

// While Realtime is away, events wait for the caches for half a minute, and then
// go to the devices that are known.
func TestCachesThatDoNotCatchUpAreWaitedForOnlySoLong(t *testing.T) {
	inShop(t, func(w *shopWorld) {
		w.ann("phone")
		w.demo.Server.Restart(2 * time.Minute)
		w.insert("devices", mockserver.Row{"id": 2, "customer_id": 1, "kind": "phone", "address": "y"})
		ordered := time.Now()
		w.insert("orders", mockserver.Row{"id": 7, "customer_id": 1, "status": "placed"})
		time.Sleep(staleIn - time.Second)
		require.Empty(t, w.phone.all(), "a device may be to come")
		require.Zero(t, w.service.Notifier.Counters.Behind.Load())
		for len(w.phone.all()) == 0 {
			require.Less(t, time.Since(ordered), staleIn+15*time.Second, "the outbox is read every ten seconds")
			time.Sleep(time.Second)
		}
		require.Equal(t, []string{"1 Ann, your order 7 is placed."}, w.phone.all())
		require.EqualValues(t, 1, w.service.Notifier.Counters.Behind.Load())

		time.Sleep(3 * time.Minute)
		w.order(8)
		require.Len(t, w.phone.all(), 3, "both devices are known")
		require.EqualValues(t, 1, w.service.Notifier.Counters.Behind.Load())
	})
}
