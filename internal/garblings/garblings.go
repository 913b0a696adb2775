// Package garblings is the tables of what a Realtime server does to values and
// to filters, by type. They are made on PostgreSQL by a test of
// mockserver/on/postgres:
//
//	go test ./mockserver/on/postgres -run Garblings -update
//
// The client, both mock servers and the documentation are tested against them.
package garblings

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
)

// A Value is one value of a column and how it arrives.
type Value struct {
	Column
	Output   string // PostgreSQL's text of it: what SELECT gives
	REST     string // its JSON as PostgREST sends it
	Wire     string // its JSON as Realtime sends it, or "!" and the SQLSTATE that ends the poll
	Garbling Garbling
}

// A Column is the type of one.
type Column struct {
	Of    string // the type in SQL that it is made of, such as "char(3)"
	Shape Shape
	Name  string // pg_type.typname: the type's name in a change
}

// Shape is how a column's type is made of another one.
type Shape string

// The shapes.
const (
	Scalar          Shape = "type"
	Array           Shape = "array"
	Domain          Shape = "domain"
	DomainArray     Shape = "array of domain"
	DomainOverArray Shape = "domain over array"
	Composite       Shape = "composite"
)

// SQL returns the type in SQL.
func (c Column) SQL() string {
	switch c.Shape {
	case Array:
		return c.Of + "[]"
	case Domain:
		return `"domain over ` + strings.ReplaceAll(c.Of, `"`, `'`) + `"`
	case DomainArray:
		return Column{c.Of, Domain, ""}.SQL() + "[]"
	case DomainOverArray:
		return `"domain over ` + strings.ReplaceAll(c.Of, `"`, `'`) + `[]"`
	case Composite:
		return `"composite of ` + strings.ReplaceAll(c.Of, `"`, `'`) + `"`
	}
	return c.Of
}

// Garbling is what becomes of a value.
type Garbling string

// The garblings. All but None, Bounds and Zero leave a value that PostgreSQL
// says is another one, or that has to be read in another way.
const (
	None       Garbling = "none"          // REST's JSON, but for what JSON does not tell apart
	Bounds     Garbling = "bounds lost"   // of an array; REST loses them, too
	Zero       Garbling = "sign lost"     // of a zero, which is equal to the other one
	Hex        Garbling = `\x lost`       // of a bytea
	Normalized Garbling = "as jsonb"      // of a json: keys, numbers and spaces as jsonb has them
	JSONNull   Garbling = "null for null" // the JSON value null, as SQL's NULL; REST sends null, too
	Null       Garbling = "null"          // a number that is NaN or infinite
	Cut        Garbling = "cut"           // to one character or bit
	Lost       Garbling = "poll lost"     // and with it the changes of everybody
)

// A Filter is what becomes of filters with one operator on a column.
type Filter struct {
	Column
	Operator string
	Verdict  Verdict
	Example  string // PostgreSQL's text of a value that shows it
}

// Verdict is the worst that becomes of a filter.
type Verdict string

// The verdicts.
const (
	Works   Verdict = "works"   // as the comparison does in SQL
	Refused Verdict = "refused" // when it is subscribed
	Differs Verdict = "differs" // from SQL, for some values at least
	Poisons Verdict = "poisons" // live, and then the poll fails, for everybody
)

// The tables as text.
var (
	//go:embed values.tsv
	ValuesTable string
	//go:embed filters.tsv
	FiltersTable string
)

// Values returns the table of values.
func Values() (values []Value) {
	for _, f := range lines(ValuesTable, 7) {
		output, err := strconv.Unquote(f[3])
		if err != nil {
			panic(fmt.Sprintf("garblings: %s: %v", f[3], err))
		}
		values = append(values, Value{column(f), output, f[4], f[5], Garbling(f[6])})
	}
	return values
}

// Filters returns the table of filters.
func Filters() (filters []Filter) {
	for _, f := range lines(FiltersTable, 6) {
		example, err := strconv.Unquote(f[5])
		if err != nil {
			panic(fmt.Sprintf("garblings: %s: %v", f[5], err))
		}
		for _, op := range strings.Fields(f[3]) {
			filters = append(filters, Filter{column(f), op, Verdict(f[4]), example})
		}
	}
	return filters
}

// FormatValues writes a table of values.
func FormatValues(values []Value) string {
	var b strings.Builder
	b.WriteString("of\tshape\tname\tselect\trest\trealtime\tgarbling\n")
	for _, v := range values {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%q\t%s\t%s\t%s\n", v.Of, v.Shape, v.Name, v.Output, v.REST, v.Wire, v.Garbling)
	}
	return b.String()
}

// FormatFilters writes a table of filters. Operators of one column that share a
// verdict and an example share a line.
func FormatFilters(filters []Filter) string {
	var lines []string
	at := map[Filter]int{}
	for _, f := range filters {
		key := f
		key.Operator = ""
		if i, ok := at[key]; ok {
			lines[i] = strings.Replace(lines[i], "\t"+string(f.Verdict), " "+f.Operator+"\t"+string(f.Verdict), 1)
			continue
		}
		at[key] = len(lines)
		lines = append(lines, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%q\n", f.Of, f.Shape, f.Name, f.Operator, f.Verdict, f.Example))
	}
	return "of\tshape\tname\toperators\tverdict\texample\n" + strings.Join(lines, "")
}

func column(fields []string) Column { return Column{fields[0], Shape(fields[1]), fields[2]} }

func lines(table string, fields int) (all [][]string) {
	for i, line := range strings.Split(strings.TrimSuffix(table, "\n"), "\n") {
		f := strings.Split(line, "\t")
		if len(f) != fields {
			panic(fmt.Sprintf("garblings: line %d has %d fields, not %d", i+1, len(f), fields))
		}
		if i > 0 {
			all = append(all, f)
		}
	}
	return all
}
