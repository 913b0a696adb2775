package project

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// Query is the query string of a request to a table, in PostgREST's
// language. Nothing in it has been looked up in the table yet.
type Query struct {
	Selects    []SelectItem // nil: everything
	Where      []*Condition // all of them must hold
	Order      []OrderTerm
	Limit      int // -1: none
	Offset     int
	Columns    []string // of ?columns=; nil: not given
	OnConflict []string
}

// SelectItem is a column to return.
type SelectItem struct {
	Column string // or *
	Path   []JSONStep
	Alias  string // the key in the answer; empty: the column, or the last key of the path
	Cast   string // a type; may be empty
}

// OrderTerm is a column to sort by.
type OrderTerm struct {
	Column     string
	Path       []JSONStep
	Desc       bool
	NullsFirst bool
}

// JSONStep is an arrow and what is behind it: ->key, ->>key, ->0.
type JSONStep struct {
	Key   string
	Index bool // the key is the number of an element
	Text  bool // of ->>
}

// Condition is a condition as PostgREST's language has it: a filter of a
// column, or and/or of others.
type Condition struct {
	Negate bool
	Op     string // "and" and "or", or the operator of a filter
	Parts  []*Condition

	Column string
	Path   []JSONStep
	Value  string
	List   []string // of in
	Each   string   // any or all: the value is an array, and the column is compared with its elements
	Lang   string   // of full text search: the configuration; empty: the default
}

// Operator is an operator of filters: what may stand behind it in parentheses, and
// whether it is one of arrays, ranges and JSON.
type Operator struct{ Each, Lang, Contains bool }

// Operators are the operators of filters, but and and or.
var Operators = map[string]Operator{
	"eq": {Each: true}, "neq": {}, "lt": {Each: true}, "lte": {Each: true}, "gt": {Each: true}, "gte": {Each: true},
	"like": {Each: true}, "ilike": {Each: true}, "match": {Each: true}, "imatch": {Each: true}, "in": {}, "is": {}, "isdistinct": {},
	"cs": {Contains: true}, "cd": {Contains: true}, "ov": {Contains: true}, "sl": {Contains: true}, "sr": {Contains: true}, "nxr": {Contains: true}, "nxl": {Contains: true}, "adj": {Contains: true},
	"fts": {Lang: true}, "plfts": {Lang: true}, "phfts": {Lang: true}, "wfts": {Lang: true},
}

// Name is the key of what is selected: the alias, the last key of the path, or
// the column.
func (item SelectItem) Name() string {
	if item.Alias != "" {
		return item.Alias
	}
	for _, step := range slices.Backward(item.Path) {
		if !step.Index {
			return step.Key
		}
	}
	return item.Column
}

// Preferences are what the header Prefer asks for; "" where it does not.
type Preferences struct {
	Representation string // representation, minimal, headers-only
	Resolution     string // merge-duplicates, ignore-duplicates
	Count          string // exact, planned, estimated: this server always counts
	Missing        string // default
}

// Refusal is an answer of the REST API that is an error: PostgREST's status
// and its four members.
type Refusal struct {
	Status  int     `json:"-"`
	Code    string  `json:"code"`
	Details *string `json:"details"`
	Hint    *string `json:"hint"`
	Message string  `json:"message"`

	Challenge    string `json:"-"` // WWW-Authenticate
	ContentRange string `json:"-"`
}

// Error makes it an error.
func (e *Refusal) Error() string { return e.Code + " " + e.Message }

