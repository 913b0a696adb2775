package mockserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// adminCall is a request to /mock/v1/.
type adminCall struct {
	call   string // method and path behind /mock/v1/
	body   string
	header http.Header
	status int    // 200
	want   string // the body as JSON; "": empty; "*": anything
	has    string // in the body
}

func (c adminCall) check(t *testing.T, s *mockserver.Server) string {
	t.Helper()
	method, path, _ := strings.Cut(c.call, " ")
	r, err := http.NewRequest(method, s.URL()+"/mock/v1/"+path, strings.NewReader(c.body))
	require.NoError(t, err)
	r.Header = c.header
	answer, err := s.HTTPClient().Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	got := body(t, answer)
	if c.status == 0 {
		c.status = 200
	}
	require.Equal(t, c.status, answer.StatusCode, "%s: %s", c.call, got)
	require.Contains(t, got, c.has)
	switch {
	case c.has != "" || c.want == "*":
	case c.want == "":
		require.Empty(t, got)
	default:
		require.JSONEq(t, c.want, got)
	}
	return got
}

func adminConfig() mockserver.Config {
	return mockserver.Config{Tables: []mockserver.Table{orders, secret}, Admin: true}
}

func TestAdminIsOnlyThereWhenAskedFor(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		adminCall{call: "GET faults", status: 404, want: "*"}.check(t, s)
	})
	bubble(t, adminConfig(), func(t *testing.T, s *mockserver.Server) {
		// A page of another origin may not steer the server of who looks at it.
		evil := http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}
		adminCall{call: "POST heal", header: evil, status: 403, want: "*"}.check(t, s)
		own := http.Header{"Origin": {s.URL()}, "Sec-Fetch-Site": {"same-origin"}}
		adminCall{call: "POST heal", header: own, status: 204}.check(t, s)
		adminCall{call: "PUT heal", status: 405, want: "*"}.check(t, s)
		adminCall{call: "GET nope", status: 404, want: "*"}.check(t, s)
	})
}

func TestAdminFaults(t *testing.T) {
	bubble(t, adminConfig(), func(t *testing.T, s *mockserver.Server) {
		var listed []mockserver.FaultInfo
		require.NoError(t, json.Unmarshal([]byte(adminCall{call: "GET faults", want: "*"}.check(t, s)), &listed))
		require.Equal(t, s.Faults(), listed)

		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		adminCall{call: "POST faults", body: `{"name":"drop-changes","params":{"times":-1}}`, status: 204}.check(t, s)
		insert(t, s, 1)
		c.silent(time.Second)
		adminCall{call: "POST heal", status: 204}.check(t, s)
		insert(t, s, 2)
		c.gets(2)

		for _, refused := range []adminCall{
			{body: `{"name":"nope"}`, status: 404, has: "there is no such fault"},
			{body: `{"name":"drop-changes","params":{"times":"x"}}`, status: 400, has: "its parameters"},
			{body: `{"nam":"x"}`, status: 400, has: "unknown field"},
			{body: `{"name":"drain"}{}`, status: 400, has: "more behind"},
			{body: `nonsense`, status: 400, has: "the body"},
			{body: ``, status: 400, has: "the body"},
			{body: `{"name":"` + strings.Repeat("x", 9<<20) + `"}`, status: 413, has: "too large"},
		} {
			refused.call = "POST faults"
			refused.check(t, s)
		}
	})
}

