package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fakeMeilisearch is the part of Meilisearch's HTTP API that the sink uses, as
// strict as the real one: it refuses what that refuses, in its words.
type fakeMeilisearch struct {
	key string

	mu       sync.Mutex
	indexes  map[string]*meilisearchIndex
	tasks    []*meilisearchTask
	failNext *meilisearchFault // of the next task that has documents; nil: none
	received int               // documents in requests
}

type meilisearchIndex struct {
	primaryKey string
	searchable []string
	ids        []string // in the order in which they came
	docs       map[string]map[string]json.RawMessage
}

type meilisearchFault struct {
	Message string `json:"message"`
	Code    string `json:"code"`
	Type    string `json:"type"`
	Link    string `json:"link"`
}

type meilisearchTask struct {
	UID        int               `json:"uid"`
	IndexUID   string            `json:"indexUid"`
	Type       string            `json:"type"`
	Status     string            `json:"status"`
	Error      *meilisearchFault `json:"error"`
	EnqueuedAt time.Time         `json:"enqueuedAt"`

	do func() *meilisearchFault
}

// taskTime is how long a task waits, and then takes.
const taskTime = 70 * time.Millisecond

func newFakeMeilisearch(key string) *fakeMeilisearch {
	return &fakeMeilisearch{key: key, indexes: map[string]*meilisearchIndex{}}
}

