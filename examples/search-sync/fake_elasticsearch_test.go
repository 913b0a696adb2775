package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fakeElasticsearch is the part of Elasticsearch's HTTP API that the sink uses,
// as strict as the real one: it refuses what that refuses, in its words, and
// shows searches what was written a second ago or before the last refresh.
type fakeElasticsearch struct {
	key string

	mu      sync.Mutex
	indexes map[string]*elasticsearchIndex
	busy    map[string]int // IDs whose next items are refused, and how often
	bulks   [][]string     // the IDs of the items of each bulk request
}

type elasticsearchIndex struct {
	types     map[string]string // of the fields
	docs      map[string]json.RawMessage
	visible   map[string]json.RawMessage
	refreshed time.Time
}

const refreshInterval = time.Second

func newFakeElasticsearch(key string) *fakeElasticsearch {
	return &fakeElasticsearch{key: key, indexes: map[string]*elasticsearchIndex{}, busy: map[string]int{}}
}

func (f *fakeElasticsearch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	status, answer := f.serve(r)
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func elasticsearchRefusal(status int, kind, format string, args ...any) (int, any) {
	cause := object{"type": kind, "reason": fmt.Sprintf(format, args...)}
	return status, object{"error": object{"root_cause": []any{cause}, "type": cause["type"], "reason": cause["reason"]}, "status": status}
}

func (f *fakeElasticsearch) serve(r *http.Request) (int, any) {
	if r.Header.Get("Authorization") != "APIKey "+f.key {
		return elasticsearchRefusal(401, "security_exception", "unable to authenticate with provided credentials and anonymous access is not allowed for this request")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return elasticsearchRefusal(400, "parse_exception", "%v", err)
	}
	if len(body) > 0 {
		media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if media != "application/json" && !(media == "application/x-ndjson" && strings.HasSuffix(r.URL.Path, "/_bulk")) {
			return 406, object{"error": "Content-Type header [" + media + "] is not supported", "status": 406}
		}
	}
	name, action, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	route := r.Method + " " + action
	if r.URL.RawQuery != "" {
		return elasticsearchRefusal(400, "illegal_argument_exception", "request [%s] contains unrecognized parameters: [%s]", r.URL.Path, r.URL.RawQuery)
	}
	if route == "PUT " {
		return f.create(name, body)
	}
	handler, ok := map[string]func(*elasticsearchIndex, []byte) (int, any){
		"POST _bulk": f.bulk, "POST _refresh": f.refresh, "POST _search": f.search, "POST _count": f.count, "GET _count": f.count,
	}[route]
	if !ok {
		return elasticsearchRefusal(404, "not_found", "no handler found for uri [%s] and method [%s]", r.URL.Path, r.Method)
	}
	index, ok := f.indexes[name]
	if !ok {
		return elasticsearchRefusal(404, "index_not_found_exception", "no such index [%s]", name)
	}
	if time.Since(index.refreshed) >= refreshInterval {
		f.refresh(index, nil)
	}
	return handler(index, body)
}

func (f *fakeElasticsearch) create(name string, body []byte) (int, any) {
	if strings.ToLower(name) != name || strings.ContainsAny(name, ` "*\<|,>/?`) {
		return elasticsearchRefusal(400, "invalid_index_name_exception", "Invalid index name [%s], must be lowercase", name)
	}
	if _, exists := f.indexes[name]; exists {
		return elasticsearchRefusal(400, "resource_already_exists_exception", "index [%s/x] already exists", name)
	}
	var c struct {
		Mappings struct {
			Properties map[string]struct {
				Type      string
				Index     *bool
				DocValues *bool `json:"doc_values"`
			}
		}
	}
	if err := strictly(body, &c); err != nil {
		return elasticsearchRefusal(400, "mapper_parsing_exception", "%v", err)
	}
	x := &elasticsearchIndex{types: map[string]string{}, docs: map[string]json.RawMessage{}, visible: map[string]json.RawMessage{}}
	for field, m := range c.Mappings.Properties {
		x.types[field] = m.Type
	}
	f.indexes[name] = x
	return 200, object{"acknowledged": true, "shards_acknowledged": true, "index": name}
}

func (f *fakeElasticsearch) refresh(x *elasticsearchIndex, _ []byte) (int, any) {
	x.visible, x.refreshed = maps.Clone(x.docs), time.Now()
	return 200, object{"_shards": object{"total": 1, "successful": 1, "failed": 0}}
}

func (f *fakeElasticsearch) bulk(x *elasticsearchIndex, body []byte) (int, any) {
	if !bytes.HasSuffix(body, []byte("\n")) {
		return elasticsearchRefusal(400, "illegal_argument_exception", `The bulk request must be terminated by a newline [\n]`)
	}
	var items []any
	var ids []string
	failed := false
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, 64<<20)
	for n := 1; lines.Scan(); n++ {
		var action map[string]struct {
			ID string `json:"_id"`
		}
		if strictly(lines.Bytes(), &action) != nil || len(action) != 1 {
			return elasticsearchRefusal(400, "illegal_argument_exception", "Malformed action/metadata line [%d], expected START_OBJECT or END_OBJECT but found [VALUE_STRING]", n)
		}
		for name, meta := range action {
			var source []byte
			if name == "index" {
				if n++; !lines.Scan() {
					return elasticsearchRefusal(400, "illegal_argument_exception", "Validation Failed: 1: no requests added;")
				}
				source = bytes.Clone(lines.Bytes())
			} else if name != "delete" {
				return elasticsearchRefusal(400, "illegal_argument_exception", "Malformed action/metadata line [%d], expected field [create], [delete], [index] or [update] but found [%s]", n, name)
			}
			ids = append(ids, meta.ID)
			status, result := f.item(x, meta.ID, source)
			result["_id"], result["status"] = meta.ID, status
			items = append(items, object{name: result})
			failed = failed || status >= 300 && status != 404
		}
	}
	f.bulks = append(f.bulks, ids)
	return 200, object{"took": 1, "errors": failed, "items": items}
}

