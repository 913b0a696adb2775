package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// Sink is a search index. Upsert and Delete may be repeated with the same
// arguments and then change nothing more; when they return nil the index has
// the documents for good, though a search may find them a moment later.
//
// One goroutine writes at a time. The other methods are safe for concurrent
// use with all.
type Sink interface {
	// Upsert adds documents, or replaces those of the same ID. Of several with
	// one ID the last counts. If the index refuses some of them for what they are,
	// the others are in it, and the error is *RefusedError.
	Upsert(ctx context.Context, docs []Document) error
	// Delete removes documents; those that are not there do not matter.
	Delete(ctx context.Context, ids []string) error
	// All returns every document that was written before the call, in any
	// order.
	All(ctx context.Context) iter.Seq2[Document, error]
	// Count returns how many documents there are.
	Count(ctx context.Context) (int, error)
	// Search returns the documents that match what somebody has typed so far,
	// the best first, and how many there are. Nothing typed matches nothing.
	Search(ctx context.Context, typed string, limit int) (Result, error)
	Close() error
}

// RefusedError says which documents an index does not take, and why, by ID. No
// other try changes that; the rest was written.
type RefusedError struct{ Documents map[string]error }

func (e *RefusedError) Error() string {
	var text []string
	for _, id := range slices.Sorted(maps.Keys(e.Documents)) {
		if len(text) == 3 {
			text = append(text, fmt.Sprintf("and %d more", len(e.Documents)-3))
			break
		}
		text = append(text, e.Documents[id].Error())
	}
	return strings.Join(text, "; ")
}

// refusals collects the documents that are refused while others are written.
type refusals map[string]error

func (r refusals) err() error {
	if len(r) == 0 {
		return nil
	}
	return &RefusedError{r}
}

// writeApart writes items, and if they are refused as a whole because of some of
// them, halves of them, until those are alone. own reports whether an error may be
// one of the items' own.
func writeApart(items []encoded, refused refusals, own func(error) bool, write func([]encoded) error) error {
	err := write(items)
	switch {
	case err == nil || !own(err):
		return err
	case len(items) == 1:
		refused[items[0].id] = err
		return nil
	}
	half := len(items) / 2
	if err := writeApart(items[:half], refused, own, write); err != nil {
		return err
	}
	return writeApart(items[half:], refused, own, write)
}

// Result is what a search found.
type Result struct {
	Total int        `json:"total"`
	Hits  []Document `json:"hits"` // at most as many as were asked for
}

// SinkOptions say which index.
type SinkOptions struct {
	Kind   string // bleve, meilisearch or elasticsearch
	URL    string // of the server; none for bleve
	Key    string // API key; may be empty
	Index  string
	Dir    string   // of bleve; empty: a temporary one
	Search []string // the columns to search, the most important first
	Retry  *retrying
}

// openSink opens an index, and makes it if it is not there.
func openSink(ctx context.Context, o SinkOptions) (Sink, error) {
	switch o.Kind {
	case "bleve":
		return openBleve(o.Dir, o.Search)
	case "meilisearch":
		return openMeilisearch(ctx, o)
	case "elasticsearch":
		return openElasticsearch(ctx, o)
	}
	return nil, noSink(o.Kind)
}

// verify says what is missing, or does not go together.
func (o SinkOptions) verify() error {
	u, err := url.Parse(o.URL)
	switch {
	case !slices.Contains([]string{"bleve", "meilisearch", "elasticsearch"}, o.Kind):
		return noSink(o.Kind)
	case o.Kind == "bleve" && o.URL != "":
		return errors.New("-sink bleve is in this process and has no -sink-url")
	case o.Kind == "bleve":
		return nil
	case o.URL == "":
		return fmt.Errorf("-sink %s needs a -sink-url", o.Kind)
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("-sink-url is not of the form http://host:port")
	case u.User != nil:
		return errors.New("-sink-url has a password in it: give the key in SEARCH_SYNC_SINK_KEY")
	}
	return nil
}

func noSink(kind string) error {
	return fmt.Errorf("there is no sink %q: it is bleve, meilisearch or elasticsearch", kind)
}

const (
	maxBatch      = 500     // documents in one request
	maxBatchBytes = 4 << 20 // and their JSON, a single larger one excepted
)

// encoded is a document as JSON, or, without JSON, the ID of one to delete.
type encoded struct {
	id   string
	json []byte
}

// encode keeps the last of several documents of one ID, so that no two of one
// request can change places.
func encode(docs []Document, extra func(map[string]any)) ([]encoded, error) {
	last := make(map[string]int, len(docs))
	for i, d := range docs {
		last[d.ID] = i
	}
	out := make([]encoded, 0, len(docs))
	for i, d := range docs {
		if last[d.ID] != i {
			continue
		}
		fields := d.stored()
		if extra != nil {
			extra(fields)
		}
		text, err := json.Marshal(fields)
		if err != nil {
			return nil, fmt.Errorf("document %s: %w", d.ID, err)
		}
		out = append(out, encoded{d.ID, text})
	}
	return out, nil
}

// batches cuts documents into requests, by count and by bytes.
func batches(docs []encoded) iter.Seq[[]encoded] {
	return func(yield func([]encoded) bool) {
		start, bytes := 0, 0
		for i, d := range docs {
			if i > start && (i-start == maxBatch || bytes+len(d.json) > maxBatchBytes) {
				if !yield(docs[start:i]) {
					return
				}
				start, bytes = i, 0
			}
			bytes += len(d.json)
		}
		if start < len(docs) {
			yield(docs[start:])
		}
	}
}

// isSeparator is what stands between words.
func isSeparator(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }

// weightOf is how much more a match in a column counts than one in the last.
func weightOf(column int, search []string) float64 {
	return math.Pow(8, float64(len(search)-1-column))
}
