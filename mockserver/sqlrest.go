package mockserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// sqlRequest is a request to the REST API of a server whose database is a
// backend's. It lives in one transaction.
type sqlRequest struct {
	*restRequest
	ctx    context.Context
	tx     project.Tx
	schema string
}

// answerBackend answers a request from the backend's database. What a write did
// is committed before the answer.
func (r *restRequest) answerBackend(path string) (answer *restAnswer, err error) {
	if path != "" {
		if err := r.negotiate(); err != nil {
			return nil, err
		}
	}
	schema, err := r.schema()
	if err != nil {
		return nil, err
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	ctx, cancel := context.WithTimeout(r.Context(), databasePatience)
	defer cancel()
	err = r.server.realtime.backend.As(ctx, project.Request{
		Caller: project.Caller{Role: r.role, Claims: r.claims}, ReadOnly: reads, Settings: r.settings(schema),
	}, func(tx project.Tx) error {
		answer, err = (&sqlRequest{restRequest: r, ctx: ctx, tx: tx, schema: schema}).answerPath(path)
		return err
	})
	return answer, sqlFailure(err)
}

// settings are what functions and policies may ask of the request.
func (r *restRequest) settings(schema string) map[string]string {
	headers := map[string]string{}
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	delete(headers, "authorization")
	delete(headers, "apikey")
	return map[string]string{
		"request.headers": string(mustJSON(headers)), "request.method": r.Method, "request.path": r.URL.Path,
		"search_path": quoteName(schema) + `, "public", "extensions"`,
	}
}

// sqlFailure makes an error of the backend one that the REST API knows.
func sqlFailure(err error) error {
	if errors.Is(err, project.ErrUnavailable) {
		return noConnection("connection to server failed")
	}
	if pg, ok := err.(*project.Error); ok {
		return pg
	}
	return err
}

func (r *sqlRequest) answerPath(path string) (*restAnswer, error) {
	if path == "" {
		return r.describeAll()
	}
	var err error
	if r.query, err = parseRESTQuery(r.URL.RawQuery); err != nil && !strings.HasPrefix(path, "rpc/") {
		return nil, err
	}
	if name, isCall := strings.CutPrefix(path, "rpc/"); isCall {
		return r.callFunction(name)
	}
	if strings.Contains(path, "/") {
		return nil, refuse(http.StatusNotFound, "PGRST125", "Invalid path specified in request URL")
	}
	t, err := r.relation(path)
	if err != nil {
		return nil, err
	}
	r.table = &table{schema: t.schema, name: t.name} // for the headers of the answer
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return r.readFrom(t, quoteName(t.schema, t.name), nil)
	case http.MethodPost:
		return r.insertInto(t)
	case http.MethodPatch:
		return r.updateSet(t)
	case http.MethodDelete:
		return r.deleteFrom(t)
	}
	return nil, refuse(http.StatusMethodNotAllowed, "PGRST117", "Unsupported HTTP method: %s", r.Method)
}

// relation reads a table or view of the schema from the catalogue.
func (r *sqlRequest) relation(name string) (*relation, error) {
	rows, _, err := r.tx.Query(r.ctx, `select a.attname, format_type(a.atttypid, a.atttypmod),
			case a.attidentity when '' then coalesce(pg_get_expr(d.adbin, d.adrelid), '')
				else format('nextval(%L)', pg_get_serial_sequence(c.oid::regclass::text, a.attname)) end,
			a.attnotnull, coalesce(a.attnum = any (i.indkey), false), a.attgenerated <> ''
		from pg_class c
		join pg_namespace n on n.oid = c.relnamespace
		join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
		left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
		left join pg_index i on i.indrelid = c.oid and i.indisprimary
		where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p', 'v', 'm', 'f')
		order by a.attnum`, r.schema, name)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, refuse(http.StatusNotFound, "PGRST205", "Could not find the table '%s.%s' in the schema cache", r.schema, name)
	}
	t := &relation{schema: r.schema, name: name, sql: quoteName(r.schema, name)}
	for _, row := range rows {
		t.columns = append(t.columns, relationColumn{
			name: string(row[0]), typ: string(row[1]), fallback: string(row[2]),
			notNull: isTrue(row[3]), key: isTrue(row[4]), generated: isTrue(row[5]),
		})
	}
	return t, nil
}

func isTrue(text []byte) bool { return string(text) == "t" }

