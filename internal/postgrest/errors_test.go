package postgrest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/postgrest"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// canned is a Doer whose answers are the test's own.
type canned struct {
	do func(*http.Request) (*http.Response, error)
}

func (c canned) Do(r *http.Request) (*http.Response, error) { return c.do(r) }

// answer makes an answer; headers are names and values in turn.
func answer(status int, body string, headers ...string) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

// failed reads a page from a server that answers so.
func failed(t *testing.T, a *http.Response, err error) *postgrest.Error {
	t.Helper()
	table := &postgrest.Table{Client: canned{func(*http.Request) (*http.Response, error) { return a, err }}, Schema: "public", Name: "orders", Key: []string{"id"}, MaxBytes: 1000}
	_, err = table.Page(t.Context(), []string{"the-secret-of-the-query"}, 10)
	require.Error(t, err)
	require.Contains(t, err.Error(), "postgrest: public.orders: ")
	require.NotContains(t, err.Error(), "secret")
	var e *postgrest.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "public.orders", e.Table)
	return e
}

func TestRefusals(t *testing.T) {
	said := func(code, message string) string {
		return fmt.Sprintf(`{"code":%q,"message":%q,"details":null,"hint":"try"}`, code, message)
	}
	html := []string{"Content-Type", "text/html; charset=UTF-8"}
	for _, c := range []struct {
		status    int
		body      string
		headers   []string
		temporary bool
		text      string // behind the table
	}{
		{503, said("PGRST002", "Could not query the database for the schema cache. Retrying."), nil, true, "HTTP 503: PGRST002: Could not query the database for the schema cache. Retrying."},
		{400, said("PGRST000", "no connection"), nil, true, "HTTP 400: PGRST000: no connection"},
		{504, said("PGRST003", "pool timeout"), nil, true, "HTTP 504: PGRST003: pool timeout"},
		{500, said("57014", "canceling statement due to statement timeout"), nil, true, "HTTP 500: 57014: canceling statement due to statement timeout"},
		{500, said("40001", "could not serialize access"), nil, true, "HTTP 500: 40001: could not serialize access"},
		{500, said("40P01", "deadlock detected"), nil, true, "HTTP 500: 40P01: deadlock detected"},
		{500, said("XX000", "x"), nil, true, "HTTP 500: XX000: x"},
		{500, said("42P17", "infinite recursion detected in policy"), nil, false, "HTTP 500: 42P17: infinite recursion detected in policy"},
		{500, said("54001", "stack depth limit exceeded"), nil, false, "HTTP 500: 54001: stack depth limit exceeded"},
		{403, said("42501", "permission denied"), nil, false, "HTTP 403: 42501: permission denied"},
		{401, said("42501", "permission denied"), []string{"WWW-Authenticate", "Bearer"}, false, "HTTP 401: 42501: permission denied"},
		{404, said("42P01", "no table"), nil, false, "HTTP 404: 42P01: no table"},
		{400, said("42703", "no column"), nil, false, "HTTP 400: 42703: no column"},
		{404, said("PGRST205", "not in the schema cache"), nil, false, "HTTP 404: PGRST205: not in the schema cache"},
		{404, said("PGRST202", "no function"), nil, false, "HTTP 404: PGRST202: no function"},
		{401, said("PGRST301", "JWT expired"), nil, true, "HTTP 401: PGRST301: JWT expired"},
		{401, said("PGRST303", "JWT expired"), nil, true, "HTTP 401: PGRST303: JWT expired"},
		{401, "", []string{"WWW-Authenticate", `Bearer error="invalid_token", error_description="JWT expired"`}, true, "HTTP 401: Unauthorized"},
		{401, `{"message":"Invalid API key","hint":"Double check"}`, nil, false, "HTTP 401: Invalid API key"},
		{401, `{"msg":"no"}`, nil, false, "HTTP 401: no"},
		{401, `{"error":"no","code":401}`, nil, false, "HTTP 401: no"},
		{408, "", nil, true, "HTTP 408: Request Timeout"},
		{425, "", nil, true, "HTTP 425: Too Early"},
		{429, `{"message":"API rate limit exceeded"}`, []string{"Retry-After", "7"}, true, "HTTP 429: API rate limit exceeded"},
		{501, "", nil, false, "HTTP 501: Not Implemented"},
		{502, "<html>secret</html>", html, true, "HTTP 502: Bad Gateway"},
		{522, "error code: 522", []string{"Content-Type", "text/plain"}, true, "HTTP 522: error code: 522"},
		{403, "<html>secret</html>", html, true, "HTTP 403: Forbidden"},
		{404, "<html>secret</html>", html, false, "HTTP 404: Not Found"},
		{307, "", nil, false, "HTTP 307: Temporary Redirect"},
		{500, strings.Repeat("é", 100_000), nil, true, "HTTP 500: " + strings.Repeat("é", 150) + "…"},
		{500, `{"message":12`, nil, true, `HTTP 500: {"message":12`},
		{200, "<html>secret</html>", html, true, "an HTML page in the place of an answer"},
	} {
		e := failed(t, answer(c.status, c.body, c.headers...), nil)
		require.Equal(t, c.status, e.Status)
		require.Equal(t, c.temporary, e.Temporary(), c.text)
		require.EqualError(t, e, "postgrest: public.orders: "+c.text)
	}
	e := failed(t, answer(403, `{"code":"42501","message":"m","details":"d","hint":"h"}`), nil)
	require.Equal(t, "d", e.Details)
	require.Equal(t, "h", e.Hint)
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for value, want := range map[string]time.Duration{
			"": 0, "7": 7 * time.Second, "0": 0, "-5": 0, "soon": 0, "99999999999999999999": 0, "4000000000": 24 * time.Hour,
			time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat): 90 * time.Second,
			time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):       0,
		} {
			require.Equal(t, want, failed(t, answer(503, "", "Retry-After", value), nil).RetryAfter, value)
		}
	})
}