func (f *fakeMeilisearch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.work()
	status, answer := f.serve(r)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// work does the tasks whose time has come, in order.
func (f *fakeMeilisearch) work() {
	for _, t := range f.tasks {
		switch age := time.Since(t.EnqueuedAt); {
		case t.Status == "succeeded" || t.Status == "failed":
		case age < taskTime:
		case age < 2*taskTime:
			t.Status = "processing"
		default:
			t.Status = "succeeded"
			if t.Error = t.do(); t.Error != nil {
				t.Status = "failed"
			}
		}
	}
}

func meilisearchRefusal(status int, code, format string, args ...any) (int, any) {
	return status, meilisearchFault{fmt.Sprintf(format, args...), code, "invalid_request", "https://docs.meilisearch.com/errors#" + code}
}

func (f *fakeMeilisearch) serve(r *http.Request) (int, any) {
	switch r.Header.Get("Authorization") {
	case "Bearer " + f.key:
	case "":
		return meilisearchRefusal(401, "missing_authorization_header", "The Authorization header is missing. It must use the bearer authorization method.")
	default:
		return meilisearchRefusal(403, "invalid_api_key", "The provided API key is invalid.")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return meilisearchRefusal(400, "bad_request", "%v", err)
	}
	if r.Method != http.MethodGet {
		media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if media != "application/json" {
			return meilisearchRefusal(415, "invalid_content_type", "The Content-Type `%s` is invalid. Accepted values for the Content-Type header are: `application/json`", media)
		}
		if !json.Valid(body) {
			return meilisearchRefusal(400, "malformed_payload", "The json payload provided is malformed.")
		}
	}
	if len(r.URL.RawQuery) > 0 {
		return meilisearchRefusal(400, "bad_request", "Unknown parameter in `%s`", r.URL.RawQuery)
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	route := r.Method + " " + strings.Join(parts, "/")
	if len(parts) > 2 {
		route = r.Method + " " + parts[0] + "/*/" + strings.Join(parts[2:], "/")
	}
	if len(parts) == 2 && parts[0] == "tasks" && r.Method == http.MethodGet {
		return f.task(parts[1])
	}
	if route == "POST indexes" {
		return f.createIndex(body)
	}
	var handler func(*meilisearchIndex, string, []byte) (int, any)
	switch route {
	case "PUT indexes/*/settings/searchable-attributes":
		handler = f.setSearchable
	case "POST indexes/*/documents":
		handler = f.addDocuments
	case "POST indexes/*/documents/delete-batch":
		handler = f.deleteDocuments
	case "POST indexes/*/documents/fetch":
		handler = f.fetch
	case "POST indexes/*/search":
		handler = f.search
	case "GET indexes/*/stats":
		handler = f.stats
	default:
		return meilisearchRefusal(404, "not_found", "there is no route %s %s", r.Method, r.URL.Path)
	}
	index, ok := f.indexes[parts[1]]
	if !ok {
		return meilisearchRefusal(404, "index_not_found", "Index `%s` not found.", parts[1])
	}
	return handler(index, parts[1], body)
}

func (f *fakeMeilisearch) enqueue(kind, index string, do func() *meilisearchFault) (int, any) {
	t := &meilisearchTask{UID: len(f.tasks), IndexUID: index, Type: kind, Status: "enqueued", EnqueuedAt: time.Now(), do: do}
	f.tasks = append(f.tasks, t)
	return 202, map[string]any{"taskUid": t.UID, "indexUid": index, "status": t.Status, "type": kind, "enqueuedAt": t.EnqueuedAt}
}

func (f *fakeMeilisearch) task(uid string) (int, any) {
	n, err := strconv.Atoi(uid)
	if err != nil || n < 0 || n >= len(f.tasks) {
		return meilisearchRefusal(404, "task_not_found", "Task `%s` not found.", uid)
	}
	return 200, f.tasks[n]
}

// strictly decodes a body that may have no other keys.
func strictly(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

func (f *fakeMeilisearch) createIndex(body []byte) (int, any) {
	var c struct{ Uid, PrimaryKey string }
	if err := strictly(body, &c); err != nil || !regexp.MustCompile(`^[a-zA-Z0-9_-]{1,400}$`).MatchString(c.Uid) {
		return meilisearchRefusal(400, "invalid_index_uid", "`%s` is not a valid index uid.", c.Uid)
	}
	return f.enqueue("indexCreation", c.Uid, func() *meilisearchFault {
		if _, exists := f.indexes[c.Uid]; exists {
			return &meilisearchFault{"Index `" + c.Uid + "` already exists.", "index_already_exists", "invalid_request", ""}
		}
		f.indexes[c.Uid] = &meilisearchIndex{primaryKey: c.PrimaryKey, docs: map[string]map[string]json.RawMessage{}}
		return nil
	})
}

func (f *fakeMeilisearch) setSearchable(x *meilisearchIndex, name string, body []byte) (int, any) {
	var attributes []string
	if err := strictly(body, &attributes); err != nil {
		return meilisearchRefusal(400, "invalid_settings_searchable_attributes", "%v", err)
	}
	return f.enqueue("settingsUpdate", name, func() *meilisearchFault {
		x.searchable = attributes
		return nil
	})
}

var validDocumentID = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,511}$`)

func (f *fakeMeilisearch) addDocuments(x *meilisearchIndex, name string, body []byte) (int, any) {
	var docs []map[string]json.RawMessage
	if err := json.Unmarshal(body, &docs); err != nil {
		return meilisearchRefusal(400, "malformed_payload", "The `json` payload provided is malformed: %v", err)
	}
	f.received += len(docs)
	fault := f.failNext
	f.failNext = nil
	return f.enqueue("documentAdditionOrUpdate", name, func() *meilisearchFault {
		if fault != nil {
			return fault
		}
		for _, d := range docs { // all or nothing
			if fault := x.checkID(d); fault != nil {
				return fault
			}
		}
		for _, d := range docs {
			var id string
			_ = json.Unmarshal(d[x.primaryKey], &id)
			if _, there := x.docs[id]; !there {
				x.ids = append(x.ids, id)
			}
			x.docs[id] = d
		}
		return nil
	})
}

func (x *meilisearchIndex) checkID(d map[string]json.RawMessage) *meilisearchFault {
	raw, there := d[x.primaryKey]
	var id string
	if !there {
		return &meilisearchFault{"Document doesn't have a `" + x.primaryKey + "` attribute.", "missing_document_id", "invalid_request", ""}
	}
	if json.Unmarshal(raw, &id) != nil || !validDocumentID.MatchString(id) {
		return &meilisearchFault{"Document identifier `" + string(raw) + "` is invalid.", "invalid_document_id", "invalid_request", ""}
	}
	return nil
}

func (f *fakeMeilisearch) deleteDocuments(x *meilisearchIndex, name string, body []byte) (int, any) {
	var ids []string
	if err := strictly(body, &ids); err != nil {
		return meilisearchRefusal(400, "malformed_payload", "%v", err)
	}
	return f.enqueue("documentDeletion", name, func() *meilisearchFault {
		for _, id := range ids {
			delete(x.docs, id)
			x.ids = slices.DeleteFunc(x.ids, func(other string) bool { return other == id })
		}
		return nil
	})
}

func (f *fakeMeilisearch) fetch(x *meilisearchIndex, _ string, body []byte) (int, any) {
	var q struct{ Offset, Limit int }
	q.Limit = 20
	if err := strictly(body, &q); err != nil {
		return meilisearchRefusal(400, "bad_request", "%v", err)
	}
	results := []any{}
	for i := q.Offset; i < min(q.Offset+q.Limit, len(x.ids)); i++ {
		results = append(results, x.docs[x.ids[i]])
	}
	return 200, map[string]any{"results": results, "offset": q.Offset, "limit": q.Limit, "total": len(x.ids)}
}

func (f *fakeMeilisearch) stats(x *meilisearchIndex, _ string, _ []byte) (int, any) {
	return 200, map[string]any{"numberOfDocuments": len(x.ids), "isIndexing": false, "fieldDistribution": map[string]int{}}
}

// search wants every word as the beginning of a word in some attribute.
func (f *fakeMeilisearch) search(x *meilisearchIndex, _ string, body []byte) (int, any) {
	var q struct {
		Q                string
		Limit            int
		MatchingStrategy string
		Hybrid           *struct{}
	}
	if err := strictly(body, &q); err != nil {
		return meilisearchRefusal(400, "bad_request", "%v", err)
	}
	if q.MatchingStrategy != "all" {
		return meilisearchRefusal(501, "not_here", "this fake has the matching strategy all alone")
	}
	hits, total := []any{}, 0
	for _, id := range x.ids {
		var words []string
		for _, name := range x.searchable {
			var text string
			_ = json.Unmarshal(x.docs[id][name], &text)
			words = append(words, strings.FieldsFunc(strings.ToLower(text), isSeparator)...)
		}
		if !hasAllWords(words, q.Q) {
			continue
		}
		if total++; len(hits) < q.Limit {
			hits = append(hits, x.docs[id])
		}
	}
	return 200, map[string]any{"hits": hits, "query": q.Q, "processingTimeMs": 1, "limit": q.Limit, "offset": 0, "estimatedTotalHits": min(total, 1000)}
}

// hasAllWords reports whether every word that was typed begins one of the
// words.
func hasAllWords(words []string, typed string) bool {
	for _, want := range strings.FieldsFunc(strings.ToLower(typed), isSeparator) {
		if !slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(word, want) }) {
			return false
		}
	}
	return true
}
