package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v9/esapi"

	"github.com/gapless-go/gapless/examples/internal/again"
)

// elasticsearchSink is an index of an Elasticsearch server.
//
// It uses the two packages below the client's first one, which also brings in
// the typed API; that alone takes minutes to compile.
type elasticsearchSink struct {
	transport *elastictransport.Client
	retry     *retrying
	index     string
	search    []string
}

func openElasticsearch(ctx context.Context, o SinkOptions) (*elasticsearchSink, error) {
	address, err := url.Parse(strings.TrimRight(o.URL, "/"))
	if err != nil {
		return nil, fmt.Errorf("elasticsearch: %w", err)
	}
	options := []elastictransport.Option{
		elastictransport.WithURLs(address),
		elastictransport.WithTransport(o.Retry),
		elastictransport.WithDisableRetry(), // o.Retry does that
	}
	if o.Key != "" {
		options = append(options, elastictransport.WithAPIKey(o.Key))
	}
	transport, err := elastictransport.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("elasticsearch: %w", err)
	}
	s := &elasticsearchSink{transport: transport, retry: o.Retry, index: o.Index, search: o.Search}
	return s, s.create(ctx)
}

// object is a JSON object on its way out.
type object = map[string]any

// create makes the index. Elasticsearch guesses the types of the columns that
// are not searched from the first document that has them.
func (s *elasticsearchSink) create(ctx context.Context) error {
	properties := object{
		idField:   object{"type": "keyword"},
		hashField: object{"type": "keyword", "index": false, "doc_values": false},
	}
	for _, name := range s.search {
		properties[name] = object{"type": "text"}
	}
	body := object{"mappings": object{"properties": properties}}
	err := s.do(ctx, esapi.IndicesCreateRequest{Index: s.index, Body: jsonBody(body)}, nil)
	var refused *elasticsearchError
	if errors.As(err, &refused) && refused.Type == "resource_already_exists_exception" {
		return nil
	}
	return err
}

// elasticsearchError is what the server says of a request or of a document.
type elasticsearchError struct {
	Status   int    `json:"-"`
	Document string `json:"-"` // its ID, or empty
	Type     string `json:"type"`
	Reason   string `json:"reason"`
	CausedBy *struct {
		Reason string `json:"reason"`
	} `json:"caused_by"`
}

func (e *elasticsearchError) Error() string {
	text := "elasticsearch: "
	if e.Document != "" {
		text += "document " + e.Document + ": "
	}
	text += fmt.Sprintf("%d %s: %s", e.Status, e.Type, e.Reason)
	if e.CausedBy != nil {
		text += ": " + e.CausedBy.Reason
	}
	return text
}

// do makes a request and decodes the answer.
func (s *elasticsearchSink) do(ctx context.Context, request esapi.Request, into any) error {
	answer, err := request.Do(ctx, s.transport)
	if err != nil {
		return fmt.Errorf("elasticsearch: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return fmt.Errorf("elasticsearch: %w", err)
	case answer.IsError():
		refused := struct{ Error elasticsearchError }{elasticsearchError{Reason: fmt.Sprintf("%.200s", body)}}
		_ = json.Unmarshal(body, &refused) // what is no JSON is the reason as it is
		refused.Error.Status = answer.StatusCode
		return &refused.Error
	case answer.Header.Get("X-Elastic-Product") != "Elasticsearch":
		return errors.New("elasticsearch: something else answers at this address")
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("elasticsearch: %w", err)
	}
	return nil
}

func jsonBody(v any) io.Reader {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // it is made of maps and strings
	}
	return bytes.NewReader(text)
}

func (s *elasticsearchSink) Upsert(ctx context.Context, docs []Document) error {
	all, err := encode(docs, nil)
	if err != nil {
		return err
	}
	return s.writeAll(ctx, all)
}

func (s *elasticsearchSink) Delete(ctx context.Context, ids []string) error {
	all := make([]encoded, len(ids))
	for i, id := range ids {
		all[i] = encoded{id: id}
	}
	var refused *RefusedError
	if err := s.writeAll(ctx, all); !errors.As(err, &refused) {
		return err
	}
	return nil // an ID that the index does not take is not in it
}

func (s *elasticsearchSink) writeAll(ctx context.Context, all []encoded) error {
	refused := refusals{}
	for some := range batches(all) {
		err := writeApart(some, refused, ofDocument, func(items []encoded) error { return s.write(ctx, items, refused) })
		if err != nil {
			return err
		}
	}
	return refused.err()
}

// ofDocument reports whether an error is of what a document is: of its fields, its
// ID or its size. A key without rights and an index that is gone are of all.
func ofDocument(err error) bool {
	var e *elasticsearchError
	return errors.As(err, &e) && (e.Status == http.StatusBadRequest || e.Status == http.StatusConflict || e.Status == http.StatusRequestEntityTooLarge)
}

