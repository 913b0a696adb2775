package mockserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// needed are parameters of the faults that have no default for all.
var needed = map[string]string{
	"publish": `{"table":"orders","on":true}`, "hide-rows": `{"table":"secret","where":{"id":1}}`, "truncate-table": `{"table":"orders"}`,
	"send-raw": `{"text":"{}"}`,
}

var secret = mockserver.Table{Name: "secret", Columns: []mockserver.Column{{Name: "id", Type: "int8"}}, PrimaryKey: []string{"id"}, RLS: true}

// Every fault is described, can be injected with what its description says,
// and can be ended with what it says.
func TestEveryFaultCanBeAskedFor(t *testing.T) {
	bubble(t, mockserver.Config{Tables: []mockserver.Table{orders, secret}}, func(t *testing.T, s *mockserver.Server) {
		open(t, s, phoenix.V2).subscribed(1, "realtime:a", ordersBinding, "")
		names := map[string]bool{}
		for _, f := range s.Faults() {
			require.Regexp(t, `^[a-z]+(-[a-z]+)*$`, f.Name)
			require.False(t, names[f.Name], f.Name)
			names[f.Name] = true
			require.Greater(t, len(strings.Fields(f.Doc)), 2, f.Name)
			params := map[string]json.RawMessage{}
			for _, p := range f.Params {
				require.NotEmpty(t, p.Doc, "%s %s", f.Name, p.Name)
				require.Contains(t, []string{"string", "integer", "boolean", "duration", "object"}, p.Type)
				params[p.Name] = p.Default
			}
			raw, err := json.Marshal(params)
			require.NoError(t, err)
			if given, ok := needed[f.Name]; ok {
				require.NotEmpty(t, f.Params)
				raw = []byte(given)
			} else {
				require.NoError(t, s.Inject(mockserver.Fault{Name: f.Name}))
			}
			require.NoError(t, s.Inject(mockserver.Fault{Name: f.Name, Params: raw}), "%s %s", f.Name, raw)
			if f.Undo != nil {
				require.NoError(t, s.Inject(mockserver.Fault{Name: f.Name, Params: f.Undo}))
			}
		}
		s.Heal()
		time.Sleep(time.Minute) // for what was to be refused or late
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		insert(t, s, 1)
		c.gets(1)
	})
}

func TestFaultsThatCannotBeInjected(t *testing.T) {
	bubble(t, mockserver.Config{Tables: []mockserver.Table{orders, secret}}, func(t *testing.T, s *mockserver.Server) {
		for _, c := range []struct{ name, params, want string }{
			{"nope", ``, "there is no such fault"},
			{"", ``, "there is no such fault"},
			{"L13", ``, "there is no such fault"},
			{"drop-changes", `{"times":"x"}`, "its parameters"},
			{"drop-changes", `{"tiems":1}`, `unknown field "tiems"`},
			{"drop-changes", `[]`, "its parameters"},
			{"drop-changes", `{} {}`, "more behind the object"},
			{"drop-changes", `{"table":"nope"}`, "does not exist"},
			{"delay-changes", `{"by":"soon"}`, "is no duration"},
			{"delay-changes", `{"by":-1}`, "is not between 0 and"},
			{"delay-changes", `{"by":"25h"}`, "is not between 0 and"},
			{"delay-changes", `{"by":1e300}`, "is not between 0 and"},
			{"delay-changes", `{"by":true}`, "is no duration"},
			{"kill-sockets", `{"socket":99}`, "there is no socket 99"},
			{"refuse-upgrades", `{"status":200}`, "status is not between"},
			{"rest", `{"status":99}`, "status is not between"},
			{"hide-rows", `{"table":"secret","where":{"nope":1}}`, "does not exist"},
			{"truncate-table", ``, "does not exist"},
		} {
			err := s.Inject(mockserver.Fault{Name: c.name, Params: json.RawMessage(c.params)})
			var refused *mockserver.FaultError
			require.ErrorAs(t, err, &refused, "%v", c)
			require.Equal(t, c.name, refused.Fault)
			require.ErrorContains(t, err, c.want)
		}
		require.ErrorIs(t, s.Inject(mockserver.Fault{Name: "nope"}), mockserver.ErrUnknownFault)
		// None of them has done anything.
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		insert(t, s, 1)
		c.gets(1)
	})
}

