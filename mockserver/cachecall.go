package mockserver

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// declared makes a function, for some roles, of one that is declared with
// arguments of these names, all but the first required having a default.
func declared(name string, roles []string, f func(*cacheCall) (any, error), required int, params []string) Function {
	return func(tx *FuncTx, args map[string]json.RawMessage) (any, error) {
		for arg := range args {
			if !slices.Contains(params, arg) {
				return nil, project.NoFunction("public", name, args)
			}
		}
		for _, param := range params[:required] {
			if _, given := args[param]; !given {
				return nil, project.NoFunction("public", name, args)
			}
		}
		if !slices.Contains(roles, tx.Role()) {
			return nil, pgtype.Errorf(pgtype.CodeNoRight, "permission denied for function %s", name)
		}
		c := &cacheCall{tx: tx, args: args}
		if err := c.findTable(); err != nil {
			return nil, err
		}
		return f(c)
	}
}

// cacheCall is a call of one of the functions.
type cacheCall struct {
	tx    *FuncTx
	args  map[string]json.RawMessage
	table *table
}

// arg reads an argument; null leaves v as it is.
func (c *cacheCall) arg(name string, v any) error {
	if !present(c.args[name]) {
		return nil
	}
	if err := json.Unmarshal(c.args[name], v); err != nil {
		return pgtype.Errorf(pgtype.CodeBadText, "argument %s cannot be read: %v", name, err)
	}
	return nil
}

// texts reads an argument that is an array of texts; null is nil.
func (c *cacheCall) texts(name string) (texts []string, err error) {
	var given []*string
	if err := c.arg(name, &given); err != nil || given == nil {
		return nil, err
	}
	texts = make([]string, len(given))
	for i, text := range given {
		if text == nil {
			return nil, pgtype.Errorf(pgtype.CodeBadParameter, "a null in %s", name)
		}
		texts[i] = *text
	}
	return texts, nil
}

// findTable reads the argument rel as a regclass: a name with or without a
// schema, either of them perhaps in double quotes, else in lower case. The
// caller must have the right to read some of it, and it must be in the schema
// public or in the publication.
func (c *cacheCall) findTable() error {
	var rel *string
	if err := c.arg("rel", &rel); err != nil {
		return err
	}
	if rel == nil {
		return pgtype.Errorf(pgtype.CodeBadParameter, "rel must name a table")
	}
	schema, name := "public", ""
	parts := identifiers(*rel)
	switch len(parts) {
	case 1:
		name = parts[0]
	case 2:
		schema, name = parts[0], parts[1]
	}
	t, ok := c.tx.tx.db.table(schema, name)
	if !ok {
		return pgtype.Errorf(pgtype.CodeUndefinedTable, "relation %q does not exist", *rel)
	}
	readable := false
	for i := range t.columns {
		readable = readable || c.tx.tx.db.canSelect(c.tx.Role(), t, i)
	}
	if !readable || t.schema != "public" && !t.published.Load() {
		return t.denied()
	}
	c.table = t
	return nil
}

// identifiers splits a name at its dots, and reads each part.
func identifiers(s string) (parts []string) {
	for s != "" {
		part, rest := "", ""
		if quoted, ok := strings.CutPrefix(s, `"`); ok {
			part, rest = unquoteIdentifier(quoted)
		} else {
			i := strings.IndexByte(s+".", '.')
			part, rest = strings.ToLower(s[:i]), s[i:]
		}
		parts, s = append(parts, part), strings.TrimPrefix(rest, ".")
	}
	return parts
}

// unquoteIdentifier reads up to the closing quote.
func unquoteIdentifier(s string) (name, rest string) {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '"':
			name += s[i : i+1]
		case strings.HasPrefix(s[i:], `""`):
			name += `"`
			i++
		default:
			return name, s[i+1:]
		}
	}
	return name, ""
}