// casts asks PostgreSQL for its names of the types that the query casts to.
func (r *sqlRequest) casts() (map[string]string, error) {
	casts := map[string]string{}
	for _, item := range r.query.selects {
		if item.cast == "" {
			continue
		}
		rows, _, err := r.tx.Query(r.ctx, "select to_regtype($1)::text", item.cast)
		if err != nil {
			return nil, err
		}
		if rows[0][0] == nil {
			return nil, pgtype.Errorf("42704", "type %q does not exist", item.cast)
		}
		casts[item.cast] = string(rows[0][0])
	}
	return casts, nil
}

// readFrom answers with rows of a relation: from is what it is in SQL, and args
// are its parameters.
func (r *sqlRequest) readFrom(t *relation, from string, args []string) (*restAnswer, error) {
	offset, limit, err := r.window()
	if err != nil {
		return nil, err
	}
	casts, err := r.casts()
	if err != nil {
		return nil, err
	}
	total := 0
	if r.prefer.count != "" {
		q := &sqlQuery{args: slices.Clone(args)}
		where := q.where(t, r.query)
		rows, _, err := r.tx.Query(r.ctx, "select count(*) from "+from+where, q.args...)
		if err != nil {
			return nil, err
		}
		total, _ = strconv.Atoi(string(rows[0][0])) // a count
	}
	q := &sqlQuery{args: slices.Clone(args)}
	fmt.Fprintf(q, "select row_to_json(pgrst)::text from (select %s from %s", q.selection(t, r.query.selects, casts), from)
	q.WriteString(q.where(t, r.query) + q.orderBy(t, r.query.order))
	if limit < math.MaxInt {
		fmt.Fprintf(q, " limit %d", limit)
	}
	if offset > 0 {
		fmt.Fprintf(q, " offset %d", offset)
	}
	q.WriteString(") pgrst")
	rows, _, err := r.tx.Query(r.ctx, q.String(), q.args...)
	if err != nil {
		return nil, err
	}
	return r.answerPage(texts(rows), offset, total)
}

// texts returns the first column of rows.
func texts(rows [][][]byte) [][]byte {
	list := make([][]byte, len(rows))
	for i, row := range rows {
		list[i] = row[0]
	}
	return list
}

// describeAll answers for the root: the tables of which the role may read
// anything.
func (r *sqlRequest) describeAll() (*restAnswer, error) {
	rows, _, err := r.tx.Query(r.ctx, `select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f') and has_any_column_privilege(c.oid, 'select') order by 1`, r.schema)
	if err != nil {
		return nil, err
	}
	api := r.description()
	for _, name := range texts(rows) {
		t, err := r.relation(string(name))
		if err != nil {
			return nil, err
		}
		api.Definitions[t.name] = t.describe()
		api.Paths["/"+t.name] = apiPath(t.name, "get", "post", "patch", "delete")
	}
	a := &restAnswer{status: http.StatusOK, header: http.Header{}, body: mustJSON(api)}
	a.header.Set("Content-Type", "application/openapi+json; charset=utf-8")
	if r.profile() != "" {
		a.header.Set("Content-Profile", r.schema)
	}
	return a, nil
}

func (t *relation) describe() apiTable {
	described := apiTable{Type: "object"}
	for _, c := range t.columns {
		if c.notNull {
			described.Required = append(described.Required, c.name)
		}
		format, _, _ := strings.Cut(c.typ, "(")
		column := apiColumn{name: c.name, Format: format, Type: jsonType(format)}
		if c.key {
			column.Description = "Note:\nThis is a Primary Key.<pk/>"
		}
		described.Properties = append(described.Properties, column)
	}
	return described
}

// objects reads the body of a write: objects with the same keys, and the columns
// that they set. Columns of the query count in the place of the keys.
func (r *sqlRequest) objects(t *relation) (p *payload, body string, columns []relationColumn, err error) {
	raw, err := r.readBody()
	if err != nil {
		return nil, "", nil, err
	}
	if p, err = parsePayload(raw); err != nil {
		return nil, "", nil, err
	}
	names := r.query.columns
	if names == nil && len(p.rows) > 0 {
		if names, err = p.keys(); err != nil {
			return nil, "", nil, err
		}
	}
	for _, name := range names {
		c, ok := t.column(name)
		if !ok {
			return nil, "", nil, refuse(http.StatusBadRequest, "PGRST204", "Could not find the '%s' column of '%s' in the schema cache", name, t.name)
		}
		columns = append(columns, c)
	}
	text, err := json.Marshal(p.rows)
	return p, string(text), columns, err
}
