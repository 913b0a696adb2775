package enrich_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/realtime"
)

// post inserts a row by the REST API.
func (w *world) post(table, row string) {
	w.Helper()
	r, err := http.NewRequestWithContext(w.ctx, http.MethodPost, "/rest/v1/"+table, strings.NewReader(row))
	require.NoError(w, err)
	r.Header.Set("Content-Type", "application/json")
	answer, err := w.client.Do(r)
	require.NoError(w, err)
	require.NoError(w, answer.Body.Close())
	require.Equal(w, http.StatusCreated, answer.StatusCode)
}

// marked are the tables users and orgs with one marker.
func (w *world) marked() (*cache.Table[int64, user], *cache.Table[int64, org]) {
	client, err := realtime.New(realtime.Options{URL: w.server.URL(), Key: w.server.ServiceKey(), HTTPClient: w.server.HTTPClient()})
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, client.Close(context.Background())) })
	w.client = client // anon may not write marks
	marker := cache.NewMarker(w.client)
	users := w.users(cache.WithMarker(marker))
	orgs, err := cache.New(w.client, "orgs", func(o org) int64 { return o.ID }, cache.WithMarker(marker))
	require.NoError(w, err)
	w.run(orgs.Run)
	return users, orgs
}

// Whoever has written a row finds it behind CatchUp in a join, in a group of that,
// and in a group of that again, whichever side it is of and however busy they are.
func TestCatchUp_ThroughTablesOfTables(t *testing.T) {
	inWorld(t, func(w *world) {
		users, orgs := w.marked()
		members := w.members(enrich.Left, users, orgs)
		sizes, err := enrich.GroupBy(members, func(m member) string { return m.Org },
			func(n int, _ member) int { return n + 1 }, func(n int, _ member) int { return n - 1 })
		require.NoError(t, err)
		w.run(sizes.Run)
		bySize, err := enrich.GroupBy(sizes, func(n int) int { return n },
			func(n int, _ int) int { return n + 1 }, func(n int, _ int) int { return n - 1 })
		require.NoError(t, err)
		w.run(bySize.Run)
		w.sync(bySize)
		for i := range 200 {
			id := i + 1
			title := fmt.Sprint("org ", i)
			w.post("orgs", fmt.Sprintf(`{"id": %d, "title": %q}`, id, title))
			w.post("users", fmt.Sprintf(`{"id": %d, "name": "Ann", "org": %d}`, id, id))
			switch i % 3 {
			case 0:
				require.NoError(t, members.CatchUp(w.ctx))
				m, there := members.Get(int64(id))
				require.True(t, there, "round %d", i)
				require.Equal(t, title, m.Org, "round %d", i)
			case 1:
				require.NoError(t, sizes.CatchUp(w.ctx))
				n, _ := sizes.Get(title)
				require.Equal(t, 1, n, "round %d", i)
			default:
				require.NoError(t, bySize.CatchUp(w.ctx))
				n, _ := bySize.Get(1)
				require.Equal(t, id, n, "round %d", i)
			}
		}
		began := time.Now()
		require.NoError(t, bySize.CatchUp(w.ctx))
		require.NoError(t, bySize.CatchUp(w.ctx), "and nothing was written")
		require.Less(t, time.Since(began), 4*time.Second)
	})
}

// A join that has not taken what came holds CatchUp, and ctx ends that.
func TestCatchUp_WaitsForTheJoin(t *testing.T) {
	inWorld(t, func(w *world) {
		users, orgs := w.marked()
		hold := make(chan struct{})
		members, err := enrich.JoinTables(enrich.Left, users, orgs, orgOf, func(u user, o *org) member {
			if u.Name == "slow" {
				<-hold
			}
			return memberOf(u, o)
		})
		require.NoError(t, err)
		w.run(members.Run)
		w.sync(members)
		w.insertUser(1, "slow")
		ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
		defer cancel()
		require.ErrorIs(t, members.CatchUp(ctx), context.DeadlineExceeded)
		close(hold)
		require.NoError(t, members.CatchUp(w.ctx))
		_, there := members.Get(1)
		require.True(t, there)
	})
}

// The error says which table could not be caught up with.
func TestCatchUp_Errors(t *testing.T) {
	inWorld(t, func(w *world) {
		users, _ := w.marked()
		orgs := w.orgs() // without a marker
		members := w.members(enrich.Left, users, orgs)
		w.sync(members)
		err := members.CatchUp(w.ctx)
		var input *cache.InputError
		require.ErrorAs(t, err, &input)
		require.ErrorIs(t, err, cache.ErrNoMarker)
		require.Equal(t, "public.orgs", input.Input)

		idle, err := enrich.JoinTables(enrich.Left, users, orgs, orgOf, memberOf)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		require.ErrorIs(t, idle.CatchUp(ctx), context.DeadlineExceeded, "nobody runs it")
		custom := cache.NewComputed("custom", func(ctx context.Context, e *cache.Editor[int64, user]) error {
			e.Publish(true)
			<-ctx.Done()
			return ctx.Err()
		})
		w.run(custom.Run)
		require.ErrorIs(t, custom.CatchUp(w.ctx), cache.ErrNoMarker)
	})
}