// columns reads an argument that names columns; null is nil.
func (c *cacheCall) columns(arg string) ([]int, error) {
	names, err := c.texts(arg)
	if err != nil || names == nil {
		return nil, err
	}
	return c.table.namedColumns(names)
}

// namedColumns resolves names of columns.
func (t *table) namedColumns(names []string) ([]int, error) {
	columns := make([]int, 0, len(names))
	for _, name := range names {
		i, err := t.column(name)
		if err != nil {
			return nil, err
		}
		columns = append(columns, i)
	}
	return columns, nil
}

// key reads the argument key: columns that tell one row from another.
func (c *cacheCall) key() ([]int, error) {
	key, err := c.columns("key")
	if err != nil {
		return nil, err
	}
	if len(key) == 0 {
		return nil, pgtype.Errorf(pgtype.CodeBadParameter, "key must name columns")
	}
	for _, i := range key {
		column := c.table.columns[i]
		switch {
		case column.Type.Item != nil || column.Type.Fields != nil:
			return nil, pgtype.Errorf(pgtype.CodeBadParameter, `column "%s" cannot be in a key: it is an array or composite`, column.Name)
		case !column.notNull:
			return nil, pgtype.Errorf(pgtype.CodeBadParameter, `column "%s" cannot be in a key: it may be null`, column.Name)
		}
	}
	for _, i := range c.table.pk {
		if !slices.Contains(key, i) {
			key = nil
		}
	}
	if len(key) == 0 || len(c.table.pk) == 0 {
		return nil, pgtype.Errorf(pgtype.CodeBadParameter, "key must have the columns of the primary key or of a unique index")
	}
	return key, nil
}

// limit reads the argument lim; 0: there is none.
func (c *cacheCall) limit() (int, error) {
	var lim *int32
	if err := c.arg("lim", &lim); err != nil || lim == nil {
		return 0, err
	}
	if *lim < 1 {
		return 0, pgtype.Errorf(pgtype.CodeBadParameter, "lim must be positive")
	}
	return int(*lim), nil
}

// mark updates the mark, if there is one that the caller may update, and
// returns its number then.
func (c *cacheCall) mark() (any, error) {
	var id *string
	if err := c.arg("mark", &id); err != nil || id == nil {
		return nil, err
	}
	where := Row{"id": *id}
	if n, err := c.tx.Update("rt_mark", Row{"at": time.Now()}, where); err != nil || n == 0 {
		return nil, err
	}
	marks, err := c.tx.tx.find(c.markTable(), where)
	if err != nil || len(marks) == 0 {
		return nil, err
	}
	return marks[0].row[c.markTable().byName["seq"]], nil
}

func (c *cacheCall) markTable() *table {
	t, _ := c.tx.tx.db.table("public", "rt_mark")
	return t
}

