package garblings_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/garblings"
)

var update = flag.Bool("update", false, "write docs/garbling.md anew")

const document = "../../docs/garbling.md"

// docs/garbling.md is what the tables say.
func TestDocument(t *testing.T) {
	text := intro + valuesSection() + filtersSection()
	if *update {
		require.NoError(t, os.WriteFile(document, []byte(text), 0o644))
		return
	}
	kept, err := os.ReadFile(document)
	require.NoError(t, err)
	require.Equal(t, string(kept), text, "docs/garbling.md is out of date: run this test with -update")
}

const intro = `# What Realtime garbles

A change that comes by ` + "`postgres_changes`" + ` has each value as PostgreSQL's text, cast by the Realtime server to the column's type without its
length, and made jsonb. On this way some values become others, and some filters stop the changes of everybody. A change that comes by
Broadcast has the values as they are.

This page is made from two tables, [values.tsv](../internal/garblings/values.tsv) and
[filters.tsv](../internal/garblings/filters.tsv), which a test makes on PostgreSQL 15 with the casts of the server, from hostile values of
every type in ` + "`pg_type`" + `, arrays, domains and composites of it. ` + "`cdc.Column.Caveat`, `Doubtful` and `cdc.Filter.For`" + ` and both mock
servers are tested against the same tables. (The tables also have hstore and citext, a range, an enum and composites of our own.)

`

// what explains the garblings, in the order of the page.
var what = []struct {
	garbling garblings.Garbling
	text     string
}{
	{garblings.Cut, "Cut to the first character or bit; an empty `bpchar` becomes a space. `Caveat` is `Truncated`. Such a column cannot be a key. Fields of composites and domains are whole."},
	{garblings.Null, "Sent as null. `Caveat` is `NullOrNaN`. In a column that is NOT NULL, null is NaN or infinite for certain. Elements of arrays, fields of composites and domains come as strings."},
	{garblings.JSONNull, "JSON null and SQL NULL are one, for the REST API, too. `Caveat` is `NullOrJSONNull`."},
	{garblings.Normalized, "A json arrives as jsonb has it: the last of equal keys, keys in jsonb's order, numbers written out, no sign of a zero. It is the same JSON value but for the keys that were there twice."},
	{garblings.Lost, "The cast fails, and with it the poll: this and other changes are lost for every subscriber, without a word, whether or not somebody subscribed to the table. In a published table use jsonb, which does not take such values, and regprocedure and regoperator."},
	{garblings.Hex, "Sent without `\\x`. Package cdc reads it. Elements of arrays, fields of composites and domains have it."},
	{garblings.Bounds, "The bounds of an array are lost, for the REST API, too."},
	{garblings.Zero, "The sign of a zero is lost; PostgreSQL has the two for equal."},
}

func valuesSection() string {
	var b strings.Builder
	b.WriteString("## Values\n\n")
	garbled := map[string]bool{}
	for _, w := range what {
		fmt.Fprintf(&b, "%s\n\n| type | SELECT | REST | Realtime |\n|---|---|---|---|\n", w.text)
		seen := map[string]int{}
		for _, v := range garblings.Values() {
			if v.Garbling != w.garbling {
				continue
			}
			if v.Shape == garblings.Scalar && w.garbling != garblings.Zero {
				garbled[v.Of] = true
			}
			if v.Shape != garblings.Scalar && v.Shape != garblings.Array || w.garbling == garblings.Bounds && v.Of != "integer" || seen[v.SQL()] == 3 && w.garbling != garblings.Lost {
				continue
			}
			if seen[v.SQL()]++; v.Shape == garblings.Array && seen[v.SQL()] > 1 {
				continue
			}
			wire := v.Wire
			if w.garbling == garblings.Lost {
				wire = "error " + wire[1:]
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", code(v.SQL()), code(v.Output), code(v.REST), code(wire))
		}
		b.WriteString("\n")
	}
	var intact []string
	for _, v := range garblings.Values() {
		if v.Shape == garblings.Scalar && !garbled[v.Of] && !slices.Contains(intact, v.SQL()) {
			intact = append(intact, v.SQL())
		}
	}
	b.WriteString("As the REST API has them (but for what is said of bounds and zeros), arrays of them, too: " + strings.Join(intact, ", ") + ".\n\n")
	return b.String()
}

func filtersSection() string {
	var b strings.Builder
	b.WriteString("## Filters\n\n" +
		"The server checks that a filter's value is one of the column's type. Then it casts the *JSON* of each value to the type, and compares. What it\n" +
		"does not check: that the type has the operator, that the JSON is text of the type, and that a LIKE pattern does not end with a lone\n" +
		"backslash. Then the filter goes live, and the poll fails of every change of the table, or of some, for every subscriber of the project.\n" +
		"`cdc.Filter.For` refuses those, but for composites and domains, whose names do not say what they are; `cdc.Like` and `cdc.ILike` refuse such\n" +
		"patterns.\n\n")
	section := func(title string, verdict garblings.Verdict) {
		fmt.Fprintf(&b, "%s\n\n| types | operators |\n|---|---|\n", title)
		byOperators := map[string][]string{}
		var order []string
		for _, line := range operatorsOf(verdict) {
			if byOperators[line.operators] == nil {
				order = append(order, line.operators)
			}
			byOperators[line.operators] = append(byOperators[line.operators], line.types)
		}
		for _, operators := range order {
			fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(byOperators[operators], ", "), operators)
		}
		b.WriteString("\n")
	}
	section("Poison:", garblings.Poisons)
	section("Taken, but not as SQL compares, for some values: those above that are cut or null, and a bytea given as `\\x…` (a `[]byte` is compared right).", garblings.Differs)
	b.WriteString("All others work as in SQL, or are refused when they are subscribed: like and ilike on all but text, name, char(n), bytea and citext, match and\n" +
		"imatch on all but text and citext, and a list of values on most arrays. A domain is as the type that it stands for, but that like and match are refused.\n")
	return b.String()
}

type operatorsLine struct{ types, operators string }

// operatorsOf returns the operators with a verdict by type. Arrays and composites
// are all alike.
func operatorsOf(verdict garblings.Verdict) (lines []operatorsLine) {
	at := map[string]int{}
	for _, f := range garblings.Filters() {
		types := f.SQL()
		switch f.Shape {
		case garblings.Array:
			types = "arrays"
		case garblings.Composite:
			types = "composites"
		case garblings.Scalar:
			if f.Of == "pair" || f.Of == "kept" {
				continue
			}
		default:
			continue
		}
		if f.Verdict != verdict {
			continue
		}
		i, ok := at[types]
		if !ok {
			i = len(lines)
			at[types] = i
			lines = append(lines, operatorsLine{types: types})
		}
		if !slices.Contains(strings.Fields(lines[i].operators), f.Operator) {
			lines[i].operators += " " + f.Operator
		}
	}
	for i := range lines {
		lines[i].operators = inOrder(lines[i].operators)
	}
	return lines
}

func inOrder(operators string) string {
	var sorted []string
	for _, op := range strings.Fields("eq neq lt lte gt gte in isdistinct is like ilike match imatch") {
		if slices.Contains(strings.Fields(operators), op) {
			sorted = append(sorted, op)
		}
	}
	return strings.Join(sorted, " ")
}

// code is text as code in a cell, cut to a length that fits one.
func code(text string) string {
	if runes := []rune(text); len(runes) > 40 {
		text = string(runes[:40]) + "…"
	}
	if text == "" {
		return ""
	}
	return "`` " + strings.ReplaceAll(text, "|", `\|`) + " ``"
}
