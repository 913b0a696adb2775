package cache_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// between answers requests in the place of the server.
type between struct {
	http.RoundTripper
	answer atomic.Pointer[func(*http.Request) *http.Response]
	n      atomic.Int64 // answers given
	edit   func(r *http.Request, body string) string
}

func (b *between) RoundTrip(r *http.Request) (*http.Response, error) {
	if f := b.answer.Load(); f != nil {
		if answer := (*f)(r); answer != nil {
			b.n.Add(1)
			answer.Request, answer.ProtoMajor, answer.ProtoMinor = r, 1, 1
			return answer, nil
		}
	}
	answer, err := b.RoundTripper.RoundTrip(r)
	if err == nil && b.edit != nil && isREST(r) {
		body, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		edited := b.edit(r, string(body))
		answer.Body, answer.ContentLength = io.NopCloser(strings.NewReader(edited)), -1
	}
	return answer, err
}

func (b *between) set(f func(*http.Request) *http.Response) {
	if f == nil {
		b.answer.Store(nil)
		return
	}
	b.answer.Store(&f)
}

func reply(status int, typ, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {typ}}, Body: io.NopCloser(strings.NewReader(body))}
}

// inWorldVia is inWorld with something between the client and the server.
func inWorldVia(t *testing.T, cfg mockserver.Config, o realtime.Options, f func(w *world, b *between)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := mockserver.Start(t, cfg)
		b := &between{RoundTripper: server.HTTPClient().Transport}
		o.URL, o.Key, o.HTTPClient = server.URL(), server.AnonKey(), &http.Client{Transport: b}
		o.Token = func(context.Context) (string, time.Time, error) {
			return server.UserToken(user, time.Hour), time.Time{}, nil
		}
		client, err := realtime.New(o)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(func() {
			cancel()
			require.NoError(t, client.Close(context.Background()))
		})
		f(&world{T: t, server: server, client: client, ctx: ctx}, b)
	})
}

func isREST(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/rest/v1/") }

// What has worked is not over because a server refuses it for a while, whoever
// answers, and to whatever.
func TestRefusalsAreFinalOnlyWhenTheyPersist(t *testing.T) {
	for name, refusal := range map[string]func() *http.Response{
		"a stale schema cache": func() *http.Response {
			return reply(404, "application/json", `{"code":"PGRST205","message":"Could not find the table in the schema cache"}`)
		},
		"a gateway's 404": func() *http.Response { return reply(404, "application/json", `{"message":"no route"}`) },
		"a page":          func() *http.Response { return reply(404, "text/html", "<html>") },
		"a column":        func() *http.Response { return reply(400, "application/json", `{"code":"42703","message":"column"}`) },
		"rights": func() *http.Response {
			return reply(403, "application/json", `{"code":"42501","message":"permission denied"}`)
		},
		"a firewall": func() *http.Response { return reply(403, "text/html", "<html>") },
		"an API key": func() *http.Response { return reply(401, "application/json", `{"message":"Invalid API key"}`) },
		"a redirect": func() *http.Response {
			r := reply(302, "text/html", "")
			r.Header.Set("Location", "https://login.example.com/")
			return r
		},
	} {
		for level, options := range levels() {
			t.Run(name+"/"+level, func(t *testing.T) {
				inWorldVia(t, itemsConfig(), realtime.Options{}, func(w *world, b *between) {
					w.insert(row(1, "a"))
					items, err := cache.New(w.client, "items", itemID, append(options(w), cache.WithVerify(5*time.Second))...)
					require.NoError(t, err)
					ended := w.run(items.Run)
					w.sync(items)
					b.set(func(r *http.Request) *http.Response {
						if !isREST(r) {
							return nil
						}
						return refusal()
					})
					w.server.KillSockets()
					time.Sleep(2 * time.Minute)
					require.Positive(t, b.n.Load())
					require.Error(t, items.Status().Trouble, "the reason is visible")
					require.Empty(t, ended)
					b.set(nil)
					w.insert(row(2, "b"))
					time.Sleep(time.Minute)
					require.Equal(t, "1:a 2:b ", names(items.View()))
					require.Equal(t, cache.Synced, items.Phase())
					require.NoError(t, items.Status().Trouble)
					if name == "a firewall" { // which is no refusal of the project's
						return
					}
					b.set(func(r *http.Request) *http.Response {
						if !isREST(r) {
							return nil
						}
						return refusal()
					})
					time.Sleep(5 * time.Minute)
					require.Len(t, ended, 1, "it has persisted")
					require.ErrorContains(t, <-ended, "items")
				})
			})
		}
	}
}

func TestFailFastTakesARefusalForFinal(t *testing.T) {
	inWorldVia(t, itemsConfig(), realtime.Options{FailFast: true}, func(w *world, b *between) {
		items, err := cache.New(w.client, "items", itemID, cache.WithVerify(5*time.Second))
		require.NoError(t, err)
		ended := w.run(items.Run)
		w.sync(items)
		b.set(func(r *http.Request) *http.Response { return reply(404, "text/html", "") })
		time.Sleep(time.Minute)
		require.Len(t, ended, 1)
	})
}

// A channel that is refused when it is joined anew was taken before.
func TestAnotherChannelIsRefusedForAWhile(t *testing.T) {
	var closed atomic.Bool
	cfg := itemsConfig()
	cfg.Channels = func(string, mockserver.Claims) bool { return !closed.Load() }
	inWorld(t, cfg, func(w *world) {
		items := w.items(append(w.marked(), cache.WithChannel("private", channel.Private()))...)
		w.sync(items)
		closed.Store(true)
		w.server.DropChanges(1 << 20) // until the channel is joined anew
		time.Sleep(100 * time.Second)
		require.NotEqual(t, cache.Synced, items.Phase())
		require.Error(t, items.Status().Trouble)
		closed.Store(false)
		w.server.Heal()
		time.Sleep(time.Minute)
		require.Equal(t, cache.Synced, items.Phase())
		require.NoError(t, items.Status().Trouble)
	})
}

// Whoever repeats a page is told of, and does not have it read for ever.
func TestAPageThatComesAgainIsAnError(t *testing.T) {
	for _, cycle := range []int{1, 2, 3} {
		inWorldVia(t, itemsConfig(), realtime.Options{}, func(w *world, b *between) {
			for i := range int64(40) {
				w.insert(row(i, "a"))
			}
			page := 0
			b.set(func(r *http.Request) *http.Response {
				if r.URL.Path != "/rest/v1/items" {
					return nil
				}
				page++
				return reply(200, "application/json", fmt.Sprintf(`[{"id":%d,"name":"a","note":null,"owner":"all","ver":0}]`, page%cycle))
			})
			items, err := cache.New(w.client, "items", itemID)
			require.NoError(t, err)
			ended := w.run(items.Run)
			time.Sleep(time.Minute)
			require.Less(t, b.n.Load(), int64(60))
			require.ErrorContains(t, items.Status().Trouble, "page again")
			require.NotEqual(t, cache.Synced, items.Phase())
			if cycle == 1 { // else other pages come meanwhile
				time.Sleep(4 * time.Minute)
				require.ErrorContains(t, <-ended, "page again")
			}
		})
	}
}
