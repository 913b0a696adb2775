package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/analysis/analyzer/custom"
	"github.com/blevesearch/bleve/v2/analysis/token/camelcase"
	"github.com/blevesearch/bleve/v2/analysis/token/lowercase"
	"github.com/blevesearch/bleve/v2/analysis/tokenizer/regexp"
	"github.com/blevesearch/bleve/v2/mapping"
	"github.com/blevesearch/bleve/v2/search/query"
)

// bleveSink is an index in this process.
type bleveSink struct {
	temporary string // the folder, if Close is to remove it
	index     bleve.Index
	search    []string
}

// sourceField has the stored document as JSON; it is not searched. The searched
// columns have numbers for names, since a dot in a name means something to
// bleve.
const sourceField = "source"

// words and parts are the two fields that a searched column becomes, and their
// analyzers.
const (
	words = "words"
	parts = "parts"
)

func bleveField(kind string, column int) string { return kind + strconv.Itoa(column) }

// openBleve opens the index in a folder, and makes it if there is none.
func openBleve(dir string, search []string) (s *bleveSink, err error) {
	s = &bleveSink{search: search}
	if dir == "" {
		if s.temporary, err = os.MkdirTemp("", "search-sync-"); err != nil {
			return nil, fmt.Errorf("bleve: %w", err)
		}
		dir = s.temporary
	}
	if err := s.open(filepath.Join(dir, "index")); err != nil {
		_ = os.RemoveAll(s.temporary) // nothing, if it is empty
		return nil, fmt.Errorf("bleve: %w", err)
	}
	return s, nil
}

// searchedKey is what the index notes its searched columns under: they are
// fields by their numbers.
var searchedKey = []byte("search-sync searched columns")

func (s *bleveSink) open(path string) error {
	searched, err := json.Marshal(s.search)
	if err != nil {
		return err
	}
	// Another process may have it open: that is an error, and not to be waited for.
	s.index, err = bleve.OpenUsing(path, map[string]any{"bolt_timeout": "2s"})
	switch {
	case errors.Is(err, bleve.ErrorIndexPathDoesNotExist):
		return s.create(path, searched)
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	}
	has, err := s.index.GetInternal(searchedKey)
	if err == nil && !bytes.Equal(has, searched) {
		err = fmt.Errorf("%s is an index of other columns, %s: remove it, or choose another folder", path, has)
	}
	if err != nil {
		_ = s.index.Close()
	}
	return err
}

func (s *bleveSink) create(path string, searched []byte) error {
	m, err := bleveMapping(len(s.search))
	if err != nil {
		return err
	}
	if s.index, err = bleve.New(path, m); err != nil {
		return err
	}
	return s.index.SetInternal(searchedKey, searched)
}

// bleveMapping indexes each searched column twice: by its words, so that
// ReadAll is found by "reada", and by its words cut at capitals, so that it is
// found by "all".
func bleveMapping(columns int) (mapping.IndexMapping, error) {
	m := bleve.NewIndexMapping()
	m.DefaultMapping = bleve.NewDocumentStaticMapping()
	if err := m.AddCustomTokenizer("words", map[string]any{"type": regexp.Name, "regexp": `[\p{L}\p{N}]+`}); err != nil {
		return nil, err
	}
	for kind, filters := range map[string][]any{
		words: {lowercase.Name},
		parts: {camelcase.Name, lowercase.Name},
	} {
		err := m.AddCustomAnalyzer(kind, map[string]any{"type": custom.Name, "tokenizer": "words", "token_filters": filters})
		if err != nil {
			return nil, err
		}
		for column := range columns {
			f := bleve.NewTextFieldMapping()
			f.Analyzer = kind
			f.Store, f.DocValues, f.IncludeInAll, f.IncludeTermVectors = false, false, false, false
			m.DefaultMapping.AddFieldMappingsAt(bleveField(kind, column), f)
		}
	}
	source := bleve.NewTextFieldMapping()
	source.Index, source.DocValues, source.IncludeInAll = false, false, false
	m.DefaultMapping.AddFieldMappingsAt(sourceField, source)
	return m, nil
}

