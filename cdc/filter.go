package cdc

import (
	"encoding"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Filter says which changes of a table a subscription is for: those of rows
// that meet all of its conditions. The zero Filter has none and lets every
// change through. A Filter does not change once made and is safe for
// concurrent use.
//
// The server asks an Insert and an Update by the new row alone: a row that an
// Update takes out of the filter is not heard of again. It asks a Delete by
// what the replica identity has of the old row, and delivers none whose
// columns the filter needs and the identity lacks. A null meets no condition
// but IsNull and IsDistinct: a bool that is not true is IsDistinct(column, true).
// An Update that leaves alone a value that is stored out of line (TOAST) is not
// delivered through a filter on that column. A char(n) or bit(n) is compared by its first
// character, and a NaN or infinite number as null.
//
// Filters poison: on columns of some types the server takes a filter, and from
// the first change of the table on fails for every subscriber of the project,
// without a word to any of them. The server casts the JSON of a value to the
// column's type; so no condition at all works on arrays, composites, hstore,
// json and jsonb, not even IsNull, and none but IsNull on a type without the
// comparison, such as xml or point. The list by type and operator is in
// docs/garbling.md. A filter does not know the types of a table: package cache
// refuses such a filter where it can learn them, by [Filter.For]. A binding of
// package channel cannot; there, text that reads like an array, a composite or a
// bytea is refused unless it is a [Literal], and the rest is up to the program.
//
// A mistake, such as an empty In, is kept in the Filter and returned by Err.
type Filter struct {
	conditions []condition
	err        error
}

// condition keeps what was asked for, so that it can be written in another
// syntax than Realtime's, too.
type condition struct {
	column string
	not    bool
	op     string
	values []string // as PostgreSQL's text, not quoted; one, but for in
	bytes  bool     // the values are bytea
	typed  bool     // the program knows that the column takes text of this form
}

// maxIn is the most values that the server takes in a list.
const maxIn = 100

// Eq is column = value.
//
// In this and the following functions a value is a string, an integer, a
// finite float, a bool, a time.Time (sent in UTC, to the microsecond), a
// json.Number, a [Literal], an encoding.TextMarshaler such as *big.Int or a UUID,
// a fmt.Stringer, or a pointer to one of these; for a bytea it is a []byte. A type of one of the basic kinds
// that is a Stringer, too, goes by its kind. Nil is an error: nothing is equal
// to null, see IsNull. The server checks when it subscribes that the value is
// one of the column's type.
func Eq(column string, value any) Filter { return compare(column, "eq", value) }

// Neq is column <> value. Null is neither equal nor unequal, see IsDistinct.
func Neq(column string, value any) Filter { return compare(column, "neq", value) }

// Lt is column < value.
func Lt(column string, value any) Filter { return compare(column, "lt", value) }

// Lte is column <= value.
func Lte(column string, value any) Filter { return compare(column, "lte", value) }

// Gt is column > value.
func Gt(column string, value any) Filter { return compare(column, "gt", value) }

// Gte is column >= value.
func Gte(column string, value any) Filter { return compare(column, "gte", value) }

// IsDistinct is column IS DISTINCT FROM value: unequal, or null.
func IsDistinct(column string, value any) Filter { return compare(column, "isdistinct", value) }

// Like is column LIKE pattern, in which % stands for any text and _ for any
// character, and a backslash makes the next character literal. The column must be
// of type text, name, char(n) or citext; the server refuses others, varchar too.
func Like(column, pattern string) Filter { return like(column, "like", pattern) }

// ILike is Like without regard to case.
func ILike(column, pattern string) Filter { return like(column, "ilike", pattern) }

// Match is column ~ pattern: the POSIX regular expression matches somewhere. The
// column must be of type text or citext.
func Match(column, pattern string) Filter { return compare(column, "match", pattern) }

// IMatch is Match without regard to case.
func IMatch(column, pattern string) Filter { return compare(column, "imatch", pattern) }

// IsNull is column IS NULL.
func IsNull(column string) Filter {
	return newFilter(condition{column: column, op: "is", values: []string{"null"}})
}

// In is column = ANY of the values, at least 1 and at most 100.
func In(column string, values ...any) Filter {
	if len(values) == 0 || len(values) > maxIn {
		return invalid(column, fmt.Errorf("in takes 1 to %d values, not %d", maxIn, len(values)))
	}
	return compare(column, "in", values...)
}

// Not negates a filter of one condition. The server has no way to negate
// several of them together.
func Not(f Filter) Filter {
	switch {
	case f.err != nil:
		return f
	case len(f.conditions) != 1:
		return Filter{err: fmt.Errorf("cdc: filter: not takes one condition, not %d", len(f.conditions))}
	}
	c := f.conditions[0]
	c.not = !c.not
	return Filter{conditions: []condition{c}}
}

// And has the conditions of all the filters. The server has no Or.
func And(filters ...Filter) Filter {
	var all Filter
	for _, f := range filters {
		if f.err != nil {
			return f
		}
		all.conditions = append(all.conditions, f.conditions...)
	}
	return all
}

// IsZero reports whether the filter lets every change through.
func (f Filter) IsZero() bool { return f.err == nil && len(f.conditions) == 0 }

// Err returns the first mistake that was made in building the filter.
func (f Filter) Err() error { return f.err }

// String returns the filter as Realtime reads it, empty for the zero Filter.
// Of a filter with a mistake it returns text that the server refuses.
func (f Filter) String() string {
	if f.err != nil {
		return "invalid filter"
	}
	segments := make([]string, len(f.conditions))
	for i, c := range f.conditions {
		segments[i] = c.String()
	}
	return strings.Join(segments, ",")
}

// String returns the condition as Realtime reads it.
func (c condition) String() string {
	s := c.column + "="
	if c.not {
		s += "not."
	}
	s += c.op + "."
	values := c.values
	if c.bytes {
		values = bareHex(values)
	}
	if c.op != "in" {
		return s + quoteIf(needsQuotes(values[0]), values[0])
	}
	items := make([]string, len(values))
	for i, v := range values {
		items[i] = quoteIf(needsQuotes(v) || needsArrayQuotes(v), v)
	}
	return s + "(" + strings.Join(items, ",") + ")"
}

// Query returns the same conditions as parameters of PostgREST, the REST API of
// a Supabase project, so that a request to the table reads the rows that a
// subscription with the filter is for. A column with several conditions has a
// value for each. The parameters of the zero Filter are empty.
//
// The error is that of Err, or a *[ColumnError] for a condition that PostgREST
// cannot be asked for: a Like or ILike whose pattern has a *, which PostgREST
// takes for %. Match can ask for the same.
//
// The answers agree but for what Realtime compares in another form than
// PostgreSQL keeps it (see "What Realtime garbles"): char(n) and bit(n) by their
// first character, a NaN or infinite number as null.
func (f Filter) Query() (url.Values, error) {
	if f.err != nil {
		return nil, f.err
	}
	q := url.Values{}
	for _, c := range f.conditions {
		value, err := c.query()
		if err != nil {
			return nil, err
		}
		q.Add(queryName(c.column), value)
	}
	return q, nil
}

// query returns the condition as the value of PostgREST's parameter. But in a
// list PostgREST takes all behind the operator as it is, quotes and all.
func (c condition) query() (string, error) {
	op := c.op
	if op == "in" && len(c.values) == 1 {
		op = "eq" // in.("") is the empty list to PostgREST, as in.() is
	}
	s := op + "."
	if c.not {
		s = "not." + s
	}
	if op != "in" {
		if strings.HasSuffix(op, "like") && strings.Contains(c.values[0], "*") {
			return "", &ColumnError{Column: c.column, Reason: "PostgREST takes the * of a pattern for %, so that it cannot be asked for this"}
		}
		return s + c.values[0], nil
	}
	items := make([]string, len(c.values))
	for i, v := range c.values {
		items[i] = quoteIf(!isPlain(v), v)
	}
	return s + "(" + strings.Join(items, ",") + ")", nil
}

// queryName is a column as the name of a parameter, in quotes if it would be
// read as a path, or as something else than a column.
func queryName(column string) string {
	switch column {
	case "select", "columns", "on_conflict", "order", "limit", "offset", "and", "or", "not", "apikey":
		return `"` + column + `"`
	}
	return quoteIf(!isPlain(column), column)
}

// isPlain reports whether a text means itself wherever PostgREST reads one.
func isPlain(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && !('0' <= r && r <= '9') && !('a' <= r && r <= 'z') && !('A' <= r && r <= 'Z')
	})
}