// Refuse makes a Refusal.
func Refuse(status int, code, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithDetails sets the details, and returns the Refusal.
func (e *Refusal) WithDetails(format string, args ...any) *Refusal {
	details := fmt.Sprintf(format, args...)
	e.Details = &details
	return e
}

// WithHint sets the hint, and returns the Refusal.
func (e *Refusal) WithHint(hint string) *Refusal {
	e.Hint = &hint
	return e
}

// NotImplemented is PostgREST's answer to what it does not do either; here it
// stands for what only this server does not do.
func NotImplemented(what string) *Refusal {
	return Refuse(http.StatusBadRequest, "PGRST127", "Feature not implemented").WithDetails("%s", what)
}

// Request is a request to the REST API, of which all is read that needs no
// database.
type Request struct {
	Caller
	Method       string
	Schema, Name string // of a table or a function
	Query        *Query
	Prefer       Preferences

	Offset, Limit int                        // which of the rows to return; a Limit of math.MaxInt: all behind Offset
	Stale         time.Duration              // rows are read as they were so long ago, as far as that is known
	Body          *Payload                   // of POST and PATCH
	Args          map[string]json.RawMessage // of a call
	Accept        func(rows int) error       // refuses a write of so many rows before it is kept

	Path    string            // of the URL
	Headers map[string]string // with names in lower case, without keys and tokens
}

// Payload is the body of a write: objects, and which columns of them count.
type Payload struct {
	Columns []string
	Rows    []map[string]json.RawMessage
}

// Represents reports whether the answer has the rows that were written.
func (r *Request) Represents() bool { return r.Prefer.Representation == "representation" }

// CheckTarget refuses a PATCH or DELETE that is about all rows, as the extension
// safeupdate does, which a project has, or about a part of those found.
func (r *Request) CheckTarget() error {
	switch {
	case len(r.Query.Where) == 0:
		statement := map[string]string{http.MethodPatch: "UPDATE", http.MethodDelete: "DELETE"}[r.Method]
		return pgtype.Errorf(pgtype.CodeCardinality, "%s requires a WHERE clause", statement)
	case r.Query.Limit >= 0 || r.Query.Offset > 0:
		return NotImplemented("limit and offset of a write")
	}
	return nil
}

// Page is some of the rows that a request is about.
type Page struct {
	Rows  [][]byte // JSON
	Total int      // how many there are, if Preferences.Count asks for it
}

// Written is what a write did.
type Written struct {
	Rows            [][]byte // JSON, if Request.Represents
	Count, Inserted int
	Location        string // the path and query of the one row that was inserted; empty: it has none, or was not asked for
}

// Called is the result of a function: one row, unless it returns a set.
type Called struct {
	Page
	Set, Void bool
}

// Schema is what the description of the API says of a schema.
type Schema struct {
	Tables    []Relation
	Functions []string
}

// Relation is a table of which a role may read something.
type Relation struct {
	Name     string
	Columns  []RelationColumn
	Writable bool
}

// RelationColumn is a column of a Relation.
type RelationColumn struct {
	Name         string
	Format       string // the name of the type, without its modifier
	NotNull, Key bool
	MaxLength    int      // 0: none
	Enum         []string // the labels of an enum
}

// NoTable is the error of a table that is not there.
func NoTable(schema, name string) error {
	return Refuse(http.StatusNotFound, "PGRST205", "Could not find the table '%s.%s' in the schema cache", schema, name)
}

// NoColumn is the error of a body that sets a column that is not there.
func NoColumn(table, column string) error {
	return Refuse(http.StatusBadRequest, "PGRST204", "Could not find the '%s' column of '%s' in the schema cache", column, table)
}

// NoFunction is the error of a call of a function that is not there, or not
// with arguments of these names.
func NoFunction(schema, name string, args map[string]json.RawMessage) error {
	full := schema + "." + name
	list := strings.Join(slices.Sorted(maps.Keys(args)), ", ")
	short, long := "("+list+")", " with parameters "+list
	switch len(args) {
	case 0:
		short, long = " without parameters", " without parameters"
	case 1:
		long = " with parameter " + list
	}
	return Refuse(http.StatusNotFound, "PGRST202", "Could not find the function %s%s in the schema cache", full, short).
		WithDetails("Searched for the function %s%s or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache.", full, long)
}

// NoCallBy is the error of a function that is called by another method.
func NoCallBy(method string) error {
	return Refuse(http.StatusMethodNotAllowed, "PGRST101", "Cannot use the %s method on RPC", method)
}
