package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/meilisearch/meilisearch-go"
)

// meilisearchSink is an index of a Meilisearch server. Meilisearch only queues
// what it is told; each write waits until the task is done, so that a task
// which fails is this sink's error and not a note in the server's log.
type meilisearchSink struct {
	service meilisearch.ServiceManager
	index   meilisearch.IndexManager
}

// taskPoll is how often the server is asked for a task.
const taskPoll = 50 * time.Millisecond

func openMeilisearch(ctx context.Context, o SinkOptions) (*meilisearchSink, error) {
	options := []meilisearch.Option{
		meilisearch.WithCustomClient(&http.Client{Transport: o.Retry}),
		meilisearch.DisableRetries(), // o.Retry does that
	}
	if o.Key != "" {
		options = append(options, meilisearch.WithAPIKey(o.Key))
	}
	service := meilisearch.New(strings.TrimRight(o.URL, "/"), options...)
	s := &meilisearchSink{service: service, index: service.Index(o.Index)}
	err := s.task(ctx, func() (*meilisearch.TaskInfo, error) {
		return service.CreateIndexWithContext(ctx, &meilisearch.IndexConfig{Uid: o.Index, PrimaryKey: keyField})
	})
	var failed *taskError
	if err != nil && !(errors.As(err, &failed) && failed.code == "index_already_exists") {
		return nil, err
	}
	err = s.task(ctx, func() (*meilisearch.TaskInfo, error) {
		return s.index.UpdateSearchableAttributesWithContext(ctx, &o.Search)
	})
	return s, err
}

// taskError is a task that the server accepted and could not do.
type taskError struct {
	kind, status, code, message string
}

func (e *taskError) Error() string {
	return fmt.Sprintf("meilisearch: the task %s has %s: %s (%s)", e.kind, e.status, e.message, e.code)
}

// task asks for something and waits until it is done.
func (s *meilisearchSink) task(ctx context.Context, ask func() (*meilisearch.TaskInfo, error)) error {
	info, err := ask()
	if err != nil {
		return fmt.Errorf("meilisearch: %w", err)
	}
	task, err := s.service.WaitForTaskWithContext(ctx, info.TaskUID, taskPoll)
	if err != nil {
		return fmt.Errorf("meilisearch: task %d: %w", info.TaskUID, err)
	}
	if task.Status != meilisearch.TaskStatusSucceeded {
		return &taskError{string(task.Type), string(task.Status), task.Error.Code, task.Error.Message}
	}
	return nil
}

func (s *meilisearchSink) Upsert(ctx context.Context, docs []Document) error {
	all, err := encode(docs, func(fields map[string]any) {
		fields[keyField] = meilisearchKey(fields[idField].(string))
	})
	if err != nil {
		return err
	}
	refused := refusals{}
	for some := range batches(all) {
		err := writeApart(some, refused, isTaskOfDocument, func(some []encoded) error {
			list := make([]json.RawMessage, len(some))
			for i, d := range some {
				list[i] = d.json
			}
			return s.task(ctx, func() (*meilisearch.TaskInfo, error) {
				return s.index.AddDocumentsWithContext(ctx, list, nil) // which replaces
			})
		})
		if err != nil {
			return err
		}
	}
	return refused.err()
}

// isTaskOfDocument reports whether a task failed because of a document.
func isTaskOfDocument(err error) bool {
	var e *taskError
	return errors.As(err, &e) && slices.Contains([]string{"invalid_document_id", "missing_document_id", "invalid_document_fields",
		"invalid_document_geo_field", "max_fields_limit_exceeded", "document_fields_limit_reached", "payload_too_large"}, e.code)
}

func (s *meilisearchSink) Delete(ctx context.Context, ids []string) error {
	all := make([]encoded, len(ids))
	for i, id := range ids {
		all[i] = encoded{id: meilisearchKey(id)}
	}
	for some := range batches(all) {
		keys := make([]string, len(some))
		for i, d := range some {
			keys[i] = d.id
		}
		err := s.task(ctx, func() (*meilisearch.TaskInfo, error) {
			return s.index.DeleteDocumentsWithContext(ctx, keys, nil)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// meilisearchKey is an ID in the characters that Meilisearch takes: letters,
// digits and hyphens stay what they are, every other byte becomes an
// underscore and two hexadecimal digits.
func meilisearchKey(id string) string {
	var b strings.Builder
	for _, c := range []byte(id) {
		if c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

func (s *meilisearchSink) All(ctx context.Context) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		for offset := int64(0); ; {
			var page meilisearch.DocumentsResult
			err := s.index.GetDocumentsWithContext(ctx, &meilisearch.DocumentsQuery{Offset: offset, Limit: 1000}, &page)
			if err != nil {
				yield(Document{}, fmt.Errorf("meilisearch: %w", err))
				return
			}
			for _, hit := range page.Results {
				d, err := meilisearchDocument(hit)
				if !yield(d, err) || err != nil {
					return
				}
			}
			if offset += int64(len(page.Results)); len(page.Results) == 0 || offset >= page.Total {
				return
			}
		}
	}
}

func meilisearchDocument(hit meilisearch.Hit) (Document, error) {
	raw, err := json.Marshal(hit)
	if err != nil {
		return Document{}, fmt.Errorf("meilisearch: %w", err)
	}
	d, err := restored(raw)
	if err != nil {
		return Document{}, fmt.Errorf("meilisearch: %w", err)
	}
	return d, nil
}

func (s *meilisearchSink) Count(ctx context.Context) (int, error) {
	stats, err := s.index.GetStatsWithContext(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("meilisearch: %w", err)
	}
	return int(stats.NumberOfDocuments), nil
}

func (s *meilisearchSink) Search(ctx context.Context, typed string, limit int) (Result, error) {
	if strings.TrimFunc(typed, isSeparator) == "" { // to Meilisearch that is everything
		return Result{Hits: []Document{}}, nil
	}
	found, err := s.index.SearchWithContext(ctx, typed, &meilisearch.SearchRequest{
		Limit: int64(limit), MatchingStrategy: meilisearch.All,
	})
	if err != nil {
		return Result{}, fmt.Errorf("meilisearch: %w", err)
	}
	result := Result{Total: int(found.EstimatedTotalHits), Hits: make([]Document, len(found.Hits))}
	for i, hit := range found.Hits {
		if result.Hits[i], err = meilisearchDocument(hit); err != nil {
			return Result{}, err
		}
	}
	return result, nil
}

func (s *meilisearchSink) Close() error {
	s.service.Close()
	return nil
}
