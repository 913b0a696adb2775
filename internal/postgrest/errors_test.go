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

// A gateway may repeat the headers of the request.
func TestError_HoldsNoKeyOrToken(t *testing.T) {
	for _, secret := range []string{"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb2xlIjoiYW5vbiJ9.1HClai70rRoID7sHlpx3OMtLzsrctt16DjEX9xyUytI", "sb_publishable_abcdefghijklmnopqrstuv_12345678"} {
		for _, body := range []string{`{"message":"bad key %s"}`, `{"msg":"bad key %s"}`, `{"error":"bad key %s"}`, `{"code":"%s"}`,
			`{"message":"m","details":"%s","hint":"%s"}`, "bad key %s"} {
			e := failed(t, answer(401, strings.ReplaceAll(body, "%s", secret)), nil)
			require.NotContains(t, fmt.Sprintf("%v %+v", e, *e), secret[:20])
		}
	}
}

// An answer that looks as if it would not change is a refusal, whoever gave it.
func TestError_Refusal(t *testing.T) {
	html := []string{"Content-Type", "text/html"}
	for _, c := range []struct {
		status  int
		body    string
		headers []string
		want    bool
	}{
		{404, `{"code":"PGRST205","message":"not in the schema cache"}`, nil, true},
		{404, "<html>", html, true},
		{400, `{"code":"42703","message":"no column"}`, nil, true},
		{302, "", nil, true},
		{403, `{"code":"42501","message":"denied"}`, nil, true},
		{401, `{"message":"Invalid API key"}`, nil, true},
		{503, "", nil, false},
		{403, "<html>", html, false},
		{200, "<html>", html, false},
		{200, "{}", nil, false},
	} {
		e := failed(t, answer(c.status, c.body, c.headers...), nil)
		require.Equal(t, c.want, e.Refusal(), "%d %s", c.status, c.body)
		require.False(t, e.Refusal() && e.Temporary())
	}
	require.False(t, failed(t, nil, realtime.ErrNoProject).Refusal(), "nobody answered")
	require.False(t, failed(t, nil, errors.New("no route")).Refusal())
}

func TestError_IsOneShortLine(t *testing.T) {
	long := strings.Repeat("a\\n\\u001b[31m", 4000)
	for _, body := range []string{
		`{"message":"` + long + `","code":"` + long + `"}`, `{"msg":"` + long + `","error":"` + long + `"}`, strings.Repeat("a\n", 50_000),
	} {
		text := failed(t, answer(400, body), nil).Error()
		require.NotContains(t, text, "\n")
		require.NotContains(t, text, "\x1b")
		require.Less(t, len(text), 800)
	}
	e := failed(t, nil, errors.New("realtime: token source: "+strings.Repeat("x\n", 10_000)))
	require.True(t, strings.HasPrefix(e.Error(), "postgrest: public.orders: token source: x x"))
	require.Less(t, len(e.Error()), 800)
}

// drip is a body that has a byte at a time, until its request ends.
type drip struct {
	ctx   context.Context
	every time.Duration
	size  int
}

func (d drip) Read(p []byte) (int, error) {
	select {
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	case <-time.After(d.every):
	}
	n := min(len(p), max(d.size, 1))
	for i := range n {
		p[i] = ' '
	}
	return n, nil
}

func (drip) Close() error { return nil }

func TestTable_ARequestThatIsStuckEnds(t *testing.T) {
	hangs := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, &url.Error{Op: "Get", URL: "/", Err: r.Context().Err()}
	}
	drips := func(status int, every time.Duration, size int) func(r *http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: drip{r.Context(), every, size}}, nil
		}
	}
	for name, c := range map[string]struct {
		do    func(*http.Request) (*http.Response, error)
		bound time.Duration
	}{
		"no head":                 {hangs, 40 * time.Second},
		"no body":                 {drips(200, 24*time.Hour, 1), 80 * time.Second},
		"a byte a minute":         {drips(200, time.Minute, 1), 80 * time.Second},
		"five bytes a second":     {drips(200, 200*time.Millisecond, 1), 80 * time.Second},
		"an error that drips":     {drips(500, time.Second, 1), 80 * time.Second},
		"just enough, and no end": {drips(200, time.Second, 1<<10), 10 * time.Minute},
	} {
		for what, read := range map[string]func(context.Context, *postgrest.Table) error{
			"page":     func(ctx context.Context, t *postgrest.Table) error { _, err := t.Page(ctx, nil, 1); return err },
			"describe": func(ctx context.Context, t *postgrest.Table) error { _, err := t.Describe(ctx); return err },
			"call":     func(ctx context.Context, t *postgrest.Table) error { var v any; return t.Call(ctx, "f", nil, &v) },
			"insert":   func(ctx context.Context, t *postgrest.Table) error { _, err := t.Insert(ctx, 1); return err },
		} {
			synctest.Test(t, func(t *testing.T) {
				table := &postgrest.Table{Client: canned{c.do}, Name: "t", Key: []string{"id"}}
				began := time.Now()
				err := read(context.Background(), table)
				var e *postgrest.Error
				require.ErrorAs(t, err, &e, "%s: %s", name, what)
				require.LessOrEqual(t, time.Since(began), c.bound+time.Minute, "%s: %s", name, what)
				if e.Status != 500 && !errors.Is(err, postgrest.ErrTooLarge) {
					require.ErrorIs(t, err, postgrest.ErrNoProgress, "%s: %s", name, what)
					require.True(t, e.Temporary())
				}
			})
		}
	}
}

// Who ends the request is not told that the answer made no progress, and a slow
// answer that makes some is read to its end.
func TestTable_WhatIsNotStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &postgrest.Table{Client: canned{func(r *http.Request) (*http.Response, error) {
			time.Sleep(39 * time.Second)
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(io.MultiReader(
				io.LimitReader(drip{r.Context(), 5 * time.Second, 1 << 10}, 50<<10), strings.NewReader(`[{"id":1}]`)))}, nil
		}}, Name: "t", Key: []string{"id"}}
		page, err := table.Page(t.Context(), nil, 1)
		require.NoError(t, err)
		require.Len(t, page.Rows, 1)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		table.Client = canned{func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: drip{r.Context(), time.Hour, 1}}, nil
		}}
		_, err = table.Page(ctx, nil, 1)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, postgrest.ErrNoProgress)
	})
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for value, want := range map[string]time.Duration{
			"": 0, "7": 7 * time.Second, "0": 0, "-5": 0, "soon": 0, "99999999999999999999": 0, "4000000000": time.Hour, "4294967295": time.Hour,
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