func TestAnswersThatCannotBeRead(t *testing.T) {
	broken := answer(200, "")
	broken.Body = io.NopCloser(io.MultiReader(strings.NewReader(`[{"id":1},`), failingReader{}))
	for name, c := range map[string]struct {
		answer *http.Response
		is     error
	}{
		"nothing":       {answer(200, ""), io.ErrUnexpectedEOF},
		"cut in a row":  {answer(200, `[{"id":1},{"id"`), io.ErrUnexpectedEOF},
		"cut in a list": {answer(200, `[{"id":1}`), io.ErrUnexpectedEOF},
		"cut in a word": {answer(200, `[{"id":tr`), io.ErrUnexpectedEOF},
		"no JSON":       {answer(200, `[{"id":1};`), nil},
		"an object":     {answer(200, `{"id":1}`), nil},
		"more":          {answer(200, `[{"id":1}][]`), nil},
		"connection":    {broken, io.ErrClosedPipe},
	} {
		e := failed(t, c.answer, nil)
		require.True(t, e.Temporary(), name)
		if c.is != nil {
			require.ErrorIs(t, e, c.is, name)
		}
	}
	for _, body := range []string{`[{"id":1,"x":"` + strings.Repeat("x", 1000) + `"}]`, "[" + strings.Repeat(" ", 1000), "[" + strings.Repeat(`{"id":1},`, 200)} {
		e := failed(t, answer(200, body), nil)
		require.ErrorIs(t, e, postgrest.ErrTooLarge)
		require.False(t, e.Temporary())
	}
	table := &postgrest.Table{Client: canned{func(*http.Request) (*http.Response, error) { return answer(200, `[{"id":1}]`), nil }}, Name: "t", Key: []string{"id"}, MaxBytes: 10}
	page, err := table.Page(t.Context(), nil, 1)
	require.NoError(t, err, "the limit itself is within it")
	require.Equal(t, int64(10), page.Bytes)
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestNoAnswer(t *testing.T) {
	for _, c := range []struct {
		err       error
		temporary bool
	}{
		{errors.New("no route to host"), true},
		{&url.Error{Op: "Get", URL: "http://x/?secret", Err: io.ErrUnexpectedEOF}, true},
		{context.DeadlineExceeded, true},
		{context.Canceled, false},
		{realtime.ErrClosed, false},
		{realtime.ErrNoProject, false},
		{fmt.Errorf("token source: %w", realtime.Permanent(errors.New("signed out"))), false},
	} {
		e := failed(t, nil, c.err)
		require.Zero(t, e.Status)
		require.Equal(t, c.temporary, e.Temporary(), c.err)
	}
}

func TestCountWithoutACount(t *testing.T) {
	for _, header := range []string{"", "*/*", "0-0/x", "0-0/-1"} {
		table := &postgrest.Table{Client: canned{func(*http.Request) (*http.Response, error) { return answer(200, "", "Content-Range", header), nil }}, Name: "t"}
		_, err := table.Count(t.Context())
		require.ErrorContains(t, err, "no count")
	}
}

// The errors that the mock server makes of real mistakes, and of a token.
func TestErrorsOfAServer(t *testing.T) {
	tables(t, func(t *testing.T, s *mockserver.Server, c *spied) {
		for code, table := range map[string]*postgrest.Table{
			"PGRST205": {Client: c, Name: "none", Key: []string{"id"}},
			"42703":    {Client: c, Name: "texts", Key: []string{"id"}},
			"PGRST106": {Client: c, Schema: "hidden", Name: "texts", Key: []string{"id"}},
		} {
			_, err := table.Page(t.Context(), nil, 1)
			var e *postgrest.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, code, e.Code)
			require.False(t, e.Temporary())
		}
		expired, err := realtime.New(realtime.Options{URL: s.URL(), Key: s.AnonKey(), HTTPClient: s.HTTPClient(), Token: func(context.Context) (string, time.Time, error) {
			return s.Sign(mockserver.Claims{"role": "authenticated", "exp": time.Now().Add(time.Hour).Unix()}) + "x", time.Time{}, nil
		}})
		require.NoError(t, err)
		defer expired.Close(context.Background())
		_, err = textTable(expired).Page(t.Context(), nil, 1)
		var e *postgrest.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, 401, e.Status)
		require.True(t, e.Temporary(), "the next token may be a better one: %v", err)
		_, err = textTable(expired).Count(t.Context())
		require.ErrorContains(t, err, "token source", "it has been asked again, and has no better one")
	})
}
