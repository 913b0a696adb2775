package wire

import (
	"errors"
	"slices"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

var FilterOperators = []string{"eq", "neq", "lt", "lte", "gt", "gte", "in", "like", "ilike", "is", "match", "imatch", "isdistinct"}

// ParseFilters reads a filter: conditions that all must hold, separated by
// commas, each "column=operator.value" or "column=not.operator.value". The
// error is worded as the server's, behind "Error parsing `filter` params: ".
func ParseFilters(filter string) ([]project.Filter, error) {
	if filter = strings.TrimSpace(filter); filter == "" {
		return nil, nil
	}
	var filters []project.Filter
	for _, segment := range splitFilter(filter) {
		f, err := parseCondition(strings.TrimSpace(segment))
		if err != nil {
			return nil, err
		}
		filters = append(filters, f)
	}
	return filters, nil
}

// splitFilter cuts at commas that are outside parentheses and quotes. A quote
// opens behind one of . ( , and nowhere else, so that it may stand within a
// value; a backslash takes the next byte of a quoted text along.
func splitFilter(filter string) (segments []string) {
	depth, quoted, begin := 0, false, 0
	var previous byte
	for i := 0; i < len(filter); i++ {
		c := filter[i]
		switch {
		case quoted && c == '\\' && i+1 < len(filter):
			i++
			c = filter[i]
		case quoted:
			quoted = c != '"'
		case c == '"' && strings.IndexByte(".(,", previous) >= 0 && i > begin:
			quoted = true
		case c == '(':
			depth++
		case c == ')':
			depth = max(0, depth-1)
		case c == ',' && depth == 0:
			segments = append(segments, filter[begin:i])
			begin = i + 1
		}
		previous = c
	}
	return append(segments, filter[begin:])
}

func parseCondition(segment string) (f project.Filter, err error) {
	if segment == "" {
		return f, errors.New("filter must not contain empty segments (check for extra commas)")
	}
	column, rest, ok := strings.Cut(segment, "=")
	if !ok {
		return f, errors.New(inspect([]any{segment}))
	}
	rest, negate := strings.CutPrefix(rest, "not.")
	op, value, ok := strings.Cut(rest, ".")
	switch {
	case !ok:
		return f, errors.New(inspect([]any{rest}))
	case !slices.Contains(FilterOperators, op):
		return f, errors.New(inspect([]any{op, value}))
	case op != "in":
		value = unquoteValue(value)
	case len(value) < 2 || value[0] != '(' || value[len(value)-1] != ')':
		return f, errors.New("`in` filter value must be wrapped by parentheses")
	default:
		value = "{" + value[1:len(value)-1] + "}"
	}
	return project.Filter{Column: column, Op: op, Value: value, Negate: negate}, nil
}

// unquoteValue removes the quotes of a value that is wholly within them. Anything
// else is taken as it is.
func unquoteValue(value string) string {
	if !strings.HasPrefix(value, `"`) {
		return value
	}
	var b strings.Builder
	for i := 1; i < len(value); i++ {
		switch {
		case value[i] == '"' && i == len(value)-1:
			return b.String()
		case value[i] == '"':
			return value
		case value[i] == '\\' && i+1 < len(value):
			i++
		}
		b.WriteByte(value[i])
	}
	return value
}

// CheckIs checks a filter of is on a column of a type, in SQL.
func CheckIs(f project.Filter, typ string) error {
	switch f.Value {
	case "null":
		return nil
	case "true", "false", "unknown":
		if typ == "boolean" {
			return nil
		}
		return pgtype.Raise("is %s filter requires a boolean column, got %s", f.Value, typ)
	}
	return pgtype.Raise("invalid value for is filter: must be null, true, false, or unknown")
}

// Is decides a filter of is about a value in its wire form.
func Is(f project.Filter, sent []byte) bool {
	keyword := f.Value
	if keyword == "unknown" {
		keyword = "null"
	}
	return (string(sent) == keyword) != f.Negate
}

// CheckIn checks how many values a filter of in has.
func CheckIn(values int) error {
	if values > 100 {
		return pgtype.Raise("too many values for `in` filter. Maximum 100")
	}
	return nil
}

// NotOfText is the error of a filter on a column of a type, in SQL, that is no text.
func NotOfText(f project.Filter, typ string) error {
	return pgtype.Raise("operator %s requires a text-compatible column type, got %s", f.Op, typ)
}

// BadPattern is the error of a filter whose regular expression cannot be read.
func BadPattern(f project.Filter, why string) error {
	return pgtype.Raise("invalid regular expression for %s filter: %s", f.Op, why)
}
