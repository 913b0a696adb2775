package memdb

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// predicate is a filter that has been checked against a table.
type predicate struct {
	project.Filter
	index int         // of the column
	typ   pgtype.Type // of the column, without its modifier
	want  any         // of comparisons
	among []any       // of in
	like  pgtype.Pattern
	// dangling matches texts of which the query fails: what is left of them has to
	// match a backslash that makes nothing literal.
	dangling pgtype.Pattern
	match    *regexp.Regexp
}

// newPredicate checks a filter as the trigger on the server's table of
// subscriptions does. Its error is an *Error, as PostgreSQL would raise it.
func newPredicate(t *table, f project.Filter, selectable func(column int) bool) (predicate, error) {
	p := predicate{Filter: f}
	index, ok := t.byName[f.Column]
	if !ok || !selectable(index) {
		return p, pgtype.Raise("invalid column for filter %s", f.Column)
	}
	p.index, p.typ = index, t.columns[index].Type.Bare()
	var err error
	switch f.Op {
	case "in":
		err = p.checkIn()
	case "is":
		err = wire.CheckIs(f, p.typ.SQLName)
	case "like", "ilike":
		err = p.checkLike()
	case "match", "imatch":
		err = p.checkMatch()
	default:
		p.want, err = p.typ.Parse(cutToBare(p.typ, f.Value))
	}
	return p, err
}

