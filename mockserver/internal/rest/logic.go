package rest

import (
	"net/http"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// maxLogicDepth bounds how deep and() and or() may stand in each other.
const maxLogicDepth = 100

// parseParameter reads column=op.value, and=(…), or=(…), not.and=(…) or
// not.or=(…).
func parseParameter(key, value string) (*project.Condition, error) {
	switch op, negate := strings.CutPrefix(key, "not."); op {
	case "and", "or":
		r := newQueryReader("logic tree", value)
		n, err := r.logic(op, 0)
		if err != nil {
			return nil, err
		}
		n.Negate = negate
		if r.rest != "" {
			return nil, r.fail("end of input")
		}
		return n, nil
	}
	k := newQueryReader("filter", key)
	column, path, err := k.field()
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(k.rest, ".") {
		e := project.Refuse(http.StatusBadRequest, "PGRST108", "'%s' is not an embedded resource in this request", column)
		return nil, e.WithHint("Verify that '" + column + "' is included in the 'select' query parameter.")
	}
	if k.rest != "" {
		return nil, k.fail("end of input")
	}
	r := newQueryReader("filter", value)
	n, err := r.operation()
	if err != nil {
		return nil, err
	}
	n.Column, n.Path = column, path
	return n, r.operand(n, false)
}

// operation reads not.op. up to its value.
func (r *queryReader) operation() (*project.Condition, error) {
	n := &project.Condition{Negate: r.take("not.")}
	op, _, _ := strings.Cut(r.rest, ".")
	op, _, _ = strings.Cut(op, "(")
	may, known := project.Operators[op]
	if !known {
		return nil, r.fail(`"not" or operator (eq, gt, ...)`)
	}
	n.Op, r.rest = op, r.rest[len(op):]
	if inner, rest, closed := strings.Cut(strings.TrimPrefix(r.rest, "("), ")"); closed && strings.HasPrefix(r.rest, "(") {
		switch {
		case may.Lang && inner != "":
			n.Lang, r.rest = inner, rest
		case may.Each && (inner == "any" || inner == "all"):
			n.Each, r.rest = inner, rest
		}
	}
	if !r.take(".") {
		return nil, r.fail("delimiter (.)")
	}
	return n, nil
}

// operand reads the value of an operator: to the end, or within and() and or()
// to the next comma or closing parenthesis.
func (r *queryReader) operand(n *project.Condition, within bool) (err error) {
	switch {
	case n.Op == "in":
		if n.List, err = r.list(); err != nil {
			return err
		}
	case within:
		n.Value = r.element()
	default:
		n.Value, r.rest = r.rest, ""
	}
	if strings.HasSuffix(n.Op, "like") {
		n.Value = strings.ReplaceAll(n.Value, "*", "%")
	}
	if n.Op == "is" {
		n.Value = strings.ToLower(n.Value)
		switch n.Value {
		case "null", "true", "false", "unknown":
		default:
			return r.fail("null or trilean value (unknown, true, false)")
		}
	}
	if !within && r.rest != "" {
		return r.fail("end of input")
	}
	return nil
}

// list reads (a,b,"c,d").
func (r *queryReader) list() ([]string, error) {
	r.space()
	if !r.take("(") {
		return nil, r.fail(`"("`)
	}
	r.space()
	var list []string
	for {
		list = append(list, r.element())
		if r.take(",") {
			continue
		}
		if !r.take(")") {
			return nil, r.fail(`"," or ")"`)
		}
		r.space()
		if len(list) == 1 && list[0] == "" {
			return []string{}, nil // in.() finds nothing
		}
		return list, nil
	}
}

// element reads a value up to a comma or a closing parenthesis, between which
// quotes or the braces of an array hide both.
func (r *queryReader) element() string {
	if strings.HasPrefix(r.rest, `"`) {
		if value, n, ok := pgtype.ReadQuoted(r.rest); ok && endsElement(r.rest[n:]) {
			r.rest = r.rest[n:]
			return value
		}
	}
	end := strings.IndexAny(r.rest, ",)")
	if strings.HasPrefix(r.rest, "{") {
		if brace := strings.IndexAny(r.rest[1:], "{}"); brace >= 0 && r.rest[1+brace] == '}' {
			end = brace + 2
		}
	}
	if end < 0 {
		end = len(r.rest)
	}
	value := r.rest[:end]
	r.rest = r.rest[end:]
	return value
}

func endsElement(rest string) bool {
	return rest == "" || rest[0] == ',' || rest[0] == ')'
}

// logic reads the parenthesis behind and or or.
func (r *queryReader) logic(op string, depth int) (*project.Condition, error) {
	if depth > maxLogicDepth {
		return nil, pgtype.Errorf("54001", "stack depth limit exceeded")
	}
	n := &project.Condition{Op: op}
	r.space()
	if !r.take("(") {
		return nil, r.fail(`"("`)
	}
	for {
		r.space()
		part, err := r.logicPart(depth)
		if err != nil {
			return nil, err
		}
		n.Parts = append(n.Parts, part)
		r.space()
		if r.take(",") {
			continue
		}
		if !r.take(")") {
			return nil, r.fail(`"," or ")"`)
		}
		r.space()
		return n, nil
	}
}

// logicPart reads column.op.value, and(…) or or(…), the latter two perhaps
// behind not.
func (r *queryReader) logicPart(depth int) (*project.Condition, error) {
	for _, op := range []string{"and", "or"} {
		for _, prefix := range []string{"", "not."} {
			if rest, ok := strings.CutPrefix(r.rest, prefix+op); ok && strings.HasPrefix(strings.TrimLeft(rest, " \t"), "(") {
				r.rest = rest
				n, err := r.logic(op, depth+1)
				if err == nil {
					n.Negate = prefix != ""
				}
				return n, err
			}
		}
	}
	column, path, err := r.field()
	if err != nil {
		return nil, err
	}
	if !r.take(".") {
		return nil, r.fail("delimiter (.)")
	}
	n, err := r.operation()
	if err != nil {
		return nil, err
	}
	n.Column, n.Path = column, path
	return n, r.operand(n, true)
}
