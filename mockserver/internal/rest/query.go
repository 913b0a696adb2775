package rest

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// maxTargets is PostgreSQL's limit of the expressions in a SELECT and its ORDER
// BY.
const maxTargets = 1664

func tooManyTargets() *pgtype.Error {
	return pgtype.Errorf("54011", "target lists can have at most %d entries", maxTargets)
}

// ParseQuery reads a query string. Its error is a *project.Refusal or an *Error.
func ParseQuery(raw string) (*project.Query, error) {
	q := &queryParser{project.Query{Limit: -1}}
	for pair := range strings.SplitSeq(raw, "&") {
		key, value, given := strings.Cut(pair, "=")
		if !given { // PostgREST passes over a key alone, too
			continue
		}
		key, value = unescape(key), unescape(value)
		if !utf8.ValidString(key + value) {
			return nil, project.Refuse(http.StatusBadRequest, "22021", `invalid byte sequence for encoding "UTF8"`)
		}
		if err := q.set(key, value); err != nil {
			return nil, err
		}
	}
	return &q.Query, nil
}

// queryParser fills in a query.
type queryParser struct{ project.Query }

// unescape undoes percent encoding, where it is well formed.
func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

// set reads one parameter.
func (q *queryParser) set(key, value string) (err error) {
	switch key {
	case "apikey": // the gateway takes it
	case "select":
		q.Selects, err = parseSelect(value)
	case "order":
		q.Order, err = parseOrder(value)
	case "limit":
		if n, bad := strconv.Atoi(value); bad == nil { // PostgREST ignores what is no number
			if n < 0 {
				return BadRange("Limit should be greater than or equal to zero.")
			}
			q.Limit = n
		}
	case "offset":
		if n, bad := strconv.Atoi(value); bad == nil {
			q.Offset = max(n, 0)
		}
	case "columns":
		q.Columns, err = parseNames("columns", value)
	case "on_conflict":
		q.OnConflict, err = parseNames("on_conflict", value)
	default:
		var n *project.Condition
		n, err = parseParameter(key, value)
		q.Where = append(q.Where, n)
	}
	return err
}

func BadRange(details string) *project.Refusal {
	return project.Refuse(http.StatusRequestedRangeNotSatisfiable, "PGRST103", "Requested range not satisfiable").WithDetails("%s", details)
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
func (r *queryReader) fail(expecting string) *project.Refusal {
	e := project.Refuse(http.StatusBadRequest, "PGRST100", "\"failed to parse %s\" (line 1, column %d)", r.what, r.size-len(r.rest)+1)
	if r.rest == "" {
		return e.WithDetails("unexpected end of input expecting %s", expecting)
	}
	_, size := utf8.DecodeRuneInString(r.rest)
	return e.WithDetails("unexpected %q expecting %s", r.rest[:size], expecting)
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
func (r *queryReader) field() (name string, path []project.JSONStep, err error) {
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
func (r *queryReader) path() (path []project.JSONStep, err error) {
	for strings.HasPrefix(r.rest, "->") {
		step := project.JSONStep{Text: r.take("->>")}
		if !step.Text {
			r.take("->")
		}
		digits := len(r.rest) - len(strings.TrimLeft(strings.TrimPrefix(r.rest, "-"), "0123456789"))
		if end := r.rest[digits:]; digits > len(r.rest)-len(strings.TrimPrefix(r.rest, "-")) && digits < 11 &&
			(end == "" || strings.ContainsRune("-:.,)", rune(end[0]))) {
			step.Key, step.Index, r.rest = r.rest[:digits], true, end
		} else if step.Key, err = r.name(); err != nil {
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

func parseSelect(value string) ([]project.SelectItem, error) {
	r := newQueryReader("select parameter", value)
	var items []project.SelectItem
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

// project.SelectItem reads *, or alias:column::cast.
func (r *queryReader) selectItem() (item project.SelectItem, err error) {
	r.space()
	if r.take("*") {
		return project.SelectItem{Column: "*"}, nil
	}
	if r.take("..") {
		return item, noRelationship(r)
	}
	if item.Column, err = r.name(); err != nil {
		return item, err
	}
	if strings.HasPrefix(r.rest, ":") && !strings.HasPrefix(r.rest, "::") {
		r.take(":")
		item.Alias = item.Column
		if item.Column, err = r.name(); err != nil {
			return item, err
		}
	}
	if item.Path, err = r.path(); err != nil {
		return item, err
	}
	switch {
	case strings.HasPrefix(r.rest, "("), strings.HasPrefix(r.rest, "!"):
		return item, noRelationship(r)
	case strings.HasPrefix(r.rest, "."):
		return item, project.Refuse(http.StatusBadRequest, "PGRST123", "Use of aggregate functions is not allowed")
	}
	if r.take("::") {
		if item.Cast, err = r.name(); err != nil {
			return item, err
		}
	}
	return item, nil
}

// noRelationship is the answer to an embedded table: this server has no foreign
// keys.
func noRelationship(r *queryReader) *project.Refusal {
	return project.Refuse(http.StatusBadRequest, "PGRST200", "Could not find a relationship for the embedded resource in the schema cache").
		WithDetails("%s: this server has no foreign keys", r.what)
}

func parseOrder(value string) ([]project.OrderTerm, error) {
	r := newQueryReader("order", value)
	var terms []project.OrderTerm
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

// project.OrderTerm reads column.desc.nullslast. NULL is greater than all else where
// nothing else is said.
func (r *queryReader) orderTerm() (term project.OrderTerm, err error) {
	if term.Column, term.Path, err = r.field(); err != nil {
		return term, err
	}
	if r.take(".desc") {
		term.Desc = true
	} else {
		r.take(".asc")
	}
	term.NullsFirst = term.Desc
	switch {
	case r.take(".nullsfirst"):
		term.NullsFirst = true
	case r.take(".nullslast"):
		term.NullsFirst = false
	case strings.HasPrefix(r.rest, "."):
		r.take(".")
		return term, r.fail(`"asc", "desc", "nullsfirst" or "nullslast"`)
	}
	r.space()
	return term, nil
}