// Upsert writes in batches: a document alone costs as much time as 25 in one.
func (s *bleveSink) Upsert(ctx context.Context, docs []Document) error {
	for some := range slices.Chunk(docs, maxBatch) {
		b := s.index.NewBatch()
		for _, d := range some {
			source, err := json.Marshal(d.stored())
			if err != nil {
				return fmt.Errorf("bleve: document %s: %w", d.ID, err)
			}
			fields := map[string]any{sourceField: string(source)}
			for column, name := range s.search {
				text := textOf(d.Fields[name])
				fields[bleveField(words, column)], fields[bleveField(parts, column)] = text, text
			}
			if err := b.Index(d.ID, fields); err != nil {
				return fmt.Errorf("bleve: document %s: %w", d.ID, err)
			}
		}
		if err := s.write(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func (s *bleveSink) Delete(ctx context.Context, ids []string) error {
	for some := range slices.Chunk(ids, maxBatch) {
		b := s.index.NewBatch()
		for _, id := range some {
			b.Delete(id)
		}
		if err := s.write(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func (s *bleveSink) write(ctx context.Context, b *bleve.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.index.Batch(b); err != nil {
		return fmt.Errorf("bleve: %w", err)
	}
	return nil
}

func (s *bleveSink) All(ctx context.Context) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		r := bleve.NewSearchRequestOptions(bleve.NewMatchAllQuery(), 1000, 0, false)
		r.SortBy([]string{"_id"})
		for {
			found, err := s.find(ctx, r)
			if err != nil {
				yield(Document{}, err)
				return
			}
			for _, d := range found.Hits {
				if !yield(d, nil) {
					return
				}
			}
			if len(found.Hits) == 0 {
				return
			}
			r.SetSearchAfter([]string{found.Hits[len(found.Hits)-1].ID})
		}
	}
}

func (s *bleveSink) Count(context.Context) (int, error) {
	n, err := s.index.DocCount()
	return int(n), err
}

// Search wants every word in some column, as a whole, as the beginning of a
// longer one, or at a capital within one. The first of these counts most, and
// more than that does an earlier column.
func (s *bleveSink) Search(ctx context.Context, typed string, limit int) (Result, error) {
	var all []query.Query
	for _, word := range strings.FieldsFunc(strings.ToLower(typed), isSeparator) {
		var places []query.Query
		for column := range s.search {
			weight := weightOf(column, s.search)
			whole := bleve.NewTermQuery(word)
			whole.SetField(bleveField(words, column))
			whole.SetBoost(4 * weight)
			beginning, part := bleve.NewPrefixQuery(word), bleve.NewPrefixQuery(word)
			beginning.SetField(bleveField(words, column))
			beginning.SetBoost(2 * weight)
			part.SetField(bleveField(parts, column))
			part.SetBoost(weight)
			places = append(places, whole, beginning, part)
		}
		all = append(all, bleve.NewDisjunctionQuery(places...))
	}
	if len(all) == 0 {
		return Result{Hits: []Document{}}, nil
	}
	r := bleve.NewSearchRequestOptions(bleve.NewConjunctionQuery(all...), limit, 0, false)
	r.SortBy([]string{"-_score", "_id"})
	return s.find(ctx, r)
}

func (s *bleveSink) find(ctx context.Context, r *bleve.SearchRequest) (Result, error) {
	r.Fields = []string{sourceField}
	found, err := s.index.SearchInContext(ctx, r)
	if err != nil {
		return Result{}, fmt.Errorf("bleve: %w", err)
	}
	result := Result{Total: int(found.Total), Hits: make([]Document, len(found.Hits))}
	for i, hit := range found.Hits {
		source, _ := hit.Fields[sourceField].(string)
		if result.Hits[i], err = restored([]byte(source)); err != nil {
			return Result{}, fmt.Errorf("bleve: %w", err)
		}
	}
	return result, nil
}

// Close also removes the folder, if it is a temporary one.
func (s *bleveSink) Close() error {
	return errors.Join(s.index.Close(), os.RemoveAll(s.temporary)) // nothing, if it is empty
}