func quoteIf(needed bool, value string) string {
	if !needed {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}

// needsQuotes reports whether the server would read a bare value as something
// else: it splits at commas, counts parentheses, and trims blanks.
func needsQuotes(value string) bool {
	return value == "" || strings.ContainsAny(value, `,()"\`) || strings.TrimFunc(value, unicode.IsSpace) != value
}

// needsArrayQuotes is needsQuotes for an item of a list, of which the server
// makes an array in PostgreSQL's syntax.
func needsArrayQuotes(value string) bool {
	return strings.EqualFold(value, "null") || strings.ContainsAny(value, "{}") || strings.ContainsFunc(value, unicode.IsSpace)
}

func compare(column, op string, values ...any) Filter {
	c := condition{column: column, op: op, values: make([]string, len(values))}
	for i, v := range values {
		text, isBytes, err := filterText(v)
		if err == nil && i > 0 && isBytes != c.bytes {
			err = errors.New("[]byte and other values in one list")
		}
		if err != nil {
			return invalid(column, err)
		}
		_, isLiteral := v.(Literal)
		c.values[i], c.bytes, c.typed = text, isBytes, isLiteral && (i == 0 || c.typed)
	}
	return newFilter(c)
}

// like refuses a pattern that the server takes and then fails on, for everybody.
func like(column, op, pattern string) Filter {
	if escapes := len(pattern) - len(strings.TrimRight(pattern, `\`)); escapes%2 != 0 {
		return invalid(column, errors.New("a pattern cannot end with the backslash that makes a character literal"))
	}
	return newFilter(condition{column: column, op: op, values: []string{pattern}})
}

func newFilter(c condition) Filter {
	if err := checkColumn(c.column); err != nil {
		return invalid(c.column, err)
	}
	for _, v := range c.values {
		if strings.ContainsRune(v, 0) || !utf8.ValidString(v) {
			return invalid(c.column, errors.New("a value is not text: it has a zero byte or is not UTF-8"))
		}
	}
	return Filter{conditions: []condition{c}}
}

func invalid(column string, err error) Filter {
	return Filter{err: fmt.Errorf("cdc: filter on column %q: %w", clip(column, maxName), err)}
}

// checkColumn refuses the names that the server would not find again in the
// text of a filter, where a name cannot be quoted.
func checkColumn(column string) error {
	if column == "" {
		return errors.New("no column")
	}
	depth, balanced := 0, true
	for _, r := range column {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
			balanced = balanced && depth >= 0
		}
	}
	if !balanced || depth != 0 || strings.ContainsAny(column, "=,\"\x00") ||
		strings.TrimFunc(column, unicode.IsSpace) != column || !utf8.ValidString(column) {
		return errors.New("a filter cannot name this column")
	}
	return nil
}

// filterText returns a value as PostgreSQL reads it, and whether it is a bytea.
func filterText(value any) (text string, isBytes bool, err error) {
	if p, ok := value.(*[]byte); ok && p != nil {
		value = *p
	}
	if b, ok := value.([]byte); ok && b != nil {
		return `\x` + hex.EncodeToString(b), true, nil
	}
	text, err = scalarText(value)
	return text, false, err
}

func scalarText(value any) (string, error) {
	v := reflect.ValueOf(value)
	if !v.IsValid() || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice) && v.IsNil() {
		return "", errors.New("nil is no value: use IsNull or Not(IsNull)")
	}
	switch x := value.(type) {
	case time.Time:
		return timeText(x)
	case *time.Time:
		return timeText(*x)
	case json.Number:
		if _, err := strconv.ParseFloat(x.String(), 64); err != nil && !errors.Is(err, strconv.ErrRange) {
			return "", fmt.Errorf("json.Number %s is not a number", clip(x, maxValue))
		}
		return x.String(), nil
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		return string(b), err
	}
	switch v.Kind() {
	case reflect.String:
		return v.String(), nil
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10), nil
	case reflect.Float32, reflect.Float64:
		if math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0) {
			return "", errors.New("a float must be finite")
		}
		return strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits()), nil
	}
	if s, ok := value.(fmt.Stringer); ok {
		return s.String(), nil
	}
	if v.Kind() == reflect.Pointer && v.Elem().Kind() != reflect.Pointer {
		return scalarText(v.Elem().Interface())
	}
	return "", fmt.Errorf("%T is no value for a filter", value)
}

func timeText(t time.Time) (string, error) {
	switch {
	case t.Equal(Infinity):
		return "infinity", nil
	case t.Equal(NegInfinity):
		return "-infinity", nil
	}
	t = t.UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return "", fmt.Errorf("a time of the year %d", t.Year())
	}
	return t.Format("2006-01-02T15:04:05.999999Z07:00"), nil
}
