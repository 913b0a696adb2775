package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// requestPatience is how long a request may take.
const requestPatience = 15 * time.Second

// request is a request of the REST API that is carried out, in one transaction.
type request struct {
	*project.Request
	ctx context.Context
	tx  transaction
}

// carryOut runs f in a transaction as the caller of a request.
func (db *Database) carryOut(ctx context.Context, r *project.Request, f func(*request) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	headers, err := json.Marshal(r.Headers)
	if err != nil {
		return err
	}
	settings := map[string]string{ // what functions and policies may ask of the request
		"request.headers": string(headers), "request.method": r.Method, "request.path": r.Path,
		"search_path": quoteName(r.Schema) + `, "public", "extensions"`,
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	return db.as(ctx, r.Caller, reads, settings, func(tx transaction) error { return f(&request{r, ctx, tx}) })
}

// Read implements project.Database.
func (db *Database) Read(ctx context.Context, ask *project.Request) (page project.Page, err error) {
	err = db.carryOut(ctx, ask, func(r *request) error {
		t, err := r.relation(r.Name)
		if err == nil {
			page, err = r.readFrom(t, quoteName(t.schema, t.name), nil)
		}
		return err
	})
	return page, err
}

// Write implements project.Database.
func (db *Database) Write(ctx context.Context, ask *project.Request) (done project.Written, err error) {
	err = db.carryOut(ctx, ask, func(r *request) error {
		t, err := r.relation(r.Name)
		if err != nil {
			return err
		}
		switch r.Method {
		case http.MethodPost:
			done, err = r.insertInto(t)
		case http.MethodPatch:
			done, err = r.updateSet(t)
		default:
			done, err = r.deleteFrom(t)
		}
		if err == nil {
			err = r.Accept(done.Count)
		}
		return err
	})
	return done, err
}

// relation reads a table or view of the schema from the catalogue.
func (r *request) relation(name string) (*relation, error) {
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
		order by a.attnum`, r.Schema, name)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, project.NoTable(r.Schema, name)
	}
	t := &relation{schema: r.Schema, name: name, sql: quoteName(r.Schema, name)}
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
func (r *request) casts() (map[string]string, error) {
	casts := map[string]string{}
	for _, item := range r.Query.Selects {
		if item.Cast == "" {
			continue
		}
		rows, _, err := r.tx.Query(r.ctx, "select to_regtype($1)::text", item.Cast)
		if err != nil {
			return nil, err
		}
		if rows[0][0] == nil {
			return nil, pgtype.Errorf("42704", "type %q does not exist", item.Cast)
		}
		casts[item.Cast] = string(rows[0][0])
	}
	return casts, nil
}

// readFrom answers with rows of a relation: from is what it is in SQL, and args
// are its parameters.
func (r *request) readFrom(t *relation, from string, args []string) (page project.Page, err error) {
	casts, err := r.casts()
	if err != nil {
		return page, err
	}
	if r.Prefer.Count != "" {
		q := &sqlQuery{args: slices.Clone(args)}
		where := q.where(t, r.Query)
		rows, _, err := r.tx.Query(r.ctx, "select count(*) from "+from+where, q.args...)
		if err != nil {
			return page, err
		}
		page.Total, _ = strconv.Atoi(string(rows[0][0])) // a count
	}
	q := &sqlQuery{args: slices.Clone(args)}
	fmt.Fprintf(q, "select row_to_json(pgrst)::text from (select %s from %s", q.selection(t, r.Query.Selects, casts), from)
	q.WriteString(q.where(t, r.Query) + q.orderBy(t, r.Query.Order))
	if r.Limit < math.MaxInt {
		fmt.Fprintf(q, " limit %d", r.Limit)
	}
	if r.Offset > 0 {
		fmt.Fprintf(q, " offset %d", r.Offset)
	}
	q.WriteString(") pgrst")
	rows, _, err := r.tx.Query(r.ctx, q.String(), q.args...)
	if err != nil {
		return page, err
	}
	page.Rows = texts(rows)
	return page, nil
}

// texts returns the first column of rows.
func texts(rows [][][]byte) [][]byte {
	list := make([][]byte, len(rows))
	for i, row := range rows {
		list[i] = row[0]
	}
	return list
}

// Describe implements project.Database.
func (db *Database) Describe(ctx context.Context, who project.Caller, schema string) (described project.Schema, err error) {
	ask := &project.Request{Caller: who, Method: http.MethodGet, Schema: schema}
	err = db.carryOut(ctx, ask, func(r *request) error {
		rows, _, err := r.tx.Query(r.ctx, `select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f') and has_any_column_privilege(c.oid, 'select') order by 1`, schema)
		if err != nil {
			return err
		}
		for _, name := range texts(rows) {
			t, err := r.relation(string(name))
			if err != nil {
				return err
			}
			described.Tables = append(described.Tables, project.Relation{Name: t.name, Columns: t.describe(), Writable: true})
		}
		return nil
	})
	return described, err
}

func (t *relation) describe() (columns []project.RelationColumn) {
	for _, c := range t.columns {
		format, _, _ := strings.Cut(c.typ, "(")
		columns = append(columns, project.RelationColumn{Name: c.name, Format: format, NotNull: c.notNull, Key: c.key})
	}
	return columns
}

// objects returns the columns that the body of a write sets, and its objects as
// JSON.
func (r *request) objects(t *relation) (body string, columns []relationColumn, err error) {
	for _, name := range r.Body.Columns {
		c, ok := t.column(name)
		if !ok {
			return "", nil, project.NoColumn(t.name, name)
		}
		columns = append(columns, c)
	}
	text, err := json.Marshal(r.Body.Rows)
	return string(text), columns, err
}
