package postgres

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// returning is what a write answers with, and how that is asked for.
type returning struct {
	t        *relation
	body     string   // the JSON of a row, in SQL
	fresh    string   // whether the row was inserted, in SQL
	order    []string // what the rows are sorted by
	terms    []project.OrderTerm
	sqlQuery // the parameters of all that; each write of the request begins with them
}

// returning plans the answer of a write.
func (r *request) returning(t *relation) (*returning, error) {
	out := &returning{t: t, body: "null::text", fresh: "true"}
	casts, err := r.casts()
	if err != nil {
		return nil, err
	}
	switch {
	case r.Represents():
		out.body = "(select row_to_json(pgrst)::text from (select " + out.selection(t, r.Query.Selects, casts) + ") pgrst)"
		out.terms = r.Query.Order
		for _, term := range r.Query.Order {
			out.order = append(out.order, out.field(t, term.Column, term.Path))
		}
	case r.Method == http.MethodPost && r.Prefer.Representation == "headers-only":
		out.body = t.keyJSON()
	}
	if r.Prefer.Resolution == "merge-duplicates" && r.Method == http.MethodPost {
		out.fresh = "(" + t.sql + ".xmax = 0)"
	}
	return out, nil
}

// begin begins the write itself.
func (out *returning) begin() *sqlQuery { return &sqlQuery{args: slices.Clone(out.args)} }

// keyJSON is the primary key of a row as an object of texts, or NULL of a
// relation without one.
func (t *relation) keyJSON() string {
	var parts []string
	for _, c := range t.columns {
		if c.key {
			parts = append(parts, t.col(c.name)+"::text as "+quoteName(c.name))
		}
	}
	if parts == nil {
		return "null::text"
	}
	return "(select row_to_json(pgrst)::text from (select " + strings.Join(parts, ", ") + ") pgrst)"
}

// wrap makes a write one that answers. A write without an answer needs no right
// to read.
func (out *returning) wrap(write string) string {
	if out.body == "null::text" && out.fresh == "true" {
		return write
	}
	list := []string{out.body + " as pgrst_body", out.fresh + " as pgrst_fresh"}
	var order []string
	for i, column := range out.order {
		list = append(list, fmt.Sprintf("%s as pgrst_order_%d", column, i))
		order = append(order, fmt.Sprintf("pgrst_order_%d%s", i, direction(out.terms[i])))
	}
	sql := "with pgrst_write as (" + write + " returning " + strings.Join(list, ", ") + ") select pgrst_body, pgrst_fresh from pgrst_write"
	if order != nil {
		sql += " order by " + strings.Join(order, ", ")
	}
	return sql
}

// run runs a write and reads what it answers.
func (r *request) run(out *returning, q *sqlQuery, done *project.Written) error {
	rows, affected, err := r.tx.Query(r.ctx, out.wrap(q.String()), q.args...)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if r.Represents() {
			done.Rows = append(done.Rows, row[0])
		}
		if isTrue(row[1]) {
			done.Inserted++
		}
	}
	if len(rows) == 0 { // it was not asked to answer, or there is nothing to say
		done.Inserted += int(affected)
	}
	done.Count += int(affected)
	if r.Prefer.Representation == "headers-only" && affected == 1 && rows != nil && rows[0][0] != nil {
		done.Location = location(out.t.name, rows[0][0])
	}
	return nil
}

// location is the path and query of a row whose key is an object of texts.
func location(name string, key []byte) string {
	var fields map[string]string
	_ = json.Unmarshal(key, &fields) // PostgreSQL has written it
	values := url.Values{}
	for column, value := range fields {
		values.Set(column, "eq."+value)
	}
	return "/" + name + "?" + values.Encode()
}

// insertInto carries out POST.
func (r *request) insertInto(t *relation) (done project.Written, err error) {
	body, columns, err := r.objects(t)
	if err != nil {
		return done, err
	}
	out, err := r.returning(t)
	if err != nil {
		return done, err
	}
	conflict, err := r.onConflict(t, columns)
	if err != nil {
		return done, err
	}
	if len(columns) == 0 { // as many rows of defaults as there are objects
		for range r.Body.Rows {
			q := out.begin()
			q.WriteString("insert into " + t.sql + " default values" + conflict)
			if err := r.run(out, q, &done); err != nil {
				return done, err
			}
		}
		return done, nil
	}
	q := out.begin()
	var names, values []string
	for _, c := range columns {
		names = append(names, quoteName(c.name))
		values = append(values, `"pgrst_body".`+quoteName(c.name))
	}
	fmt.Fprintf(q, "insert into %s(%s) select %s from %s%s", t.sql, strings.Join(names, ", "), strings.Join(values, ", "),
		r.recordset(q, columns, body), conflict)
	if err := r.run(out, q, &done); err != nil {
		return done, err
	}
	return done, nil
}