// item does one item of a bulk request: a delete if it has no source.
func (f *fakeElasticsearch) item(x *elasticsearchIndex, id string, source []byte) (int, object) {
	if f.busy[id] > 0 {
		f.busy[id]--
		return 429, object{"error": object{"type": "es_rejected_execution_exception", "reason": "rejected execution of primary operation"}}
	}
	_, there := x.docs[id]
	switch {
	case id == "" || len(id) > 512:
		return 400, object{"error": object{"type": "illegal_argument_exception", "reason": "id is too long, must be no longer than 512 bytes but was: " + strconv.Itoa(len(id))}}
	case source == nil && there:
		delete(x.docs, id)
		return 200, object{"result": "deleted"}
	case source == nil:
		return 404, object{"result": "not_found"}
	}
	if fault := x.mapFields(id, source); fault != nil {
		return 400, object{"error": fault}
	}
	x.docs[id] = source
	if there {
		return 200, object{"result": "updated"}
	}
	return 201, object{"result": "created"}
}

// mapFields checks the values of a document against the types of the fields,
// and gives fields that are new the type of their first value.
func (x *elasticsearchIndex) mapFields(id string, source []byte) object {
	var fields map[string]any
	if err := json.Unmarshal(source, &fields); err != nil {
		return object{"type": "document_parsing_exception", "reason": "failed to parse: " + err.Error()}
	}
	for name, v := range fields {
		kind := ""
		switch v := v.(type) {
		case float64:
			kind = "float"
		case bool:
			kind = "boolean"
		case map[string]any:
			kind = "object"
		case string:
			kind = "text"
			if _, err := time.Parse(time.RFC3339Nano, v); err == nil {
				kind = "date"
			}
		}
		has := x.types[name]
		switch {
		case kind == "":
		case has == "":
			x.types[name] = kind
		case has == kind, (has == "text" || has == "keyword") && kind != "object":
		default:
			return object{
				"type":      "document_parsing_exception",
				"reason":    fmt.Sprintf("[1:20] failed to parse field [%s] of type [%s] in document with id '%s'. Preview of field's value: '%v'", name, has, id, v),
				"caused_by": object{"type": "illegal_argument_exception", "reason": fmt.Sprintf("For input string: \"%v\"", v)},
			}
		}
	}
	return nil
}

func (f *fakeElasticsearch) count(x *elasticsearchIndex, body []byte) (int, any) {
	return 200, object{"count": len(x.visible), "_shards": object{"total": 1, "successful": 1, "failed": 0}}
}

// search does the two searches of the sink: everything by its ID, and words
// by their relevance, which to this fake is equal for all.
func (f *fakeElasticsearch) search(x *elasticsearchIndex, body []byte) (int, any) {
	var q struct {
		Size           int
		TrackTotalHits bool `json:"track_total_hits"`
		Query          struct {
			MatchAll *struct{} `json:"match_all"`
			Bool     *struct {
				Must []struct {
					MultiMatch struct {
						Query, Type string
						Fields      []string
					} `json:"multi_match"`
				}
			}
		}
		Sort        []map[string]string
		SearchAfter []string `json:"search_after"`
	}
	if err := strictly(body, &q); err != nil {
		return elasticsearchRefusal(400, "parsing_exception", "%v", err)
	}
	if q.Size > 10_000 {
		return elasticsearchRefusal(400, "illegal_argument_exception", "Result window is too large, from + size must be less than or equal to: [10000]")
	}
	for _, by := range q.Sort {
		for field := range by {
			if field != "_score" && x.types[field] != "keyword" {
				return elasticsearchRefusal(400, "illegal_argument_exception", "No mapping found for [%s] in order to sort on", field)
			}
		}
	}
	hits, total := []any{}, 0
	for _, id := range slices.Sorted(maps.Keys(x.visible)) {
		var fields map[string]any
		_ = json.Unmarshal(x.visible[id], &fields)
		if len(q.SearchAfter) > 0 && id <= q.SearchAfter[len(q.SearchAfter)-1] {
			continue
		}
		matches := q.Query.MatchAll != nil
		if q.Query.Bool != nil {
			matches = true
			for _, must := range q.Query.Bool.Must {
				var words []string
				for _, field := range must.MultiMatch.Fields {
					name, _, _ := strings.Cut(field, "^")
					text, _ := fields[name].(string)
					words = append(words, strings.FieldsFunc(strings.ToLower(text), isSeparator)...)
				}
				matches = matches && must.MultiMatch.Type == "bool_prefix" && hasAllWords(words, must.MultiMatch.Query)
			}
		}
		if !matches {
			continue
		}
		if total++; len(hits) < q.Size {
			hits = append(hits, object{"_id": id, "_source": x.visible[id], "sort": []any{fields[idField]}})
		}
	}
	if !q.TrackTotalHits {
		total = min(total, 10_000)
	}
	return 200, object{"took": 1, "timed_out": false, "hits": object{"total": object{"value": total, "relation": "eq"}, "hits": hits}}
}
