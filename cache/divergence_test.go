package cache_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/postgrest"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// TestDivergence is what becomes of four ways to keep a copy of a table that is
// written to all the time, over a slow network: rows that are wrong, missing, or
// not in the table any more, when all is quiet. It prints them:
//
//	go test ./cache -run TestDivergence -v
func TestDivergence(t *testing.T) {
	ways := []struct {
		name  string
		keep  func(d *divergence) func() map[int64]string
		exact bool
	}{
		{"fetch beside subscribe, replace", fetchAndReplace, false},
		{"naive pages", naivePages, false},
		{"buffer and replay", bufferAndReplay, true},
		{"this package, level 0", ourTable(0), true},
		{"this package, level 2", ourTable(2), true},
	}
	for _, way := range ways {
		diverged := 0
		line := fmt.Sprintf("%-34s", way.name)
		for seed := range divergenceSeeds {
			synctest.Test(t, func(t *testing.T) {
				wrong, missing, ghosts := newDivergence(t, seed).run(way.keep)
				line += fmt.Sprintf(" | %3d wrong %3d missing %3d ghosts", wrong, missing, ghosts)
				diverged += wrong + missing + ghosts
			})
		}
		t.Log(line)
		require.Equal(t, way.exact, diverged == 0, line)
	}
}

// divergenceSeeds is how often each way is tried.
var divergenceSeeds = uint64(3)

const (
	divergenceRows  = 2000
	divergenceTime  = 12 * time.Second
	writesPerSecond = 350
	divergencePage  = 500
)

// divergence is a table that is written to, and a slow network to it.
type divergence struct {
	*testing.T
	rand   *rand.Rand
	server *mockserver.Server
	client *realtime.Client
	ctx    context.Context
	jobs   sync.WaitGroup
	next   int64
}

func newDivergence(t *testing.T, seed uint64) *divergence {
	cfg := itemsConfig()
	cfg.Seed = seed
	cfg.Tables[0].RLS = false
	d := &divergence{T: t, rand: rand.New(rand.NewPCG(seed, 0)), server: mockserver.Start(t, cfg)}
	slow := *d.server.HTTPClient()
	slow.Transport = &slowREST{to: slow.Transport, rand: rand.New(rand.NewPCG(seed, 1))}
	client, err := realtime.New(realtime.Options{URL: d.server.URL(), Key: d.server.AnonKey(), HTTPClient: &slow,
		Token: func(context.Context) (string, time.Time, error) {
			return d.server.UserToken(user, time.Hour), time.Time{}, nil
		}})
	require.NoError(t, err)
	d.client = client
	d.server.DelayChanges(50 * time.Millisecond)
	for d.next < divergenceRows {
		d.write("insert")
	}
	return d
}

// slowREST brings answers of the REST API 50 to 500 ms after they were made.
type slowREST struct {
	to   http.RoundTripper
	mu   sync.Mutex
	rand *rand.Rand
}

func (s *slowREST) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := s.to.RoundTrip(r)
	if strings.Contains(r.URL.Path, "/rest/") {
		s.mu.Lock()
		wait := 50*time.Millisecond + time.Duration(s.rand.Int64N(int64(450*time.Millisecond)))
		s.mu.Unlock()
		time.Sleep(wait)
	}
	return answer, err
}

func (d *divergence) run(keep func(*divergence) func() map[int64]string) (wrong, missing, ghosts int) {
	ctx, stop := context.WithCancel(d.Context())
	d.ctx = ctx
	d.streaming("somebody else", func(cdc.Change) {}) // so that the log is being read
	d.writeFor(3 * time.Second)
	result := keep(d)
	d.writeFor(divergenceTime)
	time.Sleep(time.Minute)
	got := result()
	rows, err := d.server.Rows("items")
	require.NoError(d, err)
	for _, r := range rows {
		name, there := got[r["id"].(int64)]
		switch {
		case !there:
			missing++
		case name != r["name"]:
			wrong++
		}
		delete(got, r["id"].(int64))
	}
	stop()
	d.jobs.Wait()
	require.NoError(d, d.client.Close(context.Background()))
	return wrong, missing, len(got)
}

func (d *divergence) writeFor(span time.Duration) {
	for end := time.Now().Add(span); time.Now().Before(end); {
		d.write([]string{"insert", "update", "update", "update", "delete", "move"}[d.rand.IntN(6)])
		time.Sleep(time.Duration(d.rand.Int64N(2 * int64(time.Second) / writesPerSecond)))
	}
}

