package cachesql

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/memdb"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
)

// declared makes a function, for some roles, of one that is declared with
// arguments of these names, all but the first required having a default.
func declared(name string, roles []string, f func(*call) (any, error), required int, params []string) memdb.Function {
	return func(tx *memdb.FuncTx, args map[string]json.RawMessage) (any, error) {
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
		c := &call{tx: tx, args: args}
		if err := c.findTable(); err != nil {
			return nil, err
		}
		return f(c)
	}
}

// call is a call of one of the functions.
type call struct {
	tx    *memdb.FuncTx
	args  map[string]json.RawMessage
	table *memdb.View
}

// arg reads an argument; null leaves v as it is.
func (c *call) arg(name string, v any) error {
	if !rawjson.Present(c.args[name]) {
		return nil
	}
	if err := json.Unmarshal(c.args[name], v); err != nil {
		return pgtype.Errorf(pgtype.CodeBadText, "argument %s cannot be read: %v", name, err)
	}
	return nil
}

// texts reads an argument that is an array of texts; null is nil.
func (c *call) texts(name string) (texts []string, err error) {
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
func (c *call) findTable() error {
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
	var err error
	if c.table, err = c.tx.View(schema, name); err != nil && (len(parts) > 2 || len(parts) == 0) {
		err = pgtype.Errorf(pgtype.CodeUndefinedTable, "relation %q does not exist", *rel)
	}
	return err
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
func (c *call) columns(arg string) ([]int, error) {
	names, err := c.texts(arg)
	if err != nil || names == nil {
		return nil, err
	}
	return c.table.Columns(names)
}

// key reads the argument key: columns that tell one row from another.
func (c *call) key() ([]int, error) {
	key, err := c.columns("key")
	if err != nil {
		return nil, err
	}
	if len(key) == 0 {
		return nil, pgtype.Errorf(pgtype.CodeBadParameter, "key must name columns")
	}
	return key, c.table.CheckKey(key)
}

// limit reads the argument lim; 0: there is none.
func (c *call) limit() (int, error) {
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
func (c *call) mark() (any, error) {
	var id *string
	if err := c.arg("mark", &id); err != nil || id == nil {
		return nil, err
	}
	n, err := c.tx.Update("rt_mark", memdb.Row{"at": time.Now()}, memdb.Row{"id": *id})
	if err != nil || n == 0 {
		return nil, err
	}
	marks, err := c.tx.View("public", "rt_mark")
	if err != nil {
		return nil, err
	}
	columns, err := marks.Columns([]string{"id", "seq"})
	if err != nil {
		return nil, err
	}
	found, err := marks.Rows(memdb.Range{Key: columns[:1], Where: []*project.Condition{{Op: "eq", Column: "id", Value: *id}}})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return json.RawMessage(*found[0].Texts(columns[1:])[0]), nil // a number that is not null
}

// rows returns the rows that a call is about, in the order of the key, and the
// key of the last where the argument lim made it so. The columns are those that
// the caller must have the right to read.
func (c *call) rows(key, columns []int) (rows []memdb.Record, last []*string, err error) {
	r := memdb.Range{Key: key, Columns: columns}
	if r.Limit, err = c.limit(); err != nil {
		return nil, nil, err
	}
	if r.Where, err = c.filter(); err != nil {
		return nil, nil, err
	}
	if r.After, err = c.texts("after"); err != nil {
		return nil, nil, err
	}
	if r.Upto, err = c.texts("upto"); err != nil {
		return nil, nil, err
	}
	rows, err = c.table.Rows(r)
	if r.Limit > 0 && len(rows) == r.Limit {
		last = rows[r.Limit-1].Texts(key)
	}
	return rows, last, err
}

// filter reads the argument filter.
func (c *call) filter() (all []*project.Condition, err error) {
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
		op, known := project.Operators[g.Op]
		if !known || op.Lang || op.Contains || g.Op == "is" && !slices.Contains([]string{"null", "true", "false", "unknown"}, n.Value) {
			return nil, pgtype.Errorf(pgtype.CodeBadParameter, `a filter has no operator "%s" of "%s"`, g.Op, n.Value)
		}
		if _, err := c.table.Columns([]string{n.Column}); err != nil {
			return nil, err
		}
		all = append(all, n)
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
