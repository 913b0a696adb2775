package rest

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// answerPage answers with rows, which are some of a total that is known if it
// was asked for.
func (r *request) answerPage(page project.Page) (*answer, error) {
	rows, offset, total := page.Rows, r.ask.Offset, page.Total
	status, counted := http.StatusOK, "*"
	if r.ask.Prefer.Count != "" {
		counted = strconv.Itoa(total)
		switch {
		case offset > total:
			e := BadRange("An offset of " + strconv.Itoa(offset) + " was requested, but there are only " + counted + " rows.")
			e.ContentRange = "*/" + counted
			return nil, e
		case len(rows) < total:
			status = http.StatusPartialContent
		}
	}
	if err := r.single(len(rows)); err != nil {
		return nil, err
	}
	a := r.answer(status)
	a.header.Set("Content-Range", contentRange(offset, len(rows))+"/"+counted)
	if r.ask.Prefer.Count != "" {
		a.header.Set("Preference-Applied", "count="+r.ask.Prefer.Count)
	}
	a.setRows(r, rows)
	return a, nil
}

// ContentRange writes the range of the rows in the answer.
func contentRange(offset, rows int) string {
	if rows == 0 {
		return "*"
	}
	return strconv.Itoa(offset) + "-" + strconv.Itoa(offset+rows-1)
}

var rangeHeader = regexp.MustCompile(`^([0-9]{1,18})-([0-9]{0,18})$`)

// window returns which of the rows to answer with: what limit and offset, the
// header Range and the server's MaxRows have in common.
func (r *request) window() (offset, limit int, err error) {
	first, last := 0, math.MaxInt
	if m := rangeHeader.FindStringSubmatch(r.Header.Get("Range")); m != nil && r.Method == http.MethodGet {
		first, _ = strconv.Atoi(m[1])
		if m[2] != "" {
			last, _ = strconv.Atoi(m[2])
		}
		if last < first {
			return 0, 0, BadRange("The lower boundary must be lower than or equal to the upper boundary in the Range header.")
		}
	}
	first = max(first, r.ask.Query.Offset)
	if n := r.ask.Query.Limit; n == 0 {
		return first, 0, nil
	} else if n > 0 && r.ask.Query.Offset <= math.MaxInt-n {
		last = min(last, r.ask.Query.Offset+n-1)
	}
	if last < first {
		return 0, 0, BadRange("Limit should be greater than or equal to zero.")
	}
	limit = math.MaxInt
	if last < math.MaxInt {
		limit = last - first + 1
	}
	for _, most := range []int{r.api.MaxRows, r.api.Faults.MaxRows()} {
		if most > 0 {
			limit = min(limit, most)
		}
	}
	return first, limit, nil
}

// payload reads the body. Columns of the query count in the place of the
// objects' keys.
func (r *request) payload() (*project.Payload, error) {
	body, err := r.readBody()
	if err != nil {
		return nil, err
	}
	p, err := parsePayload(body)
	if err == nil && r.ask.Query.Columns != nil {
		p.Columns = r.ask.Query.Columns
	} else if err == nil && len(p.Rows) > 0 {
		p.Columns, err = keysOf(p.Rows)
	}
	return p, err
}

// parsePayload reads objects, or the one object that stands for a list.
func parsePayload(body []byte) (p *project.Payload, err error) {
	p = &project.Payload{}
	if !utf8.Valid(body) { // encoding/json would put U+FFFD in the place of what is wrong
		return nil, project.Refuse(http.StatusBadRequest, "PGRST102", "Empty or invalid json")
	}
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte{'['}) {
		err = json.Unmarshal(body, &p.Rows)
	} else {
		p.Rows = make([]map[string]json.RawMessage, 1)
		err = json.Unmarshal(body, &p.Rows[0])
	}
	if err != nil || slices.ContainsFunc(p.Rows, func(o map[string]json.RawMessage) bool { return o == nil }) {
		if json.Valid(body) {
			return nil, project.Refuse(http.StatusBadRequest, "PGRST102", "All object keys must match")
		}
		return nil, project.Refuse(http.StatusBadRequest, "PGRST102", "Empty or invalid json")
	}
	return p, nil
}

// keysOf returns the keys of objects, which must be the same for all.
func keysOf(objects []map[string]json.RawMessage) ([]string, error) {
	var names []string
	for name := range objects[0] {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, o := range objects[1:] {
		same := len(o) == len(names)
		for _, name := range names {
			_, has := o[name]
			same = same && has
		}
		if !same {
			return nil, project.Refuse(http.StatusBadRequest, "PGRST102", "All object keys must match")
		}
	}
	return names, nil
}

func (r *request) answerWrite(done project.Written) *answer {
	a := r.answer(r.writeStatus(done))
	if applied := applied(r.ask.Prefer); applied != "" {
		a.header.Set("Preference-Applied", applied)
	}
	r.setContentRange(a, done.Count)
	if r.ask.Represents() {
		a.setRows(r, done.Rows)
	}
	if done.Location != "" {
		a.header.Set("Location", done.Location)
	}
	return a
}

func (r *request) writeStatus(done project.Written) int {
	switch {
	case r.Method == http.MethodPost && (done.Inserted > 0 || r.ask.Prefer.Resolution != "merge-duplicates"):
		return http.StatusCreated
	case r.Method == http.MethodPost || r.ask.Represents():
		return http.StatusOK
	}
	return http.StatusNoContent
}

// setContentRange says how many rows were written, if that was asked for.
func (r *request) setContentRange(a *answer, rows int) {
	span, counted := "*", "*"
	if r.Method == http.MethodPatch {
		span = contentRange(0, rows)
	}
	if r.ask.Prefer.Count != "" {
		counted = strconv.Itoa(rows)
	}
	a.header.Set("Content-Range", span+"/"+counted)
}