// rows returns the rows that a call is about, in the order of the key, and the
// key of the last where the argument lim made it so. The columns are those that
// the caller must have the right to read.
func (c *cacheCall) rows(key, columns []int) (rows []row, last []*string, err error) {
	lim, err := c.limit()
	if err != nil {
		return nil, nil, err
	}
	where, err := c.filter()
	if err != nil {
		return nil, nil, err
	}
	after, err := c.bound("after", key)
	if err != nil {
		return nil, nil, err
	}
	upto, err := c.bound("upto", key)
	if err != nil {
		return nil, nil, err
	}
	tx, t := c.tx.tx, c.table
	used := make([]bool, len(t.columns))
	where.columnsOf(used)
	for i := range t.columns {
		if (used[i] || slices.Contains(columns, i)) && !tx.db.canSelect(c.tx.Role(), t, i) {
			return nil, nil, t.denied()
		}
	}
	inOrder := slices.Equal(key, t.pk)
	from, to := position{}, position{after: true}
	if inOrder && after != nil {
		from = position{prefix: t.key(entry{row: after}), after: true}
	}
	if inOrder && upto != nil {
		to.prefix = t.key(entry{row: upto})
	}
	for e := range tx.seen(t).forward(t, from, to) {
		if after != nil && t.compareKeys(key, e.row, after) <= 0 || upto != nil && t.compareKeys(key, e.row, upto) > 0 ||
			where.holds(e.row) <= 0 || !tx.allowed(t, t.selects, e.row) {
			continue
		}
		if rows = append(rows, e.row); inOrder && len(rows) == lim {
			break
		}
	}
	if !inOrder {
		slices.SortStableFunc(rows, func(a, b row) int { return t.compareKeys(key, a, b) })
	}
	if lim > 0 && len(rows) >= lim {
		rows = rows[:lim]
		last = c.textsOf(key, rows[lim-1])
	}
	return rows, last, nil
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

// bound reads an argument that is the values of a key, into a row that has
// them. Nil: there is none.
func (c *cacheCall) bound(arg string, key []int) (row, error) {
	texts, err := c.texts(arg)
	if err != nil || texts == nil {
		return nil, err
	}
	if len(texts) != len(key) {
		return nil, pgtype.Errorf(pgtype.CodeBadParameter, "a bound has as many values as key has columns, and none is null")
	}
	r := make(row, len(c.table.columns))
	for i, column := range key {
		if r[column], err = c.table.columns[column].Type.Unbounded().Parse(texts[i]); err != nil {
			return nil, c.table.badValue(column, err)
		}
	}
	return r, nil
}

// filter reads the argument filter.
func (c *cacheCall) filter() (*condition, error) {
	all := &condition{op: "and"}
	var given []struct {
		Column *string   `json:"column"`
		Op     string    `json:"op"`
		Values []*string `json:"values"`
		Not    bool      `json:"not"`
	}
	if json.Unmarshal(cmpOr(c.args["filter"], "null"), &given) != nil {
		return nil, pgtype.Errorf(pgtype.CodeBadParameter, "filter must be an array of conditions")
	}
	for _, g := range given {
		if g.Column == nil || g.Values == nil || g.Op != "in" && len(g.Values) != 1 || slices.Contains(g.Values, nil) {
			return nil, pgtype.Errorf(pgtype.CodeBadParameter, "a condition is an object of column, op, values and not")
		}
		n := &project.Condition{Op: g.Op, Negate: g.Not, Column: *g.Column, List: []string{}}
		for _, value := range g.Values {
			n.Value, n.List = *value, append(n.List, *value)
		}
		if _, known := restOperators[g.Op]; !known || conditionInMemory(n) != nil || g.Op == "is" && !slices.Contains([]string{"null", "true", "false", "unknown"}, n.Value) {
			return nil, pgtype.Errorf(pgtype.CodeBadParameter, `a filter has no operator "%s" of "%s"`, g.Op, n.Value)
		}
		if _, err := c.table.column(n.Column); err != nil {
			return nil, err
		}
		part, err := c.table.bind(n)
		if err != nil {
			return nil, err
		}
		all.parts = append(all.parts, part)
	}
	return all, nil
}

// cmpOr returns an argument, or other where it is not given.
func cmpOr(given json.RawMessage, other string) json.RawMessage {
	if len(given) == 0 {
		return json.RawMessage(other)
	}
	return given
}

// textsOf returns the texts of some columns of a row, nil for NULL.
func (c *cacheCall) textsOf(columns []int, r row) []*string {
	texts := make([]*string, len(columns))
	for i, column := range columns {
		texts[i] = c.text(column, r)
	}
	return texts
}

// text returns to_jsonb(column) #>> '{}'.
func (c *cacheCall) text(column int, r row) *string {
	if r[column] == nil {
		return nil
	}
	raw := c.table.columns[column].Type.JSON(r[column])
	if normal, err := jsonbText(raw); err == nil { // else it is no jsonb, and PostgreSQL would fail
		raw = normal
	}
	s, isString := text(raw)
	switch {
	case string(raw) == "null":
		return nil
	case !isString:
		s = string(raw)
	}
	return &s
}