// checkIn reads the values, which may be in an array of several dimensions.
func (p *predicate) checkIn() error {
	listType := pgtype.ArrayOf(p.typ)
	if p.typ.Item != nil && p.typ.DomainOf == nil {
		listType = p.typ // SQL has no arrays of arrays: int[][] is int[]
	}
	list, err := listType.Parse(p.Value)
	if err != nil {
		return err
	}
	if err := wire.CheckIn(len(list.(pgtype.Array))); err != nil {
		return err
	}
	p.among = list.(pgtype.Array).Flat(nil)
	for i, v := range p.among {
		if v != nil && isCut(p.typ) {
			if p.among[i], err = p.typ.Parse(cutToBare(p.typ, p.typ.Text(v))); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkLike wants a type that has an operator ~~ of its own, which varchar has
// not.
func (p *predicate) checkLike() error {
	if !slices.Contains([]string{"text", "name", "bpchar", "bytea", "citext"}, p.typ.Name()) {
		return wire.NotOfText(p.Filter, p.typ.SQLName)
	}
	pattern := p.fold(cutToBare(p.typ, p.Value))
	p.like = pgtype.NewPattern(pattern, '\\')
	if escapes := len(pattern) - len(strings.TrimRight(pattern, `\`)); escapes%2 != 0 {
		p.dangling = pgtype.NewPattern(pattern[:len(pattern)-1]+"_%", '\\')
	}
	return nil
}

// fold makes text alike that ilike does not tell apart.
func (p *predicate) fold(text string) string {
	if p.Op == "ilike" || p.typ.Name() == "citext" {
		return strings.ToLower(text)
	}
	return text
}

func (p *predicate) checkMatch() error {
	if p.typ.Name() != "text" && p.typ.Name() != "citext" {
		return wire.NotOfText(p.Filter, p.typ.SQLName)
	}
	pattern, err := compile(p.Value, p.Op == "imatch" || p.typ.Name() == "citext")
	if err != nil {
		return wire.BadPattern(p.Filter, err.Error())
	}
	p.match = pattern
	return nil
}

// maxRegexp bounds the patterns that clients may make the server compile.
const maxRegexp = 10_000

// compile compiles a regular expression, in Go's dialect, which lacks back
// references and lookaround.
func compile(pattern string, anyCase bool) (*regexp.Regexp, error) {
	flags := "(?s)"
	if anyCase {
		flags = "(?is)"
	}
	if len(pattern) > maxRegexp {
		return nil, errors.New("invalid regular expression: regular expression is too complex")
	}
	compiled, err := regexp.Compile(flags + pattern)
	if err != nil {
		return nil, fmt.Errorf("invalid regular expression: %w", err)
	}
	return compiled, nil
}

// errPoll is an error of the query that reads the log. On the server it takes
// the replication slot with it, and with the slot the changes of everybody.
type errPoll struct{ err error }

func (e *errPoll) Error() string { return "mockserver: the poll failed: " + e.err.Error() }
func (e *errPoll) Unwrap() error { return e.err }

// matches reports whether the value, in its wire form, passes. The wire form is
// what the server compares: what was lost on the way to it (a NaN is null
// there, and of char(n) there is one character) is not there to be compared.
// Where SQL says NULL the answer is false, negated or not.
func (p *predicate) matches(sent []byte) (bool, error) {
	null := string(sent) == "null"
	value := wire.Text(sent)
	switch {
	case p.lacks():
		return false, &errPoll{fmt.Errorf("type %s has no operator for %s", p.typ.SQLName, p.Op)}
	case p.Op == "is" && !null: // the server casts the text of the JSON to the type first
		if _, err := p.typ.Parse(value); err != nil {
			return false, &errPoll{err}
		}
		return wire.Is(p.Filter, sent), nil
	case p.Op == "is":
		return wire.Is(p.Filter, sent), nil
	case p.Op == "isdistinct" && null:
		return !p.Negate, nil
	case null:
		return false, nil
	}
	switch {
	case p.dangling != nil && p.dangling.Matches(p.fold(value)):
		return false, &errPoll{pgtype.Errorf("22025", "LIKE pattern must not end with escape character")}
	case p.like != nil:
		return p.like.Matches(p.fold(value)) != p.Negate, nil
	case p.match != nil:
		return p.match.MatchString(value) != p.Negate, nil
	}
	have, err := p.typ.Parse(value)
	if err != nil {
		return false, &errPoll{err}
	}
	holds, known, err := p.compare(have)
	return known && holds != p.Negate, err
}

// lacks reports whether the type does not have the comparison, of which the query
// fails for every value, NULL too.
func (p *predicate) lacks() bool {
	switch p.Op {
	case "is", "like", "ilike", "match", "imatch":
		return false
	}
	name := p.typ.Base().Name()
	if name == "point" {
		return p.Op != "neq"
	}
	return !p.typ.Comparable() || slices.Contains(lackingOps[name], p.Op)
}

// lackingOps are the comparisons that types lack which have others.
var lackingOps = map[string][]string{
	"box":     {"neq"},
	"path":    {"neq"},
	"line":    {"neq", "lt", "lte", "gt", "gte"},
	"cid":     {"neq", "lt", "lte", "gt", "gte"},
	"aclitem": {"neq", "lt", "lte", "gt", "gte"},
	"xid":     {"lt", "lte", "gt", "gte"},
}

// compare compares a value that is not NULL with the filter's. Not known is
// SQL's NULL.
func (p *predicate) compare(have any) (holds, known bool, err error) {
	if p.Op == "in" {
		return p.in(have)
	}
	n, err := p.order(have, p.want)
	return ordered(p.Op, n), err == nil, err
}

// ordered tells whether a comparison holds of values of that order.
func ordered(op string, n int) bool {
	switch op {
	case "eq":
		return n == 0
	case "lt":
		return n < 0
	case "lte":
		return n <= 0
	case "gt":
		return n > 0
	case "gte":
		return n >= 0
	}
	return n != 0 // neq, isdistinct
}

func (p *predicate) in(have any) (holds, known bool, err error) {
	known = true
	for _, want := range p.among {
		if want == nil {
			known = false // unless another one is equal
			continue
		}
		n, err := p.order(have, want)
		if err != nil {
			return false, false, err
		}
		if n == 0 {
			return true, true, nil
		}
	}
	return false, known, nil
}

func (p *predicate) order(a, b any) (int, error) {
	n, ok := p.typ.Compare(a, b)
	if !ok && p.Op == "neq" && p.typ.Base().Name() == "point" {
		return pgtype.CompareBools(p.typ.Text(a) != p.typ.Text(b), false), nil
	}
	if !ok {
		return 0, &errPoll{fmt.Errorf("type %s has no such operator", p.typ.SQLName)}
	}
	return n, nil
}
