package memdb

import (
	"slices"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// View is a table as the caller of a function sees it. Columns are numbers, from 0.
type View struct {
	tx *Tx
	t  *table
}

// View returns the table of that name, of which the caller must have the right to
// read something, and which must be in the schema public or in the publication.
func (f *FuncTx) View(schema, name string) (*View, error) {
	t, ok := f.tx.db.table(schema, name)
	if !ok {
		return nil, pgtype.Errorf(pgtype.CodeUndefinedTable, "relation %q does not exist", name)
	}
	if !f.tx.db.canSelectAny(f.Role(), t) || t.schema != "public" && !t.published.Load() {
		return nil, t.denied()
	}
	return &View{f.tx, t}, nil
}

// Describe describes the table.
func (v *View) Describe() project.Table { return v.t.describeTable() }

// CanSelect reports whether the caller may read a column.
func (v *View) CanSelect(column int) bool {
	return v.tx.db.canSelect(v.tx.caller.Role, v.t, column)
}

// Columns resolves names of columns.
func (v *View) Columns(names []string) ([]int, error) {
	columns := make([]int, 0, len(names))
	for _, name := range names {
		i, err := v.t.column(name)
		if err != nil {
			return nil, err
		}
		columns = append(columns, i)
	}
	return columns, nil
}

// All returns all columns.
func (v *View) All() []int {
	columns := make([]int, len(v.t.columns))
	for i := range columns {
		columns[i] = i
	}
	return columns
}

// CheckKey refuses columns that do not tell one row from another.
func (v *View) CheckKey(key []int) error {
	for _, i := range key {
		column := v.t.columns[i]
		switch {
		case column.Type.Item != nil || column.Type.Fields != nil:
			return pgtype.Errorf(pgtype.CodeBadParameter, `column "%s" cannot be in a key: it is an array or composite`, column.Name)
		case !column.notNull:
			return pgtype.Errorf(pgtype.CodeBadParameter, `column "%s" cannot be in a key: it may be null`, column.Name)
		}
	}
	if len(v.t.pk) == 0 || slices.ContainsFunc(v.t.pk, func(i int) bool { return !slices.Contains(key, i) }) {
		return pgtype.Errorf(pgtype.CodeBadParameter, "key must have the columns of the primary key or of a unique index")
	}
	return nil
}

// Range is which rows of a table to read.
type Range struct {
	Key         []int // the order
	Columns     []int // which the caller must have the right to read, beside those of Where
	Where       []*project.Condition
	After, Upto []string // values of Key: rows behind After, and up to and with Upto; nil: all
	Limit       int      // 0: none
}

// Rows returns rows that the caller may see.
func (v *View) Rows(r Range) (rows []Record, err error) {
	tx, t := v.tx, v.t
	where, err := t.bind(&project.Condition{Op: "and", Parts: r.Where})
	if err != nil {
		return nil, err
	}
	after, err := t.bounds(r.Key, r.After)
	if err != nil {
		return nil, err
	}
	upto, err := t.bounds(r.Key, r.Upto)
	if err != nil {
		return nil, err
	}
	used := make([]bool, len(t.columns))
	where.columnsOf(used)
	for i := range t.columns {
		if (used[i] || slices.Contains(r.Columns, i)) && !v.CanSelect(i) {
			return nil, t.denied()
		}
	}
	inOrder := slices.Equal(r.Key, t.pk)
	from, to := position{}, position{after: true}
	if inOrder && after != nil {
		from = position{prefix: t.key(entry{row: after}), after: true}
	}
	if inOrder && upto != nil {
		to.prefix = t.key(entry{row: upto})
	}
	for e := range tx.seen(t).forward(t, from, to) {
		if after != nil && t.compareKeys(r.Key, e.row, after) <= 0 || upto != nil && t.compareKeys(r.Key, e.row, upto) > 0 ||
			where.holds(e.row) <= 0 || !tx.allowed(t, t.selects, e.row) {
			continue
		}
		if rows = append(rows, Record{t, e.row}); inOrder && len(rows) == r.Limit {
			break
		}
	}
	if !inOrder {
		slices.SortStableFunc(rows, func(a, b Record) int { return t.compareKeys(r.Key, a.row, b.row) })
	}
	if r.Limit > 0 && len(rows) > r.Limit {
		rows = rows[:r.Limit]
	}
	return rows, nil
}

// compareKeys orders two rows by some columns.
func (t *table) compareKeys(key []int, a, b row) int {
	for _, i := range key {
		if n := (boundOrder{column: i}).compare(t, a[i], b[i]); n != 0 {
			return n
		}
	}
	return 0
}

// bounds reads the values of a key into a row that has them; nil of none.
func (t *table) bounds(key []int, texts []string) (row, error) {
	if texts == nil {
		return nil, nil
	}
	if len(texts) != len(key) {
		return nil, pgtype.Errorf(pgtype.CodeBadParameter, "a bound has as many values as key has columns, and none is null")
	}
	r := make(row, len(t.columns))
	for i, column := range key {
		var err error
		if r[column], err = t.columns[column].Type.Unbounded().Parse(texts[i]); err != nil {
			return nil, t.badValue(column, err)
		}
	}
	return r, nil
}

// Record is a row of a View.
type Record struct {
	t   *table
	row row
}

// JSON writes some columns as the REST API sends them.
func (r Record) JSON(columns []int) []byte {
	b := []byte{'{'}
	for n, i := range columns {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(pgtype.AppendString(b, r.t.columns[i].Name), ':')
		if r.row[i] == nil {
			b = append(b, "null"...)
			continue
		}
		b = append(b, r.t.columns[i].Type.JSON(r.row[i])...)
	}
	return append(b, '}')
}

// Texts returns to_jsonb(column) #>> '{}' of some columns, nil for NULL.
func (r Record) Texts(columns []int) []*string {
	texts := make([]*string, len(columns))
	for i, column := range columns {
		if r.row[column] == nil {
			continue
		}
		raw := r.t.columns[column].Type.JSON(r.row[column])
		if normal, err := jsonbText(raw); err == nil { // else it is no jsonb, and PostgreSQL would fail
			raw = normal
		}
		if text := wire.Text(raw); string(raw) != "null" {
			texts[i] = &text
		}
	}
	return texts
}
