package memdb

import (
	"context"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// truth is a truth value of SQL: 1 true, 0 unknown, -1 false, so that NOT is
// the minus sign, AND the minimum and OR the maximum.
type truth int8

func truthOf(b bool) truth {
	if b {
		return 1
	}
	return -1
}

// condition is a project.Condition bound to a table: the values are datums.
type condition struct {
	op     string
	negate bool
	parts  []*condition // of and, or

	column  int
	typ     pgtype.Type
	want    any             // of the comparisons
	wants   []any           // of in
	is      string          // of is
	pattern *regexp.Regexp  // of match and imatch
	like    pgtype.Pattern  // of like and ilike
	ctx     context.Context // ends a match that takes long
}

// bind looks up the columns of a condition and reads the values in their
// types.
func (t *table) bind(n *project.Condition) (*condition, error) {
	c := &condition{op: n.Op, negate: n.Negate}
	if n.Op == "and" || n.Op == "or" {
		for _, part := range n.Parts {
			bound, err := t.bind(part)
			if err != nil {
				return nil, err
			}
			c.parts = append(c.parts, bound)
		}
		return c, nil
	}
	i, ok := t.byName[n.Column]
	if !ok {
		return nil, noColumn(t, n.Column)
	}
	c.column, c.typ = i, t.columns[i].Type
	return c, c.bindValue(n)
}

// noColumn is the error of a column in a query; see table.column for that of
// one in a write.
func noColumn(t *table, column string) *pgtype.Error {
	return pgtype.Errorf(pgtype.CodeUndefinedColumn, "column %s.%s does not exist", t.name, column).At(t.fullName(), column)
}

func (c *condition) bindValue(n *project.Condition) (err error) {
	switch c.op {
	case "is":
		c.is = n.Value
		if c.is != "null" && c.typ.Base().Name() != "bool" {
			return pgtype.Errorf(pgtype.CodeDatatypeMismatch, "argument of IS %s must be type boolean, not type %s", strings.ToUpper(c.is), c.typ.SQLName)
		}
		return nil
	case "like", "ilike", "match", "imatch":
		return c.bindPattern(n.Value)
	}
	if !c.typ.Comparable() {
		return noEquality(c.typ)
	}
	if c.op != "in" {
		c.want, err = c.typ.Unbounded().Parse(n.Value)
		return err
	}
	for _, value := range n.List {
		want, err := c.typ.Unbounded().Parse(value)
		if err != nil {
			return err
		}
		c.wants = append(c.wants, want)
	}
	return nil
}

// bindPattern compiles a pattern.
func (c *condition) bindPattern(value string) (err error) {
	if !c.typ.IsText() {
		operator := map[string]string{"like": "~~", "ilike": "~~*", "match": "~", "imatch": "~*"}[c.op]
		e := pgtype.Errorf(pgtype.CodeUndefinedOp, "operator does not exist: %s %s unknown", c.typ.SQLName, operator)
		e.Hint = noEquality(c.typ).Hint
		return e
	}
	if strings.HasSuffix(c.op, "like") {
		c.like = pgtype.NewPattern(c.fold(value), '\\')
		return nil
	}
	if c.pattern, err = compile(value, c.op == "imatch"); err != nil {
		return pgtype.Errorf("2201B", "%v", err)
	}
	return nil
}

// fold makes text alike that ilike does not tell apart.
func (c *condition) fold(text string) string {
	if c.op == "ilike" {
		return strings.ToLower(text)
	}
	return text
}

// during makes matches of the condition end with ctx.
func (c *condition) during(ctx context.Context) {
	c.ctx = ctx
	for _, part := range c.parts {
		part.during(ctx)
	}
}

// longText is the length from which on a match is interrupted when its context
// ends: a regular expression takes the product of the two lengths.
const longText = 64 << 10

// match reports whether the regular expression matches. The answer is of no use
// once the context has ended.
func (c *condition) match(text string) bool {
	if len(text) < longText || c.ctx == nil {
		return c.pattern.MatchString(text)
	}
	return c.pattern.MatchReader(&interruptedReader{Reader: strings.NewReader(text), ctx: c.ctx})
}

// interruptedReader ends early when its context ends.
type interruptedReader struct {
	*strings.Reader
	ctx  context.Context
	read int
}

// ReadRune implements io.RuneReader.
func (r *interruptedReader) ReadRune() (rune, int, error) {
	if r.read++; r.read%1024 == 1 && r.ctx.Err() != nil {
		return 0, 0, io.EOF
	}
	return r.Reader.ReadRune()
}

// holds asks the condition of a row.
func (c *condition) holds(r row) truth {
	result := c.plain(r)
	if c.negate {
		return -result
	}
	return result
}

func (c *condition) plain(r row) truth {
	switch c.op {
	case "and":
		result := truth(1)
		for _, part := range c.parts {
			result = min(result, part.holds(r))
		}
		return result
	case "or":
		result := truth(-1)
		for _, part := range c.parts {
			result = max(result, part.holds(r))
		}
		return result
	case "is":
		return c.holdsIs(r[c.column])
	}
	return c.compares(r[c.column])
}

func (c *condition) holdsIs(v any) truth {
	switch c.is {
	case "true":
		return truthOf(v == true)
	case "false":
		return truthOf(v == false)
	}
	return truthOf(v == nil) // null, unknown
}

// compares asks a comparison of a value.
func (c *condition) compares(v any) truth {
	switch {
	case c.op == "isdistinct" && v == nil:
		return 1
	case c.op == "in" && len(c.wants) == 0:
		return -1
	case v == nil:
		return 0
	case c.like != nil:
		return truthOf(c.like.Matches(c.fold(c.typ.Text(v))))
	case c.pattern != nil:
		return truthOf(c.match(c.typ.Text(v)))
	case c.op == "in":
		return truthOf(slices.ContainsFunc(c.wants, func(want any) bool {
			n, _ := c.typ.Compare(v, want)
			return n == 0
		}))
	}
	n, _ := c.typ.Compare(v, c.want)
	return truthOf(ordered(c.op, n))
}

// columnsOf adds the columns that the condition reads.
func (c *condition) columnsOf(used []bool) {
	for _, part := range c.parts {
		part.columnsOf(used)
	}
	if c.op != "and" && c.op != "or" {
		used[c.column] = true
	}
}