func TestAdminSchedule(t *testing.T) {
	bubble(t, adminConfig(), func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		adminCall{
			call: "POST schedule", body: `{"faults":[{"at":"1.5s","name":"repeat-subscribed"},{"at":2000,"name":"kill-sockets","params":{"socket":1}}]}`,
			want: `[{"at":"1.5s","name":"repeat-subscribed"},{"at":"2s","name":"kill-sockets","params":{"socket":1}}]`,
		}.check(t, s)
		before := time.Now()
		require.Equal(t, websocket.StatusCode(-1), c.closed())
		require.Equal(t, 2*time.Second, time.Since(before))

		random := adminCall{call: "POST schedule", body: `{"seed":7,"n":5,"within":"1m"}`, want: "*"}.check(t, s)
		want, err := mockserver.RandomFaults(7, 5, time.Minute)
		require.NoError(t, err)
		var got []mockserver.ScheduledFault
		require.NoError(t, json.Unmarshal([]byte(random), &got))
		require.Equal(t, want, got)
		adminCall{call: "POST schedule", body: `{"faults":[{"at":"1s","name":"kill-sockets"}]}`, want: "*"}.check(t, s) // in the place of the random one
		adminCall{call: "DELETE schedule", status: 204}.check(t, s)
		c = open(t, s, phoenix.V2)
		c.silent(30 * time.Second)
		adminCall{call: "POST schedule", body: `{"faults":[{"at":"1s","name":"kill-sockets"}]}`, want: "*"}.check(t, s)
		adminCall{call: "POST heal", status: 204}.check(t, s)
		c.silent(2 * time.Second)
		adminCall{call: "POST schedule", body: `{"n":-1}`, status: 400, has: "n is not between"}.check(t, s)
		adminCall{call: "POST schedule", body: `{"n":1,"names":["nope"]}`, status: 404, has: "there is no such fault"}.check(t, s)
		adminCall{call: "POST schedule", body: `{"faults":[{"at":"-1s","name":"drain"}]}`, status: 400, has: "is not between"}.check(t, s)
		adminCall{call: "POST schedule", body: `{"n":3,"within":"1h"}`, want: "*"}.check(t, s) // which Close ends
	})
}

func TestAdminSockets(t *testing.T) {
	bubble(t, adminConfig(), func(t *testing.T, s *mockserver.Server) {
		adminCall{call: "GET sockets", want: `[]`}.check(t, s)
		opened := time.Now().UTC().Format(time.RFC3339)
		a, b := open(t, s, phoenix.V2), open(t, s, phoenix.V1)
		a.subscribed(1, "realtime:z", ordersBinding, "")
		a.join(2, "realtime:a", `{"private":true}`, s.ServiceKey())
		a.next()
		adminCall{call: "GET sockets", want: `[
			{"socket":1,"version":"2.0.0","role":"anon","opened":"` + opened + `","backlog":0,"channels":[
				{"topic":"realtime:z","private":false,"bindings":` + ordersBinding + `,"subscriptions":1},
				{"topic":"realtime:a","private":true,"bindings":[],"subscriptions":0}]},
			{"socket":2,"version":"1.0.0","role":"anon","opened":"` + opened + `","backlog":0,"channels":[]}]`,
		}.check(t, s)
		var topics []string
		for ref := uint64(3); ref < 10; ref++ {
			topics = append(topics, fmt.Sprint("realtime:", 9-ref))
			b.join(ref, topics[len(topics)-1], `{}`, "")
			b.next()
		}
		for i, ch := range s.Connections()[1].Channels {
			require.Equal(t, topics[i], ch.Topic, "in the order of the joins")
		}
		s.RestartWorkers()
		require.Zero(t, s.Connections()[0].Channels[0].Subscriptions, "it is deaf")
		adminCall{call: "DELETE sockets/2", status: 204}.check(t, s)
		require.Equal(t, websocket.StatusCode(-1), b.closed())
		synctest.Wait()
		require.Equal(t, 1, s.Sockets())
		for _, id := range []string{"2", "0", "-1", "x"} {
			adminCall{call: "DELETE sockets/" + id, status: 404, has: "there is no socket"}.check(t, s)
		}
	})
}

