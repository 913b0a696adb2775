package cdc

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Literal is a value of a filter as PostgreSQL writes it, for a column that is
// known to take a filter. Text that reads like an array, a composite, an hstore
// or a bytea is otherwise refused where the type of the column is not known; see
// [Filter.For].
type Literal string

// For returns the filter as it can be sent for a table, of which columns are
// those whose types are known: from a change, or from [SQLColumn]. The error is
// that of Err, or a *[ColumnError] for a condition
//
//   - on a column of a type that the server fails on, for every subscriber of the
//     project; see "Filters poison" in the doc of Filter;
//   - on a bytea with a value that is not a []byte or text in the form \x…, which
//     would not match what it says;
//   - on a column whose type is not known, or not one that PostgreSQL brings, with
//     text that reads like an array, a composite, an hstore or a bytea: {…}, (…),
//     …=>…, \x…. [Literal] says that the column is none of these.
//
// A composite, and a domain over an array, composite, json or jsonb, are known by
// their name alone, so that these are not noticed but by such a text. For a
// filter that For returned, For with fewer columns returns it again.
func (f Filter) For(table string, columns []Column) (Filter, error) {
	if f.err != nil {
		return f, f.err
	}
	conditions := slices.Clone(f.conditions)
	for i := range conditions {
		c := &conditions[i]
		of := Column{Name: c.column}
		if at := slices.IndexFunc(columns, func(col Column) bool { return col.Name == c.column }); at >= 0 {
			of = columns[at]
		}
		if reason := c.resolve(of.Type); reason != "" {
			return f, &ColumnError{Table: table, Column: c.column, Type: of.Type, Reason: reason}
		}
	}
	return Filter{conditions: conditions}, nil
}

// resolve makes the condition fit the type, which is empty where it is not
// known. It returns why it cannot.
func (c *condition) resolve(typ string) string {
	switch {
	case typ == "":
		return c.suspect()
	case isPoison(typ, c.op):
		return fmt.Sprintf("the server takes the filter %s on this type, and then fails on each change of the table, for every subscriber of the project", c.op)
	case typ == "bytea" && c.op != "is":
		if c.bytes = !slices.ContainsFunc(c.values, func(v string) bool { return !isHex(v) }); !c.bytes {
			return "a filter on a bytea takes a []byte"
		}
	case !builtinTypes[typ]:
		if reason := c.suspect(); reason != "" {
			return reason
		}
		c.bytes = false // of a domain, the server has the values with their \x
	case c.bytes:
		return "[]byte is a value for a bytea"
	}
	c.typed = true
	return ""
}

// suspect returns why the condition is refused on a column of which nothing is
// known.
func (c *condition) suspect() string {
	if c.typed || c.bytes || !slices.Contains(comparisons, c.op) {
		return ""
	}
	for _, v := range c.values {
		switch {
		case isHex(v):
			return `text in the form \x…: for a bytea use []byte, for text cdc.Literal`
		case len(v) > 1 && (v[0] == '{' && v[len(v)-1] == '}' || v[0] == '(' && v[len(v)-1] == ')') || strings.Contains(v, "=>"):
			return "text that reads like an array, a composite or an hstore, on which a filter stops the changes of everybody: cdc.Literal says that the column is of another type"
		}
	}
	return ""
}

// isHex reports whether a text is a bytea in the form \x….
func isHex(text string) bool {
	digits, ok := strings.CutPrefix(text, `\x`)
	_, err := hex.DecodeString(digits)
	return ok && err == nil
}

// bareHex returns the values of a bytea as Realtime has them, without \x.
func bareHex(values []string) []string {
	bare := make([]string, len(values))
	for i, v := range values {
		bare[i] = strings.ToLower(strings.TrimPrefix(v, `\x`))
	}
	return bare
}

// comparisons are the operators whose value is one of the column's type.
var comparisons = []string{"eq", "neq", "lt", "lte", "gt", "gte", "in", "isdistinct"}

// isPoison reports whether the server takes a filter on a type and fails when a
// row is changed, or one with some values is.
func isPoison(typ, op string) bool {
	switch typ {
	case "json", "jsonb", "hstore", "int2vector", "oidvector":
		return !isPattern(op)
	case "bytea":
		return op == "like" || op == "ilike"
	}
	if strings.HasPrefix(typ, "_") {
		return !isPattern(op)
	}
	return slices.Contains(withoutOperator[typ], op)
}

// isPattern reports whether the server checks by the column's type that it has
// the operator.
func isPattern(op string) bool {
	return slices.Contains([]string{"like", "ilike", "match", "imatch"}, op)
}

// withoutOperator has the comparisons that types lack, among them those of the
// types that have all others.
var withoutOperator = map[string][]string{
	"xml": comparisons, "jsonpath": comparisons, "refcursor": comparisons, "txid_snapshot": comparisons, "pg_snapshot": comparisons,
	"polygon": comparisons,
	"point":   {"eq", "lt", "lte", "gt", "gte", "in", "isdistinct"},
	"box":     {"neq"},
	"path":    {"neq"},
	"line":    {"neq", "lt", "lte", "gt", "gte"},
	"cid":     {"neq", "lt", "lte", "gt", "gte"},
	"aclitem": {"neq", "lt", "lte", "gt", "gte"},
	"xid":     {"lt", "lte", "gt", "gte"},
}

// builtinTypes are the types whose names say what their values are: those that
// PostgreSQL brings, and citext.
var builtinTypes = setOf(`aclitem bit bool box bpchar bytea char cid cidr circle citext date datemultirange daterange float4 float8
	inet int2 int4 int4multirange int4range int8 int8multirange int8range interval jsonpath line lseg macaddr macaddr8 money name
	numeric nummultirange numrange oid path pg_lsn pg_snapshot point polygon refcursor regclass regcollation regconfig regdictionary
	regnamespace regoper regoperator regproc regprocedure regrole regtype text tid time timestamp timestamptz timetz tsmultirange
	tsquery tsrange tstzmultirange tstzrange tsvector txid_snapshot uuid varbit varchar xid xid8 xml`)

func setOf(words string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}
