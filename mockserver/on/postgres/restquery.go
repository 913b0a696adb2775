package postgres

import (
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// sqlQuery is SQL under construction. What a request brings is in it as a name
// in quotes, or as a parameter, and in no other way.
type sqlQuery struct {
	strings.Builder
	args []string
}

// arg adds a parameter and returns its place.
func (q *sqlQuery) arg(value string) string {
	q.args = append(q.args, value)
	return "$" + strconv.Itoa(len(q.args))
}

// quoteName writes a name as an identifier of SQL. PostgreSQL has no names with
// a zero byte, and neither has what was parsed as UTF-8 text sent to it: such a
// name is refused by the protocol.
func quoteName(parts ...string) string {
	quoted := make([]string, len(parts))
	for i, p := range parts {
		quoted[i] = `"` + strings.ReplaceAll(strings.ReplaceAll(p, "\x00", ""), `"`, `""`) + `"`
	}
	return strings.Join(quoted, ".")
}

// relation is a table, view or result of a function, and what a request may
// name of it.
type relation struct {
	schema, name string
	sql          string // by which its columns are found
	columns      []relationColumn
}

// relationColumn is a column as PostgreSQL's catalogue has it.
type relationColumn struct {
	name      string
	typ       string // in SQL, with its modifier
	fallback  string // the expression of its default; empty: none
	notNull   bool
	key       bool
	generated bool
}

func (t *relation) column(name string) (relationColumn, bool) {
	for _, c := range t.columns {
		if c.name == name {
			return c, true
		}
	}
	return relationColumn{}, false
}

func (t *relation) col(name string) string { return t.sql + "." + quoteName(name) }

// field writes a column, or what a path finds in its JSON. Columns of other
// types are made JSON for that.
func (q *sqlQuery) field(t *relation, name string, path []project.JSONStep) string {
	sql := t.col(name)
	if c, known := t.column(name); path != nil && (!known || c.typ != "json" && c.typ != "jsonb") {
		sql = "to_jsonb(" + sql + ")"
	}
	for _, step := range path {
		arrow, typ := "->", "text"
		if step.Text {
			arrow = "->>"
		}
		if step.Index {
			typ = "int"
		}
		sql += arrow + q.arg(step.Key) + "::" + typ
	}
	if path != nil {
		sql = "(" + sql + ")"
	}
	return sql
}

// sqlOperators are those of filters. All of them compare a column with a
// parameter.
var sqlOperators = map[string]string{
	"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "like": "like", "ilike": "ilike",
	"match": "~", "imatch": "~*", "isdistinct": "is distinct from",
}

// sqlContainment are those of arrays, ranges and JSON, and sqlSearch makes the
// query of a full text search.
var (
	sqlContainment = map[string]string{
		"cs": "@>", "cd": "<@", "ov": "&&", "sl": "<<", "sr": ">>", "nxr": "&<", "nxl": "&>", "adj": "-|-",
	}
	sqlSearch = map[string]string{
		"fts": "to_tsquery", "plfts": "plainto_tsquery", "phfts": "phraseto_tsquery", "wfts": "websearch_to_tsquery",
	}
)

// condition writes a condition.
func (q *sqlQuery) condition(t *relation, n *project.Condition) string {
	sql := q.plainCondition(t, n)
	if n.Negate {
		return "not (" + sql + ")"
	}
	return sql
}

func (q *sqlQuery) plainCondition(t *relation, n *project.Condition) string {
	switch n.Op {
	case "and", "or":
		parts := make([]string, len(n.Parts))
		for i, part := range n.Parts {
			parts[i] = q.condition(t, part)
		}
		if len(parts) == 0 {
			return "true"
		}
		return "(" + strings.Join(parts, " "+n.Op+" ") + ")"
	}
	column := q.field(t, n.Column, n.Path)
	if operator, ok := sqlContainment[n.Op]; ok {
		return column + " " + operator + " " + q.arg(n.Value)
	}
	if function, ok := sqlSearch[n.Op]; ok {
		return q.search(t, n, column, function)
	}
	switch n.Op {
	case "is": // the parser knows the four keywords
		return column + " is " + n.Value
	case "in":
		return column + " = any (" + q.arg(arrayLiteral(n.List)) + ")"
	}
	value := q.arg(n.Value)
	if n.Each != "" {
		value = n.Each + "(" + value + ")"
	}
	return column + " " + sqlOperators[n.Op] + " " + value
}

// search writes a full text search. Columns that are no tsvector are made one.
func (q *sqlQuery) search(t *relation, n *project.Condition, column, function string) string {
	config := ""
	if n.Lang != "" {
		config = q.arg(n.Lang) + "::text::regconfig, "
	}
	if c, known := t.column(n.Column); n.Path != nil || known && c.typ != "tsvector" {
		column = "to_tsvector(" + config + column + ")"
	}
	return column + " @@ " + function + "(" + config + q.arg(n.Value) + "::text)"
}

// arrayLiteral writes texts as PostgreSQL reads an array.
func arrayLiteral(list []string) string {
	quoted := make([]string, len(list))
	for i, text := range list {
		quoted[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
	}
	return "{" + strings.Join(quoted, ",") + "}"
}

// where writes the conditions of a query, with WHERE before them.
func (q *sqlQuery) where(t *relation, r *project.Query) string {
	if len(r.Where) == 0 {
		return ""
	}
	return " where " + q.condition(t, &project.Condition{Op: "and", Parts: r.Where})
}

// selection writes what a query selects. The casts are PostgreSQL's names for
// the types that the request named.
func (q *sqlQuery) selection(t *relation, items []project.SelectItem, casts map[string]string) string {
	if items == nil {
		items = []project.SelectItem{{Column: "*"}}
	}
	var list []string
	for _, item := range items {
		if item.Column == "*" {
			for _, c := range t.columns {
				list = append(list, t.col(c.name))
			}
			if t.columns == nil {
				list = append(list, t.sql+".*")
			}
			continue
		}
		sql := q.field(t, item.Column, item.Path)
		if item.Cast != "" {
			sql += "::" + casts[item.Cast]
		}
		list = append(list, sql+" as "+quoteName(item.Name()))
	}
	return strings.Join(list, ", ")
}

// orderBy writes the order of a query, with ORDER BY before it.
func (q *sqlQuery) orderBy(t *relation, terms []project.OrderTerm) string {
	if len(terms) == 0 {
		return ""
	}
	list := make([]string, len(terms))
	for i, term := range terms {
		list[i] = q.field(t, term.Column, term.Path) + direction(term)
	}
	return " order by " + strings.Join(list, ", ")
}

func direction(term project.OrderTerm) string {
	sql := " asc"
	if term.Desc {
		sql = " desc"
	}
	if term.NullsFirst {
		return sql + " nulls first"
	}
	return sql + " nulls last"
}
