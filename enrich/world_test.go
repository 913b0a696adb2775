package enrich_test

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// user is a row of the table users, click one of the table clicks.
type user struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
	Org  int64  `json:"org"`
}

type click struct {
	ID     int64  `json:"id"`
	UserID *int64 `json:"user_id"`
	Page   string `json:"page"`
}

type (
	clickEvent = cdc.Event[click]
	joined     = enrich.Joined[clickEvent, user]
	lookup     = enrich.Lookup[clickEvent, int64, user]
)

func userOf(c clickEvent) (int64, bool) {
	if c.New.UserID == nil {
		return 0, false
	}
	return *c.New.UserID, true
}

func committed(c clickEvent) time.Time { return c.Committed }

// world is a project and a client of it, in virtual time.
type world struct {
	*testing.T
	server *mockserver.Server
	client *realtime.Client
	ctx    context.Context
}

func config() mockserver.Config {
	cfg := mockserver.Config{InMemory: true, Tables: []mockserver.Table{
		{Name: "users", PrimaryKey: []string{"id"}, Columns: []mockserver.Column{
			{Name: "id", Type: "int8"}, {Name: "name", Type: "text"},
			{Name: "org", Type: "int8", NotNull: true, Default: func() any { return 0 }}}},
		{Name: "clicks", PrimaryKey: []string{"id"}, Columns: []mockserver.Column{
			{Name: "id", Type: "int8"}, {Name: "user_id", Type: "int8"},
			{Name: "page", Type: "text", NotNull: true, Default: func() any { return "" }}}},
		{Name: "orgs", PrimaryKey: []string{"id"}, Columns: []mockserver.Column{
			{Name: "id", Type: "int8"}, {Name: "title", Type: "text"}}},
	}}
	mockserver.InstallCache(&cfg, "anon")
	return cfg
}

func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := mockserver.Start(t, config())
		client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.AnonKey(), HTTPClient: server.HTTPClient()})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(func() {
			cancel()
			require.NoError(t, client.Close(context.Background()))
		})
		f(&world{T: t, server: server, client: client, ctx: ctx})
	})
}

// run runs something until the test ends.
func (w *world) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = f(ctx) }()
	w.Cleanup(func() { cancel(); <-done })
}

// users is the cache of the table users, without waiting for it.
func (w *world) users(opts ...cache.Option) *cache.Table[int64, user] {
	w.Helper()
	t, err := cache.New(w.client, "users", func(u user) int64 { return u.ID }, opts...)
	require.NoError(w, err)
	w.run(t.Run)
	return t
}

// clicks is the stream of the table clicks.
func (w *world) clicks() enrich.Stream[clickEvent] {
	w.Helper()
	ch, err := w.client.Channel("clicks")
	require.NoError(w, err)
	sub, err := ch.Subscribe(channel.Binding{Table: "clicks"})
	require.NoError(w, err)
	return enrich.Events[click](sub.Changes, nil)
}

func (w *world) insertUser(id int64, name string) {
	w.Helper()
	require.NoError(w, w.server.Insert("users", mockserver.Row{"id": id, "name": name}))
}

func (w *world) nameUser(id int64, name string) {
	w.Helper()
	_, err := w.server.Update("users", mockserver.Row{"name": name}, mockserver.Row{"id": id})
	require.NoError(w, err)
}

func (w *world) insertClick(id, user int64) {
	w.Helper()
	require.NoError(w, w.server.Insert("clicks", mockserver.Row{"id": id, "user_id": user}))
}

func (w *world) sync(t interface{ WaitSynced(context.Context) error }) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Minute)
	defer cancel()
	require.NoError(w, t.WaitSynced(ctx))
}

// await waits until a user has a name.
func (w *world) await(t *cache.Table[int64, user], id int64, name string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	require.NoError(w, t.WaitFor(ctx, id, func(u user, _ bool) bool { return u.Name == name }))
}

// hand is a stream that a test drives by hand.
type hand[T any] struct {
	values chan T
	pulled atomic.Int64 // how many times a value was asked for
	end    chan error
}

func newHand[T any]() *hand[T] {
	return &hand[T]{values: make(chan T), end: make(chan error, 1)}
}

func (h *hand[T]) stream(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			h.pulled.Add(1)
			select {
			case v := <-h.values:
				if !yield(v, nil) {
					return
				}
			case err := <-h.end:
				if err != nil {
					yield(*new(T), err)
				}
				return
			case <-ctx.Done():
				yield(*new(T), ctx.Err())
				return
			}
		}
	}
}

// outputs runs a stream until the test ends. Its values come out of the channel,
// which is closed behind the last; err is why it ended.
type outputs[T any] struct {
	t      testing.TB
	values chan T
	err    error
}

func collect[T any](t testing.TB, ctx context.Context, s enrich.Stream[T]) *outputs[T] {
	ctx, cancel := context.WithCancel(ctx)
	o := &outputs[T]{t: t, values: make(chan T, 10_000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(o.values)
		for v, err := range s(ctx) {
			if err != nil {
				o.err = err
				return
			}
			o.values <- v
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return o
}

// next waits for a value.
func (o *outputs[T]) next() T {
	o.t.Helper()
	select {
	case v, more := <-o.values:
		if !more {
			require.FailNow(o.t, "the stream has ended", "%v", o.err)
		}
		return v
	case <-time.After(10 * time.Minute):
		require.FailNow(o.t, "no value in ten minutes")
		panic("unreachable")
	}
}

// none waits for a time in which no value is to come.
func (o *outputs[T]) none(d time.Duration) {
	o.t.Helper()
	select {
	case v, more := <-o.values:
		require.False(o.t, more, "%+v", v)
	case <-time.After(d):
	}
}

// ended waits for the end.
func (o *outputs[T]) ended() error {
	o.t.Helper()
	v, more := <-o.values
	require.False(o.t, more, "%+v", v)
	return o.err
}

func clickAt(id, user int64, at time.Time) clickEvent {
	return clickEvent{Change: cdc.Change{Op: cdc.Insert, Committed: at}, New: click{ID: id, UserID: &user}}
}

type seq[T any] = iter.Seq2[T, error]
