package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// The server is written in Elixir, and some of its messages show values in
// that language's notation.

// InspectJSON writes a JSON value as Elixir's inspect does.
func InspectJSON(raw []byte) string {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return "nil"
	}
	return inspect(v)
}

func inspect(v any) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case string:
		return inspectString(v)
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = inspect(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case map[string]any:
		items := make([]string, 0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			items = append(items, inspectString(k)+" => "+inspect(v[k]))
		}
		return "%{" + strings.Join(items, ", ") + "}"
	}
	return fmt.Sprint(v) // true, false, numbers
}

var elixirEscapes = strings.NewReplacer(
	`\`, `\\`, `"`, `\"`, "#{", `\#{`, "\n", `\n`, "\r", `\r`, "\t", `\t`,
	"\a", `\a`, "\b", `\b`, "\v", `\v`, "\f", `\f`, "\x1b", `\e`, "\x00", `\0`, "\x7f", `\d`,
)

func inspectString(s string) string {
	var b strings.Builder
	for _, r := range elixirEscapes.Replace(s) {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xff:
			fmt.Fprintf(&b, `\x%02X`, r)
		default:
			fmt.Fprintf(&b, `\x{%X}`, r)
		}
	}
	return `"` + b.String() + `"`
}

// inspectWidth is where inspect begins to break lines.
const inspectWidth = 80

// inspectFilter returns the elements of the tuple that the filter is in Elixir.
func inspectFilter(f project.Filter) []string {
	return []string{inspectString(f.Column), inspectString(f.Op), inspectString(f.Value), inspect(f.Negate)}
}

// InspectFilters writes a list of filters, which are tuples in Elixir: on one
// line if that fits, else one filter a line, with breaks inside where needed.
func InspectFilters(filters []project.Filter) string {
	tuples := make([]string, len(filters))
	for i, f := range filters {
		tuples[i] = "{" + strings.Join(inspectFilter(f), ", ") + "}"
	}
	if line := "[" + strings.Join(tuples, ", ") + "]"; len(line) <= inspectWidth {
		return line
	}
	for i, f := range filters {
		width := inspectWidth
		if i < len(filters)-1 {
			width-- // for the comma
		}
		if len(tuples[i])+2 > width {
			tuples[i] = fill("{", inspectFilter(f), "}", 2)
		}
	}
	return "[\n  " + strings.Join(tuples, ",\n  ") + "\n]"
}

// InspectStrings writes a list of strings, as many as fit on a line.
func InspectStrings(list []string) string {
	items := make([]string, len(list))
	for i, s := range list {
		items[i] = inspectString(s)
	}
	return fill("[", items, "]", 0)
}

// fill joins items, and breaks the line before each that would not fit on it.
// indent is the column of the opening bracket.
func fill(open string, items []string, end string, indent int) string {
	var b strings.Builder
	b.WriteString(open)
	column := indent + len(open)
	for i, item := range items {
		if i < len(items)-1 {
			item += ","
		} else {
			item += end
		}
		switch {
		case i == 0:
		case column+1+len(item) > inspectWidth:
			b.WriteString("\n" + strings.Repeat(" ", indent+len(open)))
			column = indent + len(open)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(item)
		column += len(item)
	}
	return b.String()
}