func (d *divergence) write(op string) {
	id := d.rand.Int64N(max(d.next, 1))
	var err error
	switch op {
	case "insert":
		err = d.server.Insert("items", row(d.next, d.text()))
		d.next++
	case "update":
		_, err = d.server.Update("items", mockserver.Row{"name": d.text()}, mockserver.Row{"id": id})
	case "delete":
		_, err = d.server.Delete("items", mockserver.Row{"id": id})
	case "move":
		_, err = d.server.Update("items", mockserver.Row{"id": d.next}, mockserver.Row{"id": id})
		d.next++
	}
	require.NoError(d, err)
}

func (d *divergence) text() string { return fmt.Sprint(d.rand.Int64()) }

// streaming subscribes, and hands every change to a function, by one goroutine.
func (d *divergence) streaming(topic string, take func(cdc.Change)) (live func()) {
	ch, err := d.client.Channel(topic)
	require.NoError(d, err)
	sub, err := ch.Subscribe(channel.Binding{Table: "items"})
	require.NoError(d, err)
	d.jobs.Go(func() {
		for c, err := range sub.Changes(d.ctx) {
			if err != nil {
				return
			}
			if c.Gap == nil {
				take(c)
			}
		}
	})
	return func() { require.NoError(d, ch.WaitLive(d.ctx)) }
}

// pages reads the table.
func (d *divergence) pages(size int, take func([]item)) {
	api := postgrest.Table{Client: d.client, Name: "items", Key: []string{"id"}}
	for after := []string(nil); ; {
		p, err := api.Page(d.ctx, after, size)
		require.NoError(d, err)
		rows := make([]item, len(p.Rows))
		for i, r := range p.Rows {
			require.NoError(d, json.Unmarshal(r.JSON, &rows[i]))
		}
		take(rows)
		if after = p.Last; after == nil || size > divergencePage {
			return
		}
	}
}

// copied is a copy that a mutex guards.
type copied struct {
	mu   sync.Mutex
	rows map[int64]string
}

func (c *copied) apply(change cdc.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	applyTo(c.rows, change)
}

func applyTo(rows map[int64]string, change cdc.Change) {
	e, err := cdc.As[item](change)
	if err != nil {
		panic(err)
	}
	if e.Op != cdc.Insert {
		delete(rows, e.Old.ID)
	}
	if e.Op != cdc.Delete {
		rows[e.New.ID] = e.New.Name
	}
}

func (c *copied) all() map[int64]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.rows)
}

// fetchAndReplace fetches the table while it subscribes, and takes what it
// fetched for the whole.
func fetchAndReplace(d *divergence) func() map[int64]string {
	c := &copied{rows: map[int64]string{}}
	d.streaming("copy", c.apply)
	d.jobs.Go(func() {
		d.pages(1<<20, func(rows []item) {
			c.mu.Lock()
			defer c.mu.Unlock()
			clear(c.rows)
			for _, r := range rows {
				c.rows[r.ID] = r.Name
			}
		})
	})
	return c.all
}

// naivePages writes pages into the copy as they come.
func naivePages(d *divergence) func() map[int64]string {
	c := &copied{rows: map[int64]string{}}
	live := d.streaming("copy", c.apply)
	d.jobs.Go(func() {
		live()
		d.pages(divergencePage, func(rows []item) {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, r := range rows {
				c.rows[r.ID] = r.Name
			}
		})
	})
	return c.all
}

// bufferAndReplay keeps the changes until the table has been read, and plays
// them over it.
func bufferAndReplay(d *divergence) func() map[int64]string {
	c := &copied{}
	var kept []cdc.Change
	live := d.streaming("copy", func(change cdc.Change) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.rows == nil {
			kept = append(kept, change)
		} else {
			applyTo(c.rows, change)
		}
	})
	d.jobs.Go(func() {
		live()
		time.Sleep(2 * time.Second)
		read := map[int64]string{}
		d.pages(divergencePage, func(rows []item) {
			for _, r := range rows {
				read[r.ID] = r.Name
			}
		})
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, change := range kept {
			applyTo(read, change)
		}
		c.rows = read
	})
	return c.all
}

// ourTable is this package.
func ourTable(level int) func(d *divergence) func() map[int64]string {
	return func(d *divergence) func() map[int64]string {
		opts := []cache.Option{cache.WithPageSize(divergencePage)}
		if level == 2 {
			opts = append(opts, cache.WithMarker(cache.NewMarker(d.client)))
		}
		table, err := cache.New(d.client, "items", itemID, opts...)
		require.NoError(d, err)
		d.jobs.Go(func() { _ = table.Run(d.ctx) })
		return func() map[int64]string {
			require.NoError(d, table.WaitSynced(d.ctx))
			rows := map[int64]string{}
			for k, r := range table.All() {
				rows[k] = r.Name
			}
			return rows
		}
	}
}
