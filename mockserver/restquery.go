package mockserver

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// restQuery is the query string of a request to a table, in PostgREST's
// language. Nothing in it has been looked up in the table yet.
type restQuery struct {
	selects    []selectItem // nil: everything
	where      []*restNode  // all of them must hold
	order      []orderTerm
	limit      int // -1: none
	offset     int
	columns    []string // of ?columns=; nil: not given
	onConflict []string
}

// selectItem is a column to return.
type selectItem struct {
	column string // or *
	path   []jsonStep
	alias  string // the key in the answer; empty: the column, or the last key of the path
	cast   string // a type; may be empty
}

// orderTerm is a column to sort by.
type orderTerm struct {
	column     string
	path       []jsonStep
	desc       bool
	nullsFirst bool
}

// jsonStep is an arrow and what is behind it: ->key, ->>key, ->0.
type jsonStep struct {
	key   string
	index bool // the key is the number of an element
	text  bool // of ->>
}

// maxTargets is PostgreSQL's limit of the expressions in a SELECT and its ORDER
// BY.
const maxTargets = 1664

func tooManyTargets() *pgtype.Error {
	return pgtype.Errorf("54011", "target lists can have at most %d entries", maxTargets)
}

// parseRESTQuery reads a query string. Its error is a *restError or an *Error.
func parseRESTQuery(raw string) (*restQuery, error) {
	q := &restQuery{limit: -1}
	for pair := range strings.SplitSeq(raw, "&") {
		key, value, given := strings.Cut(pair, "=")
		if !given { // PostgREST passes over a key alone, too
			continue
		}
		key, value = unescape(key), unescape(value)
		if !utf8.ValidString(key + value) {
			return nil, refuse(http.StatusBadRequest, "22021", `invalid byte sequence for encoding "UTF8"`)
		}
		if err := q.set(key, value); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// unescape undoes percent encoding, where it is well formed.
func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

// set reads one parameter.
func (q *restQuery) set(key, value string) (err error) {
	switch key {
	case "apikey": // the gateway takes it
	case "select":
		q.selects, err = parseSelect(value)
	case "order":
		q.order, err = parseOrder(value)
	case "limit":
		if n, bad := strconv.Atoi(value); bad == nil { // PostgREST ignores what is no number
			if n < 0 {
				return badRange("Limit should be greater than or equal to zero.")
			}
			q.limit = n
		}
	case "offset":
		if n, bad := strconv.Atoi(value); bad == nil {
			q.offset = max(n, 0)
		}
	case "columns":
		q.columns, err = parseNames("columns", value)
	case "on_conflict":
		q.onConflict, err = parseNames("on_conflict", value)
	default:
		var n *restNode
		n, err = parseParameter(key, value)
		q.where = append(q.where, n)
	}
	return err
}

func badRange(details string) *restError {
	return refuse(http.StatusRequestedRangeNotSatisfiable, "PGRST103", "Requested range not satisfiable").details("%s", details)
}

// queryReader reads a parameter from the left.
type queryReader struct {
	what string // for errors: "filter (eq.1)"
	rest string
	size int
}

func newQueryReader(what, value string) *queryReader {
	return &queryReader{what: what + " (" + value + ")", rest: value, size: len(value)}
}

// fail says what was expected in the place of what is there.
func (r *queryReader) fail(expecting string) *restError {
	e := refuse(http.StatusBadRequest, "PGRST100", "\"failed to parse %s\" (line 1, column %d)", r.what, r.size-len(r.rest)+1)
	if r.rest == "" {
		return e.details("unexpected end of input expecting %s", expecting)
	}
	_, size := utf8.DecodeRuneInString(r.rest)
	return e.details("unexpected %q expecting %s", r.rest[:size], expecting)
}

// take reads a token if it is next.
func (r *queryReader) take(token string) bool {
	rest, ok := strings.CutPrefix(r.rest, token)
	if ok {
		r.rest = rest
	}
	return ok
}

func (r *queryReader) space() { r.rest = strings.TrimLeft(r.rest, " \t") }

// name reads a column's name: in double quotes, or made of letters, digits,
// spaces, underscores, dollars, and hyphens that begin no arrow.
func (r *queryReader) name() (string, error) {
	r.space()
	if strings.HasPrefix(r.rest, `"`) {
		return r.quoted()
	}
	end := 0
	for end < len(r.rest) {
		c, size := utf8.DecodeRuneInString(r.rest[end:])
		hyphen := c == '-' && end > 0 && !strings.HasPrefix(r.rest[end:], "->")
		if !hyphen && !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("_ $", c) {
			break
		}
		end += size
	}
	name := strings.TrimSpace(r.rest[:end])
	if name == "" {
		return "", r.fail("field name (* or [a..z0..9_$])")
	}
	r.rest = r.rest[end:]
	return name, nil
}

// field reads a column's name and a path into its JSON.
func (r *queryReader) field() (name string, path []jsonStep, err error) {
	if name, err = r.name(); err != nil {
		return "", nil, err
	}
	path, err = r.path()
	r.space()
	return name, path, err
}

// maxPath bounds the steps of a path, which PostgreSQL's stack does, too.
const maxPath = 1000

// path reads a path into JSON, which may be empty.
func (r *queryReader) path() (path []jsonStep, err error) {
	for strings.HasPrefix(r.rest, "->") {
		step := jsonStep{text: r.take("->>")}
		if !step.text {
			r.take("->")
		}
		digits := len(r.rest) - len(strings.TrimLeft(strings.TrimPrefix(r.rest, "-"), "0123456789"))
		if end := r.rest[digits:]; digits > len(r.rest)-len(strings.TrimPrefix(r.rest, "-")) && digits < 11 &&
			(end == "" || strings.ContainsRune("-:.,)", rune(end[0]))) {
			step.key, step.index, r.rest = r.rest[:digits], true, end
		} else if step.key, err = r.name(); err != nil {
			return nil, err
		}
		if path = append(path, step); len(path) > maxPath {
			return nil, pgtype.Errorf("54001", "stack depth limit exceeded")
		}
	}
	return path, nil
}

// quoted reads a string in double quotes, in which a backslash makes the next
// character literal.
func (r *queryReader) quoted() (string, error) {
	value, n, ok := pgtype.ReadQuoted(r.rest)
	if !ok {
		r.rest = ""
		return "", r.fail(`"\""`)
	}
	r.rest = r.rest[n:]
	return value, nil
}

func parseNames(what, value string) ([]string, error) {
	r := newQueryReader(what+" parameter", value)
	names := []string{}
	seen := map[string]bool{}
	for {
		name, err := r.name()
		if err != nil {
			return nil, err
		}
		if !seen[name] {
			names = append(names, name)
		}
		seen[name] = true
		r.space()
		switch {
		case r.rest == "":
			return names, nil
		case !r.take(","):
			return nil, r.fail(`"," or end of input`)
		}
	}
}

func parseSelect(value string) ([]selectItem, error) {
	r := newQueryReader("select parameter", value)
	var items []selectItem
	for {
		item, err := r.selectItem()
		if err != nil {
			return nil, err
		}
		if items = append(items, item); len(items) > maxTargets {
			return nil, tooManyTargets()
		}
		r.space()
		switch {
		case r.rest == "":
			return items, nil
		case !r.take(","):
			return nil, r.fail(`"," or end of input`)
		}
	}
}

// selectItem reads *, or alias:column::cast.
func (r *queryReader) selectItem() (item selectItem, err error) {
	r.space()
	if r.take("*") {
		return selectItem{column: "*"}, nil
	}
	if r.take("..") {
		return item, noRelationship(r)
	}
	if item.column, err = r.name(); err != nil {
		return item, err
	}
	if strings.HasPrefix(r.rest, ":") && !strings.HasPrefix(r.rest, "::") {
		r.take(":")
		item.alias = item.column
		if item.column, err = r.name(); err != nil {
			return item, err
		}
	}
	if item.path, err = r.path(); err != nil {
		return item, err
	}
	switch {
	case strings.HasPrefix(r.rest, "("), strings.HasPrefix(r.rest, "!"):
		return item, noRelationship(r)
	case strings.HasPrefix(r.rest, "."):
		return item, refuse(http.StatusBadRequest, "PGRST123", "Use of aggregate functions is not allowed")
	}
	if r.take("::") {
		if item.cast, err = r.name(); err != nil {
			return item, err
		}
	}
	return item, nil
}

// noRelationship is the answer to an embedded table: this server has no foreign
// keys.
func noRelationship(r *queryReader) *restError {
	return refuse(http.StatusBadRequest, "PGRST200", "Could not find a relationship for the embedded resource in the schema cache").
		details("%s: this server has no foreign keys", r.what)
}

func parseOrder(value string) ([]orderTerm, error) {
	r := newQueryReader("order", value)
	var terms []orderTerm
	for {
		term, err := r.orderTerm()
		if err != nil {
			return nil, err
		}
		if terms = append(terms, term); len(terms) > maxTargets {
			return nil, tooManyTargets()
		}
		switch {
		case r.rest == "":
			return terms, nil
		case !r.take(","):
			return nil, r.fail(`delimiter (.), "," or end of input`)
		}
	}
}

// orderTerm reads column.desc.nullslast. NULL is greater than all else where
// nothing else is said.
func (r *queryReader) orderTerm() (term orderTerm, err error) {
	if term.column, term.path, err = r.field(); err != nil {
		return term, err
	}
	if r.take(".desc") {
		term.desc = true
	} else {
		r.take(".asc")
	}
	term.nullsFirst = term.desc
	switch {
	case r.take(".nullsfirst"):
		term.nullsFirst = true
	case r.take(".nullslast"):
		term.nullsFirst = false
	case strings.HasPrefix(r.rest, "."):
		r.take(".")
		return term, r.fail(`"asc", "desc", "nullsfirst" or "nullslast"`)
	}
	r.space()
	return term, nil
}