// recordset is the body as rows. Where defaults stand for what is missing, they
// are put under each object.
func (r *request) recordset(q *sqlQuery, columns []relationColumn, body string) string {
	rows := q.arg(body) + "::json"
	function := "json_to_recordset"
	if r.Prefer.Missing == "default" {
		var pairs []string
		for _, c := range columns {
			if c.fallback != "" && !c.generated {
				pairs = append(pairs, q.arg(c.name)+"::text, "+c.fallback)
			}
		}
		rows = fmt.Sprintf("(select coalesce(jsonb_agg(jsonb_build_object(%s) || pgrst_element), '[]') from jsonb_array_elements(%sb) pgrst_element)",
			strings.Join(pairs, ", "), rows)
		function = "jsonb_to_recordset"
	}
	return function + "(" + rows + `) as "pgrst_body"(` + definitions(columns) + ")"
}

// definitions are the columns of a record, with their types.
func definitions(columns []relationColumn) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = quoteName(c.name) + " " + c.typ
	}
	return strings.Join(list, ", ")
}

// OnConflict is what is done with rows whose key is taken.
func (r *request) onConflict(t *relation, columns []relationColumn) (string, error) {
	if r.Prefer.Resolution == "" {
		return "", nil
	}
	var target, set []string
	for _, name := range r.Query.OnConflict {
		target = append(target, quoteName(name))
	}
	for _, c := range t.columns {
		if c.key && r.Query.OnConflict == nil {
			target = append(target, quoteName(c.name))
		}
	}
	for _, c := range columns {
		set = append(set, quoteName(c.name)+" = excluded."+quoteName(c.name))
	}
	switch {
	case len(target) == 0: // nothing that could be taken
		return "", nil
	case r.Prefer.Resolution == "ignore-duplicates" || len(set) == 0:
		return " on conflict(" + strings.Join(target, ", ") + ") do nothing", nil
	}
	return " on conflict(" + strings.Join(target, ", ") + ") do update set " + strings.Join(set, ", "), nil
}

// updateSet carries out PATCH.
func (r *request) updateSet(t *relation) (done project.Written, err error) {
	if err := r.CheckTarget(); err != nil {
		return done, err
	}
	_, columns, err := r.objects(t)
	if err != nil {
		return done, err
	}
	out, err := r.returning(t)
	if err != nil {
		return done, err
	}
	if len(columns) == 0 || len(r.Body.Rows) == 0 {
		return done, nil
	}
	q := out.begin()
	var set []string
	kept := columns[:0:0]
	for _, c := range columns { // one that the object does not have is left alone
		if _, given := r.Body.Rows[0][c.name]; given {
			kept = append(kept, c)
			set = append(set, quoteName(c.name)+` = "pgrst_body".`+quoteName(c.name))
		}
	}
	if len(kept) == 0 {
		return done, nil
	}
	first, err := json.Marshal(r.Body.Rows[0])
	if err != nil {
		return done, err
	}
	fmt.Fprintf(q, `update %s set %s from json_to_record(%s::json) as "pgrst_body"(%s)`,
		t.sql, strings.Join(set, ", "), q.arg(string(first)), definitions(kept))
	q.WriteString(q.where(t, r.Query))
	if err := r.run(out, q, &done); err != nil {
		return done, err
	}
	return done, nil
}

// deleteFrom carries out DELETE.
func (r *request) deleteFrom(t *relation) (done project.Written, err error) {
	if err := r.CheckTarget(); err != nil {
		return done, err
	}
	out, err := r.returning(t)
	if err != nil {
		return done, err
	}
	q := out.begin()
	q.WriteString("delete from " + t.sql)
	q.WriteString(q.where(t, r.Query))
	if err := r.run(out, q, &done); err != nil {
		return done, err
	}
	return done, nil
}
