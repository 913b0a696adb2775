package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const sinkKey = "a-key-that-nobody-prints"

func meilisearchOptions(t *testing.T, h http.Handler) SinkOptions {
	return SinkOptions{Kind: "meilisearch", URL: "http://search.test", Key: sinkKey, Index: "symbols", Search: searched, Retry: serveFake(t, h)}
}

func openFakeMeilisearch(t *testing.T, h http.Handler) Sink {
	s, err := openSink(t.Context(), meilisearchOptions(t, h))
	require.NoError(t, err)
	return s
}

func TestMeilisearch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		testSink(t, openFakeMeilisearch(t, newFakeMeilisearch(sinkKey)), func() {})
	})
}

func TestMeilisearchOpensAnIndexThatIsThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake := newFakeMeilisearch(sinkKey)
		require.NoError(t, openFakeMeilisearch(t, fake).Upsert(t.Context(), []Document{doc("1", "x", "y")}))
		require.Len(t, contents(t, openFakeMeilisearch(t, fake)), 1)
	})
}

// A write is over when its task is, not when the server has taken it.
func TestMeilisearchWaitsForTasks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake := newFakeMeilisearch(sinkKey)
		s := openFakeMeilisearch(t, fake)
		start := time.Now()
		require.NoError(t, s.Upsert(t.Context(), []Document{doc("1", "x", "y")}))
		require.GreaterOrEqual(t, time.Since(start), 2*taskTime)
		require.Len(t, fake.indexes["symbols"].docs, 1)
	})
}

func TestMeilisearchTaskThatFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake := newFakeMeilisearch(sinkKey)
		s := openFakeMeilisearch(t, fake)
		fake.failNext = &meilisearchFault{Message: "The document is too large.", Code: "max_fields_limit_exceeded"}
		require.EqualError(t, s.Upsert(t.Context(), []Document{doc("1", "x", "y")}),
			"meilisearch: the task documentAdditionOrUpdate has failed: The document is too large. (max_fields_limit_exceeded)")
		long := doc(strings.Repeat("x", 600), "x", "y")
		require.ErrorContains(t, s.Upsert(t.Context(), []Document{long}), "invalid_document_id")
		require.Empty(t, contents(t, s))
	})
}

// What goes wrong on the way is done again, and what was done twice is there
// once.
func TestMeilisearchSurvivesTheNetwork(t *testing.T) {
	for name, f := range map[string]fault{
		"busy":                              {status: 429, header: "7"},
		"unavailable":                       {status: 503},
		"dropped":                           {dropped: true},
		"dropped behind the taken request":  {lost: true},
		"dropped while the task is watched": {dropped: true, at: func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/tasks/") }},
		"unavailable to deletes":            {status: 503, at: path("/delete-batch")},
		"unavailable to readers":            {status: 500, at: path("/fetch")},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				if f.at == nil {
					f.at = path("/documents")
				}
				s := openFakeMeilisearch(t, faulty([]*fault{&f}, newFakeMeilisearch(sinkKey)))
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

func TestMeilisearchRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := meilisearchOptions(t, newFakeMeilisearch(sinkKey))
		o.Key = "another-key"
		_, err := openSink(t.Context(), o)
		require.ErrorContains(t, err, "The provided API key is invalid.")
		require.NotContains(t, err.Error(), o.Key)
		o.Key = ""
		_, err = openSink(t.Context(), o)
		require.ErrorContains(t, err, "missing_authorization_header")
		o.Key, o.Index = sinkKey, "not a name"
		_, err = openSink(t.Context(), o)
		require.ErrorContains(t, err, "is not a valid index uid")
	})
}

func TestMeilisearchKey(t *testing.T) {
	require.Equal(t, "42", meilisearchKey("42"))
	require.Equal(t, "a1b2-c3", meilisearchKey("a1b2-c3"))
	seen := map[string]string{}
	for _, id := range []string{"a_b", "a b", "a.b", "a_5fb", "ü", "_", ""} {
		key := meilisearchKey(id)
		require.NotContains(t, seen, key, id)
		seen[key] = id
	}
}
