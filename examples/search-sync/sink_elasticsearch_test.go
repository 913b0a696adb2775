package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func elasticsearchOptions(t *testing.T, h http.Handler) SinkOptions {
	return SinkOptions{Kind: "elasticsearch", URL: "http://search.test/", Key: sinkKey, Index: "symbols", Search: searched, Retry: serveFake(t, h)}
}

func openFakeElasticsearch(t *testing.T, h http.Handler) Sink {
	s, err := openSink(t.Context(), elasticsearchOptions(t, h))
	require.NoError(t, err)
	return s
}

func TestElasticsearch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		testSink(t, openFakeElasticsearch(t, newFakeElasticsearch(sinkKey)), func() { time.Sleep(refreshInterval) })
	})
}

func TestElasticsearchOpensAnIndexThatIsThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake := newFakeElasticsearch(sinkKey)
		require.NoError(t, openFakeElasticsearch(t, fake).Upsert(t.Context(), []Document{doc("1", "x", "y")}))
		require.Len(t, contents(t, openFakeElasticsearch(t, fake)), 1)
	})
}

// Items that the server was too busy for are sent again, and no others.
func TestElasticsearchTriesBusyItemsAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake := newFakeElasticsearch(sinkKey)
		s := openFakeElasticsearch(t, fake)
		fake.busy = map[string]int{"2": 1, "4": 2}
		var docs []Document
		for i := range 5 {
			docs = append(docs, doc(fmt.Sprint(i+1), "x", "y"))
		}
		require.NoError(t, s.Upsert(t.Context(), docs))
		require.Equal(t, [][]string{{"1", "2", "3", "4", "5"}, {"2", "4"}, {"4"}}, fake.bulks)
		fake.busy = map[string]int{"3": 1}
		require.NoError(t, s.Delete(t.Context(), []string{"1", "3"}))
		require.Equal(t, [][]string{{"1", "3"}, {"3"}}, fake.bulks[3:])
		require.Len(t, contents(t, s), 3)
	})
}

// A document that does not fit is an error that names it; the others of its
// request are written.
func TestElasticsearchNamesDocumentsThatDoNotFit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake := newFakeElasticsearch(sinkKey)
		s := openFakeElasticsearch(t, fake)
		require.NoError(t, s.Upsert(t.Context(), []Document{doc("1", "x", "y")}))
		bad := doc("42", "x", "y")
		bad.Fields["n"] = "many"
		fake.busy = map[string]int{"3": 1}
		err := s.Upsert(t.Context(), []Document{doc("2", "x", "y"), bad, doc("3", "x", "y"), doc(strings.Repeat("x", 600), "x", "y")})
		require.ErrorContains(t, err, "elasticsearch: document 42: 400 document_parsing_exception: [1:20] failed to parse field [n] of type [float]")
		require.ErrorContains(t, err, `For input string: "many"`)
		require.ErrorContains(t, err, "id is too long")
		require.Len(t, contents(t, s), 3, "the others are in it")
	})
}

func TestElasticsearchSurvivesTheNetwork(t *testing.T) {
	for name, f := range map[string]fault{
		"busy":                             {status: 429, header: "7"},
		"unavailable":                      {status: 503},
		"dropped":                          {dropped: true},
		"dropped behind the taken request": {lost: true},
		"unavailable to readers":           {status: 502, at: path("/_search")},
		"unavailable to refreshes":         {dropped: true, at: path("/_refresh")},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				if f.at == nil {
					f.at = path("/_bulk")
				}
				s := openFakeElasticsearch(t, faulty([]*fault{&f}, newFakeElasticsearch(sinkKey)))
				start := time.Now()
				require.NoError(t, s.Upsert(t.Context(), []Document{doc("1", "x", "y"), doc("2", "x", "y")}))
				require.NoError(t, s.Delete(t.Context(), []string{"2"}))
				require.Equal(t, map[string]Document{"1": doc("1", "x", "y")}, contents(t, s))
				require.True(t, f.done)
				if f.header != "" {
					require.GreaterOrEqual(t, time.Since(start), 7*time.Second)
				}
			})
		})
	}
}

func TestElasticsearchRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := elasticsearchOptions(t, newFakeElasticsearch(sinkKey))
		o.Key = "another-key"
		_, err := openSink(t.Context(), o)
		require.ErrorContains(t, err, "401 security_exception: unable to authenticate")
		require.NotContains(t, err.Error(), o.Key)
		o.Key, o.Index = sinkKey, "Symbols"
		_, err = openSink(t.Context(), o)
		require.ErrorContains(t, err, "must be lowercase")
	})
}

// What answers like a server but is none is not written to.
func TestElasticsearchWantsElasticsearch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, err := openSink(t.Context(), elasticsearchOptions(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("{}"))
		})))
		require.ErrorContains(t, err, "something else answers")
		_, err = openSink(t.Context(), elasticsearchOptions(t, http.NotFoundHandler()))
		require.ErrorContains(t, err, "404")
	})
}

// The fakes refuse what the real servers refuse.
func TestFakesAreStrict(t *testing.T) {
	bubble(t, func(t *testing.T) {
		meili, elastic := newFakeMeilisearch(sinkKey), newFakeElasticsearch(sinkKey)
		openFakeMeilisearch(t, meili)
		openFakeElasticsearch(t, elastic)
		for _, c := range []struct {
			handler                          http.Handler
			method, path, media, body, error string
			status                           int
		}{
			{meili, "POST", "/indexes/symbols/documents", "text/plain", "[]", "invalid_content_type", 415},
			{meili, "POST", "/indexes/symbols/documents", "application/json", "[", "malformed_payload", 400},
			{meili, "POST", "/indexes/others/documents", "application/json", "[]", "index_not_found", 404},
			{meili, "POST", "/indexes/symbols/search", "application/json", `{"query":"x"}`, "unknown field", 400},
			{meili, "GET", "/nowhere", "", "", "not_found", 404},
			{meili, "GET", "/tasks/99", "", "", "task_not_found", 404},
			{elastic, "POST", "/symbols/_bulk", "text/plain", "{}\n", "not supported", 406},
			{elastic, "POST", "/symbols/_bulk", "application/x-ndjson", `{"delete":{"_id":"1"}}`, "must be terminated by a newline", 400},
			{elastic, "POST", "/symbols/_bulk", "application/x-ndjson", "{\"upsert\":{\"_id\":\"1\"}}\n", "expected field", 400},
			{elastic, "POST", "/symbols/_search", "application/json", `{"query":{"all":{}}}`, "parsing_exception", 400},
			{elastic, "POST", "/others/_search", "application/json", `{}`, "index_not_found_exception", 404},
			{elastic, "GET", "/symbols/_nothing", "", "", "no handler found", 404},
		} {
			r, err := http.NewRequest(c.method, "http://search.test"+c.path, strings.NewReader(c.body))
			require.NoError(t, err)
			r.Header["Content-Type"] = slices.DeleteFunc([]string{c.media}, func(s string) bool { return s == "" })
			r.Header.Set("Authorization", "Bearer "+sinkKey)
			if c.handler == elastic {
				r.Header.Set("Authorization", "APIKey "+sinkKey)
			}
			got, err := serveFake(t, c.handler).RoundTrip(r)
			require.NoError(t, err)
			var text strings.Builder
			require.NoError(t, got.Write(&text))
			require.Equal(t, c.status, got.StatusCode, text.String())
			require.Contains(t, text.String(), c.error)
		}
	})
}
