package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// rowChange is a change with the table that it is on, in the server's form.
type rowChange struct {
	*change
	wire.Change
	table *table
	text  tuple // the new row, or of a DELETE the old one, by columns of the table
}

// columnError says that a column that was changed is not there any more. On
// the real server the poll fails of it.
type columnError struct{ table, column string }

func (e *columnError) Error() string {
	return fmt.Sprintf("postgres: column %q of %s is gone", e.column, e.table)
}

// images makes the server's form of changes. What only PostgreSQL can tell, it
// is asked for all at once.
func (db *Database) images(ctx context.Context, conn *pgx.Conn, changes []*rowChange) error {
	q := &questions{exact: db.exact}
	for _, c := range changes {
		if err := c.convert(q); err != nil {
			return err
		}
	}
	if err := q.ask(ctx, conn); err != nil {
		return err
	}
	for _, c := range changes {
		_, c.TooLarge = c.Size()
	}
	return nil
}

// convert writes what it can, and asks q for the rest.
func (c *rowChange) convert(q *questions) error {
	c.Record, c.Old = make(wire.Image, len(c.table.columns)), make(wire.Image, len(c.table.columns))
	c.text = make(tuple, len(c.table.columns))
	before := c.identity()
	for i, described := range c.rel.Columns {
		at, ok := c.table.byName[described.Name]
		if !ok {
			return &columnError{c.table.fullName(), described.Name}
		}
		if before != nil && c.identifies(at, described.Flags&1 != 0) {
			q.write(&c.Old[at], &c.table.columns[at], before[i])
		}
		if c.new != nil {
			q.write(&c.Record[at], &c.table.columns[at], c.new[i])
			c.text[at] = c.new[i]
			if c.new[i].kind == pglogrepl.TupleDataTypeToast && c.Old[at] == nil && before != nil && c.rel.ReplicaIdentity == identityFull {
				c.text[at] = before[i]
			}
		} else {
			c.text[at] = before[i]
		}
	}
	c.generate(q)
	return nil
}

// identityFull is a relation's replica identity by which the whole old row is in
// the log.
const identityFull = 'f'

// identifies reports whether a column is part of the replica identity, by the
// table or else as the log says.
func (c *rowChange) identifies(at int, key bool) bool {
	if c.rel.ReplicaIdentity == identityFull {
		return !c.table.keyOnly || c.table.columns[at].keyPart > 0
	}
	return key
}

// identity returns what is known of the old row. An UPDATE that left the replica
// identity alone does not repeat it.
func (c *rowChange) identity() tuple {
	if c.op == "UPDATE" && c.old == nil {
		return c.new
	}
	return c.old
}

// generate asks for generated columns, which are not in the log. They depend on
// the rest of the row, so that one with something missing has none.
func (c *rowChange) generate(q *questions) {
	for i := range c.table.columns {
		if c.table.columns[i].generated == "" || c.text[i].kind != 0 {
			continue
		}
		if c.new != nil {
			q.generate(&c.Record[i], c.table, i, c.text, asJSON)
		}
		if before := c.old; before != nil && c.identifies(i, false) {
			q.generate(&c.Old[i], c.table, i, c.byColumn(before), asJSON)
		}
		if c.table.columns[i].keyPart > 0 { // by which a subscriber's right to the row is asked for
			c.text[i].kind = pglogrepl.TupleDataTypeText
			q.generate(&c.text[i].text, c.table, i, c.text, asText)
		}
	}
}

// byColumn returns a tuple of the log by the columns of the table.
func (c *rowChange) byColumn(t tuple) tuple {
	out := make(tuple, len(c.table.columns))
	for i, described := range c.rel.Columns {
		out[c.table.byName[described.Name]] = t[i]
	}
	return out
}

// questions are values that PostgreSQL is asked for, together where they are
// of one kind.
type questions struct {
	exact  bool
	casts  map[string]*question // by type
	rows   map[string]*question // of generated columns, by table and column
	sorted []*question
}

// question is one query over many values.
type question struct {
	sql  string
	args []*[]*string // one array for each parameter
	into []*[]byte
}

