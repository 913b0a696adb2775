package mockserver_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

// get makes a request to the REST API and reads all of the answer.
func get(ctx context.Context, s *mockserver.Server, path string) (status int, header http.Header, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, "GET", s.URL()+"/rest/v1/"+path, nil)
	if err != nil {
		return 0, nil, "", err
	}
	r.Header.Set("apikey", s.AnonKey())
	answer, err := s.HTTPClient().Do(r)
	if err != nil {
		return 0, nil, "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, answer.Header, string(b), err
}

func TestRESTFaultsAreSlow(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		s.FaultREST(mockserver.RESTFault{Before: 2 * time.Second, After: 3 * time.Second, Times: 1})
		start := time.Now()
		done := make(chan struct{})
		var body string
		go func() {
			defer close(done)
			_, _, body, _ = get(t.Context(), s, "orders?select=id")
		}()
		time.Sleep(time.Second)
		insert(t, s, 1) // before the request is carried out
		time.Sleep(3 * time.Second)
		insert(t, s, 2) // and after that
		<-done
		require.Equal(t, 5*time.Second, time.Since(start))
		require.JSONEq(t, `[{"id":1}]`, body)
		_, _, _, err := get(t.Context(), s, "orders")
		require.NoError(t, err)
		require.Equal(t, 5*time.Second, time.Since(start), "only one was to be slow")
	})
}

// A request that waits ends with its client, and with the server.
func TestRESTFaultsEndWithTheRequest(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		s.FaultREST(mockserver.RESTFault{Before: time.Hour}, mockserver.RESTFault{After: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, _, err := get(ctx, s, "orders")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		failed := make(chan error, 1)
		go func() {
			_, _, _, err := get(context.Background(), s, "orders")
			failed <- err
		}()
		synctest.Wait()
		before := time.Now()
		require.NoError(t, s.Close())
		require.Error(t, <-failed)
		require.Zero(t, time.Since(before))
	})
}

func TestRESTFaultsAnswer(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		s.FaultREST(
			mockserver.RESTFault{Status: 429, Header: map[string]string{"Retry-After": "2"}, Body: `{"message":"slow down"}`, Times: 1},
			mockserver.RESTFault{Status: 502, Header: map[string]string{"Content-Type": "text/html"}, Body: "<html>Bad Gateway</html>", Times: 1},
			mockserver.RESTFault{Status: 401, Times: 1},
		)
		for _, want := range []struct {
			status     int
			typ, retry string
			body       string
		}{
			{429, "application/json; charset=utf-8", "2", `{"message":"slow down"}`},
			{502, "text/html", "", "<html>Bad Gateway</html>"},
			{401, "", "", ""},
			{200, "application/json; charset=utf-8", "", "[]"},
		} {
			status, header, body, err := get(t.Context(), s, "orders")
			require.NoError(t, err)
			require.Equal(t, want.status, status)
			require.Equal(t, want.typ, header.Get("Content-Type"))
			require.Equal(t, want.retry, header.Get("Retry-After"))
			require.Equal(t, want.body, body)
		}
		s.FaultREST(mockserver.RESTFault{Method: "POST", Path: "orders", Status: 500})
		restCall{method: "POST", path: "orders", body: `{"id":1}`, status: 500}.check(t, s)
		require.Empty(t, rowsOf(t, s), "it was not carried out")
		restCall{path: "orders", want: "[]"}.check(t, s)
		restCall{method: "POST", path: "rpc/nope", status: 404, want: "*"}.check(t, s)
		s.FaultREST(mockserver.RESTFault{Path: "rpc/nope", Status: 503})
		restCall{method: "POST", path: "rpc/nope", status: 503}.check(t, s)
		s.FaultREST()
		restCall{method: "POST", path: "orders", body: `{"id":1}`, status: 201}.check(t, s)
	})
}

func rowsOf(t *testing.T, s *mockserver.Server) []mockserver.Row {
	t.Helper()
	rows, err := s.Rows("orders")
	require.NoError(t, err)
	return rows
}

// A request whose answer is cut off has been carried out, which the client
// cannot know.
func TestRESTFaultsCut(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		s.FaultREST(mockserver.RESTFault{Cut: true, Times: 2})
		r, err := http.NewRequest("POST", s.URL()+"/rest/v1/orders", strings.NewReader(`{"id":1}`))
		require.NoError(t, err)
		r.Header.Set("apikey", s.ServiceKey())
		_, err = s.HTTPClient().Do(r) // its answer has no body
		require.Error(t, err)
		require.Len(t, rowsOf(t, s), 1)
		status, _, body, err := get(t.Context(), s, "orders?select=id")
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Equal(t, 200, status)
		require.Equal(t, `[{"id`, body)
		_, _, body, err = get(t.Context(), s, "orders?select=id")
		require.NoError(t, err)
		require.JSONEq(t, `[{"id":1}]`, body)
	})
}

// A stale read sees the table as it was, but not as it was before the fault.
func TestRESTFaultsStale(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		insert(t, s, 1)
		time.Sleep(time.Minute)
		insert(t, s, 2)
		s.FaultREST(mockserver.RESTFault{Method: "GET", Stale: 10 * time.Second})
		read := func(want string) {
			t.Helper()
			_, _, body, err := get(t.Context(), s, "orders?select=id")
			require.NoError(t, err)
			require.JSONEq(t, want, body)
		}
		read(`[{"id":1},{"id":2}]`)
		time.Sleep(5 * time.Second)
		insert(t, s, 3)
		_, err := s.Delete("orders", mockserver.Row{"id": 1})
		require.NoError(t, err)
		time.Sleep(4 * time.Second)
		read(`[{"id":1},{"id":2}]`)
		require.NoError(t, s.Truncate("orders"))
		time.Sleep(6*time.Second + 1)
		read(`[{"id":2},{"id":3}]`)
		time.Sleep(4 * time.Second)
		read(`[]`)
		insert(t, s, 4)
		read(`[]`)
		s.FaultREST()
		read(`[{"id":4}]`)
	})
}

// Faults that are asked for one by one go one behind the other, and do not
// grow without bound.
func TestRESTFaultsByName(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		inject := func(params string) {
			require.NoError(t, s.Inject(mockserver.Fault{Name: "rest", Params: []byte(params)}))
		}
		inject(`{"status":500,"times":1}`)
		inject(`{"status":503,"times":1}`)
		for _, want := range []int{500, 503, 200} {
			status, _, _, err := get(t.Context(), s, "orders")
			require.NoError(t, err)
			require.Equal(t, want, status)
		}
		for range 1000 {
			inject(`{"status":404,"path":"elsewhere"}`)
		}
		s.FaultREST()
		inject(`{"status":500,"method":"PATCH"}`)
		for range 200 { // which are used up do not push out what is not
			inject(`{"status":503,"times":1}`)
			_, _, _, _ = get(t.Context(), s, "orders")
		}
		restCall{method: "PATCH", path: "orders", status: 500}.check(t, s)
		inject(`{"status":500}`)
		status, _, _, err := get(t.Context(), s, "orders")
		require.NoError(t, err)
		require.Equal(t, 500, status)
		s.LimitRows(1)
		s.FaultREST()
		insert(t, s, 1)
		insert(t, s, 2)
		restCall{path: "orders?select=id", want: `[{"id":1}]`}.check(t, s)
		restCall{path: "orders?select=id&limit=5", want: `[{"id":1}]`}.check(t, s)
		s.LimitRows(0)
		restCall{path: "orders?select=id", want: `[{"id":1},{"id":2}]`}.check(t, s)
	})
}