// A fault may be about one socket, one channel or one table.
func TestFaultsOfSome(t *testing.T) {
	bubble(t, mockserver.Config{Tables: []mockserver.Table{orders, secret}}, func(t *testing.T, s *mockserver.Server) {
		a, b := open(t, s, phoenix.V2), open(t, s, phoenix.V2)
		a.subscribed(1, "realtime:a", ordersBinding, "")
		b.subscribed(1, "realtime:a", ordersBinding, "")
		b.subscribed(2, "realtime:b", ordersBinding, "")
		inject := func(name, params string) {
			t.Helper()
			require.NoError(t, s.Inject(mockserver.Fault{Name: name, Params: json.RawMessage(params)}))
		}
		inject("crash-channels", `{"socket":2,"topic":"b"}`)
		m := b.next()
		require.Equal(t, `realtime:b phx_error`, m.Topic+" "+m.Event)
		inject("crash-channels", `{"topic":"realtime:a"}`)
		for _, c := range []*socket{a, b} {
			m := c.next()
			require.Equal(t, `realtime:a phx_error`, m.Topic+" "+m.Event)
		}
		inject("close-sockets", `{"socket":1,"code":1001}`)
		require.Equal(t, websocket.StatusGoingAway, a.closed())
		b.subscribed(3, "realtime:b", ordersBinding, "")
		inject("drop-changes", `{"table":"secret","times":-1}`)
		insert(t, s, 1)
		b.gets(1)
		inject("drop-changes", `{"table":"orders"}`)
		insert(t, s, 2)
		insert(t, s, 3)
		b.gets(3)
		inject("kill-sockets", `{"socket":2}`)
		require.Equal(t, websocket.StatusCode(-1), b.closed())
	})
}

// A loss can be asked for by its number: changes do not come, and of the silent
// ones no message tells.
func TestC51EveryLossCanBeInjected(t *testing.T) {
	everything := func(mockserver.Claims, mockserver.Row) bool { return true }
	long := mockserver.Column{Name: "note", Type: "text"}
	things := mockserver.Table{
		Name: "things", Columns: []mockserver.Column{{Name: "id", Type: "int8"}, long}, PrimaryKey: []string{"id"}, RLS: true, Select: everything,
	}
	const binding = `[{"event":"*","schema":"public","table":"things"}]`
	losses := []struct {
		name, params string
		first        bool // it is about a server that starts
		sign         string
	}{
		{name: "L1", sign: "closed"},
		{name: "L2", first: true},
		{name: "L3"},
		{name: "L4"},
		{name: "L5"},
		{name: "L6"},
		{name: "L7"},
		{name: "L8", sign: phoenix.MessageSubscribed},
		{name: "L9", params: `{"table":"things","where":{"id":2}}`},
		{name: "L10", params: `{"bytes":100}`, sign: "closed"},
		{name: "L11", sign: "Token has expired"},
		{name: "L12", sign: "Error 413"},
	}
	for _, loss := range losses {
		t.Run(loss.name, func(t *testing.T) {
			bubble(t, mockserver.Config{Tables: []mockserver.Table{things}}, func(t *testing.T, s *mockserver.Server) {
				inject := func() {
					require.NoError(t, s.Inject(mockserver.Fault{Name: loss.name, Params: json.RawMessage(loss.params)}))
				}
				c := open(t, s, phoenix.V2)
				if loss.first {
					inject()
				}
				c.subscribed(1, "realtime:a", binding, "")
				if !loss.first {
					require.NoError(t, s.Insert("things", mockserver.Row{"id": 1}))
					c.change()
					inject()
				}
				require.NoError(t, s.Insert("things", mockserver.Row{"id": 2, "note": strings.Repeat("x", 200)}))
				time.Sleep(4 * time.Second)
				synctest.Wait()
				c.mu.Lock()
				defer c.mu.Unlock()
				switch loss.sign {
				case "":
					require.NoError(t, c.err)
					require.Empty(t, c.frames)
				case "closed":
					require.Error(t, c.err)
				default:
					require.NotEmpty(t, c.frames)
					require.Contains(t, string(c.frames[0].raw), loss.sign)
					require.NotContains(t, string(c.frames[0].raw), "xxx")
				}
			})
			infos := mockserver.Start(t, mockserver.Config{InMemory: true}).Faults()
			for _, f := range infos {
				if f.Loss == loss.name {
					require.Equal(t, loss.sign == "", f.Silent, f.Name)
				}
			}
		})
	}
}