// write writes a value, or asks for it.
func (q *questions) write(into *[]byte, c *column, v value) {
	switch v.kind {
	case pglogrepl.TupleDataTypeNull:
		*into = []byte("null")
	case pglogrepl.TupleDataTypeText:
		if *into = c.wire(v.text, q.exact); *into == nil {
			q.cast(into, c, string(v.text))
		}
	}
}

// cast asks for to_jsonb of a value.
func (q *questions) cast(into *[]byte, c *column, text string) {
	typ := c.cast
	if q.exact {
		typ = c.exact
	}
	if q.casts == nil {
		q.casts = map[string]*question{}
	}
	asked := q.casts[typ]
	if asked == nil {
		asked = &question{
			sql:  "select to_jsonb(v::" + typ + ")::text from unnest($1::text[]) with ordinality u(v, n) order by n",
			args: []*[]*string{{}},
		}
		q.casts[typ] = asked
		q.sorted = append(q.sorted, asked)
	}
	*asked.args[0] = append(*asked.args[0], &text)
	asked.into = append(asked.into, into)
	*into = []byte{} // it is there, even if not yet known
}

// The forms of a generated column.
const (
	asJSON = "select to_jsonb((%s)::%s)::text"
	asText = "select ((%s)::%s)::text"
)

// generate asks for a generated column of a row.
func (q *questions) generate(into *[]byte, t *table, column int, row tuple, form string) {
	key := fmt.Sprint(t.oid, " ", column, form)
	asked := q.rows[key]
	if asked == nil {
		asked = newGeneration(t, column, form)
		if q.rows == nil {
			q.rows = map[string]*question{}
		}
		q.rows[key] = asked
		q.sorted = append(q.sorted, asked)
	}
	values := make([]*string, 0, len(asked.args))
	for i := range t.columns {
		if t.columns[i].generated != "" {
			continue
		}
		switch row[i].kind {
		case pglogrepl.TupleDataTypeText:
			text := string(row[i].text)
			values = append(values, &text)
		case pglogrepl.TupleDataTypeNull:
			values = append(values, nil)
		default:
			return
		}
	}
	for i, v := range values {
		*asked.args[i] = append(*asked.args[i], v)
	}
	asked.into = append(asked.into, into)
}

// newGeneration makes the query of a generated column over rows that are given
// as an array for each column. The expression is PostgreSQL's own text of it.
func newGeneration(t *table, column int, form string) *question {
	asked := &question{}
	var params, names, cells []string
	for i := range t.columns {
		c := &t.columns[i]
		if c.generated != "" {
			continue
		}
		n := len(asked.args) + 1
		asked.args = append(asked.args, &[]*string{})
		params = append(params, fmt.Sprintf("$%d::text[]", n))
		names = append(names, fmt.Sprintf("c%d", n))
		cells = append(cells, fmt.Sprintf("u.c%d::%s as %s", n, c.exact, pgx.Identifier{c.name}.Sanitize()))
	}
	c := &t.columns[column]
	asked.sql = fmt.Sprintf(form+" from (select u.n as %s, %s from unnest(%s) with ordinality u(%s, n)) r order by r.%s",
		c.generated, c.exact, ordinal, strings.Join(cells, ", "), strings.Join(params, ", "), strings.Join(names, ", "), ordinal)
	return asked
}

// ordinal is a name that no column is likely to have.
const ordinal = `"gapless ordinal"`

// ask asks all questions.
func (q *questions) ask(ctx context.Context, conn *pgx.Conn) error {
	for _, asked := range q.sorted {
		if len(asked.into) == 0 {
			continue
		}
		args := make([]any, len(asked.args))
		for i, values := range asked.args {
			args[i] = *values
		}
		found, err := conn.Query(ctx, asked.sql, args...)
		if err != nil {
			return err
		}
		answers, err := pgx.CollectRows(found, pgx.RowTo[*string])
		if err != nil {
			return err
		}
		if len(answers) != len(asked.into) {
			return fmt.Errorf("postgres: %d answers to %d questions", len(answers), len(asked.into))
		}
		for i, a := range answers {
			*asked.into[i] = []byte("null")
			if a != nil {
				*asked.into[i] = []byte(*a)
			}
		}
	}
	return nil
}