// write makes a bulk request, and makes it again with the items alone that the
// server was too busy for.
func (s *elasticsearchSink) write(ctx context.Context, items []encoded, refused refusals) error {
	for n := 0; ; n++ {
		busy, err := s.bulk(ctx, items, refused)
		if err != nil || len(busy) == 0 {
			return err
		}
		items = busy
		wait := again.Jitter(n, firstWait, longestWait)
		s.retry.notify(fmt.Errorf("elasticsearch: the server was too busy for %d documents", len(busy)), wait)
		if err := again.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// bulkItem is what the server says of one item of a bulk request.
type bulkItem struct {
	ID     string              `json:"_id"`
	Status int                 `json:"status"`
	Error  *elasticsearchError `json:"error"`
}

// bulk makes one bulk request. It returns the items to try again, and adds the
// documents that the server refused for good. The error is of all.
func (s *elasticsearchSink) bulk(ctx context.Context, items []encoded, refused refusals) (busy []encoded, err error) {
	var answer struct {
		Items []map[string]bulkItem `json:"items"` // one key each: the action
	}
	request := esapi.BulkRequest{
		Index: s.index, Body: bulkBody(items), Header: http.Header{"Content-Type": {"application/x-ndjson"}},
	}
	if err := s.do(ctx, request, &answer); err != nil {
		return nil, err
	}
	if len(answer.Items) != len(items) {
		return nil, fmt.Errorf("elasticsearch: %d items were sent, %d answered", len(items), len(answer.Items))
	}
	var fatal error
	for i, actions := range answer.Items {
		for action, item := range actions {
			switch {
			case item.Status < 300, action == "delete" && item.Status == http.StatusNotFound:
			case item.Status == http.StatusTooManyRequests, item.Status >= 500:
				busy = append(busy, items[i])
			default:
				if item.Error == nil {
					item.Error = &elasticsearchError{}
				}
				item.Error.Status, item.Error.Document = item.Status, items[i].id
				if ofDocument(item.Error) {
					refused[items[i].id] = item.Error
				} else {
					fatal = item.Error
				}
			}
		}
	}
	return busy, fatal
}

// bulkBody has a line for each action, a line for the document of each that
// has one, and a line break behind the last as well.
func bulkBody(items []encoded) io.Reader {
	var b bytes.Buffer
	for _, item := range items {
		action := "index"
		if item.json == nil {
			action = "delete"
		}
		line, _ := json.Marshal(map[string]map[string]string{action: {"_id": item.id}}) // strings only
		b.Write(line)
		b.WriteByte('\n')
		if item.json != nil {
			b.Write(item.json)
			b.WriteByte('\n')
		}
	}
	return &b
}

// searchAnswer is the part of an answer to a search that is read.
type searchAnswer struct {
	Hits struct {
		Total struct{ Value int }
		Hits  []struct {
			Source json.RawMessage   `json:"_source"`
			Sort   []json.RawMessage `json:"sort"`
		}
	}
}

func (a *searchAnswer) documents() ([]Document, error) {
	docs := make([]Document, len(a.Hits.Hits))
	for i, hit := range a.Hits.Hits {
		var err error
		if docs[i], err = restored(hit.Source); err != nil {
			return nil, fmt.Errorf("elasticsearch: %w", err)
		}
	}
	return docs, nil
}

// All makes what was written visible to searches first.
func (s *elasticsearchSink) All(ctx context.Context) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		if err := s.do(ctx, esapi.IndicesRefreshRequest{Index: []string{s.index}}, nil); err != nil {
			yield(Document{}, err)
			return
		}
		query := object{"size": 1000, "query": object{"match_all": object{}}, "sort": []any{object{idField: "asc"}}}
		for {
			var answer searchAnswer
			err := s.do(ctx, esapi.SearchRequest{Index: []string{s.index}, Body: jsonBody(query)}, &answer)
			if err != nil {
				yield(Document{}, err)
				return
			}
			docs, err := answer.documents()
			if err != nil {
				yield(Document{}, err)
				return
			}
			for _, d := range docs {
				if !yield(d, nil) {
					return
				}
			}
			if len(docs) == 0 {
				return
			}
			query["search_after"] = answer.Hits.Hits[len(docs)-1].Sort
		}
	}
}

func (s *elasticsearchSink) Count(ctx context.Context) (int, error) {
	var answer struct{ Count int }
	err := s.do(ctx, esapi.CountRequest{Index: []string{s.index}}, &answer)
	return answer.Count, err
}

// Search wants every word in some column, as a whole or as the beginning of a
// longer one.
func (s *elasticsearchSink) Search(ctx context.Context, typed string, limit int) (Result, error) {
	columns := make([]string, len(s.search))
	for i, name := range s.search {
		columns[i] = fmt.Sprintf("%s^%g", name, weightOf(i, s.search))
	}
	var words []any
	for _, word := range strings.FieldsFunc(typed, isSeparator) {
		words = append(words, object{"multi_match": object{"query": word, "type": "bool_prefix", "fields": columns}})
	}
	if len(words) == 0 {
		return Result{Hits: []Document{}}, nil
	}
	query := object{
		"size": limit, "track_total_hits": true,
		"query": object{"bool": object{"must": words}},
		"sort":  []any{object{"_score": "desc"}, object{idField: "asc"}},
	}
	var answer searchAnswer
	if err := s.do(ctx, esapi.SearchRequest{Index: []string{s.index}, Body: jsonBody(query)}, &answer); err != nil {
		return Result{}, err
	}
	docs, err := answer.documents()
	return Result{Total: answer.Hits.Total.Value, Hits: docs}, err
}

func (s *elasticsearchSink) Close() error {
	return s.transport.Close(context.Background())
}
