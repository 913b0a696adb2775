package memdb

import (
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// projection writes rows as JSON.
type projection struct {
	table *table
	items []projected
}

// projected is a project.SelectItem with its column and cast looked up.
type projected struct {
	key    []byte // the key in JSON, with its colon
	column int
	cast   *pgtype.Type
}

func (t *table) newProjection(items []project.SelectItem) (*projection, error) {
	if items == nil {
		items = []project.SelectItem{{Column: "*"}}
	}
	p := &projection{table: t}
	for _, item := range items {
		if item.Column == "*" {
			for i := range t.columns {
				p.add(t.columns[i].Name, i, nil)
			}
			continue
		}
		i, ok := t.byName[item.Column]
		if !ok {
			return nil, noColumn(t, item.Column)
		}
		cast, err := pgtype.CastType(item.Cast)
		if err != nil {
			return nil, err
		}
		key := item.Alias
		if key == "" {
			key = item.Column
		}
		p.add(key, i, cast)
	}
	return p, nil
}

func (p *projection) add(key string, column int, cast *pgtype.Type) {
	p.items = append(p.items, projected{append(pgtype.AppendString(nil, key), ':'), column, cast})
}

// json writes a row.
func (p *projection) json(r row) ([]byte, error) {
	b := []byte{'{'}
	for i, item := range p.items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, item.key...)
		typ, v := p.table.columns[item.column].Type, r[item.column]
		if item.cast != nil && v != nil {
			var err error
			if v, err = typ.CastTo(*item.cast, v); err != nil {
				return nil, err
			}
			typ = *item.cast
		}
		if v == nil {
			b = append(b, "null"...)
		} else {
			b = append(b, typ.JSON(v)...)
		}
	}
	return append(b, '}'), nil
}

// all writes rows.
func (p *projection) all(rows []row) ([][]byte, error) {
	written := make([][]byte, len(rows))
	for i, r := range rows {
		var err error
		if written[i], err = p.json(r); err != nil {
			return nil, err
		}
	}
	return written, nil
}

// plan is what a request reads: how, which columns of it go out, and whether
// its role may.
type plan struct {
	*scan
	out *projection
}

// plan looks up what the query names. A write without a representation in the
// answer reads only what it filters by.
func (r *request) plan(represent bool) (*plan, error) {
	t := r.table
	where, err := t.bind(&project.Condition{Op: "and", Parts: r.Query.Where})
	if err != nil {
		return nil, err
	}
	p := &plan{}
	if p.scan, err = t.newScan(where, r.Query.Order); err != nil {
		return nil, err
	}
	if p.out, err = t.newProjection(r.Query.Selects); err != nil {
		return nil, err
	}
	used := make([]bool, len(t.columns))
	where.columnsOf(used)
	for _, term := range p.order {
		used[term.column] = true
	}
	for _, item := range p.out.items {
		used[item.column] = used[item.column] || represent
	}
	for i := range t.columns {
		if used[i] && !r.db.canSelect(r.Role, t, i) {
			return nil, r.table.denied()
		}
	}
	return p, nil
}

// denied is the error of a role without a right to the table.
func (t *table) denied() error {
	return pgtype.Errorf(pgtype.CodeNoRight, "permission denied for table %s", t.name).At(t.fullName(), "")
}

// rlsViolation is the error of a row that a policy does not let be written.
func (t *table) rlsViolation() error {
	return pgtype.Errorf(pgtype.CodeNoRight, "new row violates row-level security policy for table %q", t.name).At(t.fullName(), "")
}

// allowed asks a policy of the table about a row.
func (r *request) allowed(p Policy, v row) bool { return r.table.allowed(p, r.Claims, v) }

// read carries out GET.
func (r *request) read() (page project.Page, err error) {
	p, err := r.plan(true)
	if err != nil {
		return page, err
	}
	var found []row
	for e := range p.rows(r.ctx, r.rows()) {
		behind := page.Total - r.Offset
		if r.Prefer.Count == "" && behind >= 0 && behind >= r.Limit {
			break
		}
		if !r.allowed(r.table.selects, e.row) {
			continue
		}
		if behind >= 0 && behind < r.Limit {
			found = append(found, e.row)
		}
		page.Total++
	}
	if err := r.canceled(); err != nil {
		return page, err
	}
	page.Rows, err = p.out.all(found)
	return page, err
}

// rows returns the content of the table as a read sees it.
func (r *request) rows() *rowSet {
	if r.Stale > 0 {
		return r.db.rowsBefore(r.table, r.Stale)
	}
	return r.db.visibleRows(r.table)
}

// canceled returns the error of a request whose client has gone.
func (r *request) canceled() error {
	if r.ctx.Err() != nil {
		return pgtype.Errorf("57014", "canceling statement due to user request")
	}
	return nil
}