func TestRandomFaults(t *testing.T) {
	a, err := mockserver.RandomFaults(7, 200, time.Minute)
	require.NoError(t, err)
	b, err := mockserver.RandomFaults(7, 200, time.Minute)
	require.NoError(t, err)
	require.Equal(t, a, b)
	require.GreaterOrEqual(t, len(a), 200)
	c, err := mockserver.RandomFaults(8, 200, time.Minute)
	require.NoError(t, err)
	require.NotEqual(t, a, c)
	names := map[string]int{}
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		last := time.Duration(0)
		for _, f := range a {
			require.GreaterOrEqual(t, f.At, last)
			require.Less(t, f.At, time.Minute)
			last = f.At
			names[f.Name]++
			require.NoError(t, s.Inject(f.Fault), "%v", f)
		}
		require.Greater(t, len(names), 30)
		for _, f := range s.Faults() {
			if f.Undo != nil && names[f.Name] > 0 {
				require.Zero(t, names[f.Name]%2, "%s is ended as often as it begins", f.Name)
			}
		}
	})
	only, err := mockserver.RandomFaults(1, 50, time.Minute, "L3", "lose-slot")
	require.NoError(t, err)
	for _, f := range only {
		require.Contains(t, []string{"fail-polls", "lose-slot"}, f.Name)
	}
	_, err = mockserver.RandomFaults(1, 1, time.Minute, "nope")
	require.ErrorIs(t, err, mockserver.ErrUnknownFault)
	_, err = mockserver.RandomFaults(1, 1, time.Minute, "truncate-table")
	require.ErrorContains(t, err, "nobody can make up")
	none, err := mockserver.RandomFaults(1, 0, 0)
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestPlay(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		open(t, s, phoenix.V2)
		start := time.Now()
		schedule := []mockserver.ScheduledFault{
			{At: time.Second, Fault: mockserver.Fault{Name: "mute-heartbeats"}},
			{At: 3 * time.Second, Fault: mockserver.Fault{Name: "kill-sockets"}},
		}
		require.NoError(t, s.Play(t.Context(), schedule))
		require.Equal(t, 3*time.Second, time.Since(start))
		synctest.Wait()
		require.Zero(t, s.Sockets())
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		require.ErrorIs(t, s.Play(ctx, schedule), context.DeadlineExceeded)
		require.ErrorIs(t, s.Play(t.Context(), []mockserver.ScheduledFault{{Fault: mockserver.Fault{Name: "nope"}}}), mockserver.ErrUnknownFault)
		require.NoError(t, s.Close())
		require.ErrorContains(t, s.Play(t.Context(), schedule), "closed")
	})
}

// What happens under a schedule happens again under the same seed: to the
// millisecond, and to the byte.
func TestASeedReplaysExactly(t *testing.T) {
	for seed := range uint64(20) {
		first := underFaults(t, seed, nil)
		require.NotEmpty(t, first)
		for range 2 {
			require.Equal(t, first, underFaults(t, seed, nil), "seed %d", seed)
		}
	}
}

// Faults lose changes, and but for those that are about it, they never repeat
// one, and never deliver one before another that was committed earlier, over
// any number of sockets.
func TestFaultsKeepOrder(t *testing.T) {
	var names []string
	all, err := mockserver.RandomFaults(1, 2000, time.Hour)
	require.NoError(t, err)
	for _, f := range all {
		if f.Name != "duplicate-changes" && f.Name != "reorder-changes" && !slices.Contains(names, f.Name) {
			names = append(names, f.Name)
		}
	}
	lost := 0
	for seed := range uint64(60) {
		last := 0
		for _, line := range underFaults(t, seed, names) {
			_, record, isChange := strings.Cut(line, `"record":{"id": `)
			if !isChange {
				continue
			}
			id, err := strconv.Atoi(record[:strings.IndexAny(record, ",}")])
			require.NoError(t, err)
			require.Greater(t, id, last, "seed %d: %s", seed, line)
			lost += id - last - 1
			last = id
		}
	}
	require.Positive(t, lost, "the faults did nothing")
}

// underFaults has a client follow a table for two minutes of random faults,
// and returns all that it got.
func underFaults(t *testing.T, seed uint64, names []string) (got []string) {
	synctest.Test(t, func(t *testing.T) {
		cfg := withOrders
		cfg.InMemory, cfg.Seed = true, seed
		s := mockserver.Start(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute+time.Microsecond)
		defer cancel()
		schedule, err := mockserver.RandomFaults(seed, 30, 2*time.Minute, names...)
		require.NoError(t, err)
		var others sync.WaitGroup
		defer others.Wait()
		others.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for id := 1; ctx.Err() == nil; id++ {
				time.Sleep(time.Duration(r.IntN(2000))*time.Millisecond + 300*time.Microsecond)
				_ = s.Insert("orders", mockserver.Row{"id": id})
			}
		})
		others.Go(func() { _ = s.Play(ctx, schedule) })
		start := time.Now()
		for ctx.Err() == nil {
			follow(ctx, s, func(line string) { got = append(got, fmt.Sprint(time.Since(start), " ", line)) })
			time.Sleep(777 * time.Millisecond)
		}
	})
	return got
}

// follow is one socket's life.
func follow(ctx context.Context, s *mockserver.Server, note func(string)) {
	ws, refused, err := websocket.Dial(ctx, s.WebsocketURL()+"?vsn=2.0.0&apikey="+s.AnonKey(), &websocket.DialOptions{HTTPClient: s.HTTPClient()})
	if err != nil {
		if refused != nil {
			note(refused.Status)
		}
		return
	}
	defer ws.CloseNow()
	join := `["1","1","realtime:a","phx_join",{"config":{"postgres_changes":` + ordersBinding + `}}]`
	if ws.Write(ctx, websocket.MessageText, []byte(join)) != nil {
		return
	}
	life, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	for {
		_, raw, err := ws.Read(life)
		if err != nil {
			note(fmt.Sprint("closed ", websocket.CloseStatus(err)))
			return
		}
		note(string(raw))
	}
}
