package postgrest

import (
	"net/url"
	"strings"
)

// query is the parameters of a URL, in their order.
type query []parameter

type parameter struct{ name, value string }

func (q *query) add(name, value string) { *q = append(*q, parameter{name, value}) }

// encode writes a space as %20: to some who read a URL, + is no space.
func (q query) encode() string {
	var b strings.Builder
	for i, p := range q {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(escaped(p.name))
		b.WriteByte('=')
		b.WriteString(escaped(p.value))
	}
	return b.String()
}

func escaped(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// addAfter asks for the rows behind a key: of (a, b) those with
// a > x or (a = x and b > y), as PostgREST compares no rows.
func addAfter(q *query, columns, after []string) {
	if len(columns) == 1 {
		q.add(name(columns[0]), "gt."+after[0])
		return
	}
	// The condition below needs a look at every row; this one is what an index
	// finds its place by.
	q.add(name(columns[0]), "gte."+after[0])
	term := ""
	for i := len(columns) - 1; i >= 0; i-- {
		column, value := name(columns[i]), quoted(after[i])
		greater := column + ".gt." + value
		if term == "" {
			term = greater
			continue
		}
		term = greater + ",and(" + column + ".eq." + value + "," + orTerm(term, i == len(columns)-2) + ")"
	}
	q.add("or", "("+term+")")
}

// orTerm is a list of alternatives as one term.
func orTerm(term string, single bool) string {
	if single {
		return term
	}
	return "or(" + term + ")"
}

// addKeys asks for the rows with these keys.
func addKeys(q *query, columns []string, keys [][]string) {
	if len(columns) == 1 && len(keys) == 1 {
		q.add(name(columns[0]), "eq."+keys[0][0]) // in.("") is the empty list to PostgREST
		return
	}
	terms := make([]string, len(keys))
	for i, key := range keys {
		terms[i] = keyTerm(columns, key)
	}
	list := "(" + strings.Join(terms, ",") + ")"
	if len(columns) == 1 {
		q.add(name(columns[0]), "in."+list)
		return
	}
	q.add("or", list)
}

// keyTerm is what a key adds to the list of addKeys.
func keyTerm(columns, key []string) string {
	if len(columns) == 1 {
		return quoted(key[0])
	}
	equal := make([]string, len(columns))
	for i, column := range columns {
		equal[i] = name(column) + ".eq." + quoted(key[i])
	}
	return "and(" + strings.Join(equal, ",") + ")"
}

// name is a column where a query has one, in quotes if it would be read as a
// path, an option, or part of the syntax.
func name(column string) string {
	switch column {
	case "select", "columns", "on_conflict", "order", "limit", "offset", "and", "or", "not", "apikey":
		return quote(column)
	}
	if strings.ContainsAny(column, "-:.") {
		return quote(column)
	}
	return quoted(column)
}

// quoted is a value in a list or a term, in quotes unless it means itself
// without. The value of a parameter of its own takes none.
func quoted(value string) string {
	plain := value != "" && !strings.ContainsFunc(value, func(r rune) bool {
		return !strings.ContainsRune("_-:.", r) && !('0' <= r && r <= '9') && !('a' <= r && r <= 'z') && !('A' <= r && r <= 'Z')
	})
	if plain {
		return value
	}
	return quote(value)
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
