package mockserver

import (
	"math"
	"net/http"
	"regexp"
	"strconv"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// projection writes rows as JSON.
type projection struct {
	table *table
	items []projected
}

// projected is a selectItem with its column and cast looked up.
type projected struct {
	key    []byte // the key in JSON, with its colon
	column int
	cast   *pgtype.Type
}

func (t *table) newProjection(items []selectItem) (*projection, error) {
	if items == nil {
		items = []selectItem{{column: "*"}}
	}
	p := &projection{table: t}
	for _, item := range items {
		if item.column == "*" {
			for i := range t.columns {
				p.add(t.columns[i].Name, i, nil)
			}
			continue
		}
		i, ok := t.byName[item.column]
		if !ok {
			return nil, noColumn(t, item.column)
		}
		cast, err := pgtype.CastType(item.cast)
		if err != nil {
			return nil, err
		}
		key := item.alias
		if key == "" {
			key = item.column
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
func (r *restRequest) plan(represent bool) (*plan, error) {
	t := r.table
	where, err := t.bind(&restNode{op: "and", parts: r.query.where})
	if err != nil {
		return nil, err
	}
	p := &plan{}
	if p.scan, err = t.newScan(where, r.query.order); err != nil {
		return nil, err
	}
	if p.out, err = t.newProjection(r.query.selects); err != nil {
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
		if used[i] && !r.server.db.canSelect(r.role, t, i) {
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
func (r *restRequest) allowed(p Policy, v row) bool { return r.table.allowed(p, r.claims, v) }

// read answers GET and HEAD.
func (r *restRequest) read() (*restAnswer, error) {
	p, err := r.plan(true)
	if err != nil {
		return nil, err
	}
	offset, limit, err := r.window()
	if err != nil {
		return nil, err
	}
	var page []row
	total := 0
	for e := range p.rows(r.Context(), r.rows()) {
		if r.prefer.count == "" && total >= offset && total-offset >= limit {
			break
		}
		if !r.allowed(r.table.selects, e.row) {
			continue
		}
		if total >= offset && total-offset < limit {
			page = append(page, e.row)
		}
		total++
	}
	if err := r.canceled(); err != nil {
		return nil, err
	}
	return r.answerRead(p, page, offset, total)
}

// canceled returns the error of a request whose client has gone.
func (r *restRequest) canceled() error {
	if r.Context().Err() != nil {
		return pgtype.Errorf("57014", "canceling statement due to user request")
	}
	return nil
}

func (r *restRequest) answerRead(p *plan, page []row, offset, total int) (*restAnswer, error) {
	if err := r.single(len(page)); err != nil {
		return nil, err
	}
	rows, err := p.out.all(page)
	if err != nil {
		return nil, err
	}
	return r.answerPage(rows, offset, total)
}

// answerPage answers with rows, which are some of a total that is known if it
// was asked for.
func (r *restRequest) answerPage(rows [][]byte, offset, total int) (*restAnswer, error) {
	status, counted := http.StatusOK, "*"
	if r.prefer.count != "" {
		counted = strconv.Itoa(total)
		switch {
		case offset > total:
			e := badRange("An offset of " + strconv.Itoa(offset) + " was requested, but there are only " + counted + " rows.")
			e.contentRange = "*/" + counted
			return nil, e
		case len(rows) < total:
			status = http.StatusPartialContent
		}
	}
	if err := r.single(len(rows)); err != nil {
		return nil, err
	}
	a := r.answer(status)
	a.header.Set("Content-Range", contentRange(offset, len(rows))+"/"+counted)
	if r.prefer.count != "" {
		a.header.Set("Preference-Applied", "count="+r.prefer.count)
	}
	a.setRows(r, rows)
	return a, nil
}

// contentRange writes the range of the rows in the answer.
func contentRange(offset, rows int) string {
	if rows == 0 {
		return "*"
	}
	return strconv.Itoa(offset) + "-" + strconv.Itoa(offset+rows-1)
}

var rangeHeader = regexp.MustCompile(`^([0-9]{1,18})-([0-9]{0,18})$`)

// window returns which of the rows to answer with: what limit and offset, the
// header Range and the server's MaxRows have in common.
func (r *restRequest) window() (offset, limit int, err error) {
	first, last := 0, math.MaxInt
	if m := rangeHeader.FindStringSubmatch(r.Header.Get("Range")); m != nil && r.Method == http.MethodGet {
		first, _ = strconv.Atoi(m[1])
		if m[2] != "" {
			last, _ = strconv.Atoi(m[2])
		}
		if last < first {
			return 0, 0, badRange("The lower boundary must be lower than or equal to the upper boundary in the Range header.")
		}
	}
	first = max(first, r.query.offset)
	if n := r.query.limit; n == 0 {
		return first, 0, nil
	} else if n > 0 && r.query.offset <= math.MaxInt-n {
		last = min(last, r.query.offset+n-1)
	}
	if last < first {
		return 0, 0, badRange("Limit should be greater than or equal to zero.")
	}
	limit = math.MaxInt
	if last < math.MaxInt {
		limit = last - first + 1
	}
	for _, most := range []int{r.server.maxRows, r.server.restFaults.maxRows()} {
		if most > 0 {
			limit = min(limit, most)
		}
	}
	return first, limit, nil
}
