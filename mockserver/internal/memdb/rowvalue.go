package memdb

import (
	"fmt"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// newRow makes a row for an INSERT: a column that is not named gets its
// default.
func (t *table) newRow(values Row) (row, error) {
	given, err := t.datums(values)
	if err != nil {
		return nil, err
	}
	return t.fill(given)
}

// fill makes a row of some columns' datums and the defaults of the others.
func (t *table) fill(given map[int]any) (row, error) {
	r := make(row, len(t.columns))
	for i, c := range t.columns {
		v, ok := given[i]
		if !ok {
			var err error
			if v, err = c.Type.Datum(c.next()); err != nil {
				return nil, t.badValue(i, err)
			}
		}
		r[i] = v
	}
	return r, nil
}

// datums checks columns and values and returns the datums by column.
func (t *table) datums(values Row) (map[int]any, error) {
	datums := make(map[int]any, len(values))
	for name, v := range values {
		i, err := t.column(name)
		if err != nil {
			return nil, err
		}
		if datums[i], err = t.columns[i].Type.Datum(v); err != nil {
			return nil, t.badValue(i, err)
		}
	}
	return datums, nil
}

// badValue says of an error which column it is about.
func (t *table) badValue(column int, err error) error {
	if e, ok := err.(*pgtype.Error); ok {
		return e.At(t.fullName(), t.columns[column].Name)
	}
	return fmt.Errorf("mockserver: table %s: column %s: %w", t.fullName(), t.columns[column].Name, err)
}

// goRow returns a row as Server.Rows and policies give it.
func (t *table) goRow(r row) Row {
	values := make(Row, len(r))
	for i, c := range t.columns {
		values[c.Name] = c.Type.GoValue(r[i])
	}
	return values
}