func TestAdminTables(t *testing.T) {
	cfg := adminConfig()
	cfg.Tables = []mockserver.Table{secret, {
		Name: "items", Columns: []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "n", Type: "numeric"}, {Name: "tags", Type: "text[]"}, {Name: "doc", Type: "jsonb", NotNull: true}},
		PrimaryKey: []string{"id"}, ReplicaIdentity: mockserver.IdentityFull,
	}}
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", `[{"event":"*","schema":"public","table":"items"}]`, "")
		adminCall{call: "POST tables/items/rows", body: `{"id":9007199254740993,"n":1.50,"tags":["a","b"],"doc":{"a":[1,null]}}`, want: `{"changed":1}`}.check(t, s)
		adminCall{call: "POST tables/public.items/rows", body: `[{"id":2,"doc":1},{"id":1,"doc":"x"}]`, want: `{"changed":2}`}.check(t, s)
		adminCall{call: "GET tables/items/rows", want: `[{"id":1,"n":null,"tags":null,"doc":"x"},{"id":2,"n":null,"tags":null,"doc":1},{"id":9007199254740993,"n":1.50,"tags":["a","b"],"doc":{"a":[1,null]}}]`}.check(t, s)
		adminCall{call: "GET tables/items/rows?limit=1", want: `[{"id":1,"n":null,"tags":null,"doc":"x"}]`}.check(t, s)
		for range 3 {
			c.change()
		}
		adminCall{call: "PATCH tables/items/rows", body: `{"set":{"n":2},"where":{"id":1}}`, want: `{"changed":1}`}.check(t, s)
		adminCall{call: "DELETE tables/items/rows", body: `{"where":{"id":2}}`, want: `{"changed":1}`}.check(t, s)
		for _, op := range []string{"UPDATE", "DELETE"} {
			got, _ := c.change()
			require.Equal(t, op, got.Data.Type)
		}
		adminCall{call: "POST transactions", body: `[{"insert":"items","rows":{"id":5,"doc":1}},{"update":"items","set":{"n":null},"where":{}},{"delete":"items","where":{"id":5}}]`, want: `{"changed":5}`}.check(t, s)
		stamps := map[string]bool{}
		for range 5 {
			got, _ := c.change()
			stamps[*got.Data.CommitTimestamp] = true
		}
		require.Len(t, stamps, 1)
		adminCall{call: "GET tables", want: `[
			{"schema":"public","name":"secret","columns":[{"name":"id","type":"int8","not_null":true}],"primary_key":["id"],"rls":true,"published":true,"replica_identity":"DEFAULT","rows":0},
			{"schema":"public","name":"items","columns":[{"name":"id","type":"int8","not_null":true},{"name":"n","type":"numeric","not_null":false},{"name":"tags","type":"_text","not_null":false},{"name":"doc","type":"jsonb","not_null":true}],"primary_key":["id"],"rls":false,"published":true,"replica_identity":"FULL","rows":2}]`,
		}.check(t, s)

		for _, refused := range []adminCall{
			{call: "GET tables/nope/rows", status: 404, has: "does not exist"},
			{call: "POST tables/nope/rows", body: `{}`, status: 404, has: "does not exist"},
			{call: "POST tables/nope/truncate", status: 404, has: "does not exist"},
			{call: "GET tables/items/rows?limit=x", status: 400, has: "no number"},
			{call: "POST tables/items/rows", body: `{"id":1,"doc":1}`, status: 400, has: `"code":"23505"`},
			{call: "POST tables/items/rows", body: `{"id":7}`, status: 400, has: `"code":"23502"`},
			{call: "POST tables/items/rows", body: `7`, status: 400, has: "the rows"},
			{call: "PATCH tables/items/rows", body: `{"set":{"n":1}}`, status: 400, has: "an empty where is every row"},
			{call: "DELETE tables/items/rows", body: `{}`, status: 400, has: "an empty where is every row"},
			{call: "POST transactions", body: `[{"insert":"items","rows":{"id":70,"doc":1}},{"delete":"items","where":{"nope":1}}]`, status: 400, has: "change 2: "},
			{call: "POST transactions", body: `[{"insert":"items","delete":"items","where":{}}]`, status: 400, has: "it must be"},
		} {
			refused.check(t, s)
		}
		adminCall{call: "POST tables/items/truncate", status: 204}.check(t, s)
		adminCall{call: "GET tables/items/rows", want: `[]`}.check(t, s)
		c.silent(time.Second)
	})
}
